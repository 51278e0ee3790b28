"""A semaphore that counts bytes: it bounds the memory of all uploads together."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator


class ByteSemaphore:
    """`size` bytes, granted in the order of the calls."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._first = asyncio.Lock()  # its waiters queue in order: whoever holds it is next to get bytes
        self._released = asyncio.Event()

    @contextlib.asynccontextmanager
    async def hold(self, size: int) -> AsyncGenerator[None]:
        """Hold `size` bytes within the block."""
        async with self._first:
            while self._free < size:
                self._released.clear()
                await self._released.wait()
            self._free -= size
        try:
            yield
        finally:
            self._free += size
            self._released.set()
