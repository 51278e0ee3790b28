"""Lingering close: after the last response, input is read and discarded, within limits, before the socket is closed.

Closing a socket with unread input resets the connection, and the reset can overtake the response (RFC 9112, section
9.6). Some clients read only after they have sent the whole body, so the limits allow for a whole upload. What
unauthenticated peers can use is limited for all of them together: in number, where the oldest is closed, and in rate.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MIB = 1024 * 1024
CHECK_INTERVAL = 0.5
SHUTDOWN_SECONDS = 1.0  # for each connection once the server shuts down
MAX_UPLOAD_BYTES = 1025 * MIB
THROTTLE_INTERVAL = 0.01  # between two attempts to resume throttled connections
DISCARD_BUFFER = memoryview(bytearray(128 * 1024))  # shared by all connections: its content is never read


@dataclass(frozen=True, slots=True)
class LingeringLimits:
    """Limits in time, bytes and number."""

    max_bytes: int = MAX_UPLOAD_BYTES
    """Of one connection: a whole upload, its framing, and some excess of a file that is too large."""

    read_timeout: float = 5.0
    rate_window: float = 30.0
    min_rate: int = 1024
    """Bytes per second over each `rate_window`."""

    max_seconds: float = 3600.0
    max_connections: int = 512
    """Per process. One more closes the oldest, unauthenticated ones first."""

    unauthenticated_rate: int = 32 * MIB
    """Bytes per second of all unauthenticated connections together."""

    unauthenticated_burst: int = 64 * MIB


class LingeringConnection(asyncio.BufferedProtocol):
    """One connection whose last response has been written. Replaces the HTTP protocol on its transport."""

    def __init__(
        self,
        pool: "LingeringPool",
        transport: asyncio.Transport,
        on_connection_lost: Callable[[Exception | None], None],
        *,
        authenticated: bool,
    ) -> None:
        self.transport = transport
        self.authenticated = authenticated
        self.throttled = False
        self.discarded = 0
        self._pool = pool
        self._on_connection_lost = on_connection_lost
        self._started_at = self._last_read_at = self._window_started_at = pool.time()
        self._discarded_before_window = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next read."""
        return DISCARD_BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Count the discarded bytes."""
        self.discarded += nbytes
        self._last_read_at = self._pool.time()
        if self.discarded > self._pool.limits.max_bytes:
            self.close()
        elif not self.authenticated:
            self._pool.consume_tokens(self, nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the pool and the HTTP protocol."""
        self._pool.remove(self)
        self._on_connection_lost(exc)

    def close(self) -> None:
        """Close the socket even if input is unread."""
        self._pool.remove(self)
        self.transport.close()

    def throttle(self) -> None:
        """Stop reading until `resume`: the shared rate is exhausted."""
        self.throttled = True
        self.transport.pause_reading()

    def resume(self) -> None:
        """Continue reading. Throttled time does not count against the peer."""
        self.throttled = False
        self._last_read_at = self._window_started_at = self._pool.time()
        self._discarded_before_window = self.discarded
        self.transport.resume_reading()

    def has_expired(self, now: float, shutting_down: bool) -> bool:
        """Check the timeouts and the minimum rate."""
        limits = self._pool.limits
        if now - self._started_at >= (SHUTDOWN_SECONDS if shutting_down else limits.max_seconds):
            return True
        if self.throttled:
            return False
        elapsed = now - self._window_started_at
        if elapsed >= limits.rate_window:
            if self.discarded - self._discarded_before_window < limits.min_rate * elapsed:
                return True
            self._window_started_at, self._discarded_before_window = now, self.discarded
        return now - self._last_read_at >= limits.read_timeout


class LingeringPool:
    """All lingering connections of one event loop."""

    def __init__(self, limits: LingeringLimits) -> None:
        self.limits = limits
        self._unauthenticated: dict[LingeringConnection, None] = {}  # the oldest first
        self._authenticated: dict[LingeringConnection, None] = {}
        self._throttled: deque[LingeringConnection] = deque()
        self._tokens = float(limits.unauthenticated_burst)
        self._refilled_at = 0.0
        self._shutting_down = False
        self._check_timer: asyncio.TimerHandle | None = None
        self._throttle_timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._unauthenticated) + len(self._authenticated)

    @staticmethod
    def time() -> float:
        """Return the event loop's clock."""
        return asyncio.get_running_loop().time()

    def add(
        self,
        transport: asyncio.Transport,
        on_connection_lost: Callable[[Exception | None], None],
        *,
        authenticated: bool,
    ) -> None:
        """Take over a transport until it is closed. `on_connection_lost` is called then."""
        if len(self) >= self.limits.max_connections:
            next(iter(self._unauthenticated or self._authenticated)).close()
        connection = LingeringConnection(self, transport, on_connection_lost, authenticated=authenticated)
        (self._authenticated if authenticated else self._unauthenticated)[connection] = None
        transport.set_protocol(connection)
        transport.resume_reading()
        if self._check_timer is None:
            self._check_timer = asyncio.get_running_loop().call_later(CHECK_INTERVAL, self._close_expired)

    def remove(self, connection: LingeringConnection) -> None:
        """Unregister a closed connection."""
        self._authenticated.pop(connection, None)
        self._unauthenticated.pop(connection, None)

    def begin_shutdown(self) -> None:
        """Limit each connection to `SHUTDOWN_SECONDS`."""
        self._shutting_down = True

    def _close_expired(self) -> None:
        self._check_timer = None
        now = self.time()
        for connection in [*self._unauthenticated, *self._authenticated]:
            if connection.has_expired(now, self._shutting_down):
                connection.close()
        if len(self):
            self._check_timer = asyncio.get_running_loop().call_later(CHECK_INTERVAL, self._close_expired)

    # --- the shared rate of unauthenticated connections: a token bucket ---------------------------------------------

    def consume_tokens(self, connection: LingeringConnection, nbytes: int) -> None:
        """Charge the bytes of an unauthenticated connection, and throttle it when no tokens are left."""
        self._refill()
        self._tokens -= nbytes
        if self._tokens <= 0 or self._throttled:
            connection.throttle()
            self._throttled.append(connection)
            if self._throttle_timer is None:
                self._throttle_timer = asyncio.get_running_loop().call_later(THROTTLE_INTERVAL, self._resume_throttled)

    def _refill(self) -> None:
        now = self.time()
        earned = (now - self._refilled_at) * self.limits.unauthenticated_rate
        self._tokens = min(float(self.limits.unauthenticated_burst), self._tokens + earned)
        self._refilled_at = now

    def _resume_throttled(self) -> None:
        """Allow one read of each throttled connection, first come, first served, as long as tokens are left."""
        self._throttle_timer = None
        self._refill()
        tokens = self._tokens
        while self._throttled and tokens > 0:
            connection = self._throttled.popleft()
            if connection in self._unauthenticated:
                tokens -= len(DISCARD_BUFFER)
                connection.resume()
        if self._throttled:
            self._throttle_timer = asyncio.get_running_loop().call_later(THROTTLE_INTERVAL, self._resume_throttled)
