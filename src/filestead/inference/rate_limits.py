"""What is left of the rate limits of an endpoint, by the headers of its responses. Pure logic with a clock passed in.

Source: the headers `x-ratelimit-limit-*`, `-remaining-*` and `-reset-*` of the hosted service, for requests and tokens.
`reset` is the time until the whole limit is available again, so that (limit - remaining) / reset is what comes back a
second. Servers that count in fixed windows give nothing back before; a refusal tells the two apart.
"""

import math
import re
from collections.abc import Callable, Mapping

KINDS = ("requests", "tokens")
MAX_RESET_SECONDS = 86_400.0
"""A longer time, such as a Unix time taken for a duration, is ignored."""

MAX_WAIT_SECONDS = 60.0
"""At least one request is sent in this time, whatever the headers say."""

DISTRUST_SECONDS = 600.0
"""How long headers are ignored after a request was accepted in spite of them, and how long a window is assumed."""

COST_WEIGHT = 0.2
MAX_COST = 20.0
"""What a request may cost, by what it used: services count the largest output that it allows, and other clients."""

_NUMBER = re.compile(r"[0-9]{1,12}")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?")
_DURATION = re.compile(
    r"(?=[0-9])(?:([0-9]{1,4})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,6})m(?!s))?(?:([0-9]{1,9}(?:\.[0-9]{0,9})?)s)?"
    r"(?:([0-9]{1,9}(?:\.[0-9]{0,9})?)ms)?"
)
_UNITS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


def duration(text: str | None) -> float | None:
    """Seconds of a text such as `6m0s`, `1.5s`, `20ms` or `7`; None if it is something else or more than a day."""
    if text is None or len(text) > 64:
        return None
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    elif (matched := _DURATION.fullmatch(text)) is not None:
        seconds = sum(float(part) * unit for part, unit in zip(matched.groups(), _UNITS, strict=True) if part)
    else:
        return None
    return seconds if seconds <= MAX_RESET_SECONDS else None


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


class RateLimits:
    """The limits of one model of an endpoint, and the requests that were sent under them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns seconds."""
        self._clock = clock
        self._allowances = {kind: Allowance() for kind in KINDS}
        self._is_known = False
        self._acquired = 0
        self._sent = 0
        self._acquired_at = -math.inf

    def acquire(self) -> None:
        """Count a request that will be sent."""
        self._acquired += 1
        self._acquired_at = self._clock()

    def give_back(self) -> None:
        """Undo `acquire`."""
        self._acquired -= 1

    def begin(self) -> int:
        """Note that one of these requests, or one beside them, is sent now. Returns its number, for `observe`."""
        self._sent += 1
        self._acquired = max(self._acquired, self._sent)
        return self._sent

    def seconds_to_wait(self) -> float:
        """Seconds until the next request should be sent; 0 if it may be sent now."""
        if not self._is_known:
            return 0.0
        now = self._clock()
        wait = max(allowance.seconds_to_wait(now, self._acquired) for allowance in self._allowances.values())
        return wait if wait <= 0 else max(0.0, min(wait, self._acquired_at + MAX_WAIT_SECONDS - now))

    def observe(
        self, number: int, began: float, headers: Mapping[str, str], *, is_busy: bool, tokens: float = 0.0
    ) -> None:
        """Take the headers of a response; names are in lower case. `tokens` is what the request used, if known."""
        stated: list[Allowance] = []
        for kind, allowance in self._allowances.items():
            remaining = _count(headers.get(f"x-ratelimit-remaining-{kind}"))
            reset = duration(headers.get(f"x-ratelimit-reset-{kind}"))
            if remaining is None or reset is None:
                continue
            self._is_known = True
            stated.append(allowance)
            limit = _count(headers.get(f"x-ratelimit-limit-{kind}"))
            allowance.observe(
                number,
                began,
                self._clock(),
                remaining,
                reset,
                acquired=self._acquired,
                limit=limit,
                used=1.0 if kind == "requests" else tokens,
                is_busy=is_busy,
            )
        if is_busy and stated:
            min(stated, key=Allowance.share_left).exhaust()


class Allowance:
    """What is left of one limit.

    A response says what was left when its request was admitted; requests that were sent later are subtracted. What one
    request costs is learned from the differences, so that the costs of other clients are shared.
    """

    def __init__(self) -> None:
        self._number = 0
        """Of the request that `_remaining` is about."""
        self._remaining: float | None = None
        self._at = 0.0
        """When that request was sent."""
        self._acquired = math.inf
        """How many requests there were when this was said: later ones were sent in view of it."""
        self._limit = 0.0
        """The largest number that was left, if no limit is stated."""
        self._rate = 0.0
        """What comes back a second; 0 in fixed windows."""
        self._reset_at = math.inf
        self._cost: float | None = None
        self._window_until = self._ignored_until = -math.inf

    def seconds_to_wait(self, now: float, acquired: int) -> float:
        """Seconds until there is enough for one more request after the `acquired` ones."""
        if self._remaining is None or now < self._ignored_until:
            return 0.0
        if now >= self._reset_at and not self._rate:
            if not self._limit:
                return 0.0
            self._number, self._remaining, self._at, self._reset_at = acquired, self._limit, now, math.inf
        cost = self._cost or 1.0
        missing = cost - self._left(now, acquired)
        if missing <= 0:
            return 0.0
        return missing / self._rate if self._rate else self._reset_at - now

    def share_left(self) -> float:
        """What a response said was left, by the limit."""
        return (self._remaining or 0.0) / self._limit if self._limit else 0.0

    def exhaust(self) -> None:
        """Note that what is left was not enough."""
        self._remaining = 0.0

    def _left(self, now: float, number: int) -> float:
        """What is left after a number of requests."""
        assert self._remaining is not None
        spent = (number - self._number) * (self._cost or 1.0)
        return min(self._limit, self._remaining + self._rate * max(0.0, now - self._at)) - spent

    def observe(
        self,
        number: int,
        began: float,
        now: float,
        remaining: int,
        reset: float,
        *,
        acquired: int,
        limit: int | None,
        used: float,
        is_busy: bool,
    ) -> None:
        """Take what a response to a request says that was sent at `began`."""
        if number <= self._number and not is_busy:
            return
        if number > self._acquired:
            self._compare(number, began, now, is_busy=is_busy)
        if not is_busy:
            self._learn_cost(number, began, remaining, used)
        self._number, self._remaining, self._at = max(number, self._number), remaining, began
        self._acquired = acquired
        self._limit = max(float(limit) if limit else self._limit, remaining)
        self._rate = (limit - remaining) / reset if limit and limit > remaining and reset > 0 else 0.0
        if now < self._window_until:
            self._rate = 0.0
        self._reset_at = now + reset

    def _compare(self, number: int, began: float, now: float, *, is_busy: bool) -> None:
        """Compare what came of a request with what was left by the headers when it was sent."""
        if is_busy:
            if self._rate and self._left(began, number - 1) >= (self._cost or 1.0):
                self._window_until = now + DISTRUST_SECONDS
        elif self.seconds_to_wait(began, number - 1) > MAX_WAIT_SECONDS:
            self._ignored_until = now + DISTRUST_SECONDS

    def _learn_cost(self, number: int, began: float, remaining: int, used: float) -> None:
        found = used
        if self._remaining is not None and began < self._reset_at and number > self._number:
            before = min(self._limit, self._remaining + self._rate * max(0.0, began - self._at))
            most = MAX_COST * max(used, 1.0)
            found = max(min((before - remaining) / (number - self._number), most), found, 1.0)
        if found > 0:
            self._cost = found if self._cost is None else self._cost + COST_WEIGHT * (found - self._cost)
