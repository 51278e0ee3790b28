"""The bytes of an upload on their way to the blob store: counted, limited, hashed and checked."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from filestead.domain.errors import FileTooLarge
from filestead.domain.jsonl.checks import LineChecks

SMALL_BLOCK = 128 * 1024
LARGE_BLOCK = 1024 * 1024
BLOCKS_TOTAL_BYTES = 4 * LARGE_BLOCK


def block_bytes(uploads: int) -> int:
    """Block size of an upload while so many are in progress.

    Large blocks save switches between threads; small ones save memory when there are many uploads.
    """
    return max(SMALL_BLOCK, min(LARGE_BLOCK, BLOCKS_TOTAL_BYTES // uploads))


INLINE_BYTES = 16 * 1024
"""Up to this size, hashing costs less than a switch to another thread."""
INLINE_LINES = 4 * 1024
"""The same for line checks."""
PAUSE_SECONDS = 0.0001
"""Pause of a line check between two slices, so that threads that wait for the interpreter lock can run."""
WORK_SECONDS = 0.0005
"""A line check pauses after so much work; after each slice, pauses would take longer than the checks of long lines."""

RunInThread = Callable[..., "asyncio.Future[Any]"]
"""Run a function on a worker thread: `run_in_thread(function, *args)`."""


class UploadDigester:
    """Counts, hashes and checks one upload. `size` and `sha256` are final once `digest` is exhausted."""

    def __init__(
        self,
        limit: int,
        checks: LineChecks,
        run_in_thread: RunInThread,
        run_line_checks: RunInThread,
        block: int = SMALL_BLOCK,
    ) -> None:
        """Bytes are passed on in blocks of at least `block`."""
        self.size = 0
        self.checks = checks
        self._limit = limit
        self._hash = hashlib.sha256()
        self._run_in_thread = run_in_thread
        self._run_line_checks = run_line_checks
        self._block = block

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the bytes so far."""
        return self._hash.hexdigest()

    def require_at_most(self, limit: int) -> None:
        """Raise `FileTooLarge` if there were more bytes."""
        if self.size > limit:
            raise FileTooLarge(limit)

    async def digest(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Yield the bytes in blocks. Hashing and checking a block overlap with storing it and receiving the next."""
        work: list[asyncio.Future[Any]] = []
        async for block in _blocks(chunks, self._block):
            self.size += len(block)
            self.require_at_most(self._limit)
            await _wait_for(work)
            work = self._process(block)
            yield block
        await _wait_for(work)
        if self.checks.buffered_bytes > INLINE_LINES:
            await self._run_line_checks(self.checks.finish)
        else:
            self.checks.finish()

    async def digest_whole(self, content: bytes) -> None:
        """Count, hash and check a small file that is all there."""
        self.size = len(content)
        self.require_at_most(self._limit)
        self._hash.update(content)
        if self.checks.complete:
            return
        if self.size <= INLINE_LINES:
            self._check_whole(content)
        else:
            await self._run_line_checks(self._check_whole, content)

    def _check_whole(self, content: bytes) -> None:
        self.checks.feed(content, Pauses() if len(content) > INLINE_LINES else _no_pause)
        self.checks.finish()

    def _process(self, block: bytes) -> "list[asyncio.Future[Any]]":
        """Hash and check a block, here or on worker threads."""
        work = []
        if self.size > INLINE_BYTES:
            work.append(self._run_in_thread(self._hash.update, block))
        else:
            self._hash.update(block)
        if self.size <= INLINE_LINES:
            self.checks.feed(block)
        elif not self.checks.complete:
            work.append(self._run_line_checks(self.checks.feed, block, Pauses()))
        return work


def _no_pause() -> None:
    """Go on at once."""


class Pauses:
    """What is called between two slices: pauses, if there was work for `WORK_SECONDS` since the last time."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def __call__(self) -> None:
        """Pause, or go on at once."""
        if time.perf_counter() - self._since >= WORK_SECONDS:
            time.sleep(PAUSE_SECONDS)
            self._since = time.perf_counter()


async def _wait_for(work: "list[asyncio.Future[Any]]") -> None:
    for future in work:
        await future


async def _blocks(chunks: AsyncIterator[bytes], min_size: int) -> AsyncIterator[bytes]:
    """The same bytes in blocks of at least `min_size`, except the last."""
    buffered: list[bytes] = []
    size = 0
    async for chunk in chunks:
        buffered.append(chunk)
        size += len(chunk)
        if size >= min_size:
            block = b"".join(buffered) if len(buffered) > 1 else chunk
            buffered.clear()  # before the block is yielded, so that no bytes are held twice
            size = 0
            yield block
    if buffered:
        yield b"".join(buffered)
