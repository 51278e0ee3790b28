"""One HTTP/1.1 connection: uvicorn's httptools protocol with the limits and rejections that neither it nor llhttp has.

llhttp rejects bare LF, obs-fold, blanks before a colon, invalid or repeated lengths, a length with chunked coding, and
invalid chunk ends. It checks chunk extensions (tokens or quoted strings) and does not report them, so they are only
limited in size here. Left to it, as harmless: several blanks in a request line, and RTSP/1.0 read as HTTP/1.0.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import ClassVar

import httptools

from filestead.server.http1.admission import AddressEntry, Admission, AdmissionController
from filestead.server.http1.limits import (
    MAX_PIPELINED,
    MAX_PIPELINED_IN_LARGE_READS,
    MAX_SPLITS_PER_READ,
    ConnectionLimits,
)
from filestead.server.http1.lingering import LingeringPool
from filestead.server.http1.message_tracker import MessageTracker
from filestead.server.http1.pipelining import PipelineScheduler
from filestead.server.http1.read_buffers import BufferedReceiver, ReadBuffers
from filestead.server.http1.rejection import serialize_rejection
from filestead.server.http1.request_head import Headers, RequestRejected, check_head
from filestead.server.http1.send_timeout import SendTimeout
from filestead.server.http1.uvicorn_internals import UvicornProtocol
from filestead.server.memory import MemoryReclaimer

ErrorResponse = Callable[[int, str], tuple[Headers, bytes]]

TOO_MANY_CONNECTIONS = "Too many connections. Please try again in a moment."

log = logging.getLogger(__name__)


def protocol_class(limits: ConnectionLimits, error_response: ErrorResponse) -> type[asyncio.Protocol]:
    """Return the class for `uvicorn.Config(http=...)`.

    `error_response(status, message)` returns the headers and the body of an error response.
    """
    shared = {
        "limits": limits,
        "error_response": staticmethod(error_response),
        "lingering": LingeringPool(limits.lingering),
        "admission": AdmissionController(limits.max_connections, limits.max_connections_per_address),
        "buffers": ReadBuffers(),
        "scheduler": PipelineScheduler(),
        "memory": MemoryReclaimer(),
    }
    return type("Connection", (HttpConnection,), shared)


class HttpConnection(UvicornProtocol):
    """Sends rejections in the API's error envelope, with `connection: close`, after the responses that are still owed.

    Three timers: `_read_timer` runs while no response is owed and a message is incomplete, the keep-alive timer while
    no response is owed and no input has arrived, `_send_timeout` while written data waits for the peer.
    """

    limits: ClassVar[ConnectionLimits]
    error_response: ClassVar["staticmethod[[int, str], tuple[Headers, bytes]]"]
    lingering: ClassVar[LingeringPool]
    admission: ClassVar[AdmissionController]
    buffers: ClassVar[ReadBuffers]
    scheduler: ClassVar[PipelineScheduler]
    memory: ClassVar[MemoryReclaimer]

    _address: AddressEntry | None = None
    _health_checks_only = False
    _body_wanted = False  # the application has asked for the body
    _unparsed = b""  # input after the request that awaits its response
    _stopped = False  # no more input is parsed
    _lingers = False
    _pending_rejection: tuple[int, str] | None = None
    _read_timer: asyncio.TimerHandle | None = None
    _send_timeout: SendTimeout
    _message: MessageTracker

    # --- the connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._message = MessageTracker(self.limits)
        transport.set_protocol(BufferedReceiver(self))
        self._send_timeout = SendTimeout(transport, self.limits.send_stall_seconds)
        self._address, admission = self.admission.admit(self, self.peer_host, self.loop.time())
        self._health_checks_only = admission is Admission.HEALTH_CHECKS_ONLY
        if admission is Admission.REJECTED:
            self._reject(503, TOO_MANY_CONNECTIONS)
        else:
            self._start_read_timer()

    def evict(self) -> None:
        """Close the idle connection in favour of another one."""
        if self._health_checks_only:
            self._reject(503, TOO_MANY_CONNECTIONS)
        else:
            self._unregister()
            self._close()

    def _unregister(self) -> None:
        if self._address is not None:
            self.admission.remove(self, self._address)
            self._address = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._unregister()
        self._stop_read_timer()
        self._send_timeout.stop()
        super().connection_lost(exc)
        self.memory.connection_closed(self.open_connections)

    def shutdown(self) -> None:
        self.lingering.begin_shutdown()
        if not self._lingers:
            super().shutdown()
        self._send_timeout.start()

    def _close(self) -> None:
        self.transport.close()
        self._send_timeout.start()

    # --- input ------------------------------------------------------------------------------------------------------

    def read_buffer(self) -> memoryview:
        """Return the buffer for the next read. A large read of a body contains nothing that follows the body."""
        large = self._body_wanted and not self._message.in_head
        return self.buffers.large[: self._message.body_left] if large else self.buffers.small

    def data_received(self, data: bytes | memoryview) -> None:
        """Parse one message after the other, and keep what follows one that awaits its response."""
        self.stop_keep_alive_timer()
        rest = memoryview(self._unparsed + data if self._unparsed else data)
        self._unparsed, splits_left = b"", MAX_SPLITS_PER_READ
        while rest and not self._stopped:
            if self._message.in_head and self.owes_response:
                self._unparsed = bytes(rest)
                break
            splits_left -= not self._message.in_head
            if size := self._message.piece_size(rest, splits_left):
                self._parse(rest[:size])
            else:
                self._reject(431, "The request head is too large.")
            rest = rest[size:]
        self._update_flow()
        self._update_timers()

    def _update_flow(self) -> None:
        """Block reading while input awaits a response, or until the application wants the body."""
        if self._stopped:
            return
        if self._unparsed or self.pipelined or not (self._message.in_head or self._body_wanted):
            self.flow.block_reading()
        else:
            self.flow.unblock_reading()

    def _parse(self, data: memoryview) -> None:
        self._message.before_parsing(data)
        try:
            self.parser.feed_data(data)
            self._message.after_parsing(data)
        except httptools.HttpParserUpgrade:
            self._stopped = True
        except RequestRejected as rejected:
            self._reject(rejected.status, rejected.message)
        except httptools.HttpParserError as error:
            cause = error.__context__  # raised in a callback
            if isinstance(cause, RequestRejected):
                self._reject(cause.status, cause.message)
            elif isinstance(error, httptools.HttpParserCallbackError):
                raise
            else:
                self._reject(400, "The request is not valid HTTP/1.1.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._message.begin_head()

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > self.limits.max_target_bytes:
            raise RequestRejected(414, "The request target is too long.")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._message.add_field(name, value, len(self.headers))
        super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        headers, upgrade = self.headers, self.parser.should_upgrade()
        version = self.parser.get_http_version()
        target = check_head(self.parser.get_method(), version, self.url, headers, upgrade)
        if self._health_checks_only and target not in self.limits.health_check_paths:
            raise RequestRejected(503, TOO_MANY_CONNECTIONS)
        if self.pipelined >= (MAX_PIPELINED_IN_LARGE_READS if self._message.is_large_read else MAX_PIPELINED):
            raise RequestRejected(503, "Too many requests wait on this connection. Please try again in a moment.")
        self.start_request(target, keep_alive=not (upgrade or self._health_checks_only))
        self._message.end_head(headers)
        if self._address is not None:
            self.admission.mark_busy(self, self._address)
        self._body_wanted = False
        self._stop_read_timer()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._message.add_body(len(body))

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._message.end_message()
        self._stop_read_timer()

    def body_requested(self) -> None:
        self._body_wanted = True
        self._update_flow()

    # --- timers -----------------------------------------------------------------------------------------------------

    def _update_timers(self) -> None:
        if self._stopped or self.owes_response or self.transport.is_closing():
            return
        if self._message.in_head and not self._message.overhead:
            self.start_keep_alive_timer()
        else:
            self.stop_keep_alive_timer()
            # Not restarted by later bytes. Also ends a body that the application no longer reads.
            if self._read_timer is None:
                self._mark_idle()
                self._start_read_timer()

    def _mark_idle(self) -> None:
        if self._address is not None:
            self.admission.mark_idle(self, self._address, self.loop.time())

    def _start_read_timer(self) -> None:
        self._read_timer = self.loop.call_later(self.limits.head_seconds, self._read_timed_out)

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _read_timed_out(self) -> None:
        self._read_timer = None
        if self._message.in_head and self._message.overhead:
            self._reject(408, "The request head did not arrive in time.")
        else:
            self._close()

    def keep_alive_expired(self) -> None:
        self._close()

    # --- responses --------------------------------------------------------------------------------------------------

    def response_sent(self, *, last: bool) -> None:
        if last:
            self._close_after_last_response()
        elif self.transport.is_closing():
            self._send_timeout.start()
        elif self.owes_response:
            self._update_flow()
        elif self._pending_rejection is not None:
            self._send_rejection(*self._pending_rejection)
        else:
            self.release_requests(keep_head=bool(self._message.overhead))
            if self._unparsed:
                self.stop_keep_alive_timer()
                self.scheduler.schedule(self._parse_unparsed)
            else:
                self._mark_idle()
                self._update_flow()
                self._update_timers()

    def _parse_unparsed(self) -> None:
        if not self.transport.is_closing():
            self.data_received(b"")

    def _reject(self, status: int, message: str) -> None:
        self._stopped = True
        self._stop_read_timer()
        log.info("request rejected: %d %s", status, message)
        if not self._message.in_head and self.withdraw_request():
            self._close()
        elif self.owes_response:
            self._pending_rejection = (status, message)
            self.flow.block_reading()
        else:
            self._send_rejection(status, message)

    def _send_rejection(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        self.stop_keep_alive_timer()
        headers, body = self.error_response(status, message)
        to_head = self.url != b"" and self.parser.get_method() == b"HEAD"
        self.transport.write(serialize_rejection(status, self.default_headers + headers, body, to_head=to_head))
        self._linger(authenticated=False)

    def _close_after_last_response(self) -> None:
        self._stopped = True
        self._stop_read_timer()
        self.stop_keep_alive_timer()
        if (self.has_unread_input or self._unparsed) and not self.transport.is_closing():
            self._linger(authenticated=self.is_authenticated)
        else:
            self._close()

    def _linger(self, *, authenticated: bool) -> None:
        self._lingers = True
        self._unregister()
        self._unparsed = b""
        self.discard_requests()
        self.transport.write_eof()
        self._send_timeout.start()
        self.lingering.add(self.transport, self.connection_lost, authenticated=authenticated)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_timeout.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():  # the remaining data of a closing connection can stall as well
            self._send_timeout.stop()
