"""Detection of jumps of the database's clock: nothing is deleted for good before the clock has been steady.

The clock of the database decides what has expired. If it jumps ahead, files expire that have days left, and deleting
them would be final. So each sweep compares it with a monotonic clock, and final steps use the *proven* time: the
database's clock without its jumps. Times are in microseconds, unless a name says otherwise.

Not detected: a jump of less than `TOLERANCE_SECONDS`, and a jump during a pause in which no process was sweeping, if
the pause seems to have lasted at most `PAUSE_SECONDS`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

QUARANTINE_SECONDS = 86_400
TOLERANCE_SECONDS = 10
"""More than the maximum delay of a statement (6 s), and less than the remaining lease of a live upload (90 s)."""

PAUSE_SECONDS = 86_400
LONGEST_LEASE_SECONDS = 86_400
"""Maximum length of a lease. One that ends later was granted before the clock was set back."""

_TOLERANCE = TOLERANCE_SECONDS * 1_000_000


@dataclass(frozen=True, slots=True)
class ClockState:
    """An observation of the clock by a sweep; all nodes share the latest."""

    seen_us: int
    """The reading of the clock."""
    proven_us: int
    """The reading without jumps; equal to `seen_us` while the clock is trusted."""
    jumped_us: int | None = None
    """The proven time of the jump; None while the clock is trusted."""

    @property
    def lead_us(self) -> int:
        """How far the clock is ahead of the proven time."""
        return self.seen_us - self.proven_us


def since_boot() -> float:
    """Seconds on a monotonic clock, which includes the time that the machine was suspended if the system has one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class ClockWatch:
    """Evaluates the readings of one process. `monotonic` returns seconds."""

    def __init__(
        self, quarantine_seconds: float = QUARANTINE_SECONDS, monotonic: Callable[[], float] = since_boot
    ) -> None:
        self._quarantine_seconds = quarantine_seconds
        self.monotonic = monotonic
        self._last: tuple[ClockState, float] | None = None

    def remember(self, state: ClockState, read_at: float) -> None:
        """Remember a recorded observation, made at `read_at` on the monotonic clock."""
        self._last = state, read_at

    def evaluate(self, now_us: int, recorded: ClockState | None) -> ClockState:
        """Evaluate a reading, given the last observation that any node `recorded`."""
        if recorded is None:
            return ClockState(now_us, now_us)
        # Never later than the clock: one that is set back is trusted at once, since nothing is deleted early by it.
        proven = min(now_us, max(recorded.proven_us, self._expected(now_us, recorded)))
        lead, jumped = now_us - proven, recorded.jumped_us
        if lead <= _TOLERANCE:
            return ClockState(now_us, now_us)
        if jumped is None or abs(lead - recorded.lead_us) > _TOLERANCE:
            jumped = proven
        if proven - jumped >= self._quarantine_seconds * 1_000_000:
            return ClockState(now_us, now_us)
        return ClockState(now_us, proven, jumped)

    def _expected(self, now_us: int, recorded: ClockState) -> int:
        """The earliest possible time, by the monotonic clocks."""
        passed = now_us - recorded.seen_us
        if self._last is None:  # a process that has just started has no earlier reading
            return recorded.proven_us + (passed if passed <= PAUSE_SECONDS * 1_000_000 else 0)
        last, then = self._last
        elapsed = round((self.monotonic() - then) * 1_000_000)
        if abs(now_us - last.seen_us - elapsed) <= _TOLERANCE:
            return recorded.proven_us + passed  # steady since, and so since the observation of another node
        return last.proven_us + elapsed

    def log_message(self, before: ClockState | None, after: ClockState) -> str | None:
        """A line for the log about a change of the clock, or its state at the start of this process; or None."""
        if before is None:
            return None
        if after.seen_us < before.seen_us - _TOLERANCE:
            return f"the database's clock went back by {(before.seen_us - after.seen_us) / 1e6:.0f} seconds"
        if after.jumped_us is not None and (after.jumped_us != before.jumped_us or self._last is None):
            return (
                f"the database's clock is {after.lead_us / 1e6:.0f} seconds ahead of the time that has passed: files "
                "that have expired by it are hidden, and their bytes are kept until it has been steady for "
                f"{self._quarantine_seconds:.0f} seconds (FILESTEAD_SWEEP_QUARANTINE)"
            )
        if before.jumped_us is not None and after.jumped_us is None:
            return "the database's clock has been steady and is trusted again"
        return None
