"""Reads of blobs on a local disk: that are given up, and that are many at once."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from filestead.blobs.blocks import LARGEST_BYTES, SMALLEST_BYTES
from filestead.blobs.local.store import LocalBlobs

KEY = "0" * 32

pytestmark = pytest.mark.anyio


async def content() -> AsyncIterator[bytes]:
    yield b"content"


async def test_a_read_that_is_cancelled_while_the_blob_is_opened_leaves_no_open_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = LocalBlobs(tmp_path, reserve_bytes=0)
    blobs.open("inst-1", fresh=True)
    await blobs.put(KEY, content())
    opening, cancelled = threading.Event(), threading.Event()
    open_blob = blobs._open_blob

    def open_slowly(key: str) -> object:
        opening.set()
        assert cancelled.wait(10)
        return open_blob(key)

    monkeypatch.setattr(blobs, "_open_blob", open_slowly)
    read = asyncio.ensure_future(anext(blobs.read(KEY)))
    await asyncio.to_thread(opening.wait, 10)
    read.cancel()
    with pytest.raises(asyncio.CancelledError):
        await read
    monkeypatch.undo()
    cancelled.set()
    blobs.close()  # waits for the thread
    await asyncio.sleep(0)  # the event loop drops the result that nobody waits for
    assert [path for path in open_paths() if path.startswith(str(tmp_path))] == []


async def test_many_reads_at_once_have_smaller_blocks(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path, reserve_bytes=0)
    blobs.open("inst-1", fresh=True)
    whole = os.urandom(3 * LARGEST_BYTES)

    async def chunks() -> AsyncIterator[bytes]:
        yield whole

    await blobs.put(KEY, chunks())
    reads = [blobs.read(KEY) for _ in range(200)]
    sizes = [len(await anext(read)) for read in reads]
    assert sizes[:16] == [LARGEST_BYTES] * 16
    assert sizes[31] == LARGEST_BYTES // 2
    assert sizes[-1] == SMALLEST_BYTES
    for read in reads[1:]:
        await read.aclose()
    rest = [block async for block in reads[0]]
    assert [len(block) for block in rest] == [LARGEST_BYTES] * 2
    assert whole.endswith(b"".join(rest))
    blobs.close()


def open_paths() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # of the listing itself
            continue
    return found
