"""The sweep: deletes the blobs of expired files, deleted files and abandoned uploads."""

import asyncio
import logging

from filestead.domain.blobs import BlobState, BlobStore
from filestead.domain.errors import DomainError
from filestead.domain.files.interfaces import FileRepository

log = logging.getLogger("filestead")

CLAIM_SECONDS = 60
BATCH = 500
PARALLEL = 8


class Sweeper:
    """Any number may run at once: a claimed blob is not claimed again for `CLAIM_SECONDS`."""

    def __init__(self, repository: FileRepository, blobs: BlobStore) -> None:
        self._repository = repository
        self._blobs = blobs

    async def sweep(self) -> int:
        """Delete all garbage; return the number of deleted blobs."""
        total = 0
        if (message := await self._repository.observe_clock()) is not None:
            log.warning("%s", message)
        while keys := await self._repository.claim_garbage(lease_seconds=CLAIM_SECONDS, limit=BATCH):
            gate = asyncio.Semaphore(PARALLEL)
            results = await asyncio.gather(*(self._delete(key, gate) for key in keys), return_exceptions=True)
            deleted = [key for key, failure in zip(keys, results, strict=True) if failure is None]
            # Blobs that could not be deleted keep their rows, and are claimed again when the claim expires.
            await self._repository.delete_blob_rows(deleted)
            total += len(deleted)
            for failure in results:
                if failure is not None and not isinstance(failure, DomainError):
                    raise failure
        await self._abort_incomplete()
        return total

    async def _abort_incomplete(self) -> None:
        """Delete the remains of failed attempts of a `put` whose blob is complete or gone.

        A `put` starts after its blob is recorded as pending, and must end before that changes. So the remains of a key
        that is not pending after the listing belong to no upload.
        """
        keys = [key async for key in self._blobs.list_incomplete()]
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            states = await self._repository.blob_states(batch)
            for key in batch:
                if states.get(key) is not BlobState.PENDING:
                    await self._blobs.abort_incomplete(key)

    async def _delete(self, key: str, gate: asyncio.Semaphore) -> None:
        async with gate:
            await self._blobs.delete(key)
