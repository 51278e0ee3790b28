"""One HTTP/1.1 connection: uvicorn's httptools protocol plus the limits and refusals that neither it nor llhttp has.

llhttp refuses bare LF, obs-fold, blanks before a colon, bad or repeated lengths, length with chunked, and bad chunk
ends. Chunk extensions it checks (tokens or quoted strings) and skips unseen, so here they are only capped. Harmless,
and left to it: several blanks between the parts of a request line, and RTSP/1.0 read as HTTP/1.0.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sized
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import ClassVar

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from filestead.server.crowd import Address, Crowd, Room
from filestead.server.heads import Headers, Refused, check_headers, check_line, split_target
from filestead.server.lingering import LingeringLimits, LingeringPool
from filestead.server.stalls import SendWatch

Refusal = Callable[[int, str], tuple[Headers, bytes]]

PIPELINED = 100  # requests that may wait behind the one being answered
FRAMING = 8  # bytes of a chunked body that may come with each byte of content: one-byte chunks need six
TOO_MANY = "Too many connections. Please try again in a moment."
OURS = frozenset({b"connection", b"content-length", b"retry-after"})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a peer may cost before the app knows of its request; `connections` is per process."""

    head_seconds: float = 10.0
    head_bytes: int = 32 * 1024
    headers: int = 100
    target_bytes: int = 8 * 1024
    send_stall_seconds: float = 60.0
    connections: int = 2048
    connections_by_address: int = 2048
    health: frozenset[bytes] = frozenset({b"/health", b"/health/ready"})
    """Paths that are also served to connections beyond the limits."""

    lingering: LingeringLimits = field(default_factory=LingeringLimits)


def protocol_class(limits: ConnectionLimits, refuse: Refusal) -> type[HttpToolsProtocol]:
    """The class for `uvicorn.Config(http=...)`. `refuse(status, message)` gives an error answer's headers and body."""
    shared = {"limits": limits, "refusal": staticmethod(refuse), "lingering": LingeringPool(limits.lingering)}
    crowd = Crowd(limits.connections, limits.connections_by_address)
    return type("Connection", (LimitedProtocol,), {**shared, "crowd": crowd})


class _Flow(FlowControl):
    """Reads nothing while a request waits; uvicorn reads on at each answer and each `receive`, and queues it all."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class LimitedProtocol(HttpToolsProtocol):
    """Refuses in the API's own error envelope, always with `connection: close`, always behind the answers still owed.

    Three clocks: `_reading` runs while nothing is owed and a message is incomplete, uvicorn's keep-alive timer while
    nothing is owed and nothing has come, `_sending` while written bytes wait for the peer.
    """

    limits: ClassVar[ConnectionLimits]
    refusal: ClassVar["staticmethod[[int, str], tuple[Headers, bytes]]"]
    lingering: ClassVar[LingeringPool]
    crowd: ClassVar[Crowd]

    _address: Address | None = None
    _reserved = False  # only a question about the server's health is answered
    _head_open = True  # the next byte belongs to a head, not to a body
    _overhead = 0  # bytes fed since the last progress: of an open head, or between pieces of body
    _unmeasured = False  # the bytes of this head or trailer are not counted in `_overhead`, or not they alone
    _finished = False  # nothing more is parsed of what this peer sends
    _last = False  # the answer being written is the connection's last
    _lingers = False
    _parting: tuple[int, str] | None = None
    _answering: RequestResponseCycle | None = None
    _reading: asyncio.TimerHandle | None = None
    _sending: SendWatch
    url = b""

    # --- the connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._sending = SendWatch(transport, self.limits.send_stall_seconds)
        self.ws_protocol_class = None  # another protocol would leave every limit here behind
        host = self.client[0] if self.client else ""
        self._address, room = self.crowd.enter(self, host, self.loop.time())
        self._reserved = room is Room.RESERVED
        if room is Room.NONE:
            self._refuse(503, TOO_MANY)
        else:
            self._reading = self.loop.call_later(self.limits.head_seconds, self._too_slow)

    def give_way(self) -> None:
        """Close for another connection, which is allowed only while there is no request."""
        if self._reserved:
            self._refuse(503, TOO_MANY)
        else:
            self._leave()
            self._close()

    def _leave(self) -> None:
        if self._address is not None:
            self.crowd.leave(self, self._address)
            self._address = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        # uvicorn tells only the newest request, which may be one that still waits behind the one being answered.
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        self._stop_reading_clock()
        self._sending.stop()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self.lingering.end_soon()
        if not self._lingers:
            super().shutdown()
        self._sending.start()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def _close(self) -> None:
        self.transport.close()
        self._sending.start()

    # --- reading ----------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        while data and not self._finished:
            piece, data = data, b""
            if self._head_open:
                # Cut at the limit, so that a head of exactly that size passes and one byte more does not.
                room = self.limits.head_bytes - self._overhead
                piece, data = piece[:room], piece[room:]
            if piece:
                self._feed(piece)
            else:
                self._refuse(431, "The request head is too large.")
        if not self._finished:
            self._watch_reading()

    def _feed(self, data: bytes) -> None:
        self._overhead += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._finished = True
        except httptools.HttpParserError as error:
            refused = error.__context__
            if isinstance(refused, Refused):
                self._refuse(refused.status, refused.message)
            elif isinstance(error, httptools.HttpParserCallbackError):
                raise
            else:
                self._refuse(400, "The request is not valid HTTP/1.1.")
        else:
            if self._overhead > self.limits.head_bytes:
                self._refuse(400, "The chunked body is mostly framing.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unmeasured = not self._overhead  # begun behind another message in the same read
        if self._unmeasured:
            self._overhead = 1

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self.limits.target_bytes:
            raise Refused(414, "The request target is too long.")

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        upgrade = self.parser.should_upgrade()
        self._check_fields()
        self.headers[:] = [(name, value.rstrip(b" \t")) for name, value in self.headers]
        authority, self.url = split_target(self.url)
        check_line(self.parser.get_method(), version, self.url)
        check_headers(version, self.headers, upgrade)
        if authority is not None:
            self.headers[:] = [(b"host", authority), *(item for item in self.headers if item[0] != b"host")]
        if self._reserved and self.url not in self.limits.health:
            raise Refused(503, TOO_MANY)
        if len(self.pipeline) >= PIPELINED:
            raise Refused(503, "Too many requests wait on this connection. Please try again in a moment.")
        if version == "1.0":
            self.expect_100_continue = False
        super().on_headers_complete()
        if upgrade or self._reserved:
            self.cycle.keep_alive = False
        if self._address is not None:
            self.crowd.work(self, self._address)
        self._head_open = False
        self._overhead = 0
        self.headers = []  # for trailers, which must not change the request that the app already has
        self._stop_reading_clock()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._overhead = max(0, self._overhead - FRAMING * len(body))

    def _check_fields(self) -> None:
        size = sum(len(name) + len(value) + len(b":\r\n") for name, value in self.headers) if self._unmeasured else 0
        if len(self.headers) > self.limits.headers or size > self.limits.head_bytes:
            raise Refused(431, "The request has too many headers.")

    def on_message_complete(self) -> None:
        if self.headers:
            self._unmeasured = True
            self._check_fields()
        super().on_message_complete()
        self._head_open = True
        self._overhead = 0
        self._stop_reading_clock()

    def _watch_reading(self) -> None:
        if self._owes_answer() or self.transport.is_closing():
            return
        if self._head_open and not self._overhead:
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
        else:
            self._unset_keepalive_if_required()
            # Absolute: a byte now and then must not move it. It also ends a body that nobody waits for any more.
            if self._reading is None:
                self._wait()
                self._reading = self.loop.call_later(self.limits.head_seconds, self._too_slow)

    def _wait(self) -> None:
        if self._address is not None:
            self.crowd.wait(self, self._address, self.loop.time())

    def _stop_reading_clock(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _too_slow(self) -> None:
        self._reading = None
        if self._head_open and self._overhead:
            self._refuse(408, "The request head did not arrive in time.")
        else:
            self._close()

    # --- answering --------------------------------------------------------------------------------------------------

    def _owes_answer(self) -> bool:
        cycle = self._answering
        return cycle is not None and not cycle.response_complete and not cycle.disconnected

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, self._ending_well(cycle, app))

    def _ending_well(self, cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
        """The app, answering so that its answer is the last if it comes before the whole body has.

        uvicorn would take the rest of the body for this request's and wait for it, or close over it.
        """

        async def send(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.start":
                if cycle.more_body:
                    cycle.keep_alive = False  # uvicorn then announces it
            elif message["type"] == "http.response.body" and not message.get("more_body") and not cycle.keep_alive:
                self._last = cycle.keep_alive = True  # uvicorn would close the transport before it calls us
            await cycle.send(message)

        def run(scope: Scope, receive: ASGIReceiveCallable, _: ASGISendCallable) -> Awaitable[None]:
            return app(scope, receive, send)

        return run

    def on_response_complete(self) -> None:
        if self._last:
            self.server_state.total_requests += 1
            self._end()
            return
        super().on_response_complete()
        if self.transport.is_closing():
            self._sending.start()
        elif self._parting is None:
            if not self._owes_answer():
                self._wait()
            self._watch_reading()
        elif not self._owes_answer():
            self._part(*self._parting)

    def _refuse(self, status: int, message: str) -> None:
        self._finished = True
        self._stop_reading_clock()
        logger.info("refused a request: %d %s", status, message)
        if not self._head_open and self._withdraw(self.cycle):
            self._close()
        elif self._owes_answer():
            self._parting = (status, message)
            self.flow.pause_reading()
        else:
            self._part(status, message)

    def _withdraw(self, cycle: RequestResponseCycle) -> bool:
        """Take a request whose body is broken away from the app. True if it has an answer, whole or begun."""
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
            return False
        cycle.disconnected = True
        cycle.waiting_for_100_continue = False  # uvicorn would still send it, behind our answer
        cycle.message_event.set()
        return cycle.response_started

    def _part(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        headers, body = self.refusal(status, message)
        headers = self.server_state.default_headers + [field for field in headers if field[0].lower() not in OURS]
        headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", b"1"))
        elif status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append((b"allow", b"DELETE, GET, HEAD, POST"))
        if self.url and self.parser.get_method() == b"HEAD":
            body = b""
        lines = b"".join(b"%b: %b\r\n" % field for field in headers)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self._linger(known=False)

    def _end(self) -> None:
        """The last answer is written: close, but not over what the peer still sends."""
        cycle = self._answering
        self._finished = True
        self._stop_reading_clock()
        self._unset_keepalive_if_required()
        if cycle is not None and (cycle.more_body or self.pipeline) and not self.transport.is_closing():
            # The app puts a principal there once it knows the key (`api/routes.py`).
            self._linger(known=cycle.scope["state"].get("principal") is not None)
        else:
            self._close()

    def _linger(self, *, known: bool) -> None:
        self._lingers = True
        self._leave()
        self.pipeline.clear()
        self.headers = []
        if self.cycle is not None:
            self.cycle.body = bytearray()
        self.transport.write_eof()
        self._sending.start()
        self.lingering.take(self.transport, self.connection_lost, known=known)

    # --- sending ----------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._sending.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():  # a closing connection has a last part that can stall as well
            self._sending.stop()
