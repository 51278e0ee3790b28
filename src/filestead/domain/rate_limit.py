"""Rate limits per minute, or per another period, by GCRA.

Times are in microseconds; the state is one theoretical arrival time.
"""

from dataclasses import dataclass

PERIOD = 60_000_000


@dataclass(frozen=True, slots=True)
class RateDecision:
    """The decision of a rate limiter on one request. Times are in seconds from now."""

    allowed: bool
    limit: int
    remaining: int
    reset: float
    retry_after: float


def interval(limit: int, period: int = PERIOD) -> int:
    """Microseconds between two uploads at the steady rate."""
    return period // limit


def allowed(limit: int, arrival: int, now: int, *, period: int = PERIOD) -> RateDecision:
    """The decision on an upload that moved the theoretical arrival time to `arrival`."""
    remaining = max(0, (now + period - arrival) // interval(limit, period))
    return RateDecision(True, limit, remaining, (arrival - now) / 1e6, 0.0)


def refused(limit: int, arrival: int, now: int, *, cost: int | None = None, period: int = PERIOD) -> RateDecision:
    """The decision on an upload for which the theoretical arrival time `arrival` was too far ahead.

    `cost` is what the request would have added to the arrival time; the interval of one upload by default.
    """
    wait = arrival + (interval(limit, period) if cost is None else cost) - period - now
    return RateDecision(False, limit, 0, (arrival - now) / 1e6, max(0, wait) / 1e6)


UNLIMITED = RateDecision(True, 0, 0, 0.0, 0.0)
