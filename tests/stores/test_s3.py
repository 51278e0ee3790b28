"""What is S3Blobs' own, beyond the contract of every blob store: places, listings, links, memory, errors."""

import asyncio
import http.client
import inspect
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from obstore import exceptions as driver

from filestead.blobs.breaker import FAILURE_THRESHOLD, RESET_TIMEOUT, Breaker
from filestead.blobs.keys import new_key
from filestead.blobs.s3.bucket import Bucket
from filestead.blobs.s3.errors import domain_error, translate_s3_errors
from filestead.blobs.s3.incomplete import IncompleteUploads
from filestead.blobs.s3.opening import open_blob_store
from filestead.blobs.s3.semaphore import ByteSemaphore
from filestead.blobs.s3.signing import Credentials, Signer
from filestead.blobs.s3.store import S3Blobs
from filestead.domain.errors import (
    BlobNotFound,
    BlobStoreUnavailable,
    CannotStart,
    DomainError,
    StorageFailed,
    StorageFull,
)
from filestead.egress import Egress, origin_of
from tests.stores.conftest import Place
from tests.support.seaweedfs import CREDENTIALS, REGION

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
ROOT = Path(__file__).parents[2]


async def of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


# --- whose place it is ----------------------------------------------------------------------------------------------


def test_a_place_belongs_to_one_installation(place: Place) -> None:
    blobs = place.store()
    with pytest.raises(CannotStart, match="VOLUME is missing"):
        blobs.open("inst-one", fresh=False)
    blobs.open("inst-one", fresh=True)
    blobs.open("inst-one", fresh=False)
    blobs.open("inst-one", fresh=True)  # a first start that was cut off behind the marker
    for fresh in (True, False):
        with pytest.raises(CannotStart, match="another installation"):
            blobs.open("inst-two", fresh=fresh)
    assert place.seaweed.send("GET", f"{place.prefix}/VOLUME") == (200, b"inst-one\n")
    blobs.close()


async def test_blobs_without_a_marker_are_not_taken_over(place: Place, blobs: S3Blobs) -> None:
    await blobs.put(new_key(), of(b"x"))
    place.seaweed.send("DELETE", f"{place.prefix}/VOLUME")
    with pytest.raises(CannotStart, match="VOLUME is missing"):
        place.store().open("inst-two", fresh=True)


@pytest.mark.parametrize(
    ("bucket", "endpoint", "words"),
    [
        ("no-such-bucket", None, "the bucket does not exist"),
        ("bucket", "http://127.0.0.1:9", "does not respond"),
    ],
)
@pytest.mark.timing
def test_what_cannot_be_opened_says_so(place: Place, bucket: str, endpoint: str | None, words: str) -> None:
    blobs = open_blob_store(
        f"s3://{bucket}/files",
        endpoint=endpoint or place.seaweed.endpoint,
        region=None,
        environ={
            "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key_id,
            "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_access_key,
        },
    )
    started = time.monotonic()
    with pytest.raises(CannotStart, match=words) as refused:
        blobs.open("inst-one", fresh=True)
    assert time.monotonic() - started <= 10
    assert "\n" not in str(refused.value)
    blobs.close()


@pytest.mark.parametrize("url", ["s3://", "http://bucket/x", "gs://bucket", "bucket", "s3://bucket/x?y=1"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(CannotStart, match="s3://bucket/prefix"):
        open_blob_store(url, endpoint=None, region=None, environ={})


def test_without_the_driver_the_message_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['obstore'] = None\n"
        "from filestead.blobs.s3.opening import open_blob_store\n"
        "open_blob_store('s3://bucket', endpoint=None, region=None, environ={})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search(r"CannotStart: .*pip install 'filestead\[s3\]'", done.stderr)


def test_an_embedded_server_does_without_the_driver() -> None:
    code = "import sys, filestead.app.web, filestead.blobs.s3.opening; sys.exit('obstore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- what is in it --------------------------------------------------------------------------------------------------


async def test_a_listing_has_every_page(place: Place, blobs: S3Blobs) -> None:
    keys = [new_key() for _ in range(2_500)]
    with ThreadPoolExecutor(16) as pool:
        # Not through `blobs`, which does not wait for a store that pauses for 5 s.
        stored = list(
            pool.map(lambda key: place.seaweed.send("PUT", f"{place.prefix}/blobs/{key[:2]}/{key}", body=b"x")[0], keys)
        )
    assert stored == [200] * len(keys)
    before = len(place.proxy.seen)
    assert sorted([key async for key in blobs.stored_keys()]) == sorted(keys)
    assert len(place.proxy.seen) - before >= 3
    assert blobs.inspect() == []


async def test_foreign_objects_are_reported_and_left(place: Place, blobs: S3Blobs) -> None:
    names = ["readme.txt", f"ab/{'cd' * 16}", f"cd/{'CD' * 16}"]
    for name in names:
        place.seaweed.send("PUT", f"{place.prefix}/blobs/{name}", body=b"?")
    assert sorted(finding.subject.partition("/blobs/")[2] for finding in blobs.inspect()) == sorted(names)


async def test_what_a_killed_process_left_goes_with_its_key(place: Place, blobs: S3Blobs) -> None:
    key, other = new_key(), new_key()
    await blobs.put(other, of(b"stays"))
    code = f"""
import asyncio
from tests.support.seaweedfs import CREDENTIALS, REGION
from filestead.blobs.s3.bucket import Bucket
from filestead.blobs.s3.store import S3Blobs

async def endless():
    while True:
        yield bytes({MIB})
        await asyncio.sleep(0.005)

blobs = S3Blobs(Bucket({place.seaweed.bucket!r}, {place.prefix!r}, endpoint={place.proxy.endpoint!r}, credentials=CREDENTIALS))
asyncio.run(blobs.put({key!r}, endless()))
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while not any(request.is_part for request in place.proxy.seen):
        assert process.poll() is None
        await asyncio.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert place.seaweed.unfinished(f"{place.prefix}/blobs") == 1
    await blobs.delete(key)
    assert place.remains() == (0, 1)


async def test_a_listing_of_unfinished_uploads_has_every_page(place: Place, blobs: S3Blobs) -> None:
    keys = [new_key() for _ in range(1_100)]
    with ThreadPoolExecutor(16) as pool:
        begun = list(
            pool.map(
                lambda key: place.seaweed.send("POST", f"{place.prefix}/blobs/{key[:2]}/{key}", {"uploads": ""})[0],
                keys,
            )
        )
    assert begun == [200] * len(keys)
    before = len(place.proxy.seen)
    assert sorted([key async for key in blobs.list_incomplete()]) == sorted(keys)
    assert len(place.proxy.seen) - before == 2


def test_what_cut_off_probes_left_goes_after_an_hour(place: Place, blobs: S3Blobs) -> None:
    signer = Signer(place.seaweed.endpoint, place.seaweed.bucket, REGION, CREDENTIALS, time.time)
    prefix = f"{place.prefix}/probes/"
    for name in ("one", "two"):
        assert place.seaweed.send("POST", prefix + name, {"uploads": ""})[0] == 200
    place.store().open("inst-test", fresh=False)
    assert place.seaweed.unfinished(prefix) == 2, "another node may be at it"
    assert (
        IncompleteUploads(signer, Egress([origin_of(place.seaweed.endpoint)])).abort_older_than(
            -timedelta(minutes=1), prefix
        )
        == 2
    )
    assert place.seaweed.unfinished(prefix) == 0


async def test_a_spool_that_fails_is_a_failure_of_storage(place: Place) -> None:
    blobs = S3Blobs(Bucket("bucket", place.prefix, endpoint=place.seaweed.endpoint), place.spool / "not there")
    with pytest.raises(StorageFailed, match="spooling an upload: No such file"):
        await blobs.put(new_key(), of(bytes(MIB)))
    blobs.close()


# --- links ----------------------------------------------------------------------------------------------------------


def fetch(url: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


async def test_a_link_gives_the_blob_under_its_name_for_a_while(place: Place) -> None:
    blobs, key = place.store(direct=True), new_key()
    await blobs.put(key, of(b"<script>"))
    disposition = "attachment; filename=\"a b_.html\"; filename*=UTF-8''a%20b%C3%BC.html"
    url = blobs.presigned(key, disposition=disposition, seconds=60)
    assert url is not None
    assert CREDENTIALS.secret_access_key not in url
    status, headers, body = fetch(url)
    assert (status, body) == (200, b"<script>")
    assert headers["content-disposition"] == disposition
    assert headers["content-type"] == "application/octet-stream"
    assert fetch(url.replace("a%2520b", "other"))[0] == 403
    earlier = place.store(direct=True, clock=lambda: time.time() - 120)
    expired = earlier.presigned(key, disposition=disposition, seconds=60)
    assert expired is not None
    assert fetch(expired)[0] == 403
    assert place.store(credentials=None).presigned(key, disposition=disposition, seconds=60) is None


# --- errors ---------------------------------------------------------------------------------------------------------


def driver_errors() -> list[type[Exception]]:
    found = [error for _, error in inspect.getmembers(driver, inspect.isclass) if issubclass(error, Exception)]
    return [*found, FileNotFoundError, OSError, TimeoutError, ValueError]


@pytest.mark.parametrize("error", driver_errors())
def test_no_error_of_the_driver_passes(error: type[Exception]) -> None:
    with pytest.raises(DomainError) as raised, translate_s3_errors("trying", "key"):
        raise error("Server returned non-2xx status code: 418: AKIAQUOTED")
    assert "AKIAQUOTED" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("error", "text", "expected"),
    [
        (FileNotFoundError, "status code: 404 Not Found: <Code>KeyNotFound</Code>", BlobNotFound),
        (FileNotFoundError, "status code: 404 Not Found: <Code>NoSuchBucket</Code>", StorageFailed),
        (driver.GenericError, "status code: 507 x", StorageFull),
        (driver.GenericError, "status code: 400: <Code>QuotaExceeded</Code>", StorageFull),
        (driver.GenericError, "status code: 503: <Code>SlowDown</Code>", BlobStoreUnavailable),
        (driver.GenericError, "status code: 429", BlobStoreUnavailable),
        (driver.GenericError, "HTTP error: error sending request", BlobStoreUnavailable),
        (driver.GenericError, "status code: 400: <Code>BadDigest</Code>", StorageFailed),
        (driver.GenericError, "status code: 400: <Code>ExpiredToken</Code>", BlobStoreUnavailable),
        (driver.PermissionDeniedError, "status code: 403", BlobStoreUnavailable),
    ],
)
def test_errors_are_told_apart(error: type[Exception], text: str, expected: type[DomainError]) -> None:
    assert type(domain_error("trying", "key", error(text))) is expected


def test_foreign_exceptions_pass_unchanged() -> None:
    with pytest.raises(KeyError), translate_s3_errors("trying"):
        raise KeyError


# --- breaker and budget ---------------------------------------------------------------------------------------------


def test_the_breaker_lets_one_call_try_again() -> None:
    now = 0.0
    breaker = Breaker(lambda: now)
    breaker.record_failure()
    breaker.require_closed()
    for _ in range(FAILURE_THRESHOLD):
        breaker.record_failure()
    with pytest.raises(BlobStoreUnavailable):
        breaker.require_closed()
    now += RESET_TIMEOUT
    breaker.require_closed()
    with pytest.raises(BlobStoreUnavailable):
        breaker.require_closed()
    breaker.record_success()
    breaker.require_closed()
    breaker.require_closed()


async def test_the_budget_is_never_exceeded_and_never_lost() -> None:
    budget, held = ByteSemaphore(10), 0
    most = 0

    async def use(size: int) -> None:
        nonlocal held, most
        async with budget.hold(size):
            held += size
            most = max(most, held)
            try:
                await asyncio.sleep(0)
            finally:
                held -= size

    tasks = [asyncio.create_task(use(1 + number % 10)) for number in range(200)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert 0 < most <= 10
    async with asyncio.timeout(1), budget.hold(10):
        pass


# --- memory ---------------------------------------------------------------------------------------------------------

UPLOADS = """
import asyncio, sys, psutil
from tests.support.seaweedfs import CREDENTIALS, REGION
from filestead.blobs.keys import new_key
from filestead.blobs.s3.bucket import Bucket
from filestead.blobs.s3.store import S3Blobs

MIB = 1024 * 1024
count, size = 8, 64
process = psutil.Process()

async def blocks(size):
    block = bytes(MIB // 4)
    for _ in range(4 * size):
        yield bytes(block)
        await asyncio.sleep(0)

async def main():
    blobs = S3Blobs(Bucket(sys.argv[1], sys.argv[2], endpoint=sys.argv[3], credentials=CREDENTIALS))
    await blobs.put(new_key(), blocks(1))
    before, most = process.memory_info().rss, 0
    uploads = [asyncio.ensure_future(blobs.put(new_key(), blocks(size))) for _ in range(count)]
    while not all(upload.done() for upload in uploads):
        most = max(most, process.memory_info().rss)
        await asyncio.sleep(0.005)
    await asyncio.gather(*uploads)
    print((most - before) // MIB)

asyncio.run(main())
"""


def test_parallel_uploads_take_bounded_memory(place: Place) -> None:
    command = [sys.executable, "-c", UPLOADS, place.seaweed.bucket, place.prefix, place.seaweed.endpoint]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    logging.getLogger(__name__).info("grown by %s MiB", done.stdout.strip())
    assert int(done.stdout) <= 64


def test_credentials_do_not_show_their_secret() -> None:
    assert "s3cret" not in repr(Credentials("name", "s3cret", "s3cret-token"))
