"""The content of a file, in its blob or in the blobs of its parts: read, compared with digests, deleted."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence

from filestead.domain.blobs import BlobStore, is_inline
from filestead.domain.errors import BlobNotFound, FileCorrupt
from filestead.domain.files.digester import RunInThread
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.files.model import ContentPart, File

PARALLEL_DELETES = 8
AT_ONCE_BYTES = 32_768
"""So much is hashed sooner than a thread is woken: some 20 µs."""


def overlapping(parts: Sequence[ContentPart], start: int, end: int) -> Iterator[tuple[ContentPart, int, int]]:
    """The parts that hold the bytes `start` to `end` of the content, each with the range within it."""
    offset = 0
    for part in parts:
        if offset >= end:
            return
        first, last = max(0, start - offset), min(part.bytes, end - offset)
        if first < last:
            yield part, first, last
        offset += part.bytes


class ContentReader:
    """Reads the content of files."""

    def __init__(self, repository: FileRepository, blobs: BlobStore, run_in_thread: RunInThread) -> None:
        self._repository = repository
        self._blobs = blobs
        self._run_in_thread = run_in_thread

    async def parts_of(self, file: File) -> list[ContentPart]:
        """The blobs that hold the content, in order. Raises `FileCorrupt` if they are not those of the file."""
        if file.parts is None:
            return [ContentPart(file.blob_key, file.bytes, file.sha256)]
        parts = await self._repository.content_parts(file.blob_key)
        if len(parts) != file.parts or sum(part.bytes for part in parts) != file.bytes:
            raise FileCorrupt(file.id)  # or it was deleted a moment ago, as with a missing blob
        return parts

    async def read(self, file: File, start: int, end: int) -> AsyncGenerator[bytes]:
        """Yield exactly the bytes `start` to `end` of the content, or raise `FileCorrupt`."""
        async with contextlib.aclosing(self.read_parts(file.id, await self.parts_of(file), start, end)) as blocks:
            async for block in blocks:
                yield block

    async def read_verified(self, file: File) -> AsyncGenerator[bytes]:
        """Yield the whole content, compared with the digests of its parts wherever it is stored."""
        parts = await self.parts_of(file)
        async with contextlib.aclosing(self.read_parts(file.id, parts, 0, file.bytes, verify=True)) as blocks:
            async for block in blocks:
                yield block

    async def read_parts(
        self, name: str, parts: Sequence[ContentPart], start: int, end: int, *, verify: bool = False
    ) -> AsyncGenerator[bytes]:
        """Yield exactly these bytes of the parts, or raise `FileCorrupt` of the file `name`.

        Parts that are read as a whole are compared with their digests if they cross a network, if they are small and in
        the database, or to `verify` them.
        """
        for part, first, last in overlapping(parts, start, end):
            async with contextlib.aclosing(self._read_part(name, part, first, last, verify)) as blocks:
                async for block in blocks:
                    yield block

    async def _read_part(
        self, name: str, part: ContentPart, start: int, end: int, verify: bool
    ) -> AsyncGenerator[bytes]:
        left = end - start
        source = self._blobs.read(part.blob_key, start, end)
        verify = verify or self._blobs.needs_read_verification or is_inline(part.blob_key)
        if verify and left == part.bytes:
            source = self._verified(name, part, source)
        try:
            async with contextlib.aclosing(source) as blocks:
                async for block in blocks:
                    left -= len(block)
                    yield block
        except BlobNotFound:
            raise FileCorrupt(name) from None
        if left:
            raise FileCorrupt(name)

    async def _verified(self, name: str, part: ContentPart, source: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        """Yield the same blocks, but the last one only if the digest matches; else raise `FileCorrupt`."""
        digest = hashlib.sha256()
        held: bytes | None = None
        async with contextlib.aclosing(source) as blocks:
            async for block in blocks:
                if held is not None:
                    yield held
                if len(block) <= AT_ONCE_BYTES:
                    digest.update(block)
                else:
                    await self._run_in_thread(digest.update, block)
                held = block
        if digest.hexdigest() != part.sha256:
            raise FileCorrupt(name)
        if held is not None:
            yield held


async def delete_blobs(repository: FileRepository, blobs: BlobStore, keys: Collection[str]) -> None:
    """Delete blobs that are marked for deletion, and then their rows. What fails is left to the next sweep."""
    gate = asyncio.Semaphore(PARALLEL_DELETES)

    async def delete(key: str) -> None:
        async with gate:
            await blobs.delete(key)

    ordered = sorted(keys)
    outcomes = await asyncio.gather(*(delete(key) for key in ordered), return_exceptions=True)
    gone = [key for key, failure in zip(ordered, outcomes, strict=True) if failure is None]
    if gone:
        await repository.delete_blob_rows(gone)
