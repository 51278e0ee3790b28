"""The multipart form of a part: one field `data`, read as a stream."""

from collections.abc import AsyncIterator

from filestead.api.http.errors import bad_request
from filestead.api.http.forms import MultipartForm
from filestead.api.http.multipart import MultipartLimits, PartStart
from filestead.domain.uploads.model import MAX_PART_BYTES

FIELD = "data"
# Some clients send it without a file name, as a plain field; its size is limited when it is stored.
LIMITS = MultipartLimits(parts=2, field_bytes=MAX_PART_BYTES * 2, fields_bytes=MAX_PART_BYTES * 2)


class MultipartPartSource(MultipartForm):
    """The `PartSource` of a multipart request."""

    def __init__(self, content_type: str, content_length: int | None, body: AsyncIterator[bytes]) -> None:
        super().__init__(content_type, content_length, body, LIMITS)

    async def begin(self) -> None:
        """Read up to the first byte of `data`."""
        part = await self.next_part()
        if part is None:
            raise bad_request(f"'{FIELD}' is a required property", FIELD)
        _require_data(part)

    async def finish(self) -> None:
        """Read what follows it, which must be the end of the form."""
        part = await self.next_part()
        if part is not None:
            _require_data(part)
            raise bad_request(f"'{FIELD}' was given more than once", FIELD)


def _require_data(part: PartStart) -> None:
    if part.name != FIELD:
        raise bad_request(f"Additional properties are not allowed ({part.name[:64]!r} was unexpected)")
