"""What the C library keeps of freed memory is bounded, and memory of closed connections is returned to the system.

Python and the C library keep tens of megabytes of freed memory until they are asked to release it. Without
`malloc_trim` in the C library (musl, macOS) only Python's share is released.
"""

import asyncio
import ctypes
import gc
import os
from collections.abc import Callable

RECLAIM_AFTER_CLOSED = 200
"""Connections that must have closed since the peak: so many may have left 10 MiB or more."""

DELAY_SECONDS = 1.0
"""More connections are likely to close at the same time."""

MAX_ARENAS = 2
"""By default glibc has eight for each core, and each keeps what its threads needed at most: 30 MiB more after eight
minutes of mixed load, and no less processor time."""

_M_ARENA_MAX = -8
_malloc_trim: Callable[[int], int] = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)
_mallopt: Callable[[int, int], int] = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)


def limit_arenas() -> None:
    """Let all threads share a few heaps, unless the environment names a number. Call it before there are threads."""
    if "MALLOC_ARENA_MAX" not in os.environ:
        _mallopt(_M_ARENA_MAX, MAX_ARENAS)


def freeze_heap() -> None:
    """Exclude all objects made so far from garbage collection, and enable it, if the start has paused it.

    A full collection then takes 2 ms instead of 50. There is none before: garbage of a start is 1 MiB, which stays.
    """
    gc.freeze()
    gc.enable()


class MemoryReclaimer:
    """Reclaims the memory of one process with one event loop."""

    def __init__(self) -> None:
        self._peak = 0
        self._open = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_closed(self, open_connections: int) -> None:
        """Schedule a reclaim if many connections have closed since the peak."""
        self._peak = max(self._peak, open_connections)
        self._open = open_connections
        if self._timer is None and self._peak - open_connections >= RECLAIM_AFTER_CLOSED:
            self._timer = asyncio.get_running_loop().call_later(DELAY_SECONDS, self._reclaim)

    def _reclaim(self) -> None:
        self._timer = None
        self._peak = self._open
        gc.collect()  # also empties the free lists, each of which keeps a megabyte
        _malloc_trim(0)
