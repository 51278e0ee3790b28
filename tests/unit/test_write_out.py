"""The local store has the system begin to write what has arrived of a large file, and relies on it for nothing."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from filestead.blobs.keys import new_key
from filestead.blobs.local.store import WRITE_OUT_BYTES, LocalBlobs

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalBlobs]:
    made = LocalBlobs(tmp_path, reserve_bytes=0)
    made.open("inst-test", fresh=True)
    yield made
    made.close()


async def in_pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(store: LocalBlobs, key: str) -> bytes:
    return b"".join([block async for block in store.read(key)])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int] | str]:
    """(start, length, size of the file) of each hint, and `fsync`, in their order."""
    found: list[tuple[int, int, int] | str] = []
    fadvise, fsync = os.posix_fadvise, os.fsync

    def noted_advice(fd: int, start: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        found.append((start, length, os.fstat(fd).st_size))
        fadvise(fd, start, length, advice)

    def noted_sync(fd: int) -> None:
        found.append("fsync")
        fsync(fd)

    monkeypatch.setattr(os, "posix_fadvise", noted_advice)
    monkeypatch.setattr(os, "fsync", noted_sync)
    return found


@pytest.mark.parametrize("piece", [MIB, 1_000_003, 3 * WRITE_OUT_BYTES + 5])
async def test_what_has_arrived_is_written_out_once_and_before_the_sync(
    store: LocalBlobs, calls: list[tuple[int, int, int] | str], piece: int
) -> None:
    data = os.urandom(3 * WRITE_OUT_BYTES + 3 * MIB)
    key = new_key()
    await store.put(key, in_pieces(data, piece))
    hints = [call for call in calls if not isinstance(call, str)]
    assert calls.index("fsync") == len(hints), "the file is synced afterwards, whatever was written out"
    at = 0
    for start, length, size in hints:
        assert start == at, "no byte twice, and none left out"
        assert length % WRITE_OUT_BYTES == 0
        assert start + length <= size < start + length + WRITE_OUT_BYTES, "as soon as it has arrived"
        at += length
    assert at == 3 * WRITE_OUT_BYTES
    assert await read(store, key) == data


async def test_a_small_file_is_not_worth_a_hint(store: LocalBlobs, calls: list[tuple[int, int, int] | str]) -> None:
    await store.put(new_key(), in_pieces(bytes(WRITE_OUT_BYTES - 1), MIB))
    assert calls[0] == "fsync"


async def test_a_file_system_that_knows_no_hints(store: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    data = os.urandom(WRITE_OUT_BYTES + MIB)
    key = new_key()
    await store.put(key, in_pieces(data, MIB))
    assert await read(store, key) == data
