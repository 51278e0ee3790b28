"""One connection for a request and a response that are passed on in parts, with little memory for each.

The head of the response comes first, then its body as it arrives. Nobody has to take it: the socket is not read while
`BUFFER_BYTES` wait. Time limits are of silence, not of length.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

from filestead.http_client.body_parts import BodyParts, parts_of
from filestead.http_client.connections import ConnectionEnded
from filestead.http_client.errors import EndpointBroken, EndpointFailure, EndpointTimeout
from filestead.http_client.framing import Head, split_head

BUFFER_BYTES = 64 * 1024
"""Of a response that wait to be taken, after which the socket is not read; a reader may ask for more at once."""


class StreamConnection(asyncio.Protocol):
    """A connection of HTTP/1.1, for one exchange at a time."""

    def __init__(self, closed: Callable[["StreamConnection"], None]) -> None:
        """`closed` is called when the connection is lost."""
        self._closed = closed
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.idle_since = 0.0
        self._is_open = True
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._timer: asyncio.TimerHandle | None = None
        """Of silence. It outlives an exchange, as most end long before it: one for each would cost too much."""
        self._silence = 0.0
        self._heard_at = 0.0
        self._end_exchange()

    def _end_exchange(self) -> None:
        self._active = False
        self._is_sent = False
        self._input = b""
        self._head: Head | None = None
        self._body: BodyParts | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._buffer_bytes = BUFFER_BYTES
        self._is_paused = False
        self._failure: EndpointFailure | None = None
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)

    @property
    def is_reusable(self) -> bool:
        """Whether a further request can be sent."""
        transport = self._transport
        return self._is_open and not self._active and transport is not None and not transport.is_closing()

    # --- the request ------------------------------------------------------------------------------------------------

    def begin(self, head: bytes, *, seconds: float) -> None:
        """Send the head of a request. `seconds` is the time without a byte from the endpoint, once all is sent."""
        self._active = True
        if seconds != self._silence:
            self._stop_timer()
            self._silence = seconds
        if self._transport is None or self._transport.is_closing():
            self._fail(ConnectionEnded("the endpoint closed the connection"))
        else:
            self._transport.write(head)

    async def write(self, data: bytes) -> bool:
        """Send a part of the body, when there is room. Returns False if the endpoint has responded already."""
        await self._can_write.wait()
        if self._transport is None or self._failure is not None or self._head is not None:
            return False
        self._transport.write(data)
        return True

    def finish(self) -> None:
        """Note that the request is complete."""
        self._is_sent = True
        self._heard_at = self._loop.time()
        if self._timer is None and self._failure is None:
            self._timer = self._loop.call_later(self._silence, self._check_silence)

    # --- the response -----------------------------------------------------------------------------------------------

    async def head(self) -> Head:
        """Wait for the head of the response. Raises `EndpointFailure`."""
        while self._head is None:
            await self._wait()
        return self._head

    async def read(self, at_least: int = 1) -> bytes:
        """Wait for so many bytes of the body; fewer come at its end or before a failure, and none after the end.

        Raises `EndpointFailure`.
        """
        self._buffer_bytes = max(BUFFER_BYTES, at_least)
        while self._size < at_least:
            if (self._body is not None and self._body.is_complete) or (self._failure is not None and self._parts):
                break
            self._resume()
            await self._wait()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._resume()
        return data

    def _resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()

    async def _wait(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def release(self) -> bool:
        """End the exchange; returns whether the connection can be used again. Otherwise it is closed."""
        body = self._body
        whole = body is not None and body.is_complete and not body.excess and not self._parts and self._failure is None
        keeps = whole and self._is_sent and self._head is not None and self._head.keeps_alive
        if keeps:
            self._end_exchange()
            return self.is_reusable
        self.abort()
        return False

    def abort(self) -> None:
        """Close at once, whatever is in progress."""
        self._is_open = False
        self._stop_timer()
        self._can_write.set()
        if self._transport is not None:
            self._transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- events -----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not self._active or self._failure is not None:
            self.abort()  # nothing was requested
            return
        self._heard_at = self._loop.time()
        try:
            self._take(data)
        except EndpointBroken as failure:
            self._fail(failure)
        self._wake()

    def _take(self, data: bytes) -> None:
        if self._body is None:
            split = split_head(self._input + data)
            if split is None:
                self._input += data
                return
            self._head, data = split
            self._input = b""
            self._body = parts_of(self._head.status, self._head.headers)
            self._can_write.set()
        if data:
            content = self._body.feed(data)
            if content:
                self._parts.append(content)
                self._size += len(content)
        if (
            not self._body.is_complete
            and self._size >= self._buffer_bytes
            and not self._is_paused
            and self._transport is not None
        ):
            self._is_paused = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._is_open = False
        self._can_write.set()
        self._stop_timer()
        self._closed(self)
        if not self._active or self._failure is not None:
            return
        body = self._body
        if body is None:
            text = "in the head of the response" if self._input else "before a response"
            kind = EndpointBroken if self._input else ConnectionEnded
            self._fail(kind(f"the connection ended {text}"))
        elif body.ends_with_connection and exc is None:
            body.is_complete = True
        elif not body.is_complete:
            self._fail(EndpointBroken("the connection ended in the middle of the response"))
        self._wake()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._can_write.set()

    def _check_silence(self) -> None:
        """Run once for each time limit, and not for each part, or for each exchange."""
        self._timer = None
        if not self._is_sent or self._failure is not None or (self._body is not None and self._body.is_complete):
            return  # nothing is awaited from the endpoint
        silent = self._loop.time() - self._heard_at
        if self._is_paused or silent < self._silence:
            left = self._silence if self._is_paused else self._silence - silent
            self._timer = self._loop.call_later(left, self._check_silence)
        else:
            self._fail(EndpointTimeout(f"nothing came for {self._silence:g} seconds"))
            self._wake()

    def _fail(self, failure: EndpointFailure) -> None:
        if self._failure is None:
            self._failure = failure
        self.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class StreamedResponse:
    """The head of a response, and its body as it arrives."""

    def __init__(self, head: Head, connection: StreamConnection, ended: Callable[[StreamConnection], None]) -> None:
        """`ended` is called once, with the connection, which may have to be closed."""
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers
        self._connection = connection
        self._ended: Callable[[StreamConnection], None] | None = ended

    async def read(self, at_least: int = 1) -> bytes:
        """At least so many bytes of the body; fewer come at its end or before a failure, and none after the end.

        Raises `EndpointFailure`.
        """
        return await self._connection.read(at_least)

    def close(self) -> None:
        """End the exchange; before the end of the body this closes the connection, which makes model servers stop."""
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended(self._connection)
