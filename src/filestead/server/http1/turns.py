"""Requests that were sent before the one in front of them was answered take turns, a few in each turn of the loop.

A connection can leave hundreds of them at once. Without this, each turn of the event loop would answer one for every
such connection, and takes one new connection: 600 kept a question about the server's health waiting for 14 s.
"""

import asyncio
from collections import deque
from collections.abc import Callable

AT_ONCE = 16


class Turns:
    """Of the connections of one event loop, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._handle: asyncio.Handle | None = None

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` when it is this connection's turn, in a later turn of the loop."""
        self._waiting.append(go_on)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._take)

    def _take(self) -> None:
        count = min(AT_ONCE, len(self._waiting))
        self._handle = asyncio.get_running_loop().call_soon(self._take) if count < len(self._waiting) else None
        for _ in range(count):
            self._waiting.popleft()()
