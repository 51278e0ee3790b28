"""What one project or one address may take of a process, so that the others find something left."""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filestead.api.http.errors import Answer, RequestError

ADDRESSES = 10_000
"""Addresses that are remembered for their wrong keys; beyond, the one that was heard of longest ago is forgotten."""
WRONG_KEYS_AT_ONCE = 200


class UploadSlots:
    """The uploads that stream at once: `total` in this process, of which one project has at most `per_project`."""

    def __init__(self, total: int, per_project: int) -> None:
        self._total = total
        self._per_project = per_project
        self._by_project: Counter[str] = Counter()
        self._taken = 0

    @contextmanager
    def take(self, project_id: str) -> Iterator[None]:
        """Hold a slot. Raises `RequestError`: 503 when all are taken, 429 when the project has its share."""
        if self._taken >= self._total:
            raise RequestError(
                Answer(503, "Too many uploads at once. Please try again in a moment.", headers={"retry-after": "1"})
            )
        if self._by_project[project_id] >= self._per_project:
            message = f"Your project has {self._per_project} uploads under way, its most. Please try again in a moment."
            raise RequestError(Answer(429, message, None, "rate_limit_exceeded", "requests", {"retry-after": "1"}))
        self._taken += 1
        self._by_project[project_id] += 1
        try:
            yield
        finally:
            self._taken -= 1
            self._by_project[project_id] -= 1
            if not self._by_project[project_id]:
                del self._by_project[project_id]


class WrongKeys:
    """Counts requests with wrong keys by address: `WRONG_KEYS_AT_ONCE`, then so many a minute (GCRA).

    Right keys are never counted nor refused, so an address that many clients share is not locked out.
    """

    def __init__(self, per_minute: int, *, monotonic: Callable[[], float]) -> None:
        """`per_minute` 0 means no limit."""
        self._interval = 60 / per_minute if per_minute else 0.0
        self._monotonic = monotonic
        self._arrivals: OrderedDict[str, float] = OrderedDict()

    def count(self, address: str) -> Answer | None:
        """Count one; the refusal if there have been too many, which is not counted."""
        now = self._monotonic()
        arrival = max(self._arrivals.get(address, 0.0), now)
        wait = arrival + self._interval * (1 - WRONG_KEYS_AT_ONCE) - now
        if wait > 0:
            return _too_many_wrong_keys(math.ceil(wait))
        self._arrivals[address] = arrival + self._interval
        self._arrivals.move_to_end(address)
        if len(self._arrivals) > ADDRESSES:
            self._arrivals.popitem(last=False)
        return None


def _too_many_wrong_keys(seconds: int) -> Answer:
    message = f"Too many requests with incorrect API keys from your address. Please try again in {seconds}s."
    return Answer(429, message, None, "rate_limit_exceeded", "requests", {"retry-after": str(seconds)})
