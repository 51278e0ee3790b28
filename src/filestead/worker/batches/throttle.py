"""Lines of batches give way to the HTTP requests of their process, which share its event loop and interpreter lock.

Against a fast model server the lines alone would keep both busy: each step of a request would wait for several lines,
and each thread that serves it for the lock.
"""

from collections.abc import Callable

LINES_PER_SECOND = 2_000.0
"""Of a process while it serves requests; far more than a model server with a real model responds to."""
BURST_LINES = 2.0
PAUSE_SECONDS = 0.001
"""How long the dispatcher waits when the throttle allows no line; timers of the event loop are not finer."""
LONG_SECONDS = 0.25
"""A request counts for so long at most: it transfers a large body, or waits for news."""
LINGER_SECONDS = 0.005
"""A client that sends one request after the other sends the next within this time."""


class Throttle:
    """Knows whether the process serves requests, and allows so many lines a second while it does."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` is monotonic."""
        self._clock = clock
        self._requests = 0
        self._until = 0.0
        self._lines = 0.0
        self._counted_at = 0.0

    def request_began(self) -> None:
        """Count a request."""
        self._requests += 1
        self._until = self._clock() + LONG_SECONDS

    def request_ended(self) -> None:
        """Forget a request."""
        self._requests -= 1
        if not self._requests:
            self._until = min(self._until, self._clock() + LINGER_SECONDS)

    def count_line(self) -> None:
        """Count a line that is sent."""
        self._lines -= 1

    def allows(self) -> bool:
        """Whether one more line may be sent now."""
        now = self._clock()
        if now >= self._until:
            self._lines = BURST_LINES
        else:
            self._lines = min(BURST_LINES, self._lines + (now - self._counted_at) * LINES_PER_SECOND)
        self._counted_at = now
        return self._lines >= 1
