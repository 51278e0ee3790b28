"""What a crowd of connections took of the memory goes back to the system when the crowd has gone.

Python and the C library keep tens of megabytes of what is freed for themselves until they are told to let go. Where the
C library has no `malloc_trim` (musl, macOS) only Python's part is given back.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable

CROWD = 200
"""Connections fewer than there have been: those may have left 10 MiB or more."""

DELAY_SECONDS = 1.0
"""More will leave at the same time."""


def _find_trim() -> Callable[[int], int]:
    return getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)


TRIM = _find_trim()


def freeze() -> None:
    """Call when everything that stays has been made: full collections leave it out, and take 2 ms instead of 50."""
    gc.collect()
    gc.freeze()


class Heap:
    """The memory of a process with one event loop."""

    def __init__(self) -> None:
        self._most = 0
        self._now = 0
        self._timer: asyncio.TimerHandle | None = None

    def count(self, connections: int) -> None:
        """Call when a connection has ended, with how many there are now."""
        self._most = max(self._most, connections)
        self._now = connections
        if self._timer is None and self._most - connections >= CROWD:
            self._timer = asyncio.get_running_loop().call_later(DELAY_SECONDS, self._give_back)

    def _give_back(self) -> None:
        self._timer = None
        self._most = self._now
        gc.collect()  # which empties the lists of free objects, each of which keeps a megabyte
        TRIM(0)
