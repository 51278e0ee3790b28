"""A circuit breaker: fails calls to an unavailable store at once instead of waiting for each one to time out."""

from collections.abc import Callable
from typing import Protocol

from filestead.domain.errors import BlobStoreUnavailable
from filestead.domain.observation import UNOBSERVED

FAILURE_THRESHOLD = 2
"""Consecutive failures that open the breaker; a single one may be due to one bad object."""

RESET_TIMEOUT = 2.0
"""Seconds between two trial calls while the breaker is open."""


class BreakerObserver(Protocol):
    """Called when a breaker opens or closes."""

    def __call__(self, *, is_open: bool) -> None:
        """Receive the new state."""


class Breaker:
    """Closed while calls succeed. While open, it admits one trial call per `RESET_TIMEOUT` and rejects all others."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.changed: BreakerObserver = UNOBSERVED.breaker
        self._failures = 0
        self._next_trial = 0.0

    def require_closed(self) -> None:
        """Raise `BlobStoreUnavailable` while the breaker is open, except for the trial call."""
        if self._failures < FAILURE_THRESHOLD:
            return
        now = self._monotonic()
        if now < self._next_trial:
            raise BlobStoreUnavailable("the object store does not respond; it will be retried within seconds")
        self._next_trial = now + RESET_TIMEOUT

    def record_success(self) -> None:
        """Close the breaker: the store responded."""
        if self._failures >= FAILURE_THRESHOLD:
            self.changed(is_open=False)
        self._failures = 0

    def record_failure(self) -> None:
        """Count a call that found the store unavailable after its own retries."""
        self._failures += 1
        if self._failures == FAILURE_THRESHOLD:
            self.changed(is_open=True)
        self._next_trial = self._monotonic() + RESET_TIMEOUT
