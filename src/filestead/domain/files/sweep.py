"""The sweep: removes the bytes of expired files, deleted files and uploads that were never finished."""

import asyncio
import logging

from filestead.domain.blobs import BlobStore
from filestead.domain.errors import FilesteadError
from filestead.domain.files.interfaces import FileRecords

log = logging.getLogger("filestead")

CLAIM_SECONDS = 60
BATCH = 500
PARALLEL = 8


class Sweeper:
    """Any number may run at once: what one has claimed, no other is handed for `CLAIM_SECONDS`."""

    def __init__(self, records: FileRecords, blobs: BlobStore) -> None:
        self._records = records
        self._blobs = blobs

    async def sweep(self) -> int:
        """Remove all that nobody needs now; returns how many blobs went."""
        removed = 0
        if (news := await self._records.observe_clock()) is not None:
            log.warning("%s", news)
        while keys := await self._records.leftovers(lease_seconds=CLAIM_SECONDS, limit=BATCH):
            gate = asyncio.Semaphore(PARALLEL)
            done = await asyncio.gather(*(self._remove(key, gate) for key in keys), return_exceptions=True)
            gone = [key for key, failure in zip(keys, done, strict=True) if failure is None]
            # Only what is gone is forgotten; the rest is claimed again when the claim has run out.
            await self._records.forget(gone)
            removed += len(gone)
            for failure in done:
                if failure is not None and not isinstance(failure, FilesteadError):
                    raise failure
        await self._drop_strays()
        return removed

    async def _drop_strays(self) -> None:
        """Remove what a broken try of a `put` left beside a blob that became whole, or that is gone.

        A `put` begins after its blob was recorded as pending, and ends before that changes or is in vain. So what is
        no longer pending when it is asked for after the listing is nobody's.
        """
        keys = [key async for key in self._blobs.unfinished()]
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            states = await self._records.states(batch)
            for key in batch:
                if states.get(key) != "pending":
                    await self._blobs.drop_unfinished(key)

    async def _remove(self, key: str, gate: asyncio.Semaphore) -> None:
        async with gate:
            await self._blobs.delete(key)
