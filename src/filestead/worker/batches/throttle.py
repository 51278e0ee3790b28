"""Lines of batches give way to the HTTP requests of their process, which share its event loop and interpreter lock.

Against a fast model server the lines alone would keep both busy: each step of a request would wait for several lines,
and each thread that serves it for the lock.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator

TURN_LINES = 12
TURN_SECONDS = 0.016
"""While the process serves requests, so many lines are sent at once, and then none for so long: 750 a second, more
than most models respond to. Most requests meet no line, and lines that follow each other cost the least."""
LONG_SECONDS = 0.25
"""A request counts for so long at most: after that it transfers a large body, or waits for news."""
LINGER_SECONDS = 0.005
"""A client that sends one request after the other sends the next within this time."""


class Throttle:
    """Knows whether the process serves requests, and allows so many lines a second while it does."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic."""
        self._clock = clock
        self._numbers = itertools.count()
        self._requests: dict[int, float] = {}
        """When each request in progress began, the latest last."""
        self._until = 0.0
        self._lines = 0
        """Left of the turn."""
        self._turn_ends = 0.0

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Within the block the process serves a request."""
        number, began = next(self._numbers), self._clock()
        self._requests[number] = began
        self._until = began + LONG_SECONDS
        try:
            yield
        finally:
            del self._requests[number]
            latest = next(reversed(self._requests.values()), began - LONG_SECONDS)
            self._until = max(latest + LONG_SECONDS, self._clock() + LINGER_SECONDS)

    def is_busy(self) -> bool:
        """Whether the process serves requests, or did a moment ago."""
        return self._clock() < self._until

    def seconds_to_line(self) -> float:
        """Seconds until one more line may be sent; 0 if it may be now."""
        now = self._clock()
        if now >= min(self._until, self._turn_ends):
            self._lines = TURN_LINES
            self._turn_ends = now + TURN_SECONDS
        return 0.0 if self._lines else self._turn_ends - now

    def count_line(self) -> None:
        """Count a line that is sent."""
        self._lines -= 1
