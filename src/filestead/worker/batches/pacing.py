"""When a line is sent again, and when its failure is final."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from filestead.inference.exchanges import Exchange

MAX_ATTEMPTS = 5
MAX_TIMEOUTS = 2
"""Attempts that end with a timeout: each may have taken minutes of the model's time."""

BASE_SECONDS = 0.5
MAX_DELAY_SECONDS = 30.0
REFUSED_SECONDS = 1.0
"""Others are sent first: what comes of them tells a refused request from a refused key or model."""

BUSY_IN_PLACE = 3
BUSY_BASE_SECONDS = 0.25
MAX_BUSY_DELAY_SECONDS = 60.0
"""Twice the longest pause of a lane whose endpoint does not say for how long."""

PAUSED_KINDS = frozenset({"busy", "unreachable", "refused"})
"""The endpoint takes no requests now, whatever the line is; its lane waits."""


@dataclass(slots=True)
class Attempts:
    """The failed attempts of a line so far."""

    failures: int = 0
    timeouts: int = 0
    busy: int = 0
    """Responses of a busy endpoint, which cost no attempt."""
    deferred: int = 0
    """How often others were let go first."""


def delay_before_retry(
    attempts: Attempts,
    exchange: Exchange,
    *,
    others_wait: bool = False,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float | None:
    """Count the attempt; return the seconds until the next one, or None if the exchange is final.

    Delays have full jitter (0 to 0.5 * 2^n, at most 30 seconds): lines that failed together return apart. An exchange
    that says nothing of the line costs no attempt, and its line can go as soon as its lane is ready; after a refusal,
    a second later. A line that a busy endpoint has refused three times lets others go first (`others_wait`): it may be
    the only one that is refused, and would otherwise be sent again and again in their place.
    """
    if exchange.kind == "refused":
        return REFUSED_SECONDS
    if exchange.kind == "busy":
        attempts.busy += 1
        if others_wait and attempts.busy >= BUSY_IN_PLACE:
            attempts.deferred += 1
            # Longer than the lane waits, at the end: then others are sent in between.
            delay = min(math.ldexp(BUSY_BASE_SECONDS, min(attempts.deferred, 20)), MAX_BUSY_DELAY_SECONDS)
            return max(delay, 2 * (exchange.retry_after or 0.0))
    if exchange.kind in PAUSED_KINDS:
        return 0.0
    if exchange.kind == "retry":
        attempts.failures += 1
    elif exchange.kind == "timeout":
        attempts.timeouts += 1
    else:
        return None
    if attempts.failures >= MAX_ATTEMPTS or attempts.timeouts >= MAX_TIMEOUTS:
        return None
    most = min(MAX_DELAY_SECONDS, BASE_SECONDS * 2 ** (attempts.failures + attempts.timeouts))
    return max(uniform(0, most), exchange.retry_after or 0.0)
