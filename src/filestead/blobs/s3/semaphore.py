"""A semaphore that counts bytes: it bounds the memory of all uploads together."""

import asyncio
import collections
import contextlib
from collections.abc import AsyncGenerator


class ByteSemaphore:
    """`size` bytes, granted in the order of the calls.

    A waiter is a future. It is pending in the queue; done once `_grant` has taken its bytes and removed it; cancelled,
    and skipped by `_grant`, if its caller was cancelled first. A caller that is cancelled after the grant returns
    the bytes.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiters: collections.deque[tuple[int, asyncio.Future[None]]] = collections.deque()

    @contextlib.asynccontextmanager
    async def hold(self, size: int) -> AsyncGenerator[None]:
        """Hold `size` bytes within the block."""
        if self._waiters or self._free < size:
            granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((size, granted))
            try:
                await granted
            except asyncio.CancelledError:
                if granted.done() and not granted.cancelled():
                    self._free += size
                self._grant()
                raise
        else:
            self._free -= size
        try:
            yield
        finally:
            self._free += size
            self._grant()

    def _grant(self) -> None:
        while self._waiters and (self._waiters[0][1].cancelled() or self._free >= self._waiters[0][0]):
            size, granted = self._waiters.popleft()
            if not granted.done():
                self._free -= size
                granted.set_result(None)
