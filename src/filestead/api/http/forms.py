"""A multipart upload form, read as a stream. Fields may precede or follow the file."""

from collections.abc import AsyncIterator

from filestead.api.http.errors import ApiError, ErrorResponse, bad_request
from filestead.api.http.multipart import (
    Event,
    MultipartError,
    MultipartLimits,
    MultipartReader,
    PartStart,
    parse_boundary,
)
from filestead.api.http.query import parse_integer
from filestead.domain.files.model import ExpiresAfter, FieldsBeforeFile, UploadForm

FIELD_NAMES = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
MAX_OVERHEAD_BYTES = 256 * 1024
"""Upper bound of a form's size without its file, by the limits of the multipart reader."""


class MultipartForm:
    """The parts of a multipart request, one after the other."""

    def __init__(
        self,
        content_type: str,
        content_length: int | None,
        body: AsyncIterator[bytes],
        limits: MultipartLimits | None = None,
    ) -> None:
        try:
            self._reader = MultipartReader(parse_boundary(content_type), limits or MultipartLimits())
        except MultipartError as error:
            raise _malformed_form(error) from None
        self.min_size = max(0, (content_length or 0) - MAX_OVERHEAD_BYTES)
        self.max_size = content_length
        self._events = self._read_events(body)

    async def next_part(self) -> PartStart | None:
        """Skip to the next part; None at the end of the form."""
        async for event in self._events:
            if isinstance(event, PartStart):
                return event
        return None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the part."""
        async for event in self._events:
            if not isinstance(event, bytes):
                return
            yield event

    async def _read_events(self, body: AsyncIterator[bytes]) -> AsyncIterator[Event]:
        try:
            async for chunk in body:
                for event in self._reader.feed(chunk):
                    yield event
            self._reader.close()
        except MultipartError as error:
            raise _malformed_form(error) from None


class MultipartUploadSource(MultipartForm):
    """The `domain.model.UploadSource` of a multipart request."""

    def __init__(self, content_type: str, content_length: int | None, body: AsyncIterator[bytes]) -> None:
        super().__init__(content_type, content_length, body)
        self._fields: dict[str, str] = {}

    async def head(self) -> FieldsBeforeFile:
        """Read up to the file's first byte."""
        filename = await self._read_to_file()
        if filename is None:
            raise bad_request("'file' is a required property")
        return FieldsBeforeFile(filename, self._fields.get("purpose"), self._parse_expires_after())

    async def form(self) -> UploadForm:
        """Read what follows the file."""
        if await self._read_to_file() is not None:
            raise bad_request("'file' was given more than once")
        purpose = self._fields.get("purpose")
        if purpose is None:
            raise bad_request("'purpose' is a required property")
        return UploadForm(purpose, self._parse_expires_after())

    async def _read_to_file(self) -> str | None:
        """Read fields up to the next file part and return its filename; None at the end of the form."""
        while (part := await self.next_part()) is not None:
            if part.name == "file":
                if not part.filename:
                    raise bad_request("'file' is a required property (the part 'file' has no file name)")
                return part.filename
            await self._read_field(part)
        return None

    async def _read_field(self, part: PartStart) -> None:
        if part.name not in FIELD_NAMES:
            raise bad_request(f"Additional properties are not allowed ({part.name[:64]!r} was unexpected)")
        if part.name in self._fields:
            raise bad_request(f"'{part.name}' was given more than once")
        if part.filename is not None:
            raise bad_request(f"'{part.name}' must be a plain field, not a file")
        value = b"".join([chunk async for chunk in self.chunks()])
        try:
            self._fields[part.name] = value.decode()
        except UnicodeDecodeError:
            raise bad_request(f"'{part.name}' is not valid UTF-8") from None

    def _parse_expires_after(self) -> ExpiresAfter | None:
        anchor = self._fields.get("expires_after[anchor]")
        text = self._fields.get("expires_after[seconds]")
        if anchor is None and text is None:
            return None
        name = "expires_after.seconds"
        return ExpiresAfter(anchor, None if text is None else parse_integer(text, name, name))


def _malformed_form(error: MultipartError) -> ApiError:
    return ApiError(ErrorResponse(400, f"Could not parse multipart form: {error}"))
