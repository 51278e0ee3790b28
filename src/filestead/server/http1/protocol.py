"""One HTTP/1.1 connection: uvicorn's httptools protocol plus the limits and refusals that neither it nor llhttp has.

llhttp refuses bare LF, obs-fold, blanks before a colon, bad or repeated lengths, length with chunked, and bad chunk
ends. Chunk extensions it checks (tokens or quoted strings) and skips unseen, so here they are only capped. Harmless,
and left to it: several blanks between the parts of a request line, and RTSP/1.0 read as HTTP/1.0.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import ClassVar

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from filestead.server.heap import Heap
from filestead.server.http1.answers import ending_well, last_answer
from filestead.server.http1.crowd import Address, Crowd, Room
from filestead.server.http1.heads import Headers, Refused, check_head
from filestead.server.http1.limits import CUTS, FRAMING, PIPELINED, PIPELINED_WITH_KEY, ConnectionLimits
from filestead.server.http1.lingering import LingeringPool
from filestead.server.http1.reading import Buffers, Cutter, Flow, Receiver
from filestead.server.http1.stalls import SendWatch
from filestead.server.http1.turns import Turns

Refusal = Callable[[int, str], tuple[Headers, bytes]]

TOO_MANY = "Too many connections. Please try again in a moment."

logger = logging.getLogger(__name__)


def protocol_class(limits: ConnectionLimits, refuse: Refusal) -> type[HttpToolsProtocol]:
    """The class for `uvicorn.Config(http=...)`. `refuse(status, message)` gives an error answer's headers and body."""
    shared = {
        "limits": limits,
        "refusal": staticmethod(refuse),
        "lingering": LingeringPool(limits.lingering),
        "crowd": Crowd(limits.connections, limits.connections_by_address),
        "buffers": Buffers(),
        "turns": Turns(),
        "heap": Heap(),
    }
    return type("Connection", (LimitedProtocol,), shared)


class LimitedProtocol(HttpToolsProtocol):
    """Refuses in the API's own error envelope, always with `connection: close`, always behind the answers still owed.

    Three clocks: `_reading` runs while nothing is owed and a message is incomplete, uvicorn's keep-alive timer while
    nothing is owed and nothing has come, `_sending` while written bytes wait for the peer.
    """

    limits: ClassVar[ConnectionLimits]
    refusal: ClassVar["staticmethod[[int, str], tuple[Headers, bytes]]"]
    lingering: ClassVar[LingeringPool]
    crowd: ClassVar[Crowd]
    buffers: ClassVar[Buffers]
    turns: ClassVar[Turns]
    heap: ClassVar[Heap]

    _body_left: int | None = None  # bytes; None if the body is chunked
    _body_wanted = False  # the app has asked for it
    _kept = b""  # what came behind the request that is being answered
    _address: Address | None = None
    _reserved = False  # only a question about the server's health is answered
    _head_open = True  # the next byte belongs to a head, not to a body
    _overhead = 0  # bytes fed since the last progress: of an open head, or between pieces of body
    _field_bytes = 0  # of the headers of this head, or of the trailers
    _unmeasured = False  # the bytes of this head or trailer are not counted in `_overhead`, or not they alone
    _fed = 0  # bytes that are parsed in one go; many only of a body that the app has asked for
    _finished = False  # nothing more is parsed of what this peer sends
    _last = False  # the answer being written is the connection's last
    _lingers = False
    _parting: tuple[int, str] | None = None
    _answering: RequestResponseCycle | None = None
    _reading: asyncio.TimerHandle | None = None
    _sending: SendWatch
    flow: Flow
    _cutter: Cutter
    url = b""

    # --- the connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._cutter = Cutter()
        transport.set_protocol(Receiver(self))
        self._sending = SendWatch(transport, self.limits.send_stall_seconds)
        self.ws_protocol_class = None  # another protocol would leave every limit here behind
        self._address, room = self.crowd.enter(self, self.client[0] if self.client else "", self.loop.time())
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
        self._unset_keepalive_if_required()
        self._sending.stop()
        super().connection_lost(exc)
        self.heap.count(len(self.connections))

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

    def buffer(self) -> memoryview:
        """Where the next bytes go. Nothing behind a body is read together with a large part of it."""
        wanted = self._body_wanted and not self._head_open
        return self.buffers.body[: self._body_left] if wanted else self.buffers.head

    def data_received(self, data: bytes | memoryview) -> None:
        """Parse one message after the other, and keep what is behind one that is not answered yet."""
        self._unset_keepalive_if_required()
        rest = memoryview(self._kept + data if self._kept else data)
        self._kept, cuts = b"", CUTS
        while rest and not self._finished:
            if self._head_open and self._owes_answer():
                self._kept = bytes(rest)
                break
            cuts -= not self._head_open
            if size := self._measure(rest, cuts):
                self._feed(rest[:size])
            else:
                self._refuse(431, "The request head is too large.")
            rest = rest[size:]
        self._update_flow()
        self._watch_reading()

    def _measure(self, data: memoryview, cuts: int) -> int:
        """How many bytes surely belong to this message; 0 if its head is too large."""
        if self._head_open:
            # Cut at the limit, so that a head of exactly that size passes and one byte more does not.
            return min(self._cutter.cut(data), self.limits.head_bytes - self._overhead)
        if self._body_left is not None:
            return min(len(data), self._body_left)
        return self._cutter.cut(data) if cuts > 0 and len(data) <= len(self.buffers.head) else len(data)

    def _update_flow(self) -> None:
        """Read nothing while something waits behind an unanswered request, and no body before the app wants it."""
        if self._finished:
            return
        if self._kept or self.pipeline or not (self._head_open or self._body_wanted):
            self.flow.hold()
        else:
            self.flow.release()

    def _feed(self, data: memoryview) -> None:
        self._fed = len(data)
        self._overhead += self._fed
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
            self._cutter.went_on(data)
            if not self._head_open and self._overhead > self.limits.head_bytes:
                self._refuse(400, "The chunked body is mostly framing.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._field_bytes = 0
        self._unmeasured = not self._overhead  # begun behind another message in the same read
        if self._unmeasured:
            self._overhead = 1

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > self.limits.target_bytes:
            raise Refused(414, "The request target is too long.")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._field_bytes += len(name) + len(value) + len(b":\r\n")
        too_large = self._unmeasured and self._field_bytes > self.limits.head_bytes
        if too_large or len(self.headers) >= self.limits.headers:
            raise Refused(431, "The request has too many headers.")
        super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        upgrade = self.parser.should_upgrade()
        self.url = check_head(self.parser.get_method(), version, self.url, self.headers, upgrade)
        if self._reserved and self.url not in self.limits.health:
            raise Refused(503, TOO_MANY)
        if len(self.pipeline) >= (PIPELINED_WITH_KEY if self._fed > len(self.buffers.head) else PIPELINED):
            raise Refused(503, "Too many requests wait on this connection. Please try again in a moment.")
        self.expect_100_continue &= version != "1.0"
        super().on_headers_complete()
        if upgrade or self._reserved:
            self.cycle.keep_alive = False
        if self._address is not None:
            self.crowd.work(self, self._address)
        self._body_left = next((int(value) for name, value in self.headers if name == b"content-length"), None)
        self._body_wanted = self._head_open = False
        self._overhead = 0
        self.headers = []  # for trailers, which must not change the request that the app already has
        self._unmeasured, self._field_bytes = True, 0
        self._stop_reading_clock()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._overhead = max(0, self._overhead - FRAMING * len(body))
        if self._body_left is not None:
            self._body_left -= len(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.headers = []
        self._head_open = True
        self._overhead = 0
        self._stop_reading_clock()

    def _watch_reading(self) -> None:
        if self._finished or self._owes_answer() or self.transport.is_closing():
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
        super()._start_asgi_task(
            cycle, ending_well(cycle, app, on_wanted=self._on_body_wanted, on_last=self._on_last_answer)
        )

    def _on_body_wanted(self) -> None:
        self._body_wanted = True
        self._update_flow()

    def _on_last_answer(self) -> None:
        self._last = True

    def on_response_complete(self) -> None:
        if self._last:
            self.server_state.total_requests += 1
            self._end()
            return
        super().on_response_complete()
        if self.transport.is_closing():
            self._sending.start()
        elif self._owes_answer():
            self._update_flow()
        elif self._parting is not None:
            self._part(*self._parting)
        else:
            self._forget()
            if self._kept:
                self._unset_keepalive_if_required()
                self.turns.wait(self._go_on)
            else:
                self._wait()
                self._update_flow()
                self._watch_reading()

    def _go_on(self) -> None:
        if not self.transport.is_closing():
            self.data_received(b"")

    def _forget(self) -> None:
        """Every request is answered. The last head may have been a large one."""
        self.cycle = self._answering = None  # type: ignore[assignment]
        if not self._overhead:  # or it belongs to the next head already
            self.scope = {}  # type: ignore[typeddict-item]

    def _refuse(self, status: int, message: str) -> None:
        self._finished = True
        self._stop_reading_clock()
        logger.info("refused a request: %d %s", status, message)
        if not self._head_open and self._withdraw(self.cycle):
            self._close()
        elif self._owes_answer():
            self._parting = (status, message)
            self.flow.hold()
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
        to_head = self.url != b"" and self.parser.get_method() == b"HEAD"
        self.transport.write(last_answer(status, self.server_state.default_headers + headers, body, to_head=to_head))
        self._linger(known=False)

    def _end(self) -> None:
        """The last answer is written: close, but not over what the peer still sends."""
        cycle = self._answering
        self._finished = True
        self._stop_reading_clock()
        self._unset_keepalive_if_required()
        if cycle is not None and (cycle.more_body or self.pipeline or self._kept) and not self.transport.is_closing():
            # The app puts a principal there once it knows the key (`api/routes.py`).
            self._linger(known=cycle.scope["state"].get("principal") is not None)
        else:
            self._close()

    def _linger(self, *, known: bool) -> None:
        self._lingers = True
        self._leave()
        self.pipeline.clear()
        self._kept = b""
        self._overhead = 0
        self._forget()
        self.headers = []
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
