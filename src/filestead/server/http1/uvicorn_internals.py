"""The seam to uvicorn: the only module that uses its private parts. It gives them names of our own.

What is used, and why, is listed in tests/unit/test_uvicorn_internals.py, which fails if a release moves any of it. The
decision and the way out are in docs/adr/0008-seam-to-uvicorn.md.
"""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import (
        ASGI3Application,
        ASGIReceiveCallable,
        ASGIReceiveEvent,
        ASGISendCallable,
        ASGISendEvent,
        Scope,
    )

SEND_BUFFER_BYTES = 16 * 1024
"""Larger amounts wait to be sent only if they are one part of a response: the next part waits for the peer."""


class ReadFlowControl(FlowControl):
    """Flow control whose reading can be blocked. uvicorn resumes it with each response and each `receive`."""

    _blocked = False

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        transport.set_write_buffer_limits(SEND_BUFFER_BYTES)

    def block_reading(self) -> None:
        """Pause reading until `unblock_reading`."""
        self._blocked = True
        self.pause_reading()

    def unblock_reading(self) -> None:
        """Resume reading if it was blocked."""
        if self._blocked:
            self._blocked = False
            self.resume_reading()

    def resume_reading(self) -> None:
        """Resume reading unless it is blocked."""
        if not self._blocked:
            super().resume_reading()


class UvicornProtocol(HttpToolsProtocol):
    """uvicorn's protocol as its subclass sees it: the attributes, operations and events below, and nothing else.

    The subclass also overrides asyncio's and the parser's callbacks and `shutdown`, and calls those of the base class.
    """

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    parser: httptools.HttpRequestParser
    flow: ReadFlowControl
    headers: list[tuple[bytes, bytes]]
    url: bytes = b""

    _responding: RequestResponseCycle | None = None  # the request that the application was started on last
    _sends_last_response = False

    # --- events, for the subclass to implement ----------------------------------------------------------------------

    def body_requested(self) -> None:
        """Called when the application receives and the body is incomplete."""
        raise NotImplementedError

    def response_sent(self, *, last: bool) -> None:
        """Called when a response has been written. After the last one nothing is served on this connection."""
        raise NotImplementedError

    def keep_alive_expired(self) -> None:
        """Called by the timer that `start_keep_alive_timer` starts."""
        raise NotImplementedError

    # --- state ------------------------------------------------------------------------------------------------------

    @property
    def peer_host(self) -> str:
        """The address of the peer, or an empty string."""
        return self.client[0] if self.client else ""

    @property
    def open_connections(self) -> int:
        """Connections of this process."""
        return len(self.connections)

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of every response."""
        return self.server_state.default_headers

    @property
    def pipelined(self) -> int:
        """Parsed requests that wait for the response to another one."""
        return len(self.pipeline)

    @property
    def owes_response(self) -> bool:
        """True until the response to the current request has been written, or its connection is lost."""
        cycle = self._responding
        return cycle is not None and not cycle.response_complete and not cycle.disconnected

    @property
    def has_unread_input(self) -> bool:
        """True if the current request's body is incomplete, or other requests wait for its response."""
        return self._responding is not None and (self._responding.more_body or bool(self.pipeline))

    @property
    def is_authenticated(self) -> bool:
        """True if the application has stored the `principal` of the current request in its state."""
        return self._responding is not None and self._responding.scope["state"].get("principal") is not None

    # --- operations -------------------------------------------------------------------------------------------------

    def start_request(self, target: bytes, *, keep_alive: bool) -> None:
        """Start the application on the parsed head, or queue the request behind the one that awaits its response."""
        self.url = target
        self.expect_100_continue &= self.parser.get_http_version() != "1.0"
        super().on_headers_complete()
        if not keep_alive:
            self.cycle.keep_alive = False
        self.headers = []  # for trailers, which must not change the request that the application already has

    def withdraw_request(self) -> bool:
        """Abort the newest request, whose body is invalid. Returns True if its response has been started."""
        cycle = self.cycle
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
            return False
        cycle.disconnected = True
        cycle.waiting_for_100_continue = False  # uvicorn would still send it, after the rejection
        cycle.message_event.set()
        return cycle.response_started

    def release_requests(self, *, keep_head: bool) -> None:
        """Free the completed requests and the last head, unless the next one has begun to replace it."""
        self.cycle = self._responding = None  # type: ignore[assignment]
        if not keep_head:
            self.scope = {}  # type: ignore[typeddict-item]

    def discard_requests(self) -> None:
        """Free all requests, including those that wait and the head that is being parsed."""
        self.pipeline.clear()
        self.headers = []
        self.release_requests(keep_head=False)

    def start_keep_alive_timer(self) -> None:
        """Start the keep-alive timer unless it is running."""
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def stop_keep_alive_timer(self) -> None:
        """Cancel the keep-alive timer."""
        self._unset_keepalive_if_required()

    # --- what uvicorn calls -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Disable WebSockets: another protocol would not have our limits."""
        super().connection_made(transport)
        self.flow = ReadFlowControl(transport)
        self.ws_protocol_class = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify also the current request: uvicorn notifies only the newest one, which may still wait."""
        if self._responding is not None and not self._responding.response_complete:
            self._responding.disconnected = True
            self._responding.message_event.set()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def on_body(self, body: bytes) -> None:
        """Pass on a piece that nothing precedes as it is: uvicorn would copy it into a `bytearray`, and out of it."""
        cycle = self.cycle
        if not cycle.body:
            cycle.body = b""  # type: ignore[assignment]
        elif isinstance(cycle.body, bytes):  # further pieces are appended in place
            cycle.body = bytearray(cycle.body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Drop the trailers."""
        super().on_message_complete()
        self.headers = []

    def on_response_complete(self) -> None:
        """Start the next request if one is queued, unless this response is the last."""
        last = self._sends_last_response
        if last:
            self.server_state.total_requests += 1
        else:
            super().on_response_complete()
        self.response_sent(last=last)

    def timeout_keep_alive_handler(self) -> None:
        """Leave it to the subclass how the connection is closed."""
        self.keep_alive_expired()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._responding = cycle
        super()._start_asgi_task(cycle, self._observed(cycle, app))

    def _observed(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> "ASGI3Application":
        """Wrap the application. A response that is sent before the body is complete is the connection's last.

        uvicorn would parse the rest of the body and wait for its end, or close the socket with unread input.
        """

        async def send(message: "ASGISendEvent") -> None:
            if message["type"] == "http.response.start":
                if cycle.more_body:
                    cycle.keep_alive = False  # uvicorn then sends `connection: close`
            elif message["type"] == "http.response.body" and not message.get("more_body") and not cycle.keep_alive:
                self._sends_last_response = True
                cycle.keep_alive = True  # uvicorn would close the transport before it calls on_response_complete
            await cycle.send(message)

        def receive() -> "Awaitable[ASGIReceiveEvent]":
            if cycle.more_body:
                self.body_requested()
            return cycle.receive()

        def run(scope: "Scope", _: "ASGIReceiveCallable", __: "ASGISendCallable") -> "Awaitable[None]":
            return app(scope, receive, send)

        return run
