"""Each sentence of `BlobStore`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from filestead.blobs.keys import new_key
from filestead.domain.blobs import BlobStore
from filestead.domain.errors import BlobNotFound, DomainError, StorageFailed

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
# Eight and its multiples: where stores that cut into parts have their seams.
SIZES = [0, 1, 1000, 256 * 1024, 3 * MIB + 7, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 16 * MIB, 25 * MIB + 3]


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


async def chunked(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def content(blobs: BlobStore, key: str, *span: int | None) -> bytes:
    return b"".join([block async for block in blobs.read(key, *span)])  # type: ignore[arg-type]


async def stored(blobs: BlobStore) -> list[str]:
    return [key async for key in blobs.stored_keys()]


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_is_read_as_it_was_put(blobs: BlobStore, size: int) -> None:
    key, data = new_key(), pattern(size)
    assert await blobs.put(key, chunked(data)) == size
    assert await content(blobs, key) == data
    assert await blobs.size(key) == size
    assert await stored(blobs) == [key]


@pytest.mark.parametrize(("start", "end"), [(0, 1), (5, 5), (5, 1_048_581), (1_048_575, 1_048_577), (2_999_999, None)])
async def test_a_range_is_read_exactly(blobs: BlobStore, start: int, end: int | None) -> None:
    key, data = new_key(), pattern(3_000_000)
    await blobs.put(key, chunked(data))
    assert await content(blobs, key, start, end) == data[start:end]


async def test_reading_an_unknown_blob_or_beyond_its_end_raises_not_found(blobs: BlobStore) -> None:
    with pytest.raises(BlobNotFound):
        await content(blobs, new_key())
    key = new_key()
    await blobs.put(key, chunked(b"12345"))
    with pytest.raises(BlobNotFound):
        await content(blobs, key, 0, 6)
    assert await blobs.size(new_key()) is None
    assert not await blobs.exists(new_key())


@pytest.mark.parametrize(
    ("start", "end"), [(8 * MIB - 1, 8 * MIB + 1), (1, 20 * MIB), (16 * MIB, None), (20 * MIB, None)]
)
async def test_a_range_of_a_large_blob_is_read_exactly(blobs: BlobStore, start: int, end: int | None) -> None:
    key, data = new_key(), pattern(20 * MIB)
    await blobs.put(key, chunked(data, 1_000_003))
    assert await content(blobs, key, start, end) == data[start:end]


@pytest.mark.parametrize("blocks", [0, 1, 2, 5, 70])
async def test_the_exception_of_a_source_propagates_and_no_blob_is_left(blobs: BlobStore, blocks: int) -> None:
    class SourceError(Exception):
        pass

    async def source() -> AsyncIterator[bytes]:
        for _ in range(blocks):
            yield b"x" * 300_000
        raise SourceError

    key = new_key()
    with pytest.raises(SourceError):
        await blobs.put(key, source())
    assert await stored(blobs) == []
    assert not await blobs.exists(key)


async def test_a_blob_is_invisible_until_it_is_complete(blobs: BlobStore) -> None:
    key = new_key()
    seen: list[object] = []

    async def source() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 400_000
            seen.append(await blobs.size(key))
            with pytest.raises(BlobNotFound):
                await content(blobs, key)

    await blobs.put(key, source())
    assert seen == [None] * 4
    assert await blobs.size(key) == 1_600_000


@pytest.mark.parametrize("blocks", [1, 3, 60])
async def test_a_cancelled_put_leaves_no_blob(blobs: BlobStore, blocks: int) -> None:
    started = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        for _ in range(blocks):
            yield b"x" * 400_000
        started.set()
        await asyncio.Event().wait()

    key = new_key()
    task = asyncio.create_task(blobs.put(key, source()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stored(blobs) == []
    assert not await blobs.exists(key)


async def test_incomplete_uploads_are_listed_and_aborted(blobs: BlobStore) -> None:
    whole, key = new_key(), new_key()
    await blobs.put(whole, chunked(pattern(9 * MIB)))
    seen: list[list[str]] = []

    async def source() -> AsyncIterator[bytes]:
        for _ in range(2):
            yield pattern(10 * MIB)
        seen.append([each async for each in blobs.list_incomplete()])
        await blobs.abort_incomplete(whole)
        await blobs.abort_incomplete(key)
        seen.append([each async for each in blobs.list_incomplete()])
        yield b"the end"

    with pytest.raises(DomainError):
        await blobs.put(key, source())
    assert seen == [[key], []]
    assert await stored(blobs) == [whole]
    assert await content(blobs, whole) == pattern(9 * MIB)


async def test_a_key_cannot_be_put_twice(blobs: BlobStore) -> None:
    key = new_key()

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"first" * 100_000
        with pytest.raises(Exception, match="creating a blob"):
            await blobs.put(key, chunked(b"second"))
        yield b"end"

    assert await blobs.put(key, slow()) == 1_500_003


async def test_delete_is_idempotent(blobs: BlobStore) -> None:
    key = new_key()
    await blobs.put(key, chunked(b"abc"))
    await blobs.delete(key)
    assert await stored(blobs) == []
    await blobs.delete(key)
    await blobs.delete(new_key())


async def test_a_read_in_progress_survives_a_delete(blobs: BlobStore) -> None:
    key, data = new_key(), pattern(5_000_000)
    await blobs.put(key, chunked(data))
    reading = blobs.read(key)
    first = await anext(reading)
    await blobs.delete(key)
    assert first + b"".join([block async for block in reading]) == data


async def test_probe_leaves_no_blob(blobs: BlobStore) -> None:
    await blobs.probe()
    assert await stored(blobs) == []
    assert blobs.inspect() == []


async def test_concurrent_puts_store_every_blob(blobs: BlobStore) -> None:
    keys = [new_key() for _ in range(50)]
    await asyncio.gather(*(blobs.put(key, chunked(key.encode() * 10_000)) for key in keys))
    assert sorted(await stored(blobs)) == sorted(keys)
    for key in keys:
        assert await content(blobs, key) == key.encode() * 10_000


TAMPERED = [
    *("", ".", "..", "../x", "../../x", "{folder}/x", "ab/../../x", "ab/cd", "ab\\cd", "ab\0cd"),
    *("0" * 31, "0" * 33, "A" * 32, "0" * 31 + "\n", "0" * 32 + "\n", "٠" * 32, "../" + "0" * 29, "0" * 29 + "/.."),
]


async def test_a_tampered_key_is_refused_and_nothing_is_touched(blobs: BlobStore, tmp_path: Path) -> None:
    """S-09: a row of the database that somebody has changed becomes no path.

    If that breaks, the test must harm nothing: no key leads out of its folder, and reading is tried before writing.
    """
    kept = new_key()
    await blobs.put(kept, chunked(b"kept"))
    keys = [key.format(folder=tmp_path) for key in TAMPERED]
    for key in keys:
        for attempt in (content(blobs, key), blobs.size(key), blobs.exists(key)):
            with pytest.raises(StorageFailed, match="not a blob key"):
                await attempt
    for key in keys:
        for change in (blobs.put(key, chunked(b"tampered")), blobs.delete(key)):
            with pytest.raises(StorageFailed, match="not a blob key"):
                await change
    assert await stored(blobs) == [kept]
    assert await content(blobs, kept) == b"kept"
