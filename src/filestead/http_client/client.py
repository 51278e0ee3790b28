"""An HTTP/1.1 client for one server, written for many small requests: general clients need ten times the processor.

Only the origin of the URL is connected to, as `egress.py` allows; redirects are responses like others. The key is sent
in the header `Authorization` and appears nowhere else.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from filestead import __version__
from filestead.egress import Egress, origin_of
from filestead.http_client.connections import JOINED_BYTES, Connection, ConnectionEnded, Response
from filestead.http_client.errors import EndpointTimeout
from filestead.http_client.framing import Head
from filestead.http_client.pools import Pool
from filestead.http_client.streams import StreamConnection, StreamedResponse

MIB = 1024 * 1024
MAX_RESPONSE_BYTES = 64 * MIB
CONNECT_SECONDS = 10.0
KNOWN_HEADS = 64
"""Beginnings of heads that are remembered; there are few paths."""

_PATH = re.compile(r"/[!-~]*")
_LINES = re.compile(r"(?:[A-Za-z0-9-]+: [ -~]*\r\n)*")
_VALUE = re.compile(r"[ -~]*")

Content = bytes | AsyncIterator[bytes] | None
"""Of a request: whole, in parts, or none."""


class Client:
    """Sends requests to the origin of one URL, over kept connections."""

    def __init__(
        self,
        url: str,
        key: str | None,
        egress: Egress,
        *,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        """`url` is the base of all paths, as in `http://host/v1`. Raises `ValueError` if it cannot be used."""
        parts = urlsplit(url)
        if not url.isascii():
            raise ValueError("a URL must consist of ASCII characters, with an international name in its xn-- form")
        if key is not None and not _VALUE.fullmatch(key):
            raise ValueError("a key must consist of visible ASCII characters")
        self._base = parts.path.rstrip("/")
        self._headers = f"Host: {parts.netloc}\r\nUser-Agent: filestead/{__version__}\r\nAccept: application/json\r\n"
        self._headers += "Accept-Encoding: identity\r\n"
        if key is not None:
            self._headers += f"Authorization: Bearer {key}\r\n"
        self._common = f"Host: {parts.netloc}\r\nAccept-Encoding: identity\r\n"
        if key is not None:
            self._common += f"Authorization: Bearer {key}\r\n"
        self._heads: dict[tuple[str, str], str] = {}
        origin, tls = origin_of(url), parts.scheme == "https"
        self._pool = Pool[Connection](
            origin,
            egress,
            tls=tls,
            new=lambda closed: Connection(max_response_bytes, closed),
            connect_seconds=connect_seconds,
        )
        self._streams = Pool[StreamConnection](
            origin, egress, tls=tls, new=StreamConnection, connect_seconds=connect_seconds
        )

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        seconds: float,
    ) -> Response:
        """Send a request to a path below the URL, with JSON as its body. Raises `EndpointFailure`.

        `seconds` is the time for the response. A kept connection that ends before anything of the response came was
        probably closed by the endpoint in the same moment; the request is then sent once more. If the task is
        cancelled the connection is closed, which makes model servers stop.
        """
        head = self._head(method, path, body, headers)
        connection = self._pool.take_idle()
        if connection is not None:
            try:
                return await self._exchange(connection, head, body or b"", seconds)
            except ConnectionEnded:
                pass
        connection = await self._pool.connect(seconds)
        return await self._exchange(connection, head, body or b"", seconds)

    async def open(
        self,
        method: str,
        path: str,
        content: Content = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        length: int | None = None,
        seconds: float,
    ) -> StreamedResponse:
        """Send a request and return when the head of its response has come. Raises `EndpointFailure`.

        The caller must close the response. `length` is that of content in parts, which is sent in chunks if it is
        None. `seconds` is the longest time without a byte from the endpoint. An exception of the content ends the
        request and is raised. Content in parts is not sent twice; see `request`.
        """
        head = self._streamed_head(method, path, content, headers, length)
        connection = self._streams.take_idle()
        if connection is not None:
            if content is None or isinstance(content, bytes):
                try:
                    return await self._open(connection, head, content, seconds, chunked=False)
                except ConnectionEnded:
                    pass
            else:
                self._streams.put(connection)
        connection = await self._streams.connect(seconds)
        return await self._open(connection, head, content, seconds, chunked=length is None)

    async def _open(
        self, connection: StreamConnection, head: bytes, content: Content, seconds: float, *, chunked: bool
    ) -> StreamedResponse:
        try:
            if content is not None and not isinstance(content, bytes):  # that a class is abstract makes a check slow
                connection.begin(head, seconds=seconds)
                received = await _send_and_receive(connection, content, chunked=chunked)
                return StreamedResponse(received, connection, self._end)
            if content is not None and len(content) > JOINED_BYTES:
                connection.begin(head, seconds=seconds)
                await connection.write(content)
                connection.finish()
            else:
                connection.begin(head + (content or b""), seconds=seconds)
                connection.finish()
            return StreamedResponse(await connection.head(), connection, self._end)
        except BaseException:
            connection.abort()
            raise

    def _end(self, connection: StreamConnection) -> None:
        if connection.release():
            self._streams.put(connection)

    def _streamed_head(
        self, method: str, path: str, content: Content, headers: Mapping[str, str], length: int | None
    ) -> bytes:
        if not _PATH.fullmatch(path):
            raise ValueError("the path must begin with / and consist of visible ASCII characters")
        head = f"{method} {self._base}{path} HTTP/1.1\r\n{self._common}{_lines(headers)}"
        size = len(content) if isinstance(content, bytes) else length
        if content is not None:
            head += "Transfer-Encoding: chunked\r\n" if size is None else f"Content-Length: {size}\r\n"
        return (head + "\r\n").encode("ascii")

    async def _exchange(self, connection: Connection, head: bytes, body: bytes, seconds: float) -> Response:
        try:
            async with asyncio.timeout(seconds):
                response = await connection.send(head, body)
        except TimeoutError:
            connection.abort()
            raise EndpointTimeout(f"no complete response within {seconds:g} seconds") from None
        except BaseException:
            connection.abort()
            raise
        self._pool.put(connection)
        return response

    def _head(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        head = self._heads.get((method, path))
        if head is None:
            if not _PATH.fullmatch(path):
                raise ValueError("the path must begin with / and consist of visible ASCII characters")
            head = f"{method} {self._base}{path} HTTP/1.1\r\n{self._headers}"
            if len(self._heads) < KNOWN_HEADS:
                self._heads[method, path] = head
        head += _lines(headers)
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return (head + "\r\n").encode("ascii")

    def close(self) -> None:
        """Close the idle connections; others are closed after their response. Called on the event loop."""
        self._pool.close()
        self._streams.close()


def _lines(headers: Mapping[str, str]) -> str:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or not _LINES.fullmatch(lines):
        raise ValueError("a header must consist of visible ASCII characters")
    return lines


async def _send_and_receive(connection: StreamConnection, content: AsyncIterator[bytes], *, chunked: bool) -> Head:
    """Send content until its end, or until the endpoint has responded, for example because it is too large."""
    sending = asyncio.create_task(_send_parts(connection, content, chunked=chunked))
    receiving = asyncio.create_task(connection.head())
    try:
        await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
        return await receiving
    finally:
        sending.cancel()
        receiving.cancel()
        await asyncio.gather(sending, receiving, return_exceptions=True)


async def _send_parts(connection: StreamConnection, content: AsyncIterator[bytes], *, chunked: bool) -> None:
    async for part in content:
        if part and not await connection.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part):
            return  # the request is incomplete, and the connection of no further use
    if chunked:
        await connection.write(b"0\r\n\r\n")
    connection.finish()
