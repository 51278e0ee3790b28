"""Limits of one project and of one client address in this process, so that none can starve the others."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filestead.api.http.errors import ApiError, ErrorResponse

MAX_TRACKED_ADDRESSES = 10_000
"""Addresses whose wrong keys are counted; beyond it, the least recently counted one is dropped."""
WRONG_KEY_BURST = 200


class ProjectShares:
    """Limits what is in use at a time: `total` in this process, `per_project` for one project."""

    def __init__(self, total: int, per_project: int, what: str) -> None:
        """`what` begins the messages, as in "Too many concurrent uploads"."""
        self._total = total
        self._per_project = per_project
        self._what = what
        self._by_project: dict[str, int] = {}
        self._in_use = 0

    def take(self, project_id: str, amount: int = 1) -> None:
        """Use some. Raises `ApiError`: 503 if there is not enough, 429 if the project would exceed its share."""
        if self._in_use + amount > self._total:
            message = f"{self._what}. Please try again in a moment."
            raise ApiError(ErrorResponse(503, message, headers={"retry-after": "1"}))
        used = self._by_project.get(project_id, 0) + amount
        if used > self._per_project:
            message = f"{self._what}: the limit of a project is {self._per_project}. Please try again."
            raise ApiError(ErrorResponse(429, message, None, "rate_limit_exceeded", "requests", {"retry-after": "1"}))
        self._in_use += amount
        self._by_project[project_id] = used

    def give_back(self, project_id: str, amount: int = 1) -> None:
        """Undo `take`."""
        self._in_use -= amount
        left = self._by_project.get(project_id, 0) - amount
        if left:
            self._by_project[project_id] = left
        else:
            self._by_project.pop(project_id, None)

    @contextmanager
    def slot(self, project_id: str) -> Iterator[None]:
        """Use one within the block."""
        self.take(project_id)
        try:
            yield
        finally:
            self.give_back(project_id)


class WrongKeyLimiter:
    """Limits requests with wrong keys by client address: a burst of `WRONG_KEY_BURST`, then a rate (GCRA).

    Requests with valid keys are neither counted nor rejected, so a shared address is not locked out.
    """

    def __init__(self, per_minute: int, *, monotonic: Callable[[], float]) -> None:
        """A `per_minute` of 0 disables the limit."""
        self._interval = 60 / per_minute if per_minute else 0.0
        self._monotonic = monotonic
        self._arrivals: OrderedDict[str, float] = OrderedDict()

    def record(self, address: str) -> ErrorResponse | None:
        """Count a wrong key. Return the error response if the limit is exceeded; such a request is not counted."""
        now = self._monotonic()
        arrival = max(self._arrivals.get(address, 0.0), now)
        wait = arrival + self._interval * (1 - WRONG_KEY_BURST) - now
        if wait > 0:
            return _too_many_wrong_keys(math.ceil(wait))
        self._arrivals[address] = arrival + self._interval
        self._arrivals.move_to_end(address)
        if len(self._arrivals) > MAX_TRACKED_ADDRESSES:
            self._arrivals.popitem(last=False)
        return None


def _too_many_wrong_keys(seconds: int) -> ErrorResponse:
    message = f"Too many requests with incorrect API keys from your address. Please try again in {seconds}s."
    return ErrorResponse(429, message, None, "rate_limit_exceeded", "requests", {"retry-after": str(seconds)})
