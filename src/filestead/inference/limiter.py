"""How many requests of one endpoint and model are in flight: a controller, pure logic with a clock passed in.

Model servers queue without limit instead of refusing, so errors say nothing; the signal is goodput. By Little's law
goodput is the mean number in flight divided by the time per token, which varies far less than a count of tokens.

1. From 4 the limit doubles, while a doubling brings a quarter more goodput. Then it is set to the knee: the number in
   flight that has the last goodput at the time per token of before.
2. Afterwards cohorts of requests run alternately with the base and a fifth more. The base moves up if that brings
   goodput, and down if it only makes requests slower.
3. One cohort decides once: of failures by overload, of a sudden rise of the time per token, and of a full cache.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from filestead.inference.cohorts import Cohort, Measurement, Outcome

START = 4
CEILING = 256
DOUBLING_GAIN = 1.25
"""Growth of goodput that justifies the next doubling. With a tenth, one past the knee of 18 would go on to 64."""

CLEAR_GAIN = 1.4
"""Growth of goodput by a doubling that shows, in spite of noise, that it was not beyond the knee."""

PROBE = 0.2
"""How far a cohort is above the base."""

PAYING_ELASTICITY = 0.2
"""Relative growth of goodput by relative growth of the number in flight, from which more requests pay."""

CERTAIN = 1.0
"""Standard errors between the elasticity and this bound, from which it is believed."""

MAX_PAIRS = 8
"""Pairs of cohorts after which it is believed in any case."""

STEP = 0.04
MAX_STEP = 0.2
"""Steps of the base, relative; they double while they have one direction."""

OVERLOADED_SHARE = 0.1
OVERLOADED_FACTOR = 0.7
SLOWDOWN = 1.5
"""Times the usual time per token: the server has become slower, or its other clients are busy."""

USUAL_WEIGHT = 0.1
FULL_CACHE = 0.95
FULL_CACHE_FACTOR = 0.8
WAITING_SHARE = 0.1
REFUSED_SECONDS = 60.0
"""How long the limit stays below one at which the endpoint refused requests."""

FAST_SECONDS = 0.05
FAST_BASE = 16
"""Minimum base for requests that are so short: their queue delays nobody, and this process needs some to be busy."""

METRICS_SECONDS = 15.0
"""How long an observation of metrics counts."""


@dataclass(frozen=True, slots=True)
class Load:
    """What an endpoint says of itself; None for what it does not say."""

    running: float | None = None
    waiting: float | None = None
    cache: float | None = None
    """Share of the cache of keys and values that is in use."""
    slots: int | None = None
    """How many requests it runs at a time, if that is a fixed number."""
    server: str | None = None
    """`vllm`, `sglang` or `llamacpp`."""


class Limiter:
    """The places of one endpoint and model."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        ceiling: int = CEILING,
        max_bytes: int | None = None,
        others: Callable[[], int] = lambda: 0,
    ) -> None:
        """`clock` returns seconds; `max_bytes` limits the sum of the sizes in flight, if given.

        `others` returns how many places are left to requests that are not counted here.
        """
        self._clock = clock
        self._others = others
        self._ceiling = max(1, ceiling)
        self._bound: int | None = None
        self._max_bytes = max_bytes
        self._bytes = 0
        self._wanted = 0
        """Size of a request that found too many bytes in flight: smaller ones wait for it."""
        self._paused_until = -math.inf
        self.in_flight = 0
        self.limit = min(START, self._ceiling)
        self._base = self.limit
        self._grows = True
        self._before: Measurement | None = None
        """Of the cohort before: with half the limit while it doubles, with the base afterwards."""
        self._reference: Measurement | None = None
        """Of the highest limit that clearly was not beyond the knee."""
        self._elasticity = Elasticity()
        self._step = 0.0
        self._usual: float | None = None
        """Moving average of the time per token."""
        self._refused = (math.inf, -math.inf)
        """A limit at which requests were refused, and the time until which that counts."""
        self._load = (Load(), -math.inf)
        self._cohort = Cohort(clock(), 0, self.limit)

    def try_acquire(self, size: int = 0) -> bool:
        """Take a place for a request of `size` bytes, if there is one now. One request is never too large."""
        if not self.has_room(size):
            if self.has_room():
                self._wanted = size
            return False
        self._wanted = 0
        self._cohort.count(self._clock(), self.in_flight, self._others())
        self.in_flight += 1
        self._bytes += size
        return True

    def has_room(self, size: int = 0) -> bool:
        """Whether there is a place for a request of `size` bytes now."""
        if self.in_flight >= self.limit or self._clock() < self._paused_until:
            return False
        needed = self._bytes + max(size, self._wanted)
        return not self.in_flight or self._max_bytes is None or needed <= self._max_bytes

    def give_back(self, size: int = 0) -> None:
        """Return a place whose request was not sent or was cancelled: it says nothing of the endpoint."""
        self._cohort.count(self._clock(), self.in_flight, self._others())
        self.in_flight -= 1
        self._bytes -= size

    def release(self, outcome: Outcome) -> None:
        """Return a place, and let the outcome count."""
        now = self._clock()
        cohort = self._cohort
        cohort.count(now, self.in_flight, self._others())
        self.in_flight -= 1
        self._bytes -= outcome.size
        cohort.add(now, self.in_flight, outcome)
        if cohort.is_complete(now):
            self._decide(cohort, now)

    def pause_until(self, time: float) -> None:
        """Give no places until a time of the clock; an earlier one changes nothing."""
        self._paused_until = max(self._paused_until, time)

    def seconds_to_wait(self) -> float:
        """The remaining seconds of a pause."""
        return max(0.0, self._paused_until - self._clock())

    def bind(self, bound: int | None) -> None:
        """Keep the limit within a bound from outside, from now on."""
        self._bound = bound
        if bound is not None and self.limit > bound:
            self._restart(bound)
            self._cohort = Cohort(self._clock(), self.in_flight, self.limit, patient=True)

    def observe(self, load: Load) -> None:
        """Take what the endpoint says of itself."""
        if load.slots is not None and self._load[0].slots is None and self._grows and self._before is None:
            self.limit = self._base = max(1, min(load.slots, self._allowed(self._clock())))
            self._cohort = Cohort(self._clock(), self.in_flight, self.limit)
        self._load = (load, self._clock())

    def _decide(self, cohort: Cohort, now: float) -> None:
        self._judge(cohort, now)
        self.limit = max(1, min(self.limit, self._allowed(now)))
        self._base = max(1, min(self._base, self._ceiling, self._bound or self._ceiling))
        self._cohort = Cohort(now, self.in_flight, self.limit, patient=not self._grows)

    def _judge(self, cohort: Cohort, now: float) -> None:
        measured = cohort.measure(now)
        load = self._present_load(now)
        if cohort.overloaded_share > 0:
            self._refused = (self.limit, now + REFUSED_SECONDS)
            is_burst = cohort.overloaded_share > OVERLOADED_SHARE
            self._restart(int(OVERLOADED_FACTOR * self.limit) if is_burst else self.limit - 1)
        elif load.cache is not None and load.cache > FULL_CACHE:
            self._restart(int(FULL_CACHE_FACTOR * self.limit))
        elif self._bound is not None and self.limit >= self._bound:
            pass  # more requests are not to be tried
        elif measured is None or cohort.occupied(now) < 0.8 * self.limit:
            pass  # there were too few requests to judge this limit by
        elif self._grows:
            self._double(measured, load)
        elif self._usual is not None and measured.at_least > SLOWDOWN * self._usual:
            factor = self._usual / measured.time_per_token
            self._usual = math.sqrt(self._usual * measured.time_per_token)
            self._restart(int(max(factor, 0.5) * self._base))
        else:
            self._move(measured, load)
        if measured is not None and measured.seconds < FAST_SECONDS and not self._grows and not cohort.overloaded_share:
            self._base = max(self._base, FAST_BASE)
            self.limit = max(self.limit, self._base)

    def _allowed(self, now: float) -> int:
        refused, until = self._refused
        allowed = min(self._ceiling, self._bound or self._ceiling)
        if (slots := self._present_load(now).slots) is not None:
            allowed = min(allowed, slots + max(1, int(WAITING_SHARE * slots)))
        return allowed if now >= until else min(allowed, int(refused) - 1)

    def _present_load(self, now: float) -> Load:
        load, at = self._load
        return load if now - at <= METRICS_SECONDS else Load()

    def _restart(self, base: int) -> None:
        """Begin anew around a base."""
        self._grows = False
        self._base = self.limit = max(1, base)
        self._before = None
        self._elasticity = Elasticity()
        self._step = 0.0

    def _double(self, measured: Measurement, load: Load) -> None:
        before, self._before = self._before, measured
        gain = math.inf if before is None else measured.goodput / before.goodput
        if gain >= CLEAR_GAIN:
            self._reference = measured
        if gain >= DOUBLING_GAIN and self.limit < self._ceiling and not _queues(load):
            self.limit = self._base = min(2 * self.limit, self._ceiling)
            return
        reference = self._reference or measured
        self._restart(min(round(measured.goodput * reference.time_per_token), self.limit))

    def _move(self, measured: Measurement, load: Load) -> None:
        usual = measured.time_per_token if self._usual is None else self._usual
        self._usual = usual + USUAL_WEIGHT * (measured.time_per_token - usual)
        above = min(self._ceiling, max(self._base + 1, round(self._base * (1 + PROBE))))
        if self._before is None:
            self._before, self.limit = measured, above
            return
        self._elasticity.add(self._before, measured)
        self._before = None
        pays = self._elasticity.exceeds(PAYING_ELASTICITY)
        if pays is not None and not (pays and _queues(load)):
            self._shift(1 if pays else -1)
        self.limit = self._base

    def _shift(self, direction: int) -> None:
        step = min(2 * abs(self._step), MAX_STEP) if self._step * direction > 0 else STEP
        self._step = step * direction
        self._base = max(1, min(self._base + max(1, round(self._base * step)) * direction, self._ceiling))
        self._elasticity = Elasticity()


class Elasticity:
    """Relative growth of goodput by relative growth of the number in flight, over pairs of cohorts."""

    def __init__(self) -> None:
        self._pairs = 0
        self._weights = 0.0
        self._sum = 0.0

    def add(self, below: Measurement, above: Measurement) -> None:
        """Add a pair, weighted by its precision."""
        more = math.log(above.in_flight / below.in_flight)
        if more < 0.02:
            return
        weight = more * more / (below.error**2 + above.error**2 + 1e-4)
        self._pairs += 1
        self._weights += weight
        self._sum += weight * math.log(above.goodput / below.goodput) / more

    def exceeds(self, bound: float) -> bool | None:
        """Whether it is above a bound; None while the pairs do not say."""
        if not self._pairs:
            return None
        difference = self._sum / self._weights - bound
        is_certain = abs(difference) * math.sqrt(self._weights) > CERTAIN or self._pairs >= MAX_PAIRS
        return difference > 0 if is_certain else None


def _queues(load: Load) -> bool:
    """Whether the endpoint lets more requests wait than full batches need, or would let the next one wait."""
    if load.waiting is None and load.slots is not None:
        return load.running is not None and load.running >= load.slots
    return load.waiting is not None and load.waiting > WAITING_SHARE * max(1.0, load.running or 0.0)
