"""Requests that read objects, on connections of our own.

Through the driver each byte would be copied twice more, by the driver and by its proxy: twice the processor time.
Connections are made within the policy of `egress.py`, and redirects are refused.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from filestead.blobs import blocks
from filestead.blobs.s3.errors import failure_error, response_error
from filestead.domain.errors import StorageFailed
from filestead.egress import Egress
from filestead.http_client.client import Client
from filestead.http_client.errors import EndpointFailure, EndpointRefused, EndpointTimeout
from filestead.http_client.streams import StreamedResponse

log = logging.getLogger("filestead")

OPERATION = "reading a blob"
SILENCE_SECONDS = 60.0
"""Behind the limits of `reads.py`, which are shorter."""

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
PAUSES = (0.1, 0.2, 0.4, 0.8)
RETRY_SECONDS = 3.0
"""No attempt starts later than this, so that the last one can still complete in time."""

MAX_ERROR_BYTES = 64 * 1024

Sign = Callable[[str], Awaitable[tuple[str, Mapping[str, str]]]]
"""The path (with its query) and the headers with which the store accepts a GET of the object at a path."""


class ObjectStream:
    """An object, or the requested range of one, as it arrives. `size` is that of the whole object in bytes."""

    def __init__(self, response: StreamedResponse, size: int, closed: Callable[["ObjectStream"], None]) -> None:
        """`closed` is called once."""
        self.size = size
        self.etag = response.headers.get("etag")
        self._response = response
        self._closed = closed

    async def read(self, at_least: int) -> bytes:
        """At least so many bytes, if there are; none at the end. Raises `BlobStoreUnavailable`."""
        try:
            return await self._response.read(at_least)
        except EndpointFailure as failure:
            raise failure_error(OPERATION, failure) from None

    def close(self) -> None:
        """Give the connection back at the end of the object, or close it."""
        self._response.close()
        self._closed(self)


class ObjectReader:
    """Opens objects of one store. Connections are kept for the event loop that used it last."""

    def __init__(self, address: str, egress: Egress, sign: Sign, connect_seconds: float) -> None:
        """`address` is the URL of the store."""
        parts = urlsplit(address)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.netloc
        self._egress = egress
        self._sign = sign
        self._connect_seconds = connect_seconds
        self._client: tuple[asyncio.AbstractEventLoop, Client] | None = None
        self._open: set[ObjectStream] = set()

    async def open(self, path: str, start: int, end: int | None, etag: str | None) -> ObjectStream:
        """Request the bytes from `start` to `end` of an object, which must have this ETag if one is given.

        Raises `BlobNotFound`, `RangeNotSatisfiable`, `BlobStoreUnavailable` or `StorageFailed`.
        """
        headers = {} if etag is None else {"If-Match": etag}
        if end is not None:
            headers["Range"] = f"bytes={start}-{end - 1}"
        elif start:
            headers["Range"] = f"bytes={start}-"
        response = await self._respond(path, headers)
        try:
            if response.status not in (200, 206):
                if 300 <= response.status < 400:
                    log.error("%s answered with a redirect (%d), which is refused", self._host, response.status)
                raise response_error(OPERATION, path.rpartition("/")[2], response.status, await _text(response))
            size = _size(response, start, is_range="Range" in headers)
        except EndpointFailure as failure:
            response.close()
            raise failure_error(OPERATION, failure) from None
        except BaseException:
            response.close()
            raise
        stream = ObjectStream(response, size, self._open.discard)
        self._open.add(stream)
        return stream

    @property
    def block_bytes(self) -> int:
        """How much a read should take at once, by the number of open ones."""
        return blocks.block_bytes(len(self._open))

    def close(self) -> None:
        """Close idle connections, if the event loop that has them is running here; others end with their loop."""
        with contextlib.suppress(RuntimeError):
            if self._client is not None and self._client[0] is asyncio.get_running_loop():
                self._client[1].close()

    async def _respond(self, path: str, headers: Mapping[str, str]) -> StreamedResponse:
        """Send a request, again if the store fails for a moment."""
        loop = asyncio.get_running_loop()
        until = loop.time() + RETRY_SECONDS

        def is_last(pause: float | None) -> bool:
            return pause is None or loop.time() + pause > until

        for pause in (*PAUSES, None):
            target, signature = await self._sign(path)
            try:
                response = await self._client_of(loop).open(
                    "GET", target, headers={**headers, **signature}, seconds=SILENCE_SECONDS
                )
            except EndpointFailure as failure:
                if is_last(pause) or isinstance(failure, EndpointRefused | EndpointTimeout):
                    raise failure_error(OPERATION, failure) from None
            else:
                if is_last(pause) or response.status not in RETRIED:
                    return response
                response.close()
            await asyncio.sleep(pause or 0)
        raise AssertionError("the last attempt returns or raises")

    def _client_of(self, loop: asyncio.AbstractEventLoop) -> Client:
        if self._client is None or self._client[0] is not loop:
            self._client = loop, Client(self._origin, None, self._egress, connect_seconds=self._connect_seconds)
        return self._client[1]


async def _text(response: StreamedResponse) -> str:
    """The beginning of the body of an error."""
    return (await response.read(MAX_ERROR_BYTES)).decode("utf-8", "replace")


def _size(response: StreamedResponse, start: int, *, is_range: bool) -> int:
    """The size of the whole object. Raises `StorageFailed` if the response is not what was requested."""
    if not is_range:
        text = response.headers.get("content-length", "")
    else:
        unit, _, rest = response.headers.get("content-range", "").partition(" ")
        bounds, _, text = rest.partition("/")
        if response.status != 206 or unit != "bytes" or bounds.partition("-")[0] != str(start):
            raise StorageFailed(f"{OPERATION}: the object store did not send the range that was requested")
    if not text.isdecimal() or len(text) > 18:
        raise StorageFailed(f"{OPERATION}: the object store did not send the size of the object")
    return int(text)
