"""What a network and a store may do to S3Blobs: the outcome, the time it takes, and that nothing stays behind."""

import asyncio
import contextlib
import hashlib
import logging
import random
import re
import time
from collections.abc import AsyncIterator, Callable

import pytest

from filestead.blobs.keys import new_key
from filestead.blobs.s3 import bucket, incomplete, reads
from filestead.blobs.s3.bucket import Bucket
from filestead.blobs.s3.store import S3Blobs
from filestead.domain.errors import CannotStart, DomainError, StorageFailed, StorageFull, StoreUnavailable
from tests.stores.conftest import Place
from tests.stores.proxy import SECRETS, Fault, Request, flipped
from tests.support.promises import Trials
from tests.support.seaweedfs import REVOKED, SeaweedServer

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
SMALL, LARGE = 100_000, 20 * MIB + 7
BOTH = pytest.mark.parametrize("size", [SMALL, LARGE])
SERVER_ERRORS = [Fault(500), Fault(503, "SlowDown"), Fault(503, "ServiceUnavailable")]


def pattern(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def chunked(data: bytes, size: int = 256 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def content(blobs: S3Blobs, key: str, *span: int | None) -> bytes:
    return b"".join([block async for block in blobs.read(key, *span)])  # type: ignore[arg-type]


def always(
    fault: Fault, condition: Callable[[Request], bool] = lambda request: True
) -> Callable[[Request], Fault | None]:
    return lambda request: fault if condition(request) else None


def once(fault: Fault, condition: Callable[[Request], bool]) -> Callable[[Request], Fault | None]:
    faults = [fault]
    return lambda request: faults.pop() if faults and condition(request) else None


async def refusal(blobs: S3Blobs, data: bytes) -> tuple[DomainError, float]:
    started = time.monotonic()
    with pytest.raises(DomainError) as raised:
        await blobs.put(new_key(), chunked(data))
    return raised.value, time.monotonic() - started


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.promise("R-12")
async def test_errors_of_one_request_in_ten_are_invisible_and_cheap(
    blobs: S3Blobs, place: Place, trials: Trials
) -> None:
    dice = random.Random(11)
    faults = [*SERVER_ERRORS, Fault()]
    place.proxy.plan = lambda request: dice.choice(faults) if dice.random() < 0.1 else None
    for number in range(60):
        data = pattern(LARGE if number % 20 == 0 else SMALL + number)
        key = new_key()
        assert await blobs.put(key, chunked(data)) == len(data)
        assert await content(blobs, key) == data
        trials()
    assert len(place.proxy.seen) > place.proxy.passed + 10, "no faults were met"
    assert len(place.proxy.seen) <= 1.25 * place.proxy.passed
    sent = sum(len(request.body) for request in place.proxy.seen)
    # The large ones have few parts: whether one more of them meets a fault depends on the order in which they are sent.
    assert sent <= 1.5 * (3 * LARGE + 57 * (SMALL + 30))


@BOTH
@pytest.mark.parametrize("fault", SERVER_ERRORS)
@pytest.mark.promise("R-12")
@pytest.mark.timing
async def test_a_store_that_only_fails_is_unavailable_soon(
    blobs: S3Blobs, place: Place, fault: Fault, size: int
) -> None:
    place.proxy.plan = always(fault)
    error, seconds = await refusal(blobs, pattern(size))
    assert isinstance(error, StoreUnavailable)
    assert seconds <= 6
    assert SECRETS not in str(error)
    assert place.remains() == (0, 0)


@BOTH
@pytest.mark.promise("R-12")
async def test_parts_that_fail_leave_nothing(blobs: S3Blobs, place: Place, size: int) -> None:
    place.proxy.plan = always(
        Fault(500), lambda request: request.is_part or (request.method == "PUT" and size == SMALL)
    )
    error, _ = await refusal(blobs, pattern(size))
    assert isinstance(error, StoreUnavailable)
    assert place.remains() == (0, 0)


async def test_a_full_store_is_full(blobs: S3Blobs, place: Place) -> None:
    place.proxy.plan = always(Fault(507, "InsufficientStorage"), lambda request: request.method == "PUT")
    error, _ = await refusal(blobs, b"x")
    assert isinstance(error, StorageFull)


@BOTH
@pytest.mark.promise("R-12")
@pytest.mark.timing
async def test_an_unreachable_store_is_unavailable_soon_and_then_at_once(place: Place, size: int) -> None:
    blobs = place.store(endpoint="http://127.0.0.1:9")
    for _ in range(2):
        error, seconds = await refusal(blobs, pattern(size))
        assert isinstance(error, StoreUnavailable)
        assert seconds <= 6
    error, seconds = await refusal(blobs, b"x")
    assert isinstance(error, StoreUnavailable)
    assert seconds < 1
    with pytest.raises(StoreUnavailable):
        await content(blobs, new_key())
    blobs.close()


@pytest.mark.promise("R-12")
@pytest.mark.timing
async def test_a_recovered_store_is_used_again_within_five_seconds(blobs: S3Blobs, place: Place) -> None:
    place.proxy.plan = always(Fault(503))
    for _ in range(3):
        await refusal(blobs, b"x")
    place.proxy.plan = always(Fault(answer=lambda head, body: (head, body)))
    recovered = time.monotonic()
    while True:
        try:
            await blobs.put(new_key(), chunked(b"x"))
            break
        except StoreUnavailable:
            await asyncio.sleep(0.05)
    assert time.monotonic() - recovered <= 5


@BOTH
@pytest.mark.promise("R-12")
@pytest.mark.timing
async def test_a_store_that_hangs_is_given_up(place: Place, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Shortened: the driver has 13 seconds for a part of 8 MiB, and 5 for a small object.
    monkeypatch.setattr(bucket, "WRITE_SECONDS", 3)
    monkeypatch.setattr(bucket, "RESPONSE_SECONDS", 2)
    monkeypatch.setattr(incomplete, "REQUEST_SECONDS", 2)
    blobs = place.store()
    blobs.open("inst-test", fresh=True)
    place.proxy.plan = always(Fault(hang=True), lambda request: request.is_part or size == SMALL)
    error, seconds = await refusal(blobs, pattern(size))
    assert isinstance(error, StoreUnavailable)
    assert seconds <= 6
    with pytest.raises(StoreUnavailable) if size == SMALL else contextlib.nullcontext():
        await blobs.delete(new_key())  # refused at once, as the domain tries right after a failure
    assert place.remains() == (0, 0)
    blobs.close()


async def test_a_slow_answer_is_waited_for(blobs: S3Blobs, place: Place) -> None:
    place.proxy.plan = always(Fault(delay=1))
    key = new_key()
    await blobs.put(key, chunked(b"slow"))
    assert await content(blobs, key) == b"slow"


async def test_a_full_answer_that_is_lost_is_found(blobs: S3Blobs, place: Place) -> None:
    for size, condition in (
        (SMALL, lambda request: request.method == "PUT" and request.is_blob),
        (LARGE, lambda request: request.completes),
        (LARGE, lambda request: request.is_part),
    ):
        place.proxy.plan = once(Fault(lose_answer=True), condition)
        key, data = new_key(), pattern(size)
        assert await blobs.put(key, chunked(data)) == size
        assert await content(blobs, key) == data
    assert place.remains() == (0, 3)


@pytest.mark.promise("R-12")
async def test_every_answer_to_a_completion_may_be_lost(blobs: S3Blobs, place: Place) -> None:
    place.proxy.plan = always(Fault(lose_answer=True), lambda request: request.completes)
    key, data = new_key(), pattern(LARGE)
    assert await blobs.put(key, chunked(data)) == LARGE
    assert await content(blobs, key) == data
    assert place.remains() == (0, 1)


# --- bytes that change ----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.promise("R-04")
async def test_a_bit_that_flips_on_the_way_in_is_found_before_put_returns(
    place: Place, size: int, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unsigned, it is the tag alone that shows it."""
    monkeypatch.setenv("AWS_UNSIGNED_PAYLOAD", str(not signed).lower())
    blobs = place.store()
    place.proxy.plan = once(Fault(request=flipped), lambda request: request.method == "PUT" and request.is_blob)
    error, _ = await refusal(blobs, pattern(size))
    assert isinstance(error, StorageFailed)
    assert place.remains() == (0, 0)
    blobs.close()


async def test_a_store_whose_tags_are_no_checksums_is_believed(blobs: S3Blobs, place: Place) -> None:
    def other_tags(head: bytes, body: bytes) -> tuple[bytes, bytes]:
        lines = [b"ETag: W/opaque" if line.lower().startswith(b"etag:") else line for line in head.split(b"\r\n")]
        return b"\r\n".join(lines), body

    place.proxy.plan = always(Fault(answer=other_tags), lambda request: request.method in {"HEAD", "GET"})
    key = new_key()
    assert await blobs.put(key, chunked(b"encrypted there")) == 15
    assert await content(blobs, key) == b"encrypted there"


# --- reads ----------------------------------------------------------------------------------------------------------


def rewritten(pattern: str, replacement: str, cut: int | None = None, more: bytes = b"") -> Fault:
    """An answer with another head, and a body that is cut or goes on."""
    return Fault(answer=lambda head, body: (re.sub(pattern.encode(), replacement.encode(), head), body[:cut] + more))


READ_FAULTS = {
    "cut": Fault(cut_behind=100_000),
    "shorter": rewritten("Content-Length: [0-9]+", "Content-Length: 100000", cut=100_000),
    "longer": rewritten("Content-Length: [0-9]+", f"Content-Length: {LARGE + 4}", more=bytes(LARGE)),
    "another range": rewritten("bytes 0-20971526/", "bytes 1-20971527/"),
    "not the range": rewritten("206 Partial Content", "200 OK"),
    "hang": Fault(hang_behind=3 * MIB),
    "hang at once": Fault(hang=True),
    "nothing": Fault(),
}


@pytest.mark.parametrize("name", READ_FAULTS)
@pytest.mark.promise("R-04")
@pytest.mark.timing
async def test_a_broken_read_never_ends_cleanly(
    blobs: S3Blobs, place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "IDLE_SECONDS", 1)
    monkeypatch.setattr(reads, "RESPONSE_SECONDS", 1)
    key, data = new_key(), pattern(LARGE)
    await blobs.put(key, chunked(data))
    place.proxy.plan = always(READ_FAULTS[name], lambda request: request.reads)
    got = bytearray()
    started = time.monotonic()

    async def download() -> None:
        async for block in blobs.read(key, 0, LARGE):
            got.extend(block)

    with pytest.raises((StoreUnavailable, StorageFailed)):
        await download()
    assert time.monotonic() - started <= 7
    assert data.startswith(got)


@pytest.mark.parametrize("name", ["cut", "shorter", "hang", "nothing"])
async def test_a_read_that_breaks_once_goes_on(
    blobs: S3Blobs, place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "IDLE_SECONDS", 1)
    key, data = new_key(), pattern(LARGE)
    await blobs.put(key, chunked(data))
    place.proxy.plan = once(READ_FAULTS[name], lambda request: request.reads)
    assert await content(blobs, key, 0, LARGE) == data


@pytest.mark.promise("R-04")
async def test_a_read_does_not_go_on_in_another_object(blobs: S3Blobs, place: Place) -> None:
    key, data = new_key(), pattern(LARGE)
    await blobs.put(key, chunked(data))
    place.proxy.plan = once(Fault(cut_behind=3 * MIB), lambda request: request.reads)
    reading = blobs.read(key, 0, LARGE)
    first = await anext(reading)
    path = f"{place.prefix}/blobs/{key[:2]}/{key}"
    assert place.seaweed.send("PUT", path, body=bytes(LARGE))[0] == 200
    rest = bytearray()

    async def download() -> None:
        async for block in reading:
            rest.extend(block)

    with pytest.raises(StorageFailed):
        await download()
    assert data.startswith(first + rest)


# --- who asks -------------------------------------------------------------------------------------------------------


async def test_refused_credentials_are_never_shown(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    blobs = place.store(credentials=REVOKED)
    failures: list[BaseException] = []
    for call in (
        blobs.put(new_key(), chunked(b"x")),
        blobs.put(new_key(), chunked(pattern(LARGE))),
        content(blobs, new_key()),
        blobs.size(new_key()),
        blobs.delete(new_key()),
        blobs.probe(),
    ):
        with pytest.raises((StoreUnavailable, StorageFailed)) as raised:
            await call
        failures.append(raised.value)
    with pytest.raises(CannotStart) as refused:
        blobs.open("inst-test", fresh=True)
    failures.append(refused.value)
    told = caplog.text + "".join(f"{error} {error.__cause__}" for error in failures)
    assert "rejects the credentials" in told
    for secret in (REVOKED.access_key_id, REVOKED.secret_access_key):
        assert secret not in told
    assert REVOKED.secret_access_key not in repr(REVOKED)
    blobs.close()


async def test_a_wrong_clock_is_named(blobs: S3Blobs, place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.proxy.plan = always(Fault(403, "RequestTimeTooSkewed"))
    error, _ = await refusal(blobs, b"x")
    assert isinstance(error, StoreUnavailable)
    assert "clock" in caplog.text
    assert SECRETS not in caplog.text + str(error)


# --- endings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.promise("R-17")
@pytest.mark.timing
async def test_a_client_that_goes_leaves_no_part(blobs: S3Blobs, place: Place, alone: bool) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MIB)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(blobs.put(new_key(), endless())) for _ in range(1 if alone else 3)]
    while sum(request.is_part for request in place.proxy.seen) < 6:
        await asyncio.sleep(0.01)
    started = time.monotonic()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    assert time.monotonic() - started <= 5
    assert place.remains() == (0, 0)
    await blobs.put(new_key(), chunked(pattern(LARGE)))  # and what they held of the budget is back


@pytest.mark.promise("R-17")
async def test_a_source_that_fails_leaves_no_part(blobs: S3Blobs, place: Place) -> None:
    class SourceError(Exception):
        pass

    async def source() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield bytes(MIB)
        raise SourceError

    with pytest.raises(SourceError):
        await blobs.put(new_key(), source())
    assert any(request.is_part for request in place.proxy.seen)
    assert place.remains() == (0, 0)


async def test_many_large_uploads_at_once(blobs: S3Blobs) -> None:
    keys = [new_key() for _ in range(6)]
    data = {key: hashlib.sha256(key.encode()).digest() * (LARGE // 32) for key in keys}
    await asyncio.gather(*(blobs.put(key, chunked(data[key])) for key in keys))
    for key in keys:
        assert await content(blobs, key) == data[key]


@pytest.mark.promise("R-12")
@pytest.mark.timing
async def test_a_store_killed_in_the_middle_of_an_upload() -> None:
    server = SeaweedServer()
    try:
        blobs = S3Blobs(Bucket(server.bucket, "p", endpoint=server.endpoint, credentials=server.credentials))
        blobs.open("inst-test", fresh=True)
        kept = new_key()
        await blobs.put(kept, chunked(pattern(LARGE)))
        key, died = new_key(), 0.0

        async def source() -> AsyncIterator[bytes]:
            nonlocal died
            for number in range(40):
                if number == 20:
                    server.kill9()
                    died = time.monotonic()
                yield bytes(MIB)

        with pytest.raises(StoreUnavailable):
            await blobs.put(key, source())
        assert time.monotonic() - died <= 15
        server.start()
        back = time.monotonic()
        while True:
            try:
                await blobs.delete(key)  # as the sweep does
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
        assert time.monotonic() - back <= 5
        assert server.unfinished("p") == 0
        assert [found async for found in blobs.stored_keys()] == [kept]
        assert await content(blobs, kept) == pattern(LARGE)
        blobs.close()
    finally:
        server.stop()
