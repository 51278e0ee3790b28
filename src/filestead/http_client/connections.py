"""One connection: a request is written, and the response that comes is parsed as it arrives."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from filestead.http_client.errors import EndpointBroken
from filestead.http_client.framing import Body, Head, UnboundedBody, body_of, split_head

JOINED_BYTES = 64 * 1024
"""Bodies up to this size are written with the head, in one system call."""


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ConnectionEnded(EndpointBroken):
    """The connection ended before anything of a response came."""


class Connection(asyncio.Protocol):
    """A connection of HTTP/1.1, for one request at a time."""

    def __init__(self, max_response_bytes: int, closed: Callable[["Connection"], None]) -> None:
        """`closed` is called when the connection is lost."""
        self._limit = max_response_bytes
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Response] | None = None
        self._input = b""
        self._head: Head | None = None
        self._body: Body | None = None
        self._is_reusable = True
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)

    @property
    def is_reusable(self) -> bool:
        """Whether a further request can be sent."""
        transport = self._transport
        return (
            self._is_reusable
            and transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        )

    def send(self, head: bytes, body: bytes) -> "asyncio.Future[Response]":
        """Send a request. The future raises `EndpointBroken`."""
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        transport = self._transport
        if transport is None or transport.is_closing():
            self._fail(ConnectionEnded("the endpoint closed the connection"))
        elif len(body) <= JOINED_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        return waiter

    def abort(self) -> None:
        """Close at once, whatever is in progress."""
        self._is_reusable = False
        self._waiter = None
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._waiter is None:  # nothing was requested
            self.abort()
            return
        try:
            rest: bytes | None = data
            if self._body is None:
                rest = self._take_head(data)
            if rest is not None and self._body is not None:
                rest = self._body.feed(rest)
                if rest is not None:
                    self._is_reusable = self._is_reusable and not rest
                    self._finish()
        except EndpointBroken as failure:
            self._fail(failure)

    def _take_head(self, data: bytes) -> bytes | None:
        """Take a head; returns what follows it, or None if it is not complete. Interim responses are skipped."""
        data = self._input + data if self._input else data
        split = split_head(data)
        if split is None:
            self._input = data
            return None
        head, data = split
        self._input = b""
        self._head = head
        self._is_reusable = head.keeps_alive
        self._body = body_of(head.status, head.headers, self._limit)
        return data

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._is_reusable = False
        self._closed(self)
        if self._waiter is None:
            return
        if self._head is not None:
            if exc is None and isinstance(self._body, UnboundedBody):
                self._finish()
            else:
                self._fail(EndpointBroken("the connection ended in the middle of the response"))
        elif self._input:
            self._fail(EndpointBroken("the connection ended in the head of the response"))
        else:
            self._fail(ConnectionEnded("the connection ended before a response"))

    def _finish(self) -> None:
        waiter, head, body = self._waiter, self._head, self._body
        assert waiter is not None and head is not None and body is not None  # noqa: PT018
        self._waiter = self._head = self._body = None
        if not waiter.done():
            waiter.set_result(Response(head.status, head.headers, body.content()))

    def _fail(self, failure: EndpointBroken) -> None:
        waiter = self._waiter
        self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(failure)
