"""What happens to the bytes of an upload on their way to the store: counted, limited, hashed, checked."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from filestead.domain.errors import FileTooLarge
from filestead.domain.jsonl.checks import LineChecks

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
INLINE_LINES = 4 * 1024
"""The same for checking lines."""
PAUSE_SECONDS = 0.0001
"""How long a check of lines rests between two slices, so that threads that wait for the interpreter get their turn."""

Submit = Callable[..., "asyncio.Future[Any]"]
"""Run a function on a worker thread: `submit(function, *args)`."""


class Meter:
    """Watches one upload. `size` and `sha256` are final when `measure` has been exhausted."""

    def __init__(
        self, limit: int, checks: LineChecks, submit: Submit, submit_lines: Submit, block: int = SMALL_BLOCK
    ) -> None:
        """Bytes are passed on in blocks of at least `block`; `submit_lines` checks lines, `submit` does the rest."""
        self.size = 0
        self.checks = checks
        self._limit = limit
        self._hash = hashlib.sha256()
        self._submit = submit
        self._submit_lines = submit_lines
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
        work: list[asyncio.Future[Any]] = []
        async for block in _blocks(chunks, self._block):
            self.size += len(block)
            self.require_at_most(self._limit)
            await _all(work)
            work = self._absorb(block)
            yield block
        await _all(work)
        if self.checks.held_bytes > INLINE_LINES:
            await self._submit_lines(self.checks.finish)
        else:
            self.checks.finish()

    def _absorb(self, block: bytes) -> "list[asyncio.Future[Any]]":
        """Hash and check a block, at once or on threads."""
        work = []
        if self.size > INLINE_BYTES:
            work.append(self._submit(self._hash.update, block))
        else:
            self._hash.update(block)
        if self.size <= INLINE_LINES:
            self.checks.feed(block)
        elif not self.checks.settled:
            work.append(self._submit_lines(self.checks.feed, block, _pause))
        return work


def _pause() -> None:
    time.sleep(PAUSE_SECONDS)


async def _all(work: "list[asyncio.Future[Any]]") -> None:
    for part in work:
        await part


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
