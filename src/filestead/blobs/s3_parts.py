"""An upload cut into parts of one size, each kept in a temporary file until it is its turn to be sent.

So an upload whose client is slow holds disk and not memory, and however many are under way, only what is being sent is
in memory: that is what `Budget` bounds.
"""

import asyncio
import collections
import contextlib
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

PART_BYTES = 8 * 1024 * 1024
KEPT_IN_MEMORY = 128 * 1024
"""A part of up to this size needs no file: most uploads are smaller."""

Run = Callable[..., "asyncio.Future[Any]"]
"""Run a function on a worker thread: `run(function, *args)`."""


class Part:
    """One part; its methods block."""

    def __init__(self, spool: Path | None) -> None:
        self._file = tempfile.SpooledTemporaryFile(KEPT_IN_MEMORY, dir=str(spool) if spool else None)  # noqa: SIM115 - see `close`
        self._hash = hashlib.md5(usedforsecurity=False)  # the store's own checksum of a part
        self.size = 0

    @property
    def md5(self) -> bytes:
        """Of what is in it."""
        return self._hash.digest()

    def write(self, block: memoryview) -> None:
        """Add bytes; never two calls at once."""
        self._hash.update(block)
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


async def cut(chunks: AsyncIterator[bytes], run: Run, spool: Path | None) -> AsyncGenerator[Part]:
    """The chunks as parts of `PART_BYTES`, the last one shorter; at least one. Writing overlaps with receiving."""
    part, work, count = Part(spool), None, 0
    try:
        async for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                if work is not None:
                    await work
                if part.size == PART_BYTES:
                    done, part, work = part, Part(spool), None
                    count += 1
                    yield done
                room = PART_BYTES - part.size
                block, rest = rest[:room], rest[room:]
                work = run(part.write, block)
        if work is not None:
            await work
        if part.size or not count:
            done, part = part, Part(spool)
            yield done
    finally:
        if work is not None:  # a cancelled caller may have left a write running
            await asyncio.wait([work])
        part.close()


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
