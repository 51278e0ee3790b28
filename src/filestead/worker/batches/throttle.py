"""Lines of batches give way to the HTTP requests of their process, which share its event loop and interpreter lock.

Against a fast model server the lines alone would keep both busy: each step of a request would wait for several lines,
and each thread that serves it for the lock.
"""

import itertools
from collections.abc import Callable

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

    def request(self) -> "ServedRequest":
        """Make a block, within which the process serves a request."""
        return ServedRequest(self)

    def begin(self, number: int) -> float:
        """Note that a request begins; returns when."""
        began = self._clock()
        self._requests[number] = began
        self._until = began + LONG_SECONDS
        return began

    def end(self, number: int, began: float) -> None:
        """Note the end of a request."""
        del self._requests[number]
        latest = next(reversed(self._requests.values()), began - LONG_SECONDS)
        self._until = max(latest + LONG_SECONDS, self._clock() + LINGER_SECONDS)

    def new_number(self) -> int:
        """A number that no other request has."""
        return next(self._numbers)

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


class ServedRequest:
    """The block of a request. A class, since every request has one: a generator takes twice as long."""

    __slots__ = ("_began", "_number", "_throttle")

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle

    def __enter__(self) -> None:
        self._number = self._throttle.new_number()
        self._began = self._throttle.begin(self._number)

    def __exit__(self, *_: object) -> None:
        self._throttle.end(self._number, self._began)
