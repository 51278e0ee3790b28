"""A cohort: the requests that began under one limit, and what they say of it."""

import math
from dataclasses import dataclass
from typing import NamedTuple

GROWING = 6
PATIENT = 12
"""Minimum number of requests of a cohort, while the limit doubles and afterwards."""

MIN_SECONDS = 0.2
"""Minimum duration of a cohort, for endpoints that respond at once."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request that held a place."""

    seconds: float
    tokens: float = 0
    """Completion tokens and an eighth of the prompt's; 0 if unknown."""
    overloaded: bool = False
    failed: bool = False
    size: int = 0
    """Bytes, as given to `try_acquire`."""


class Measurement(NamedTuple):
    """What a cohort says."""

    in_flight: float
    """Mean number."""
    time_per_token: float
    """Seconds of a request for each of its tokens; for a request, where the endpoint reports no tokens."""
    error: float
    """Standard error of the time per token, relative."""
    seconds: float
    """Mean of a request."""

    @property
    def at_least(self) -> float:
        """What the time per token is, with 98 % certainty, at least."""
        return self.time_per_token * max(0.0, 1 - 2 * self.error)

    @property
    def goodput(self) -> float:
        """Tokens a second, by Little's law."""
        return self.in_flight / self.time_per_token


class _Sums:
    """Sums over requests, for a ratio of seconds to tokens and its standard error."""

    def __init__(self) -> None:
        self.requests = 0
        self._seconds = self._tokens = self._squares = self._products = self._squared_tokens = 0.0

    def add(self, seconds: float, tokens: float) -> None:
        self.requests += 1
        self._seconds += seconds
        self._tokens += tokens
        self._squares += seconds * seconds
        self._products += seconds * tokens
        self._squared_tokens += tokens * tokens

    @property
    def seconds(self) -> float:
        return self._seconds / self.requests

    def ratio(self) -> tuple[float, float]:
        """The ratio, and its relative standard error (Cochran: Sampling Techniques, 1977, section 6.3)."""
        found = self._seconds / self._tokens
        residuals = self._squares - 2 * found * self._products + found * found * self._squared_tokens
        return found, math.sqrt(max(0.0, residuals)) / self._seconds if self._seconds else 0.0


class Cohort:
    """Collects the outcomes of requests that began under one limit, once its effect is complete.

    It begins when the number in flight has fallen to the limit, and a quarter of the places have been used once: the
    first requests under a higher limit find the short queue of the lower one.
    """

    def __init__(self, now: float, in_flight: int, limit: int, *, patient: bool = False) -> None:
        self._limit = limit
        self._needed = max(limit, PATIENT) if patient else max(limit // 2, GROWING)
        self._warming = max(1, limit // 4)
        self._settled = math.inf
        """When the number in flight had fallen to the limit."""
        self._since = math.inf
        self._counted_until = now
        self._area = self._occupied = 0.0
        self._requests = 0
        self._overloaded = 0
        self._with_tokens = _Sums()
        self._without_tokens = _Sums()
        if in_flight <= limit:
            self._settled = now

    def count(self, now: float, in_flight: int, others: int = 0) -> None:
        """Count the time since the last call with the number that was in flight, and the places that others had."""
        self._area += in_flight * (now - self._counted_until)
        self._occupied += (in_flight + others) * (now - self._counted_until)
        self._counted_until = now

    def add(self, now: float, in_flight: int, outcome: Outcome) -> None:
        """Add the outcome of a request, if it belongs to the cohort; `in_flight` is the number left."""
        began = now - outcome.seconds
        if began < self._since:
            self._warm_up(now, in_flight, began, outcome.overloaded)
            return
        self._requests += 1
        if outcome.overloaded:
            self._overloaded += 1
        elif not outcome.failed:
            sums = self._with_tokens if outcome.tokens > 0 else self._without_tokens
            sums.add(outcome.seconds, outcome.tokens or 1.0)

    def _warm_up(self, now: float, in_flight: int, began: float, overloaded: bool) -> None:
        if self._since != math.inf:
            return
        if self._settled == math.inf:
            if in_flight <= self._limit:
                self._settled = now
        elif began >= self._settled:
            self._warming -= 1
            if self._warming <= 0 or overloaded:
                self._since = self._counted_until = now
                self._area = self._occupied = 0.0

    def is_complete(self, now: float) -> bool:
        """Whether there are enough outcomes to decide."""
        # Without tokens there are only the times of requests, which vary more.
        needed = self._needed if self._with_tokens.requests else 2 * self._needed
        return self._requests >= needed and now - self._since >= MIN_SECONDS

    @property
    def overloaded_share(self) -> float:
        """Share of requests that the endpoint refused because of its load."""
        return self._overloaded / self._requests

    def occupied(self, now: float) -> float:
        """Mean number of places that were taken, also by others."""
        return self._occupied / (now - self._since)

    def measure(self, now: float) -> Measurement | None:
        """What the cohort says; None if nothing."""
        sums = self._with_tokens if self._with_tokens.requests else self._without_tokens
        if not sums.requests:
            return None
        time_per_token, error = sums.ratio()
        in_flight = self._area / (now - self._since)
        if time_per_token <= 0 or in_flight <= 0:
            return None
        return Measurement(in_flight, time_per_token, error, sums.seconds)
