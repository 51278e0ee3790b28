"""A blob store whose small blobs are rows of the database: the form of a key says where its bytes are."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from filestead.domain.blobs import BlobStore, InlineBlobs, is_inline
from filestead.domain.errors import BlobNotFound
from filestead.domain.integrity import Violation

PAGE = 1_000


class RoutedBlobs:
    """A `BlobStore` around another. An inline blob needs its row in the ledger before `put`, and is deleted with it."""

    def __init__(self, inner: BlobStore, inline: InlineBlobs) -> None:
        self._inner = inner
        self._inline = inline

    @property
    def needs_read_verification(self) -> bool:
        return self._inner.needs_read_verification

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        if not is_inline(key):
            return await self._inner.put(key, chunks)
        content = b"".join([chunk async for chunk in chunks])
        await self._inline.write(key, content)
        return len(content)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        if not is_inline(key):
            async with contextlib.aclosing(self._inner.read(key, start, end)) as blocks:
                async for block in blocks:
                    yield block
            return
        content = await self._inline.read(key)
        if content is None or (end is not None and end > len(content)):
            raise BlobNotFound(key)
        if part := content[start:end]:
            yield part

    async def size(self, key: str) -> int | None:
        return await (self._inline if is_inline(key) else self._inner).size(key)

    async def exists(self, key: str) -> bool:
        if is_inline(key):
            return await self._inline.size(key) is not None
        return await self._inner.exists(key)

    async def delete(self, key: str) -> None:
        await (self._inline if is_inline(key) else self._inner).delete(key)

    def list_incomplete(self) -> AsyncIterator[str]:
        return self._inner.list_incomplete()

    async def abort_incomplete(self, key: str) -> None:
        await self._inner.abort_incomplete(key)

    async def stored_keys(self) -> AsyncGenerator[str]:
        async for key in self._inner.stored_keys():
            yield key
        after = ""
        while page := await self._inline.keys(after, PAGE):
            for key in page:
                yield key
            after = page[-1]

    async def probe(self) -> None:
        await self._inner.probe()

    def inspect(self) -> list[Violation]:
        return self._inner.inspect()
