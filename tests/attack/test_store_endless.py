"""The object store is not trusted: what it sends holds nobody up."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterator

import pytest

from filestead.blobs.s3 import bucket, incomplete, listing
from filestead.blobs.s3.store import S3Blobs
from filestead.domain.errors import DomainError
from tests.attack.hostile_store import HostileStore, Request, reply
from tests.attack.store_calls import Call, by_name, claim, delete, get, head, inspect, names, put_small, strays

pytestmark = pytest.mark.anyio


def page(number: int, *, keys: int, token: str, truncated: bool = True) -> bytes:
    """A page of objects, as ListObjectsV2 has it."""
    objects = "".join(
        f"<Contents><Key>p/blobs/aa/aa{number:010d}{n:020d}</Key><Size>1</Size><ETag>x</ETag>"
        "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
        for n in range(keys)
    )
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
    body = f"<ListBucketResult>{objects}{more if truncated else ''}</ListBucketResult>"
    return reply(200, body.encode(), content_type="application/xml")


def uploads(token: str) -> bytes:
    """A page of unfinished uploads."""
    one = "<Upload><Key>p/blobs/aa/x</Key><UploadId>u</UploadId><Initiated>2024-01-01T00:00:00Z</Initiated></Upload>"
    more = f"<IsTruncated>true</IsTruncated><NextKeyMarker>{token}</NextKeyMarker><NextUploadIdMarker/>"
    return reply(200, f"<ListMultipartUploadsResult>{one}{more}</ListMultipartUploadsResult>".encode())


def endless(kind: str) -> Callable[[Request], bytes]:
    """A store whose lists do not end."""
    numbers = itertools.count()

    def answer(request: Request) -> bytes:
        n = next(numbers)
        fresh = "token" if "same token" in kind else f"token-{n}"
        if "uploads" in request.query and request.method == "GET":
            return uploads(fresh)
        if request.method == "GET" and "list-type" in request.query:
            return page(0 if "same page" in kind else n, keys=0 if "empty" in kind else 1000, token=fresh)
        return reply(204)

    return answer


async def asks_no_more(store: HostileStore) -> None:
    """What was on its way may still arrive, soon or late; a list that does not end would be asked for ever."""
    deadline = time.monotonic() + 20
    asked = -1
    while asked != len(store.seen):
        assert time.monotonic() < deadline, "it goes on asking"
        asked = len(store.seen)
        await asyncio.sleep(0.5)


KINDS = ["same page, same token", "same page", "empty, same token", "empty", "always new", "always new, same token"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", [names, strays, inspect, delete], ids=by_name)
@pytest.mark.timing
async def test_a_list_that_does_not_end_is_given_up(
    blobs: S3Blobs, store: HostileStore, monkeypatch: pytest.MonkeyPatch, kind: str, call: Call
) -> None:
    """With smaller bounds than in earnest; what is bounded is the same."""
    for module, name, value in [
        (listing, "MAX_PAGES", 20), (incomplete, "MAX_PAGES", 20), (listing, "PAGE_SECONDS", 1.0),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, value)
    store.answer = endless(kind)
    started = time.monotonic()
    with pytest.raises(DomainError):
        await call(blobs)
    assert time.monotonic() - started < 10
    await asks_no_more(store)


@pytest.mark.timing
async def test_a_list_of_beginnings_is_read_in_linear_time(blobs: S3Blobs, store: HostileStore) -> None:
    """What has 500,000 beginnings and no end, in a text of which 4 MiB are read."""
    for word in (b"<Upload>", b"<IsTruncated>", b"<Upload><Key>"):
        store.answer = lambda request, word=word: reply(200, word * (4 * 1024 * 1024 // len(word)))
        started = time.process_time()
        assert await strays(blobs) == []
        assert time.process_time() - started < 5


@pytest.mark.parametrize("kind", ["always new", "empty"])
@pytest.mark.parametrize("call", [names, strays], ids=by_name)
async def test_a_list_that_nobody_waits_for_is_not_asked_for(
    blobs: S3Blobs, store: HostileStore, kind: str, call: Call
) -> None:
    store.answer = endless(kind)
    asking = asyncio.ensure_future(call(blobs))
    while len(store.seen) < 3:
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asks_no_more(store)


def dripping(head: bytes) -> Callable[[Request], Iterator[bytes | float]]:
    def answer(request: Request) -> Iterator[bytes | float]:
        yield head
        while True:
            yield 0.05
            yield b"x"

    return answer


@pytest.fixture
def smaller_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Than in earnest, for a store that is made after it: 15 seconds for a page, 5 for anything else."""
    for module, name in [(listing, "PAGE_SECONDS"), (bucket, "RESPONSE_SECONDS"), (incomplete, "REQUEST_SECONDS")]:
        monkeypatch.setattr(module, name, 2.0)


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 X\r\n", b"HTTP/1.1 200 X\r\ncontent-length: 1000000\r\n\r\n"], ids=["line", "head", "body"]
)  # fmt: skip
@pytest.mark.parametrize("call", [head, delete, names, strays, put_small, claim], ids=by_name)
@pytest.mark.timing
async def test_a_store_that_drips_is_given_up(
    smaller_bounds: None, blobs: S3Blobs, store: HostileStore, call: Call, start: bytes
) -> None:
    store.answer = dripping(start)
    started = time.monotonic()
    if call is not head or b"content" not in start:
        with pytest.raises(DomainError):
            await call(blobs)
    assert time.monotonic() - started < 10
    deadline = time.monotonic() + 30
    while store.connections and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert not store.connections, "a connection is kept for nobody"


async def test_a_read_that_nobody_waits_for_ends(blobs: S3Blobs, store: HostileStore) -> None:
    """A read may take a day; its connection to the store ends with whoever reads."""
    head_ = (
        b"HTTP/1.1 200 X\r\ncontent-length: 1000000\r\netag: x\r\nlast-modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n"
    )
    store.answer = lambda request: iter([head_, b"x" * 1000, 60.0])
    reading = asyncio.ensure_future(get(blobs))
    while not store.connections:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    deadline = time.monotonic() + 30
    while store.connections and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert not store.connections


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00" * 100, b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 X\r\ncontent-length: -5\r\n\r\n", b"HTTP/1.1 200 X\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 X\r\n" + b"a: b\r\n" * 100_000 + b"\r\n", b"HTTP/1.1 200 " + b"x" * 1_000_000, b"",
        b"HTTP/1.1 99999999999999999999 X\r\n\r\n", b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nabc",
    ],
    ids=range(10),
)  # fmt: skip
@pytest.mark.parametrize("call", [get, delete, names], ids=by_name)
@pytest.mark.timing
async def test_what_is_not_http_is_an_answer_that_failed(
    blobs: S3Blobs, store: HostileStore, answer: bytes, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    def answered(request: Request) -> Iterator[bytes | None]:
        yield answer
        yield None

    store.answer = answered
    started = time.monotonic()
    with pytest.raises(DomainError):
        await call(blobs)
    assert time.monotonic() - started < 10
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR and record.exc_info]
