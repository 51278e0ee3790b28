"""Inputs as open files: those of a local store in place, others as a copy whose digest is checked."""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from filestead.blobs.keys import new_key
from filestead.blobs.local.store import LocalBlobs
from filestead.domain.batches.model import Batch, BatchStatus, BatchTask, RequestCounts, TokenUsage
from filestead.domain.errors import BlobNotFound, StorageFailed
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.files.model import ContentPart
from filestead.worker.batches.inputs import INLINE_BYTES, Inputs
from tests.support.databases import on_sqlite

pytestmark = pytest.mark.anyio

CONTENT = b"first line\n" + b"x" * (2 * INLINE_BYTES) + b"\nlast\n"


@pytest.fixture
def blobs(tmp_path: Path) -> Any:
    store = LocalBlobs(tmp_path / "data", reserve_bytes=0)
    (tmp_path / "data").mkdir()
    store.open("inst-test", fresh=True)
    yield store
    store.close()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FileRepository]:
    folder = tmp_path / "rows"
    folder.mkdir()
    with on_sqlite(folder) as rows:
        yield rows.files


class InParts:
    """The rows of a file in two parts; the rest of a repository is not asked."""

    def __init__(self, *parts: ContentPart) -> None:
        self._parts = list(parts)

    async def content_parts(self, blob_key: str) -> list[ContentPart]:
        return self._parts


def on_thread(function: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().run_in_executor(None, function, *args)


async def stored(blobs: LocalBlobs, content: bytes = CONTENT) -> str:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    key = new_key()
    await blobs.put(key, chunks())
    return key


def task(key: str, *, sha256: str = hashlib.sha256(CONTENT).hexdigest()) -> BatchTask:
    nothing: Any = dict.fromkeys(
        f"{name}_at"
        for name in ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    )
    batch = Batch(
        id="batch_x",
        project_id="p",
        endpoint="/v1/x",
        model=None,
        errors=(),
        input_file_id="file-x",
        completion_window="24h",
        status=BatchStatus.VALIDATING,
        output_file_id=None,
        error_file_id=None,
        created_at=0,
        expires_at=86_400,
        counts=RequestCounts(),
        usage=TokenUsage(),
        metadata=None,
        **nothing,
    )
    return BatchTask(batch, "o", "u", key, len(CONTENT), sha256, 3_600, 0)


@pytest.mark.parametrize("local", [True, False])
async def test_lines_are_read_by_their_offset(
    files: FileRepository, blobs: LocalBlobs, local: bool, tmp_path: Path
) -> None:
    inputs = Inputs(files, blobs, on_thread, local=blobs if local else None, folder=tmp_path)
    before = set(os.listdir("/proc/self/fd"))
    async with inputs.open(task(await stored(blobs))) as file:
        assert await file.read(0, 10) == b"first line"
        assert await file.read(11, 2 * INLINE_BYTES) == b"x" * (2 * INLINE_BYTES)
        assert await file.read(len(CONTENT) - 5, 4) == b"last"
        with pytest.raises(StorageFailed, match="shorter"):
            await file.read(len(CONTENT) - 5, 100)
        assert sorted(os.listdir(tmp_path)) == ["data", "rows"], "a copy has no name"
    assert set(os.listdir("/proc/self/fd")) <= before


async def test_a_copy_must_have_the_digest_of_the_upload(files: FileRepository, blobs: LocalBlobs) -> None:
    inputs = Inputs(files, blobs, on_thread, local=None, folder=None)
    with pytest.raises(BlobNotFound):
        async with inputs.open(task(await stored(blobs), sha256="0" * 64)):
            raise AssertionError("it was opened")


async def part(blobs: LocalBlobs, content: bytes, digested: bytes | None = None) -> ContentPart:
    digest = hashlib.sha256(content if digested is None else digested).hexdigest()
    return ContentPart(await stored(blobs, content), len(content), digest)


@pytest.mark.parametrize("local", [True, False])
async def test_an_input_in_parts(blobs: LocalBlobs, local: bool) -> None:
    rows: Any = InParts(await part(blobs, CONTENT[:100]), await part(blobs, CONTENT[100:]))
    inputs = Inputs(rows, blobs, on_thread, local=blobs if local else None, folder=None)
    async with inputs.open(task(new_key(), sha256="")) as file:
        assert await file.read(0, len(CONTENT)) == CONTENT


async def test_each_part_must_have_the_digest_of_its_upload(blobs: LocalBlobs) -> None:
    rows: Any = InParts(await part(blobs, CONTENT[:100]), await part(blobs, CONTENT[100:], b"other"))
    with pytest.raises(BlobNotFound):
        async with Inputs(rows, blobs, on_thread, local=None, folder=None).open(task(new_key(), sha256="")):
            raise AssertionError("it was opened")


@pytest.mark.parametrize("local", [True, False])
async def test_an_input_that_is_missing(files: FileRepository, blobs: LocalBlobs, local: bool) -> None:
    inputs = Inputs(files, blobs, on_thread, local=blobs if local else None, folder=None)
    with pytest.raises(BlobNotFound):
        async with inputs.open(task(new_key())):
            raise AssertionError("it was opened")


async def test_a_file_is_closed_after_the_last_read(files: FileRepository, blobs: LocalBlobs) -> None:
    inputs = Inputs(files, blobs, on_thread, local=blobs, folder=None)
    going_on = asyncio.Event()
    ended: list[bytes] = []
    loop = asyncio.get_running_loop()

    async def read() -> None:
        async with inputs.open(task(await stored(blobs))) as file:

            def slowly() -> None:
                loop.call_soon_threadsafe(going_on.set)
                time.sleep(0.2)
                ended.append(file.read_now(0, 10))

            await file.on_thread(on_thread(slowly))

    reader = asyncio.create_task(read())
    await going_on.wait()
    reader.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reader
    assert ended == [b"first line"], "the descriptor was still that of the input"
