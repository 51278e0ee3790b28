"""What a store that holds wrong bytes does to a download, and what a failing store does to the guard around it."""

import asyncio
import base64
import hashlib
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from filestead.blobs.health import HealthCheckedBlobs
from filestead.blobs.keys import new_inline_key, new_key
from filestead.blobs.local.store import LocalBlobs
from filestead.blobs.s3.bucket import Bucket
from filestead.blobs.s3.opening import open_blob_store
from filestead.blobs.s3.signing import Credentials
from filestead.blobs.s3.store import S3Blobs
from filestead.decoders import DECODERS
from filestead.domain.blobs import BlobStore
from filestead.domain.errors import BlobStoreUnavailable, CannotStart, FileCorrupt, StorageFailed, StoreUnavailable
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.files.model import File, FileStatus, Limits
from filestead.domain.files.service import Files
from filestead.domain.files.validation import UploadPolicy
from filestead.domain.quota import Quota
from tests.stores.conftest import Place
from tests.stores.proxy import Fault, flipped

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
SIZES = pytest.mark.parametrize("size", [1, 1000, 5 * MIB + 3])


async def of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def files(blobs: BlobStore) -> Files:
    def submit(function: Any, *args: Any) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().run_in_executor(None, function, *args)

    policy = UploadPolicy(Limits(512 * MIB, 200 * MIB, Quota(None, None), 0, None), "openai", False)
    # Reading needs no repository.
    return Files(
        cast(FileRepository, None),
        blobs,
        policy,
        new_file_id=new_key,
        new_blob_key=new_key,
        new_inline_key=lambda: new_inline_key(0),
        line_decoders=DECODERS,
        run_in_thread=submit,
        run_line_checks=submit,
    )


def file_of(key: str, data: bytes) -> File:
    return File(
        id="file-1",
        filename="x.bin",
        purpose="user_data",
        bytes=len(data),
        created_at=0,
        expires_at=None,
        status=FileStatus.PROCESSED,
        status_details=None,
        sha256=hashlib.sha256(data).hexdigest(),
        blob_key=key,
    )


async def download(blobs: BlobStore, file: File, start: int, end: int) -> bytearray:
    got = bytearray()
    with pytest.raises(FileCorrupt):
        await _into(got, blobs, file, start, end)
    return got


async def _into(got: bytearray, blobs: BlobStore, file: File, start: int, end: int) -> None:
    async for block in files(blobs).read(file, start, end):
        got.extend(block)


@SIZES
async def test_what_was_sent_is_read(blobs: S3Blobs, size: int) -> None:
    key, data, got = new_key(), secrets.token_bytes(size), bytearray()
    await blobs.put(key, of(data))
    await _into(got, HealthCheckedBlobs(blobs), file_of(key, data), 0, size)
    assert got == data


@SIZES
@pytest.mark.parametrize("wrong", ["in the store", "on the way"])
@pytest.mark.promise("R-04")
async def test_wrong_bytes_never_end_cleanly(blobs: S3Blobs, place: Place, size: int, wrong: str) -> None:
    key, data = new_key(), secrets.token_bytes(size)
    await blobs.put(key, of(data))
    if wrong == "in the store":
        path = f"{place.prefix}/blobs/{key[:2]}/{key}"
        assert place.seaweed.send("PUT", path, body=flipped(data))[0] == 200
    else:
        fault = Fault(answer=lambda head, body: (head, flipped(body)))
        place.proxy.plan = lambda request: fault if request.reads else None
    got = await download(HealthCheckedBlobs(blobs), file_of(key, data), 0, size)
    assert len(got) < size


@pytest.mark.promise("R-04")
async def test_a_blob_of_another_length_is_corrupt(blobs: S3Blobs) -> None:
    key, data = new_key(), secrets.token_bytes(1000)
    await blobs.put(key, of(data[:-1]))
    assert await download(blobs, file_of(key, data), 0, 1000) == b""
    assert await download(blobs, file_of(key, data), 10, 1000) == b""


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000", "the range that was requested"),
        (b"HTTP/1.1 206 Partial Content\r\ncontent-length: 1000", "the range that was requested"),
        (b"HTTP/1.1 206 Partial Content\r\ncontent-length: 1000\r\ncontent-range: bytes 1-1000/2000", "the range"),
        (b"HTTP/1.1 206 Partial Content\r\ncontent-length: 1000\r\ncontent-range: bytes 0-999/*", "the size"),
        (b"HTTP/1.1 206 Partial Content\r\ncontent-length: 1000\r\ncontent-range: bytes 0-999/-1", "the size"),
    ],
)
async def test_a_response_that_is_not_the_range_is_refused(
    blobs: S3Blobs, place: Place, head: bytes, words: str
) -> None:
    key = new_key()
    await blobs.put(key, of(secrets.token_bytes(1000)))
    place.proxy.plan = lambda request: Fault(answer=lambda _, body: (head, body)) if request.reads else None
    with pytest.raises(StorageFailed, match=words):
        async for _ in blobs.read(key, 0, 1000):
            pass


async def test_the_credentials_that_the_driver_finds_are_used(
    place: Place, blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = place.seaweed.credentials
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", given.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given.secret_access_key)
    found = place.store(credentials=None)
    key, data = new_key(), secrets.token_bytes(3 * MIB)
    await found.put(key, of(data))
    place.proxy.seen.clear()
    assert b"".join([block async for block in found.read(key, 1, MIB)]) == data[1:MIB]
    assert b"".join([block async for block in found.read(key)]) == data
    assert all("X-Amz-Signature" in request.query for request in place.proxy.seen), "signed by the driver"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    wrong = place.store(credentials=None)
    with pytest.raises(BlobStoreUnavailable, match="rejects the credentials"):
        await anext(wrong.read(key))
    found.close()
    wrong.close()


async def test_reads_of_an_empty_blob_leave_nothing_open(blobs: S3Blobs, place: Place) -> None:
    key = new_key()
    await blobs.put(key, of())
    for _ in range(20):
        assert [block async for block in blobs.read(key)] == []
    whole = new_key()
    await blobs.put(whole, of(bytes(3 * MIB)))
    read = blobs.read(whole)
    assert len(await anext(read)) >= MIB, "no read of the empty one counts as open"
    await read.aclose()


async def test_a_read_ends_with_its_last_byte(blobs: S3Blobs, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes of the connection or of the store afterwards does not matter."""
    key, data = new_key(), secrets.token_bytes(1000)
    await blobs.put(key, of(data))
    read = blobs.read(key, 0, 1000)
    assert await anext(read) == data
    monkeypatch.setattr(blobs._bucket.breaker, "require_closed", lambda: pytest.fail("another request"))
    with pytest.raises(StopAsyncIteration):
        await anext(read)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_host_is_sent_as_it_is_signed(scheme: str) -> None:
    port = {"http": 80, "https": 443}[scheme]
    bucket = Bucket(
        "b", endpoint=f"{scheme}://Store.Example:{port}/base%20path", credentials=Credentials("id", "secret")
    )
    assert bucket.signer is not None
    assert bucket.signer.url("GET", "x", {}, seconds=1).startswith(f"{scheme}://store.example/base%20path/b/x?")
    assert bucket.signer.read_request("x y", {})[0] == "/base%20path/b/x%20y"
    bucket.close()


def test_the_key_of_a_customer_is_named_to_the_store() -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    environ = {
        "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token",
        "AWS_SERVER_SIDE_ENCRYPTION": "sse-c", "AWS_SSE_CUSTOMER_KEY_BASE64": key,
    }  # fmt: skip

    def opened(**changed: str) -> Bucket:
        blobs = open_blob_store("s3://b/p", endpoint="http://127.0.0.1:1", region=None, environ=environ | changed)
        blobs.close()
        return blobs._bucket

    _, headers = asyncio.run(opened()._sign_read("x"))
    assert headers["x-amz-server-side-encryption-customer-key"] == key
    assert headers["x-amz-server-side-encryption-customer-key-md5"] == "tP/LI3N87DFaSk0aoqYgzg=="
    names = headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert names == sorted(names)
    assert {name for name in headers if name.startswith("x-amz-")} < set(names)
    with pytest.raises(CannotStart, match="AWS_SSE_CUSTOMER_KEY_BASE64"):
        opened(AWS_SSE_CUSTOMER_KEY_BASE64="short")
    with pytest.raises(CannotStart, match="of a role"):
        opened(AWS_ACCESS_KEY_ID="")


async def test_many_reads_take_smaller_blocks(blobs: S3Blobs) -> None:
    key = new_key()
    await blobs.put(key, of(bytes(5 * MIB)))
    reads = [blobs.read(key, 0, 5 * MIB) for _ in range(40)]
    assert len(await anext(reads[0])) >= MIB
    for read in reads[1:]:
        await anext(read)
    await anext(reads[0])  # what has arrived meanwhile
    await asyncio.sleep(0.2)
    assert len(await anext(reads[0])) <= 16 * MIB // 40 + MIB // 4
    for read in reads:
        await read.aclose()
    again = blobs.read(key, 0, 5 * MIB)
    assert len(await anext(again)) >= MIB, "reads that ended are not counted"
    await again.aclose()


@pytest.mark.promise("R-04")
async def test_a_blob_that_shrinks_while_it_is_read_is_corrupt(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path, reserve_bytes=0)
    blobs.open("inst-test", fresh=True)
    key, data = new_key(), bytes(3 * MIB)
    await blobs.put(key, of(data))
    blocks = files(blobs).read(file_of(key, data), 0, len(data))
    assert len(await anext(blocks)) == MIB
    os.truncate(tmp_path / "blobs" / key[:2] / key, 2 * MIB)
    with pytest.raises(FileCorrupt):
        async for _ in blocks:
            pass
    blobs.close()


async def test_a_local_disk_is_not_read_twice(tmp_path: Path) -> None:
    local = LocalBlobs(tmp_path, reserve_bytes=0)
    assert not HealthCheckedBlobs(local).needs_read_verification
    local.close()


async def test_the_guard_remembers_a_store_that_is_down_until_it_is_back(blobs: S3Blobs, place: Place) -> None:
    guard, key = HealthCheckedBlobs(blobs), new_key()
    await guard.put(key, of(b"x"))
    for call in (guard.put(new_key(), of(b"y")), _all(guard, key)):
        place.proxy.plan = lambda request: Fault(503, "SlowDown")
        with pytest.raises(StoreUnavailable):
            await call
        assert await guard.unavailable_reason() is not None
        place.proxy.plan = lambda request: None
        async with asyncio.timeout(30):
            while await guard.unavailable_reason() is not None:
                await asyncio.sleep(0.05)
        await guard.put(new_key(), of(b"z"))


async def test_the_guard_remembers_a_store_that_kept_other_bytes(blobs: S3Blobs, place: Place) -> None:
    guard = HealthCheckedBlobs(blobs)
    place.proxy.plan = lambda request: Fault(request=flipped) if request.method == "PUT" else None
    with pytest.raises(StorageFailed):
        await guard.put(new_key(), of(b"some bytes"))
    assert await guard.unavailable_reason() is not None
    place.proxy.plan = lambda request: None
    assert await guard.unavailable_reason() is None


async def _all(guard: HealthCheckedBlobs, key: str) -> bytes:
    return b"".join([block async for block in guard.read(key)])
