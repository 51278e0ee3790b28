"""The input file of a batch as an open file: that of the blob store itself, or a copy without a name."""

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from filestead.domain.batches.model import BatchTask
from filestead.domain.blobs import BlobStore, LocalContent
from filestead.domain.errors import BlobNotFound, StorageFailed
from filestead.domain.files.digester import RunInThread
from filestead.sandbox.content import write_all

INLINE_BYTES = 256 * 1024
"""Up to this size, a line is read where it is needed: validation has just read the file, so it is in memory."""


class InputFile:
    """Lines of the input, by their offset."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def read_now(self, offset: int, length: int) -> bytes:
        """Read a line. Blocks; raises `StorageFailed`."""
        try:
            found = os.pread(self.descriptor, length, offset)
        except OSError as error:
            raise StorageFailed(f"reading the input of a batch: {error.strerror}") from error
        if len(found) != length:
            raise StorageFailed("the input of a batch has become shorter")
        return found

    async def read(self, offset: int, length: int) -> bytes:
        """Read a line, a large one on a thread."""
        if length <= INLINE_BYTES:
            return self.read_now(offset, length)
        return await asyncio.to_thread(self.read_now, offset, length)


class Inputs:
    """Opens the inputs of batches."""

    def __init__(
        self, blobs: BlobStore, run_in_thread: RunInThread, *, local: LocalContent | None, folder: Path | None
    ) -> None:
        """Without `local` content, an input is copied to `folder`, or to the system's temporary folder."""
        self._blobs = blobs
        self._run_in_thread = run_in_thread
        self._local = local
        self._folder = folder

    @contextlib.asynccontextmanager
    async def open(self, task: BatchTask) -> AsyncIterator[InputFile]:
        """Open the input of a batch that has one; raises `BlobNotFound` or another error of the blob store."""
        assert task.input_blob_key is not None
        if self._local is not None:
            descriptor: int = await self._run_in_thread(self._local.open_file, task.input_blob_key)
        else:
            descriptor = await self._copy(task, task.input_blob_key)
        try:
            yield InputFile(descriptor)
        finally:
            os.close(descriptor)

    async def _copy(self, task: BatchTask, key: str) -> int:
        """A copy whose digest is that of the upload."""
        digest = hashlib.sha256()

        def take(block: bytes) -> None:
            write_all(descriptor, block)
            digest.update(block)

        with tempfile.TemporaryFile(dir=self._folder) as file:
            descriptor = file.fileno()
            try:
                async with contextlib.aclosing(self._blobs.read(key, 0, task.input_bytes)) as blocks:
                    async for block in blocks:
                        await self._run_in_thread(take, block)
            except OSError as error:
                raise StorageFailed(f"copying the input of a batch: {error.strerror}") from error
            if digest.hexdigest() != task.input_sha256:
                raise BlobNotFound(key)
            return os.dup(descriptor)
