"""Whether the database's clock can be believed: what is removed for good waits until it has been steady.

The clock of the database says what is expired. If it jumps ahead, files expire that have days left, and removing them
would be final. So each sweep compares it with a clock that only runs forward, and what cannot be undone goes by the
*proven* time: the clock of the database less what it has jumped. Times are in microseconds, unless a name says more.

What is not seen: a jump of less than `TOLERANCE_SECONDS`, and one across a pause in which no process was sweeping if
the pause seems to have lasted no longer than `PAUSE_SECONDS`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

QUARANTINE_SECONDS = 86_400
TOLERANCE_SECONDS = 10
"""More than a statement may be late by (6 s), and less than what is left of the lease of a live upload (90 s)."""

PAUSE_SECONDS = 86_400
LONGEST_LEASE_SECONDS = 86_400
"""No lease is given for longer. One that ends later was given by a clock that has gone back since."""

_TOLERANCE = TOLERANCE_SECONDS * 1_000_000


@dataclass(frozen=True, slots=True)
class ClockState:
    """What a sweep has found out about the clock; all nodes share the last one."""

    seen_us: int
    """What the clock said."""
    proven_us: int
    """What it would say if it had not jumped; equal to `seen_us` while it is believed."""
    jumped_us: int | None = None
    """The proven time at which it jumped; None while it is believed."""

    @property
    def doubt_us(self) -> int:
        """How far the clock is ahead of what is proven."""
        return self.seen_us - self.proven_us


def since_boot() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the machine sleeps, where there is one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class ClockWatch:
    """Judges the readings of one process. `monotonic` gives seconds and is never set."""

    def __init__(
        self, quarantine_seconds: float = QUARANTINE_SECONDS, monotonic: Callable[[], float] = since_boot
    ) -> None:
        self._quarantine_seconds = quarantine_seconds
        self.monotonic = monotonic
        self._last: tuple[ClockState, float] | None = None

    def remember(self, state: ClockState, read_at: float) -> None:
        """This was found out by a reading at `read_at` on the monotonic clock, and is recorded."""
        self._last = state, read_at

    def judge(self, now_us: int, recorded: ClockState | None) -> ClockState:
        """What is to be thought of a reading, after what was `recorded` last by any node."""
        if recorded is None:
            return ClockState(now_us, now_us)
        # Never more than the clock says: one that goes back is believed at once, as nothing is removed early by it.
        proven = min(now_us, max(recorded.proven_us, self._expected(now_us, recorded)))
        doubt, jumped = now_us - proven, recorded.jumped_us
        if doubt <= _TOLERANCE:
            return ClockState(now_us, now_us)
        if jumped is None or abs(doubt - recorded.doubt_us) > _TOLERANCE:
            jumped = proven
        if proven - jumped >= self._quarantine_seconds * 1_000_000:
            return ClockState(now_us, now_us)
        return ClockState(now_us, proven, jumped)

    def _expected(self, now_us: int, recorded: ClockState) -> int:
        """The least that the time must be, by the clocks that are not set."""
        passed = now_us - recorded.seen_us
        if self._last is None:  # a process that has just begun knows of no time before it
            return recorded.proven_us + (passed if passed <= PAUSE_SECONDS * 1_000_000 else 0)
        last, then = self._last
        elapsed = round((self.monotonic() - then) * 1_000_000)
        if abs(now_us - last.seen_us - elapsed) <= _TOLERANCE:
            return recorded.proven_us + passed  # steady since, and so since another node has looked
        return last.proven_us + elapsed

    def news(self, before: ClockState | None, after: ClockState) -> str | None:
        """A line for the log: what the clock has done, or what this process finds when it begins; None for nothing."""
        if before is None:
            return None
        if after.seen_us < before.seen_us - _TOLERANCE:
            return f"the database's clock went back by {(before.seen_us - after.seen_us) / 1e6:.0f} seconds"
        if after.jumped_us is not None and (after.jumped_us != before.jumped_us or self._last is None):
            return (
                f"the database's clock is {after.doubt_us / 1e6:.0f} seconds ahead of the time that has passed: files "
                "that have expired by it are hidden, and their bytes are kept until it has been steady for "
                f"{self._quarantine_seconds:.0f} seconds (FILESTEAD_SWEEP_QUARANTINE)"
            )
        if before.jumped_us is not None and after.jumped_us is None:
            return "the database's clock has been steady and is believed again"
        return None
