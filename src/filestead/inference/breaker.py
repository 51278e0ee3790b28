"""When requests stop because they cannot succeed, and when they start again. Pure logic with a clock passed in.

An endpoint that cannot be reached, and a key or a model that it refuses, are faults of a machine or a configuration: no
request is spent on them until a probe passes. Reasons name no key.
"""

import math
from collections.abc import Callable
from enum import Enum

UNREACHABLE_IN_A_ROW = 5
REFUSED_IN_A_ROW = 3
REFUSALS_OF_A_REQUEST = 3
KNOWN_REFUSED = 1024
"""Refused requests that are remembered; further ones are not told apart from refusals of the key or the model."""

MIN_PROBE_SECONDS = 1.0
MAX_PROBE_SECONDS = 60.0


class Verdict(Enum):
    """What a probe says."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It cannot tell; requests must."""


class Pause:
    """A stop with probes, whose intervals grow from 1 to 60 seconds."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], float]) -> None:
        """`clock` returns seconds; `now` returns Unix seconds, for people."""
        self._clock = clock
        self._now = now
        self._interval = MIN_PROBE_SECONDS
        self._probe_at = math.inf
        self.reason: str | None = None
        """Why; None while there is no stop."""
        self.since = 0.0
        """Unix seconds."""

    def begin(self, reason: str) -> bool:
        """Stop. Returns False if it was stopped before."""
        if self.reason is not None:
            return False
        self.reason = reason
        self.since = self._now()
        self._probe_at = self._clock() + self._interval
        return True

    def end(self) -> bool:
        """Start again. Returns False if it was not stopped. Intervals go on growing until `forgive`."""
        was_paused = self.reason is not None
        self.reason = None
        self._probe_at = math.inf
        return was_paused

    def forgive(self) -> None:
        """Start with short intervals the next time: requests succeed."""
        self._interval = MIN_PROBE_SECONDS

    def seconds_to_probe(self) -> float:
        """Seconds until the next probe is due; infinite if none is."""
        return max(0.0, self._probe_at - self._clock())

    def probed(self, verdict: Verdict) -> bool:
        """Take the result of a probe. Returns whether the stop ended by it."""
        if self.reason is None:
            return False
        is_last = self._interval >= MAX_PROBE_SECONDS
        self._interval = min(2 * self._interval, MAX_PROBE_SECONDS)
        if verdict is Verdict.PASSED or (verdict is Verdict.UNKNOWN and is_last):
            return self.end()
        self._probe_at = self._clock() + self._interval
        return False


class Breaker:
    """Of an endpoint: opens after 5 requests in a row that did not reach it."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], float]) -> None:
        self.pause = Pause(clock, now)
        self._in_a_row = 0

    @property
    def is_open(self) -> bool:
        """Whether no requests are to be sent."""
        return self.pause.reason is not None

    def record_reached(self) -> bool:
        """Count a response, of whatever kind. Returns whether the breaker closed by it."""
        self._in_a_row = 0
        self.pause.forgive()
        return self.pause.end()

    def record_unreachable(self, reason: str) -> bool:
        """Count a request that did not reach the endpoint. Returns whether the breaker opened by it."""
        self._in_a_row += 1
        return self._in_a_row >= UNREACHABLE_IN_A_ROW and self.pause.begin(f"it cannot be reached: {reason}")

    def describe(self) -> str | None:
        """Why it is open; None if it is closed."""
        return self.pause.reason


class Refusals:
    """Of one model of an endpoint: pauses after 3 equal refusals in a row, of the key or of the model."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], float]) -> None:
        self.pause = Pause(clock, now)
        self.status = 0
        """Of the refusals in a row."""
        self._in_a_row = 0
        self._accepted = 0
        self._refused: dict[str, tuple[int, int]] = {}
        """By request: how many were accepted before its first refusal, and how often it was refused."""

    @property
    def is_paused(self) -> bool:
        """Whether no requests are to be sent."""
        return self.pause.reason is not None

    def record_accepted(self) -> bool:
        """Count a request that was not refused. Returns whether the pause ended by it."""
        self._in_a_row = 0
        self._accepted += 1
        self.pause.forgive()
        return self.pause.end()

    def concerns_request(self, request: str) -> bool:
        """Count a refusal of this request; returns whether it says nothing of the key or the model.

        So it is when a request was refused three times, and others were accepted since the first: a gateway that
        filters contents, for example.
        """
        accepted, refusals = self._refused.pop(request, (self._accepted, 0))
        refusals += 1
        if refusals >= REFUSALS_OF_A_REQUEST and self._accepted > accepted:
            return True
        if len(self._refused) < KNOWN_REFUSED:
            self._refused[request] = accepted, refusals
        return False

    def forget_request(self, request: str) -> None:
        """Forget the refusals of a request that was accepted."""
        self._refused.pop(request, None)

    def record_refused(self, status: int, reason: str) -> bool:
        """Count a refusal. Returns whether the pause began by it."""
        self._in_a_row = self._in_a_row + 1 if status == self.status else 1
        self.status = status
        return self._in_a_row >= REFUSED_IN_A_ROW and self.pause.begin(reason)

    def probed(self, verdict: Verdict) -> bool:
        """Take the result of a probe. Returns whether the pause ended by it; three more refusals begin the next."""
        ended = self.pause.probed(verdict)
        if ended:
            self._in_a_row = 0
        return ended

    def describe(self) -> str | None:
        """Why it is paused; None if it is not."""
        return self.pause.reason
