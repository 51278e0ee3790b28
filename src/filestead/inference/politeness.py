"""How far batches give way to interactive requests of an endpoint. Pure logic with a clock passed in.

The measure is the 95th percentile of the time to first token (TTFT) of chats that somebody waits for, or of probes
while there are none. It decides how many requests of batches may be in flight: few in the beginning, then twice as many
while there is room; a third fewer when the target is exceeded, no more near the target, and a tenth more well below. A
bound that was exceeded is avoided for a time, which doubles: each trial makes somebody wait.
"""

import math
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 60.0
MAX_SAMPLES = 200
PERCENTILE = 0.95
START = 4
FEW = 4
"""Samples since a change of the bound that are needed for doubling it."""

MANY = 12
"""Samples since a change of the bound that are needed for a tenth more."""

EXCEEDED_FACTOR = 0.7
NEAR = 0.8
"""Share of the target from which the bound no longer grows."""

GROWTH = 1.1
AVOIDED_SECONDS = 120.0
MAX_AVOIDED_SECONDS = 3600.0
PROBE_SECONDS = 2.0
"""Longest time without a measurement while a batch runs."""


class Politeness:
    """The bound for the requests of batches of one endpoint."""

    def __init__(self, clock: Callable[[], float], target_seconds: float) -> None:
        """`clock` returns seconds; `target_seconds` is that of the 95th percentile."""
        self._clock = clock
        self._target = target_seconds
        self._samples: deque[tuple[float, float]] = deque(maxlen=MAX_SAMPLES)
        """When a request began, and its seconds to the first token."""
        self._measured_at = self._changed_at = clock()
        self._bound = START
        self._doubles = True
        self._exceeded = (math.inf, -math.inf)
        """A bound at which the target was exceeded, and the time until which that counts."""
        self._avoided_seconds = AVOIDED_SECONDS

    @property
    def bound(self) -> int | None:
        """How many requests of batches may be in flight; None for any number, because nothing can be measured."""
        return self._bound if self._clock() - self._measured_at <= WINDOW_SECONDS else None

    def add(self, seconds: float, *, in_flight: int, limit: int) -> None:
        """Take a measurement that ends now. `in_flight` and `limit` are of the requests of batches."""
        now = self._clock()
        if now - self._measured_at > WINDOW_SECONDS:
            self._change(now, min(self._bound, limit))
        self._measured_at = now
        self._samples.append((now - seconds, seconds))
        if in_flight > self._bound or not in_flight:
            self._changed_at = now  # the bound has no effect yet, or there is no batch
        else:
            self._decide(now, limit)

    def seconds_to_probe(self) -> float:
        """Seconds until a probe is due because nothing was measured."""
        return max(0.0, self._measured_at + PROBE_SECONDS - self._clock()) if self._samples else 0.0

    def p95(self) -> float | None:
        """The 95th percentile of the last minute; None without a measurement."""
        since = self._clock() - WINDOW_SECONDS
        return _percentile([seconds for began, seconds in self._samples if began >= since])

    def _decide(self, now: float, limit: int) -> None:
        since = max(self._changed_at, now - WINDOW_SECONDS)
        found = [seconds for began, seconds in self._samples if began >= since]
        exceeding = sum(seconds > self._target for seconds in found)
        if exceeding > max(1.0, (1 - PERCENTILE) * len(found)):
            self._shrink(now, min(self._bound, limit))
        elif limit >= self._bound and len(found) >= (FEW if self._doubles else MANY):
            self._grow(now, _percentile(found) or 0.0)

    def _shrink(self, now: float, bound: int) -> None:
        if bound >= 0.9 * self._exceeded[0]:
            self._avoided_seconds = min(2 * self._avoided_seconds, MAX_AVOIDED_SECONDS)
        else:
            self._avoided_seconds = AVOIDED_SECONDS
        self._exceeded = (bound, now + self._avoided_seconds)
        self._doubles = False
        self._change(now, max(1, int(EXCEEDED_FACTOR * bound)))

    def _grow(self, now: float, p95: float) -> None:
        exceeded, until = self._exceeded
        if p95 > NEAR * self._target:
            self._doubles = False
            return
        bound = 2 * self._bound if self._doubles else max(self._bound + 1, round(self._bound * GROWTH))
        if bound < exceeded or now >= until:
            self._change(now, bound)

    def _change(self, now: float, bound: int) -> None:
        self._bound = bound
        self._changed_at = now


def _percentile(found: list[float]) -> float | None:
    return sorted(found)[math.ceil(PERCENTILE * len(found)) - 1] if found else None
