"""A circuit breaker: a store that is down is not waited for again and again, and found well again soon."""

from collections.abc import Callable

from filestead.domain.errors import StoreUnavailable

THRESHOLD = 2
"""So many failures in a row open it; one may be a single bad object."""

REST_SECONDS = 2.0


class Breaker:
    """Closed while calls work; open, it lets one call through every `REST_SECONDS` and refuses the others at once."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._failures = 0
        self._next_trial = 0.0

    def require_closed(self) -> None:
        """`StoreUnavailable` while it is open, but for the one call that tries the store again."""
        if self._failures < THRESHOLD:
            return
        now = self._monotonic()
        if now < self._next_trial:
            raise StoreUnavailable("the object store does not answer; it is tried again within seconds")
        self._next_trial = now + REST_SECONDS

    def worked(self) -> None:
        """A call came through."""
        self._failures = 0

    def failed(self) -> None:
        """A call found the store unavailable, its own retries included."""
        self._failures += 1
        self._next_trial = self._monotonic() + REST_SECONDS
