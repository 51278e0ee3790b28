"""Connections that close behind their answer: what the peer still sends is read and dropped, within bounds.

A socket that is closed over unread input is reset, and the reset overtakes the answer (RFC 9112, 9.6). Some clients
read only when they have sent the whole body, so the bounds cover a whole upload. What strangers can make of it is
bounded for all of them together: in number, where the oldest gives way, and in bytes a second.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MIB = 1024 * 1024
TICK_SECONDS = 0.5
ENDING_SECONDS = 1.0  # what is left to each when the server ends
UPLOAD_BYTES = 1025 * MIB
PAUSE_SECONDS = 0.01  # between two turns of those that wait for their share of the rate
DROPPED = memoryview(bytearray(128 * 1024))  # every connection writes into it, and nobody reads it


@dataclass(frozen=True, slots=True)
class LingeringLimits:
    """How long, how much and how many."""

    bytes: int = UPLOAD_BYTES
    """Of one connection: a whole upload, its framing, and what a file may be too large by."""

    silence_seconds: float = 5.0
    window_seconds: float = 30.0
    min_rate: int = 1024
    """Bytes a second over each `window_seconds`."""

    total_seconds: float = 3600.0
    connections: int = 512
    """Per process. One more, and the oldest gives way, those without a valid key first."""

    stranger_rate: int = 32 * MIB
    """Bytes a second of all connections without a valid key together."""

    stranger_burst: int = 64 * MIB


class Lingering(asyncio.BufferedProtocol):
    """One connection whose answer is on its way. Takes the transport over from the protocol that wrote the answer."""

    def __init__(
        self,
        pool: "LingeringPool",
        transport: asyncio.Transport,
        lost: Callable[[Exception | None], None],
        *,
        known: bool,
    ) -> None:
        self.transport = transport
        self.known = known
        self.waiting = False
        self.dropped = 0
        self._pool = pool
        self._lost = lost
        self._began = self._moved = self._window_began = pool.time()
        self._window_dropped = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return DROPPED

    def buffer_updated(self, nbytes: int) -> None:
        """Count what has come."""
        self.dropped += nbytes
        self._moved = self._pool.time()
        if self.dropped > self._pool.limits.bytes:
            self.end()
        elif not self.known:
            self._pool.spend(self, nbytes)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the pool and the protocol of the request."""
        self._pool.forget(self)
        self._lost(exc)

    def end(self) -> None:
        """Close, read or not."""
        self._pool.forget(self)
        self.transport.close()

    def wait(self) -> None:
        """Read nothing until `go_on`: the share of the rate is used up."""
        self.waiting = True
        self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again. The time of waiting is not held against the peer."""
        self.waiting = False
        self._moved = self._window_began = self._pool.time()
        self._window_dropped = self.dropped
        self.transport.resume_reading()

    def is_over(self, now: float, ending: bool) -> bool:
        """Has the peer used up its time?"""
        limits = self._pool.limits
        if now - self._began >= (ENDING_SECONDS if ending else limits.total_seconds):
            return True
        if self.waiting:
            return False
        window = now - self._window_began
        if window >= limits.window_seconds:
            if self.dropped - self._window_dropped < limits.min_rate * window:
                return True
            self._window_began, self._window_dropped = now, self.dropped
        return now - self._moved >= limits.silence_seconds


class LingeringPool:
    """All connections of a process that linger. Belongs to one event loop."""

    def __init__(self, limits: LingeringLimits) -> None:
        self.limits = limits
        self._strangers: dict[Lingering, None] = {}  # in the order in which they came
        self._known: dict[Lingering, None] = {}
        self._waiting: deque[Lingering] = deque()
        self._tokens = float(limits.stranger_burst)
        self._refilled = 0.0
        self._ending = False
        self._tick: asyncio.TimerHandle | None = None
        self._turn: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    @staticmethod
    def time() -> float:
        """The event loop's clock."""
        return asyncio.get_running_loop().time()

    def take(self, transport: asyncio.Transport, lost: Callable[[Exception | None], None], *, known: bool) -> None:
        """Let a connection linger. `lost` is called when it has closed; `known` says that its key was valid."""
        if len(self) >= self.limits.connections:
            self.give_way()
        lingering = Lingering(self, transport, lost, known=known)
        (self._known if known else self._strangers)[lingering] = None
        transport.set_protocol(lingering)
        transport.resume_reading()
        if self._tick is None:
            self._tick = asyncio.get_running_loop().call_later(TICK_SECONDS, self._check)

    def give_way(self) -> bool:
        """End the oldest, of strangers first. False if there is none."""
        for group in (self._strangers, self._known):
            if group:
                next(iter(group)).end()
                return True
        return False

    def forget(self, lingering: Lingering) -> None:
        """It has ended."""
        self._known.pop(lingering, None)
        self._strangers.pop(lingering, None)

    def end_soon(self) -> None:
        """The server ends: nobody lingers for longer than a moment any more."""
        self._ending = True

    def _check(self) -> None:
        self._tick = None
        now = self.time()
        for lingering in [*self._strangers, *self._known]:
            if lingering.is_over(now, self._ending):
                lingering.end()
        if len(self):
            self._tick = asyncio.get_running_loop().call_later(TICK_SECONDS, self._check)

    # --- the rate of strangers: a token bucket ----------------------------------------------------------------------

    def spend(self, lingering: Lingering, nbytes: int) -> None:
        """Book what a stranger has sent, and let it wait when there is nothing left."""
        self._refill()
        self._tokens -= nbytes
        if self._tokens <= 0 or self._waiting:
            lingering.wait()
            self._waiting.append(lingering)
            if self._turn is None:
                self._turn = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._take_turns)

    def _refill(self) -> None:
        now = self.time()
        earned = (now - self._refilled) * self.limits.stranger_rate
        self._tokens, self._refilled = min(float(self.limits.stranger_burst), self._tokens + earned), now

    def _take_turns(self) -> None:
        """Each that waits may read once, in the order in which they came, as far as the tokens go."""
        self._turn = None
        self._refill()
        left = self._tokens
        while self._waiting and left > 0:
            lingering = self._waiting.popleft()
            if lingering in self._strangers:
                left -= len(DROPPED)
                lingering.go_on()
        if self._waiting:
            self._turn = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._take_turns)
