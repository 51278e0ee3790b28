"""Splitting an upload into parts, spooling parts to temporary files, and computing the ETag on the way.

Spooling keeps an upload whose client is slow on disk instead of in memory.
"""

import asyncio
import hashlib
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

from filestead.blobs.disk import translate_disk_errors

PART_BYTES = 8 * 1024 * 1024
MAX_IN_MEMORY = 128 * 1024
"""A part of up to this size needs no file: most uploads are smaller."""


class PartSplitter:
    """The chunks of an upload, split into blocks that end where a part ends."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    async def blocks(self, limit: int = sys.maxsize) -> AsyncGenerator[memoryview]:
        """The next `limit` bytes; fewer at the end of the upload, and none after it."""
        while limit and (block := (await self._next())[:limit]):
            self._rest = self._rest[len(block) :]
            limit -= len(block)
            yield block

    async def _next(self) -> memoryview:
        while not self._rest:
            try:
                self._rest = memoryview(await anext(self._chunks))
            except StopAsyncIteration:
                break
        return self._rest


class UploadChecksum:
    """Size and ETag of an upload so far: stores use the MD5 of each part of `PART_BYTES`."""

    def __init__(self) -> None:
        self.size = 0
        self._parts = [_md5()]

    def update(self, data: memoryview) -> None:
        """Add bytes. Blocks; never two calls at once."""
        while data:
            room = PART_BYTES - (self.size - (len(self._parts) - 1) * PART_BYTES)
            if not room:
                self._parts.append(_md5())
                continue
            self._parts[-1].update(data[:room])
            self.size += len(data[:room])
            data = data[room:]

    @property
    def etag(self) -> str:
        """The ETag of an object that is created by one request, of at most one part."""
        return str(self._parts[0].hexdigest())

    @property
    def multipart_etag(self) -> str:
        """The ETag of an object that is created by a multipart upload."""
        return multipart_etag([part.digest() for part in self._parts])


def multipart_etag(digests: list[bytes]) -> str:
    """The ETag of an object made of parts with these MD5 digests."""
    joined = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
    return f"{joined}-{len(digests)}"


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


class SpooledPart:
    """One part in a temporary file, or in memory while it is small. Its methods block."""

    def __init__(self, checksum: UploadChecksum, folder: Path | None) -> None:
        self._file = tempfile.SpooledTemporaryFile(MAX_IN_MEMORY, dir=str(folder) if folder else None)  # noqa: SIM115 - see `close`
        self._checksum = checksum
        self.size = 0

    def write(self, block: memoryview) -> None:
        """Append bytes. Never two calls at once."""
        self._checksum.update(block)
        with translate_disk_errors("spooling an upload"):
            self._file.write(block)
        self.size += len(block)

    def read(self, start: int, size: int) -> bytes:
        """Read at most `size` bytes; none at the end."""
        self._file.seek(start)
        return self._file.read(size)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


async def spool_part(
    splitter: PartSplitter, checksum: UploadChecksum, run: Callable[..., "asyncio.Future[Any]"], folder: Path | None
) -> SpooledPart:
    """Spool the next part; it is empty after the end of the upload. `run` runs a function on a thread."""
    part, writing = SpooledPart(checksum, folder), None
    try:
        async for block in splitter.blocks(PART_BYTES):
            if writing is not None:
                await writing
            writing = run(part.write, block)
        if writing is not None:
            await writing
    except BaseException:
        if writing is not None:  # a cancelled caller may have left a write running
            await asyncio.wait([writing])
        part.close()
        raise
    return part
