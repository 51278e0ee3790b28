"""What happens to the bytes of an upload on their way to the store: counted, limited, hashed, checked."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from filestead.domain.errors import FileTooLarge
from filestead.domain.validation import LineChecks

BLOCK_BYTES = 128 * 1024
"""Bytes travel in blocks of this size: large enough for cheap thread hops, small enough for many uploads at once."""

INLINE_BYTES = 16 * 1024
"""Up to this size hashing costs less than a thread hop."""

Submit = Callable[..., "asyncio.Future[Any]"]
"""Run a function on a worker thread: `submit(function, *args)`."""


class Meter:
    """Watches one upload. `size` and `sha256` are final when `measure` has been exhausted."""

    def __init__(self, limit: int, checks: LineChecks, submit: Submit) -> None:
        self.size = 0
        self.checks = checks
        self._limit = limit
        self._hash = hashlib.sha256()
        self._submit = submit

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of what has passed."""
        return self._hash.hexdigest()

    def require_at_most(self, limit: int) -> None:
        """`FileTooLarge` if more bytes have passed."""
        if self.size > limit:
            raise FileTooLarge(limit)

    async def measure(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Pass the chunks on in blocks. Hashing and checking one overlaps with storing it and receiving the next."""
        work: asyncio.Future[Any] | None = None
        async for block in _blocks(chunks):
            self.size += len(block)
            self.require_at_most(self._limit)
            if work is not None:
                await work
            if self.size <= INLINE_BYTES:
                self._absorb(block)
            else:
                work = self._submit(self._absorb, block)
            yield block
        if work is not None:
            await work
        self.checks.finish()

    def _absorb(self, block: bytes) -> None:
        self._hash.update(block)
        self.checks.feed(block)


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in blocks of at least `BLOCK_BYTES` (but the last)."""
    waiting: list[bytes] = []
    size = 0
    async for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= BLOCK_BYTES:
            block = b"".join(waiting) if len(waiting) > 1 else chunk
            waiting.clear()  # before the block goes out, so that nothing is held twice
            size = 0
            yield block
    if waiting:
        yield b"".join(waiting)
