"""How many requests are in flight: pure logic, with a clock passed in."""

from collections.abc import Callable
from dataclasses import dataclass


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


class Limiter:
    """The places of one endpoint and model."""

    limit: int
    in_flight: int

    def __init__(self, clock: Callable[[], float], *, ceiling: int = 256, max_bytes: int | None = None) -> None:
        raise NotImplementedError

    def try_acquire(self, size: int = 0) -> bool:
        """Take a place for a request of `size` bytes, if there is one now."""
        raise NotImplementedError

    def release(self, outcome: Outcome) -> None:
        """Return a place."""
        raise NotImplementedError

    def pause_until(self, time: float) -> None:
        """Give no places until a time of the clock."""
        raise NotImplementedError

    def seconds_to_wait(self) -> float:
        """The remaining seconds of a pause."""
        raise NotImplementedError
