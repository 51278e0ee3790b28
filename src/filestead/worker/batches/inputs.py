"""The input file of a batch as an open file: that of the blob store itself, or a copy without a name."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from filestead.domain.batches.model import BatchTask
from filestead.domain.blobs import BlobStore, LocalContent, OpenFile, is_inline
from filestead.domain.errors import BlobNotFound, FileCorrupt, StorageFailed
from filestead.domain.files.content import ContentReader
from filestead.domain.files.digester import RunInThread
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.files.model import ContentPart
from filestead.sandbox.content import write_all

T = TypeVar("T")

INLINE_BYTES = 256 * 1024
"""Up to this size, a line is read where it is needed: validation has just read the file, so it is in memory."""


class InputFile:
    """Lines of the input, by their offset. Whoever reads on a thread does it with `on_thread`."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self.descriptor = file.descriptor
        self._reads: set[asyncio.Future[Any]] = set()

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
        running = asyncio.get_running_loop().run_in_executor(None, self.read_now, offset, length)
        return await self.on_thread(running)

    async def on_thread(self, running: "asyncio.Future[T]") -> T:
        """Wait for work on a thread, which goes on if the waiting task is cancelled."""
        self._reads.add(running)
        running.add_done_callback(self._reads.discard)
        return await asyncio.shield(running)

    async def close(self) -> None:
        """Close the file when no thread uses it: the number of its descriptor may then be that of another file."""
        reads = list(self._reads)
        await asyncio.gather(*reads, return_exceptions=True)
        self._file.close()


class Inputs:
    """Opens the inputs of batches."""

    def __init__(
        self,
        files: FileRepository,
        blobs: BlobStore,
        run_in_thread: RunInThread,
        *,
        local: LocalContent | None,
        folder: Path | None,
    ) -> None:
        """An input without `local` content, in parts or inline is copied to `folder`, or to the temporary folder."""
        self._files = files
        self._content = ContentReader(files, blobs, run_in_thread)
        self._blobs = blobs
        self._run_in_thread = run_in_thread
        self._local = local
        self._folder = folder

    @contextlib.asynccontextmanager
    async def open(self, task: BatchTask) -> AsyncIterator[InputFile]:
        """Open the input of a batch that has one; raises `BlobNotFound` or another error of the blob store."""
        key = task.input_blob_key
        assert key is not None
        parts = await self._files.content_parts(key)
        local = None if parts or is_inline(key) else self._local
        if local is not None:
            file = InputFile(await self._run_in_thread(local.open_file, key))
        else:
            with tempfile.TemporaryFile(dir=self._folder) as unnamed:
                file = InputFile(OpenFile(os.dup(unnamed.fileno())))
        try:
            if local is None:
                content = parts or [ContentPart(key, task.input_bytes, task.input_sha256)]
                await self._copy(task, key, content, file)
            yield file
        finally:
            await file.close()

    async def _copy(self, task: BatchTask, key: str, content: Sequence[ContentPart], file: InputFile) -> None:
        """Fill the file; the digest of each part must be that of its upload."""
        source = self._content.read_parts(task.batch.input_file_id, content, 0, task.input_bytes, verify=True)
        try:
            async with contextlib.aclosing(source) as blocks:
                async for block in blocks:
                    await file.on_thread(self._run_in_thread(write_all, file.descriptor, block))
        except OSError as error:
            raise StorageFailed(f"copying the input of a batch: {error.strerror}") from error
        except FileCorrupt:
            raise BlobNotFound(key) from None
