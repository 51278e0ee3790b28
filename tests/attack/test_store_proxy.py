"""The proxy through which the driver reaches the object store, seen from both of its sides."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from filestead.blobs.keys import new_key
from filestead.blobs.s3 import bucket, proxy
from filestead.blobs.s3.bucket import Bucket
from filestead.blobs.s3.opening import open_blob_store
from filestead.blobs.s3.relay import Connection, ConnectionLost
from filestead.blobs.s3.store import S3Blobs
from filestead.domain.errors import DomainError
from tests.attack.hostile_store import HostileStore, Request, reply
from tests.attack.store_calls import SECRETS, chunked, get, head, names, put_large, put_small

pytestmark = pytest.mark.anyio

ENTITY = {"etag": '"x"', "last_modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
MIB = 1024 * 1024


async def test_nobody_else_goes_out_by_the_proxy(blobs: S3Blobs, store: HostileStore) -> None:
    _, _, place = blobs._bucket.proxy.url.partition("@")
    host, _, port = place.partition(":")
    for target in (f"GET {store.endpoint}/x", f"CONNECT 127.0.0.1:{store.port}"):
        for secret in ("", "proxy-authorization: Basic ZmlsZXN0ZWFkOng=\r\n"):
            with socket.create_connection((host, int(port)), timeout=20) as one:
                one.sendall(f"{target} HTTP/1.1\r\nhost: x\r\n{secret}\r\n".encode())
                assert one.recv(1000).startswith(b"HTTP/1.1 407 ")
    assert store.seen == []


@pytest.mark.parametrize(
    "sent", [b"", b"GET ", b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xfe x y\r\n\r\n", b"a" * 200_000], ids=range(6)
)
async def test_who_says_nothing_of_sense_is_cut_off(
    blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(proxy, "HEAD_SECONDS", 0.3)
    port = int(blobs._bucket.proxy.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        try:
            one.sendall(sent)
            assert one.recv(1000)[:12] in (b"", b"HTTP/1.1 407")
        except ConnectionResetError:
            pass


async def test_no_variable_of_the_environment_leads_past_the_proxy(
    store: HostileStore, trap: HostileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "AWS_PROXY_EXCLUDES", "PROXY_EXCLUDES"):
        monkeypatch.setenv(name, "127.0.0.1,*")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "AWS_PROXY_URL"):
        monkeypatch.setenv(name, trap.endpoint)
    store.answer = lambda request: reply(307, location=f"{trap.endpoint}{request.target}")
    opened = closing(S3Blobs(Bucket("bucket", "p", endpoint=store.endpoint, credentials=SECRETS)))
    with opened as blobs, pytest.raises(DomainError, match="redirect"):
        await get(blobs)
    assert store.seen and not trap.seen


@pytest.mark.parametrize("redirects", [False, True])
async def test_the_credentials_of_a_role_come_by_the_proxy(
    store: HostileStore, trap: HostileStore, monkeypatch: pytest.MonkeyPatch, redirects: bool
) -> None:
    role = {"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "of-the-role", "Expiration": "2100-01-01T00:00:00Z"}

    def answer(request: Request) -> bytes:
        if redirects:
            return reply(307, location=f"{trap.endpoint}{request.target}")
        if request.path.endswith("/name"):
            return reply(200, json.dumps({"Code": "Success", **role}).encode())
        return reply(200, b"token" if request.method == "PUT" else b"name")

    with HostileStore(answer) as service:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", service.endpoint)
        environ = {"AWS_METADATA_ENDPOINT": service.endpoint}
        with closing(open_blob_store("s3://bucket", endpoint=store.endpoint, region=None, environ=environ)) as blobs:
            if redirects:
                with pytest.raises(DomainError):
                    await head(blobs)
            else:
                assert await head(blobs) is None
    assert service.seen and not trap.seen
    assert [request.headers["x-amz-security-token"] for request in store.seen] == ["of-the-role"] * (not redirects)


async def test_a_reader_that_pauses_is_waited_for(
    blobs: S3Blobs, store: HostileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "STALL_SECONDS", 1.0)
    content = bytes(64) * MIB
    store.answer = lambda request: reply(200, content, **ENTITY)
    read = 0
    async for block in blobs.read(new_key()):
        if not read:
            await asyncio.sleep(4)
        read += len(block)
    assert read == len(content)
    assert len(store.seen) == 1, "it broke off and was resumed"


async def test_a_store_that_takes_nothing_is_given_up(
    store: HostileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(bucket, "WRITE_SECONDS", 1.0)
    store.reads_bodies = False
    store.answer = lambda request: iter([60.0])
    with closing(S3Blobs(Bucket("bucket", "p", endpoint=store.endpoint, credentials=SECRETS), tmp_path)) as blobs:
        with pytest.raises(DomainError):
            await blobs.put(new_key(), chunked(b"x" * 7 * MIB))
        deadline = time.monotonic() + 30
        while len(asyncio.all_tasks(blobs._bucket.proxy._loop)) > 1 and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks(blobs._bucket.proxy._loop)) == 1, "a connection is kept for nobody"


async def test_a_connection_that_the_store_has_closed_is_not_used_again(blobs: S3Blobs, store: HostileStore) -> None:
    """A store may close an idle connection at any time, and need not say so before."""
    store.answer = lambda request: iter([reply(404), None])
    for _ in range(10):
        assert await head(blobs) is None
        await asyncio.sleep(0.02)
    assert len(store.seen) == 10, "some were sent again"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname(), timeout=5)
        other, _ = server.accept()
    with one, other:
        yield one, other


@pytest.mark.parametrize(("peer", "idle"), [("silent", True), ("closed", False), ("sent", False), ("reset", False)])
async def test_what_is_idle(pair: tuple[socket.socket, socket.socket], peer: str, idle: bool) -> None:
    one, other = pair
    connection = Connection(one, asyncio.get_running_loop())
    if peer == "sent":
        other.sendall(b"x")
    if peer == "reset":
        one.sendall(b"x")  # with this unread, the close is a reset
    if peer in ("closed", "reset"):
        other.close()
    await asyncio.sleep(0.05)
    assert connection.is_idle() is idle
    assert connection.is_idle() is idle, "looking takes nothing"


async def test_who_still_sends_can_read_what_it_was_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair

    async def answer() -> None:
        with Connection(one, asyncio.get_running_loop()) as connection:
            await connection.send(b"answer")
            await connection.linger(5)

    other.sendall(b"x" * 50_000)
    answering = asyncio.create_task(answer())
    for _ in range(3):
        await asyncio.sleep(0.05)
        other.sendall(b"x" * 1_000)
    assert other.recv(100) == b"answer"
    other.close()
    await asyncio.wait_for(answering, 4)


async def test_a_watch_takes_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    connection = Connection(one, asyncio.get_running_loop())
    for _ in range(20):
        watching = asyncio.create_task(connection.wait_until_lost())
        await asyncio.sleep(0)
        other.sendall(b"next\n")
        watching.cancel()
        await asyncio.wait([watching])
        assert await connection.read_until(b"\n") == b"next\n"
    watching = asyncio.create_task(connection.wait_until_lost())
    await asyncio.sleep(0.01)
    assert not watching.done()
    other.close()
    with pytest.raises(ConnectionLost):
        await watching


async def test_connections_are_kept(blobs: S3Blobs, store: HostileStore) -> None:
    accepted: set[int] = set()
    store.answer = lambda request: accepted.add(store.accepted) or reply(404)
    for _ in range(10):
        assert await head(blobs) is None
    assert len(accepted) == 1


@pytest.mark.parametrize("put", [put_small, put_large])
async def test_a_refusal_before_the_whole_body_arrives(blobs: S3Blobs, store: HostileStore, put: object) -> None:
    """The store answers as soon as it has the head, and takes nothing of the body."""
    store.reads_bodies = False
    store.answer = lambda request: iter([reply(307, location="http://127.0.0.1:1/", connection="close"), None])
    with pytest.raises(DomainError, match="a redirect, which is never followed"):
        await put(blobs)  # type: ignore[operator]


XML = b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>p/blobs/aa/aa%s</Key><Size>1</Size>" % (
    b"0" * 30
) + (b"<ETag>x</ETag><LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>")
CHUNKS = b"".join(b"%x;name=value\r\n%s\r\n" % (len(piece), piece) for piece in (XML[:1], XML[1:90], XML[90:]))
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        [OK + b"content-length: %d\r\n\r\n" % len(XML) + XML],
        [bytes([byte]) for byte in OK + b"content-length: %d\r\n\r\n" % len(XML) + XML],
        [OK + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS + b"0\r\n\r\n"],
        [OK + b"Transfer-Encoding: Chunked\r\n\r\n", *(CHUNKS[n : n + 7] for n in range(0, len(CHUNKS), 7)), b"0\r\na: b\r\n\r\n"],
        [OK + b"\r\n" + XML, None],
        [b"HTTP/1.0 200 OK\r\n\r\n" + XML, None],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 X\r\nlink: x\r\n\r\n" + OK + b"\r\n" + XML, None],
    ],
    ids=["length", "bytes", "chunks", "trailer", "end", "1.0", "interim"],
)  # fmt: skip
async def test_an_answer_arrives_however_it_is_framed(
    blobs: S3Blobs, store: HostileStore, answer: list[bytes | None]
) -> None:
    def answered(request: Request) -> Iterator[bytes | None]:
        yield from answer

    store.answer = answered
    for _ in range(3):
        assert await names(blobs) == ["aa" + "0" * 30]


async def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    store: HostileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: object, **options: object) -> object:
        found = ("127.0.0.9", "127.0.0.1") if host == "store.example" else (host,)
        return [entry for one in found for entry in genuine(one, port, *rest, **options)]  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with socket.socket() as silent, socket.socket() as one, socket.socket() as two:
        silent.bind(("127.0.0.9", store.port))
        silent.listen(0)
        for filler in (one, two):  # nobody accepts, and the kernel drops what is more
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.9", store.port))
        with closing(
            S3Blobs(Bucket("bucket", "p", endpoint=f"http://store.example:{store.port}", credentials=SECRETS))
        ) as blobs:
            assert await head(blobs) is None
    assert store.seen


async def test_many_at_once_are_all_served(blobs: S3Blobs, store: HostileStore) -> None:
    content = bytes(8 * MIB)
    store.answer = lambda request: reply(200, content, **ENTITY)
    read = await asyncio.gather(*(get(blobs) for _ in range(24)))
    assert [len(one) for one in read] == [len(content)] * 24  # type: ignore[arg-type]
