"""Whether and when a request is sent again: the policy of the official Python SDK, as pure functions.

One reading of it is ours: a `Retry-After` of zero, or one that has passed, is no wait.
"""

import math
import time
from collections.abc import Callable, Mapping

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 8.0
JITTER = 0.25
PATIENCE_SECONDS = 120.0
"""A server that asks for more is not waited for."""

RETRIED = frozenset({408, 409, 429})


def delay_after_status(
    status: int, headers: Mapping[str, str], retries: int, *, now: Callable[[], float], random: Callable[[], float]
) -> float | None:
    """Seconds to wait before the next try, None for no other try. `retries` counts those already made.

    `headers` is asked by lower-case names; `now` is Unix time; `random` gives numbers from 0 to 1.
    """
    asked = retry_after(headers, now=now)
    if asked is not None and asked > PATIENCE_SECONDS:
        return None
    told = headers.get("x-should-retry", "").strip().lower()
    wanted = told == "true" or (told != "false" and (status in RETRIED or status >= 500))
    if not wanted:
        return None
    return backoff(retries, random=random) if asked is None else max(0.0, asked)


def retry_after(headers: Mapping[str, str], *, now: Callable[[], float] = time.time) -> float | None:
    """What the server asks for: `retry-after-ms`, else `retry-after` in seconds or as an HTTP date; None for junk."""
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers[name]) / per_second
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return seconds
    if not headers.get("retry-after"):
        return None
    from email.utils import mktime_tz, parsedate_tz  # noqa: PLC0415  # slow to import, and seldom needed

    date = parsedate_tz(headers["retry-after"])
    try:
        return None if date is None else mktime_tz(date) - now()
    except (ValueError, OverflowError):
        return None


def backoff(retries: int, *, random: Callable[[], float]) -> float:
    """0.5 s, doubled with each retry up to 8 s, less up to a quarter so that clients do not march in step."""
    return min(FIRST_SECONDS * 2.0 ** min(retries, 10), LONGEST_SECONDS) * (1 - JITTER * random())
