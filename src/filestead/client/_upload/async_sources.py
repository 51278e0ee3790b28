"""Opens sources for asyncio, as `sources` does without; blocking sources are read on threads."""

import os
from collections.abc import AsyncIterable, AsyncIterator

from filestead.client._threads import in_thread
from filestead.client._upload.sources import DEFAULT_FILENAME, AsyncSource, FileInput, Source, open_source

AsyncFileInput = FileInput | AsyncIterable[bytes]


async def open_async_source(file: AsyncFileInput) -> AsyncSource:
    """As `open_source`. An asynchronous iterable has no size and can be read once."""
    if isinstance(file, AsyncIterable) and not isinstance(file, str | os.PathLike):
        return AsyncSource(DEFAULT_FILENAME, None, False, lambda _: aiter(file))
    source = await in_thread(open_source, file)
    return AsyncSource(
        source.filename,
        source.size,
        source.rewindable,
        lambda start: _read_on_threads(source, start),
        source.version,
        source.check_version,
    )


def async_part_of(source: AsyncSource, start: int, size: int) -> AsyncSource:
    """As `part_of`."""
    last = start + size == source.size
    return AsyncSource(
        source.filename,
        size,
        True,
        lambda offset: source.blocks(start + offset) if last else _limit(source.blocks(start + offset), size - offset),
    )


async def _limit(blocks: AsyncIterator[bytes | memoryview], size: int) -> AsyncIterator[bytes | memoryview]:
    async for block in blocks:
        yield block[:size]
        size -= len(block)
        if size <= 0:
            return


async def _read_on_threads(source: Source, start: int) -> AsyncIterator[bytes | memoryview]:
    blocks = source.blocks(start)
    while (block := await in_thread(next, blocks, None)) is not None:
        yield block
