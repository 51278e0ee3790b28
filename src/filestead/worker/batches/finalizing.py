"""The end of a batch: its journal becomes two files, stored as an upload is, and published with its last state."""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from filestead.domain.batches.interfaces import BatchRunRepository
from filestead.domain.batches.model import BatchStatus, OutputFile, ResultKind
from filestead.domain.blobs import BlobStore
from filestead.domain.errors import DomainError, StorageFailed, StorageFull, StoreUnavailable, UploadLost
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.files.service import LEASE_SECONDS
from filestead.domain.jobs import Job

log = logging.getLogger("filestead")

BLOCK_BYTES = 1024 * 1024
RETRY_SECONDS = (0.2, 1.0, 2.0, 5.0)
TRANSIENT = (StoreUnavailable, StorageFull, StorageFailed)

T = TypeVar("T")


async def retried(what: str, operation: Callable[[], Awaitable[T]]) -> T:
    """Run an operation, and repeat it for as long as the database or the blob store is unavailable."""
    attempt = 0
    while True:
        try:
            return await operation()
        except TRANSIENT as error:
            log.warning("%s waits: %s", what, error or type(error).__name__)
        await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
        attempt += 1


@dataclass(frozen=True, slots=True)
class Finalizer:
    """Makes the files of results."""

    batches: BatchRunRepository
    files: FileRepository
    blobs: BlobStore
    new_file_id: Callable[[], str]
    new_blob_key: Callable[[], str]

    async def finish(self, job: Job, batch_id: str, status: BatchStatus) -> BatchStatus:
        """Store and publish the results, and end the job. Raises `JobLost`."""
        keys: list[str] = []
        try:
            async with self._leases(keys):
                while True:
                    keys.clear()
                    files = [file for kind in ResultKind if (file := await self._store(job, batch_id, kind, keys))]
                    try:
                        return await self._publish(job, batch_id, status, files)
                    except UploadLost:
                        log.warning("batch %s stores its results again: the lease of a file has ended", batch_id)
        except BaseException:
            await asyncio.shield(self._discard(keys))
            raise

    async def _publish(self, job: Job, batch_id: str, status: BatchStatus, files: Sequence[OutputFile]) -> BatchStatus:
        return await retried(f"batch {batch_id}", lambda: self.batches.finish(job, status, files))

    async def _store(self, job: Job, batch_id: str, kind: ResultKind, keys: list[str]) -> OutputFile | None:
        return await retried(f"batch {batch_id}", lambda: self._store_once(job, batch_id, kind, keys))

    async def _store_once(self, job: Job, batch_id: str, kind: ResultKind, keys: list[str]) -> OutputFile | None:
        """Store one file, and add its key; None if it would be empty."""
        first = await self.batches.read_journal(batch_id, kind, 0, BLOCK_BYTES)
        if not first:
            return None
        key = self.new_blob_key()
        digest = hashlib.sha256()
        await self.batches.begin_output(job, key, lease_seconds=LEASE_SECONDS)
        keys.append(key)
        try:
            size = await self.blobs.put(key, self._read(batch_id, kind, first, digest.update))
        except BaseException:
            keys.remove(key)
            await asyncio.shield(self._discard([key]))
            raise
        filename = f"{batch_id}_{kind.value}.jsonl"
        return OutputFile(kind, self.new_file_id(), key, filename, size, digest.hexdigest())

    async def _read(
        self, batch_id: str, kind: ResultKind, block: bytes, update: Callable[[bytes], None]
    ) -> AsyncIterator[bytes]:
        offset = 0
        while block:
            update(block)
            offset += len(block)
            yield block
            block = await self.batches.read_journal(batch_id, kind, offset, BLOCK_BYTES)

    @contextlib.asynccontextmanager
    async def _leases(self, keys: Sequence[str]) -> AsyncIterator[None]:
        """Renew the leases of pending blobs within the block."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(LEASE_SECONDS / 4)
                with contextlib.suppress(DomainError):
                    await self.files.renew(list(keys), lease_seconds=LEASE_SECONDS)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()

    async def _discard(self, keys: Sequence[str]) -> None:
        """Undo files that were not published. If that fails, a sweep does it."""
        for key in keys:
            with contextlib.suppress(DomainError):
                if await self.files.abandon(key):
                    await self.blobs.delete(key)
                    await self.files.delete_blob_rows([key])
