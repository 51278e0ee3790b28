"""A wrapper around a blob store that reports how long its calls take, and which fail."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from time import perf_counter
from typing import TypeVar

from filestead.domain.blobs import BlobStore
from filestead.domain.errors import BlobStoreUnavailable, StorageFailed, StorageFull
from filestead.domain.integrity import Violation
from filestead.domain.observation import Observer

T = TypeVar("T")

FAILURES = (BlobStoreUnavailable, StorageFailed, StorageFull)


class ObservedBlobs:
    """A `BlobStore` around another. The time in which it waits for the bytes of a `put`, or a reader, is left out."""

    def __init__(self, inner: BlobStore, observer: Observer) -> None:
        self._inner = inner
        self._observer = observer

    @property
    def needs_read_verification(self) -> bool:
        return self._inner.needs_read_verification

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        call = _Call(self._observer, "put")
        with call.timed():
            return await self._inner.put(key, _TimedChunks(chunks, call))

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        call = _Call(self._observer, "read")
        with call.timed():
            async with contextlib.aclosing(self._inner.read(key, start, end)) as blocks:
                async for block in blocks:
                    paused = perf_counter()
                    try:
                        yield block
                    finally:
                        call.left_out += perf_counter() - paused

    async def size(self, key: str) -> int | None:
        return await self._observed("size", self._inner.size(key))

    async def exists(self, key: str) -> bool:
        return await self._observed("exists", self._inner.exists(key))

    async def delete(self, key: str) -> None:
        await self._observed("delete", self._inner.delete(key))

    def list_incomplete(self) -> AsyncIterator[str]:
        return self._inner.list_incomplete()

    async def abort_incomplete(self, key: str) -> None:
        await self._observed("abort", self._inner.abort_incomplete(key))

    def stored_keys(self) -> AsyncIterator[str]:
        return self._inner.stored_keys()

    async def probe(self) -> None:
        await self._observed("probe", self._inner.probe())

    def inspect(self) -> list[Violation]:
        return self._inner.inspect()

    async def _observed(self, operation: str, call: Awaitable[T]) -> T:
        with _Call(self._observer, operation).timed():
            return await call


class _Call:
    """One call, and the seconds that are not the store's."""

    def __init__(self, observer: Observer, operation: str) -> None:
        self._observer = observer
        self._operation = operation
        self.left_out = 0.0

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        started = perf_counter()
        failure = None
        try:
            yield
        except FAILURES as error:
            failure = type(error).__name__
            raise
        finally:
            seconds = max(0.0, perf_counter() - started - self.left_out)
            self._observer.blob_operation(self._operation, seconds, failure)


class _TimedChunks:
    """The chunks; the time until each is there is left out of the call."""

    def __init__(self, chunks: AsyncIterator[bytes], call: _Call) -> None:
        self._chunks = chunks
        self._call = call

    def __aiter__(self) -> "_TimedChunks":
        return self

    async def __anext__(self) -> bytes:
        started = perf_counter()
        try:
            return await anext(self._chunks)
        finally:
            self._call.left_out += perf_counter() - started
