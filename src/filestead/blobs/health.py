"""A wrapper around a blob store that rejects uploads after a failed write until a probe succeeds."""

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator

from filestead.domain.blobs import BlobStore
from filestead.domain.errors import BlobStoreUnavailable, DomainError, StorageFailed
from filestead.domain.integrity import Violation
from filestead.domain.observation import UNOBSERVED, Observer

log = logging.getLogger("filestead")


class HealthCheckedBlobs:
    """A `BlobStore` around another. Methods without a docstring only delegate."""

    def __init__(self, inner: BlobStore, observer: Observer = UNOBSERVED) -> None:
        self._inner = inner
        self._observer = observer
        self._last_error: str | None = None

    @property
    def needs_read_verification(self) -> bool:
        return self._inner.needs_read_verification

    async def unavailable_reason(self) -> str | None:
        """Why uploads are rejected; None if they are accepted. Probes the store if its last operation failed."""
        if self._last_error is not None:
            try:
                await self._inner.probe()
            except DomainError as error:
                self._last_error = str(error)
            else:
                log.warning("the blob store has recovered")
                self._last_error = None
                self._observer.blob_store_health(healthy=True)
        return self._last_error

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Store the chunks, or raise `BlobStoreUnavailable` while the store is unavailable."""
        if await self.unavailable_reason() is not None:
            raise BlobStoreUnavailable(f"the blob store failed: {self._last_error}")
        try:
            return await self._inner.put(key, chunks)
        except (StorageFailed, BlobStoreUnavailable) as error:
            self._record_error(error)
            raise

    def _record_error(self, error: DomainError) -> None:
        self._last_error = str(error)
        self._observer.blob_store_health(healthy=False)
        log.error("the blob store failed: %s", error)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        """Read the blob, and record the error if the store is unavailable."""
        try:
            async with contextlib.aclosing(self._inner.read(key, start, end)) as blocks:
                async for block in blocks:
                    yield block
        except BlobStoreUnavailable as error:
            self._record_error(error)
            raise

    async def size(self, key: str) -> int | None:
        return await self._inner.size(key)

    async def exists(self, key: str) -> bool:
        return await self._inner.exists(key)

    async def delete(self, key: str) -> None:
        await self._inner.delete(key)

    def list_incomplete(self) -> AsyncIterator[str]:
        return self._inner.list_incomplete()

    async def abort_incomplete(self, key: str) -> None:
        await self._inner.abort_incomplete(key)

    def stored_keys(self) -> AsyncIterator[str]:
        return self._inner.stored_keys()

    async def probe(self) -> None:
        await self._inner.probe()

    def inspect(self) -> list[Violation]:
        return self._inner.inspect()
