"""Whether and when a request is retried: the policy of the official Python SDK, as pure functions.

One difference: a `Retry-After` of zero, or one in the past, means a retry without a delay.
"""

import math
import random
import time
from collections.abc import Callable, Mapping

INITIAL_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 8.0
JITTER = 0.25
MAX_RETRY_AFTER_SECONDS = 120.0
"""A request is not retried if the server requires a longer delay."""
RETRYABLE_STATUSES = frozenset({408, 409, 429})
Getter = Callable[[], float]


def delay_after_status(
    status: int, headers: Mapping[str, str], retries: int, *, now: Getter = time.time, random: Getter = random.random
) -> float | None:
    """Seconds to wait before the next attempt, None for no retry. `retries` counts the retries already made.

    `headers` is looked up by lower-case names; `now` is Unix time; `random` returns numbers from 0 to 1.
    """
    requested = retry_after(headers, now=now)
    if requested is not None and requested > MAX_RETRY_AFTER_SECONDS:
        return None
    should_retry = headers.get("x-should-retry", "").strip().lower()
    retryable = should_retry == "true" or (should_retry != "false" and (status in RETRYABLE_STATUSES or status >= 500))
    if not retryable:
        return None
    return backoff(retries, random=random) if requested is None else max(0.0, requested)


def retry_after(headers: Mapping[str, str], *, now: Getter = time.time) -> float | None:
    """Seconds from `retry-after-ms`, else `retry-after` (seconds or an HTTP date); None if missing or invalid."""
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers[name]) / per_second
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return seconds
    if not headers.get("retry-after"):
        return None
    from email.utils import mktime_tz, parsedate_tz  # noqa: PLC0415  # slow to import, rarely needed

    date = parsedate_tz(headers["retry-after"])
    try:
        return None if date is None else mktime_tz(date) - now()
    except (ValueError, OverflowError):
        return None


def backoff(retries: int, *, random: Getter = random.random) -> float:
    """0.5 s, doubled with each retry up to 8 s, minus a random share of up to a quarter."""
    return min(INITIAL_BACKOFF_SECONDS * 2.0 ** min(retries, 10), MAX_BACKOFF_SECONDS) * (1 - JITTER * random())
