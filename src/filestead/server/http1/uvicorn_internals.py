"""The seam to uvicorn: the only module that uses its private parts. It gives them names of our own.

What is used, and why, is listed in tests/unit/test_uvicorn_internals.py, which fails if a release moves any of it. The
decision and the way out are in docs/adr/0008-seam-to-uvicorn.md.
"""

import asyncio
import contextlib
import functools
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    from uvicorn._types import (
        ASGI3Application,
        ASGIReceiveEvent,
        ASGISendEvent,
        HTTPResponseBodyEvent,
        HTTPResponseStartEvent,
    )

SEND_BUFFER_BYTES = 16 * 1024
"""Larger amounts wait to be sent only if they are one part of a response: the next part waits for the peer."""

JOINED_BYTES = 64 * 1024
"""Bodies up to this size are copied behind their head, so that both are written at once."""

_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_FORBIDDEN_IN_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MAX_KNOWN_NAMES = 1024
_known_names: set[bytes] = set()


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


class ResponseCycle(RequestResponseCycle):
    """A request and its response; see `UvicornProtocol` for what its events mean.

    A head that announces a length is written together with the first part of the body, in one system call: the second
    one would cost as much as all the rest of a short response. A response that begins before the body of its request is
    complete is the connection's last: uvicorn would parse the rest of the body and wait for its end.
    """

    body_requested: Callable[[], None]
    _head = b""  # not written yet

    def receive(self) -> "Awaitable[ASGIReceiveEvent]":  # type: ignore[override]
        """Receive a message, and report that the body is wanted."""
        if self.more_body:
            self.body_requested()
        return super().receive()

    async def send(self, message: "ASGISendEvent") -> None:
        """Send a message of the response."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.body" and self.response_started and not self.response_complete:
            self._send_body(message)
        elif message["type"] == "http.response.start" and not self.response_started:
            self._send_head(message)
        else:
            raise RuntimeError(f"unexpected message of the application: {message['type']}")

    def _send_head(self, message: "HTTPResponseStartEvent") -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        if self.more_body:
            self.keep_alive = False
        closing = not self.keep_alive
        status = message["status"]
        lines = [_status_line(status)]
        headers = [*self.default_headers, *message.get("headers", ())]
        for name, value in headers:
            if name not in _known_names:
                _check_name(name)
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"connection":
                self.keep_alive = closing = False
            lines += (name, b": ", value, b"\r\n")
        head = b"".join(lines)
        if not head.count(b"\n") == head.count(b"\r") == len(headers) + 1 or _FORBIDDEN_IN_HEAD.search(head):
            raise RuntimeError("a header of the response has control characters")
        if closing:
            head += b"connection: close\r\n"
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            self.transport.write(head + b"transfer-encoding: chunked\r\n\r\n")
        else:
            self._head = head + b"\r\n"

    def _send_body(self, message: "HTTPResponseBodyEvent") -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if self.scope["method"] == "HEAD":
            self._write(b"")
        elif self.chunked_encoding:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self._write(framed if more else framed + b"0\r\n\r\n")
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("the body of the response has not its announced length")
            self._write(body)
        if not more:
            self.response_complete = True
            self.message_event.set()
            self.on_response()

    def _write(self, body: bytes) -> None:
        head, self._head = self._head, b""
        if not head:
            self.transport.write(body)
        elif len(body) <= JOINED_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))


def _ignore() -> None:
    """Nobody reads the connection any more."""


@functools.cache
def _status_line(status: int) -> bytes:
    phrase = ""
    with contextlib.suppress(ValueError):  # model servers have statuses of their own, such as 529
        phrase = HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


def _check_name(name: bytes) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise RuntimeError(f"not the name of a header, in lower case: {name!r}")
    if len(_known_names) < _MAX_KNOWN_NAMES:
        _known_names.add(name)


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
        version = self.parser.get_http_version()
        raw_path, _, query = target.partition(b"?")
        path = raw_path.decode("ascii")
        scope = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        waiting, self.cycle = self.cycle, self._new_cycle(version, keep_alive=keep_alive)
        if waiting is None or waiting.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        self.headers = []  # for trailers, which must not change the request that the application already has

    def _new_cycle(self, version: str, *, keep_alive: bool) -> ResponseCycle:
        cycle = ResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue and version != "1.0",
            keep_alive=keep_alive and version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        cycle.body_requested = self.body_requested
        return cycle

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
        for cycle in (self.cycle, self._responding, *(waiting for waiting, _ in self.pipeline)):
            if isinstance(cycle, ResponseCycle):
                cycle.body_requested = _ignore  # not a reference cycle, which the garbage collector would have to find
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
        assert self._responding is not None
        last = not self._responding.keep_alive
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
        super()._start_asgi_task(cycle, app)
