"""An upload cut into parts of one size, each kept in a temporary file until it is its turn to be sent.

So an upload whose client is slow holds disk and not memory, and however many are under way, only what is being sent is
in memory: that is what `Budget` bounds. (The one upload that finds nobody before it needs no file: see `Multipart`.)
"""

import asyncio
import collections
import contextlib
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

from filestead.blobs.disk import translate_disk_errors

PART_BYTES = 8 * 1024 * 1024
KEPT_IN_MEMORY = 128 * 1024
"""A part of up to this size needs no file: most uploads are smaller."""

Run = Callable[..., "asyncio.Future[Any]"]
"""Run a function on a worker thread: `run(function, *args)`."""


def md5() -> Any:
    """The hash that is the store's own checksum of a part."""
    return hashlib.md5(usedforsecurity=False)


class Part:
    """One part; its methods block."""

    def __init__(self, spool: Path | None) -> None:
        self._file = tempfile.SpooledTemporaryFile(KEPT_IN_MEMORY, dir=str(spool) if spool else None)  # noqa: SIM115 - see `close`
        self.digest = md5()
        self.size = 0

    def write(self, block: memoryview) -> None:
        """Add bytes; never two calls at once."""
        self.digest.update(block)
        with translate_disk_errors("spooling an upload"):
            self._file.write(block)
        self.size += len(block)

    def rewind(self) -> None:
        """From writing to reading."""
        self._file.seek(0)

    def read(self, size: int) -> bytes:
        """The next bytes of it; none at its end."""
        return self._file.read(size)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Cut:
    """Chunks on their way, cut where parts end."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    async def part(self) -> AsyncGenerator[memoryview]:
        """What makes the next part of `PART_BYTES`, or the shorter last one; nothing behind the end."""
        room = PART_BYTES
        while room and (block := (await self._next())[:room]):
            self._rest = self._rest[len(block) :]
            room -= len(block)
            yield block

    async def _next(self) -> memoryview:
        while not self._rest:
            try:
                self._rest = memoryview(await anext(self._chunks))
            except StopAsyncIteration:
                break
        return self._rest


async def spooled(blocks: AsyncGenerator[memoryview], run: Run, spool: Path | None) -> Part:
    """The blocks as a part. Writing overlaps with receiving."""
    part, work = Part(spool), None
    try:
        async for block in blocks:
            if work is not None:
                await work
            work = run(part.write, block)
        if work is not None:
            await work
    except BaseException:
        if work is not None:  # a cancelled caller may have left a write running
            await asyncio.wait([work])
        part.close()
        raise
    return part


class Sums:
    """Size and tag of an upload, as far as it has come."""

    def __init__(self, first: Part) -> None:
        self.size = first.size
        self.digests = [first.digest]

    def add(self, part: Part) -> None:
        """Another part."""
        self.size += part.size
        self.digests.append(part.digest)

    @property
    def tag(self) -> str:
        """What the store gives the object."""
        return composite([digest.digest() for digest in self.digests])


def composite(digests: list[bytes]) -> str:
    """The tag that stores give an object made of parts with these MD5 digests."""
    joined = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
    return f"{joined}-{len(digests)}"


class Budget:
    """A semaphore of bytes, first come, first served."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: collections.deque[tuple[int, asyncio.Future[None]]] = collections.deque()

    @contextlib.asynccontextmanager
    async def hold(self, size: int) -> AsyncGenerator[None]:
        """Have `size` bytes of it."""
        if self._waiting or self._free < size:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._free += size
                self._wake()
                raise
        else:
            self._free -= size
        try:
            yield
        finally:
            self._free += size
            self._wake()

    def _wake(self) -> None:
        while self._waiting and (self._waiting[0][1].cancelled() or self._free >= self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)
