"""What happens to the bytes of an upload on their way to the store: counted, limited, hashed, checked."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from filestead.domain.errors import FileTooLarge
from filestead.domain.validation import LineChecks

SMALL_BLOCK = 128 * 1024
LARGE_BLOCK = 1024 * 1024
IN_BLOCKS = 2 * LARGE_BLOCK


def block_bytes(uploads: int) -> int:
    """How large the blocks are in which an upload travels while so many are under way.

    Large ones make few hops between threads, small ones little memory for many uploads at once.
    """
    return max(SMALL_BLOCK, min(LARGE_BLOCK, IN_BLOCKS // uploads))


INLINE_BYTES = 16 * 1024
"""Up to this size hashing costs less than a thread hop."""

Submit = Callable[..., "asyncio.Future[Any]"]
"""Run a function on a worker thread: `submit(function, *args)`."""


class Meter:
    """Watches one upload. `size` and `sha256` are final when `measure` has been exhausted."""

    def __init__(self, limit: int, checks: LineChecks, submit: Submit, block: int = SMALL_BLOCK) -> None:
        """Bytes are passed on in blocks of at least `block`."""
        self.size = 0
        self.checks = checks
        self._limit = limit
        self._hash = hashlib.sha256()
        self._submit = submit
        self._block = block

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
        async for block in _blocks(chunks, self._block):
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


async def _blocks(chunks: AsyncIterator[bytes], least: int) -> AsyncIterator[bytes]:
    """The same bytes in blocks of at least `least` (but the last)."""
    waiting: list[bytes] = []
    size = 0
    async for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= least:
            block = b"".join(waiting) if len(waiting) > 1 else chunk
            waiting.clear()  # before the block goes out, so that nothing is held twice
            size = 0
            yield block
    if waiting:
        yield b"".join(waiting)
