"""An upload form as it streams in: parts become fields and the file, in whichever order the client sends them."""

from collections.abc import AsyncIterator

from filestead.api.http.errors import Answer, RequestError, bad_request
from filestead.api.http.integers import integer
from filestead.api.http.multipart import Event, MultipartError, MultipartReader, PartHead, boundary_of
from filestead.domain.files.model import ExpiresAfter, UploadHead, UploadTerms

FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
OVERHEAD_BYTES = 256 * 1024
"""More than everything but the file can take up in a form, by the limits of the multipart reader."""


class FormUpload:
    """The `domain.model.UploadSource` of a multipart request."""

    def __init__(self, content_type: str, content_length: int | None, body: AsyncIterator[bytes]) -> None:
        try:
            self._reader = MultipartReader(boundary_of(content_type))
        except MultipartError as error:
            raise _malformed(error) from None
        self.at_least_bytes = max(0, (content_length or 0) - OVERHEAD_BYTES)
        self.at_most_bytes = content_length
        self._events = self._read(body)
        self._fields: dict[str, str] = {}

    async def _read(self, body: AsyncIterator[bytes]) -> AsyncIterator[Event]:
        try:
            async for chunk in body:
                for event in self._reader.feed(chunk):
                    yield event
            self._reader.close()
        except MultipartError as error:
            raise _malformed(error) from None

    async def head(self) -> UploadHead:
        """Read up to the file's first byte."""
        filename = await self._next_file()
        if filename is None:
            raise bad_request("'file' is a required property")
        return UploadHead(filename, self._fields.get("purpose"), self._expires_after())

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file's bytes."""
        async for event in self._events:
            if not isinstance(event, bytes):
                return
            yield event

    async def terms(self) -> UploadTerms:
        """Read what follows the file."""
        if await self._next_file() is not None:
            raise bad_request("'file' was given more than once")
        purpose = self._fields.get("purpose")
        if purpose is None:
            raise bad_request("'purpose' is a required property")
        return UploadTerms(purpose, self._expires_after())

    async def _next_file(self) -> str | None:
        """Take in fields up to the next file part, and give its name; None at the end of the form."""
        async for event in self._events:
            if not isinstance(event, PartHead):
                continue
            if event.name == "file":
                if not event.filename:
                    raise bad_request("'file' is a required property (the part 'file' has no file name)")
                return event.filename
            await self._field(event)
        return None

    async def _field(self, head: PartHead) -> None:
        if head.name not in FIELDS:
            raise bad_request(f"Additional properties are not allowed ({head.name[:64]!r} was unexpected)")
        if head.name in self._fields:
            raise bad_request(f"'{head.name}' was given more than once")
        if head.filename is not None:
            raise bad_request(f"'{head.name}' must be a plain field, not a file")
        value = b"".join([chunk async for chunk in self.chunks()])
        try:
            self._fields[head.name] = value.decode()
        except UnicodeDecodeError:
            raise bad_request(f"'{head.name}' is not valid UTF-8") from None

    def _expires_after(self) -> ExpiresAfter | None:
        anchor = self._fields.get("expires_after[anchor]")
        text = self._fields.get("expires_after[seconds]")
        if anchor is None and text is None:
            return None
        name = "expires_after.seconds"
        return ExpiresAfter(anchor, None if text is None else integer(text, name, name))


def _malformed(error: MultipartError) -> RequestError:
    return RequestError(Answer(400, f"Could not parse multipart form: {error}"))
