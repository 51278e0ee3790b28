"""A wrapper around a blob store that remembers a failed write: no upload is taken until a fresh probe has succeeded."""

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator

from filestead.domain.blobs import BlobStore
from filestead.domain.errors import FilesteadError, StorageFailed, StoreUnavailable
from filestead.domain.integrity import Violation

log = logging.getLogger("filestead")


class GuardedBlobs:
    """The same interface as the store inside."""

    def __init__(self, inner: BlobStore) -> None:
        self._inner = inner
        self._sick: str | None = None

    @property
    def verify_reads(self) -> bool:
        """As inside."""
        return self._inner.verify_reads

    async def trouble(self) -> str | None:
        """What is wrong with the store, after probing it if something was; None when all is well."""
        if self._sick is not None:
            try:
                await self._inner.probe()
            except FilesteadError as error:
                self._sick = str(error)
            else:
                log.warning("the blob store is well again")
                self._sick = None
        return self._sick

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Refuses while the store is sick."""
        if await self.trouble() is not None:
            raise StoreUnavailable(f"the blob store failed: {self._sick}")
        try:
            return await self._inner.put(key, chunks)
        except (StorageFailed, StoreUnavailable) as error:
            self._note(error)
            raise

    def _note(self, error: FilesteadError) -> None:
        self._sick = str(error)
        log.error("the blob store failed: %s", error)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        """As inside; a store that does not answer is remembered."""
        try:
            async with contextlib.aclosing(self._inner.read(key, start, end)) as blocks:
                async for block in blocks:
                    yield block
        except StoreUnavailable as error:
            self._note(error)
            raise

    async def size(self, key: str) -> int | None:
        """As inside."""
        return await self._inner.size(key)

    async def exists(self, key: str) -> bool:
        """As inside."""
        return await self._inner.exists(key)

    async def delete(self, key: str) -> None:
        """As inside."""
        await self._inner.delete(key)

    def unfinished(self) -> AsyncIterator[str]:
        """As inside."""
        return self._inner.unfinished()

    async def drop_unfinished(self, key: str) -> None:
        """As inside."""
        await self._inner.drop_unfinished(key)

    def stored_keys(self) -> AsyncIterator[str]:
        """As inside."""
        return self._inner.stored_keys()

    async def probe(self) -> None:
        """As inside."""
        await self._inner.probe()

    def inspect(self) -> list[Violation]:
        """As inside."""
        return self._inner.inspect()
