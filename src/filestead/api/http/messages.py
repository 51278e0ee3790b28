"""Requests and responses of the handlers: thin views of what ASGI passes, with no work that a handler does not ask for.

A general framework's objects would cost a short request as much as all its own work.
"""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import overload
from urllib.parse import parse_qsl

from starlette import responses
from starlette.types import Receive, Scope, Send

RawHeaders = list[tuple[bytes, bytes]]

WITHOUT_LENGTH = frozenset({204, 304})
"""Statuses of responses that have no body, and therefore no length."""


class Headers:
    """The headers of a request. Names are in lower case on both sides; values are Latin-1."""

    __slots__ = ("raw",)

    def __init__(self, raw: RawHeaders) -> None:
        self.raw = raw

    @classmethod
    def of(cls, values: Mapping[str, str]) -> "Headers":
        """Build headers of texts."""
        return cls([(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in values.items()])

    @overload
    def get(self, name: str) -> str | None: ...

    @overload
    def get(self, name: str, default: str) -> str: ...

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the first value of a header."""
        wanted = name.encode("latin-1")
        for found, value in self.raw:
            if found == wanted:
                return value.decode("latin-1")
        return default

    def getlist(self, name: str) -> list[str]:
        """Return all values of a header."""
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for found, value in self.raw if found == wanted]

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None


class Request:
    """A request on its way to a handler."""

    __slots__ = ("headers", "method", "path_params", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive, path_params: Mapping[str, str]) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        self.headers = Headers(scope["headers"])
        self.path_params = path_params

    @property
    def query(self) -> list[tuple[str, str]]:
        """Names and values of the query, in order."""
        return parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)

    @property
    def client_host(self) -> str:
        """The address of the peer, or an empty string."""
        client = self.scope.get("client")
        return str(client[0]) if client else ""


class Response:
    """A response with its whole body. Names of headers are in lower case; `headers` wins over `media_type`."""

    __slots__ = ("background", "body", "raw_headers", "status_code")

    def __init__(
        self,
        content: bytes = b"",
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`background` is called after the response was sent."""
        self.body = content
        self.status_code = status_code
        self.background = background
        raw = self.raw_headers = _encode(headers) if headers else []
        if (not headers or "content-length" not in headers) and status_code not in WITHOUT_LENGTH:
            raw.append((b"content-length", b"%d" % len(content)))
        if media_type is not None and (not headers or "content-type" not in headers):
            charset = "; charset=utf-8" if media_type.startswith("text/") and "charset=" not in media_type else ""
            raw.append((b"content-type", (media_type + charset).encode("latin-1")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})
        if self.background is not None:
            await self.background()


class PiecesResponse(Response):
    """A response whose whole body is there, in pieces that are sent one after the other."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: Sequence[bytes], media_type: str) -> None:
        super().__init__(pieces[-1], 200, {"content-length": str(sum(map(len, pieces)))}, media_type)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)  # `send` does not wait for a client that reads fast
        await send({"type": "http.response.body", "body": self.body})


class StreamingResponse(Response):
    """A response with a body in blocks. It ends when the client leaves."""

    __slots__ = ("_blocks",)

    def __init__(self, blocks: AsyncIterable[bytes], status_code: int, headers: Mapping[str, str]) -> None:
        """`headers` should say the length."""
        super().__init__(b"", status_code, headers)
        self._blocks = blocks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        response = responses.StreamingResponse(self._blocks, self.status_code)
        response.raw_headers = self.raw_headers
        await response(scope, receive, send)


def _encode(headers: Mapping[str, str]) -> RawHeaders:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
