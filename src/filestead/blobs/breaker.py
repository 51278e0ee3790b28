"""A circuit breaker: fails calls to an unavailable store at once instead of waiting for each one to time out."""

from collections.abc import Callable

from filestead.domain.errors import BlobStoreUnavailable

FAILURE_THRESHOLD = 2
"""Consecutive failures that open the breaker; a single one may be due to one bad object."""

RESET_TIMEOUT = 2.0
"""Seconds between two trial calls while the breaker is open."""


class Breaker:
    """Closed while calls succeed. While open, it admits one trial call per `RESET_TIMEOUT` and rejects all others."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
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
        self._failures = 0

    def record_failure(self) -> None:
        """Count a call that found the store unavailable after its own retries."""
        self._failures += 1
        self._next_trial = self._monotonic() + RESET_TIMEOUT
