"""Lines of batches give way to the HTTP requests of their process, which share its event loop and interpreter lock.

Against a fast model server the lines alone would keep both busy: each step of a request would wait for several lines,
and each thread that serves it for the lock.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator

LINES_PER_SECOND = 1_000.0
"""Of a process while it serves requests; most models respond to far fewer."""
BURST_LINES = 2.0
PAUSE_SECONDS = 0.001
"""How long the dispatcher waits when the throttle allows no line; timers of the event loop are not finer."""
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
        self._lines = 0.0
        self._counted_at = 0.0

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

    def allows(self) -> bool:
        """Whether one more line may be sent now."""
        now = self._clock()
        if now >= self._until:
            self._lines = BURST_LINES
        else:
            self._lines = min(BURST_LINES, self._lines + (now - self._counted_at) * LINES_PER_SECOND)
        self._counted_at = now
        return self._lines >= 1

    def count_line(self) -> None:
        """Count a line that is sent."""
        self._lines -= 1
