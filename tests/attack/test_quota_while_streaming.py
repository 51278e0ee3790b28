"""Uploads that try to stage more than their quota, or reserve more than they use: chunked, with a length, retried."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.support.servers import KEY, Server, run_command

MIB = 1024 * 1024
UPLOADS = 12
UPLOAD_BYTES = 8 * MIB
UNRESERVED = 64 * 1024
BLOCK = 256 * 1024
"""More than one read of a socket returns: may be on its way to the disk when the quota is reserved."""

FORM = (
    b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
)
END = b"\r\n--x--\r\n"


def body(size: int) -> Iterator[bytes]:
    yield FORM
    for _ in range(size // (64 * 1024)):
        yield b"x" * (64 * 1024)
    yield END


def upload(server: Server, size: int, *, chunked: bool = True, key: str | None = None) -> httpx2.Response:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "multipart/form-data; boundary=x"}
    if key is not None:
        headers["idempotency-key"] = key
    content = body(size) if chunked else b"".join(body(size))
    return httpx2.post(server.base_url + "/files", headers=headers, content=content, timeout=60)


@contextlib.contextmanager
def peak_bytes_below(folder: Path) -> Iterator[list[int]]:
    """Yield a list with the peak total size of the files below a folder."""
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            size = 0
            for path in folder.rglob("*"):
                with contextlib.suppress(OSError):
                    size += path.stat().st_size
            most[0] = max(most[0], size)
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def is_rejected_for_quota(response: httpx2.Response) -> bool:
    return response.status_code == 400 and "file storage quota" in response.json()["error"]["message"]


@pytest.mark.embedded("the bytes are watched on the local disk")
@pytest.mark.parametrize("way", ["chunked", "chunked, each with a key", "chunked, all with one key"])
def test_no_framing_stages_more_than_the_quota(tmp_path: Path, way: str) -> None:
    with Server(tmp_path / "data", project_quota_bytes=MIB, uploads_per_minute=0) as server:
        keys = {"chunked": lambda _: None, "chunked, each with a key": str, "chunked, all with one key": lambda _: "k"}

        def send(number: int) -> httpx2.Response:
            return upload(server, UPLOAD_BYTES, key=keys[way](number))

        with peak_bytes_below(tmp_path / "data" / "staging") as most, ThreadPoolExecutor(UPLOADS) as pool:
            responses = list(pool.map(send, range(UPLOADS)))
        assert all(map(is_rejected_for_quota, responses)), {response.status_code for response in responses}
        assert most[0] <= MIB + UPLOADS * (UNRESERVED + BLOCK)
        assert upload(server, MIB).status_code == 200, "what was reserved for them is free again"
        assert run_command(server.data_dir, "verify").returncode == 0


@pytest.mark.embedded("the bytes are watched on the local disk")
def test_a_retry_with_an_idempotency_key_stages_nothing(tmp_path: Path) -> None:
    with Server(tmp_path / "data", project_quota_bytes=2 * MIB, uploads_per_minute=0) as server:
        first = upload(server, MIB, key="k").json()
        with peak_bytes_below(tmp_path / "data" / "staging") as most, ThreadPoolExecutor(UPLOADS) as pool:
            larger = pool.map(lambda _: upload(server, UPLOAD_BYTES, key="k"), range(UPLOADS))
            same = pool.map(lambda _: upload(server, MIB, key="k", chunked=False), range(UPLOADS))
            assert {response.json()["error"]["code"] for response in larger} == {"idempotency_key_reused"}
            assert {response.json()["id"] for response in same} == {first["id"]}
        assert most[0] == 0


@pytest.mark.parametrize("chunked", [False, True])
def test_uploads_above_the_quota_are_rejected_with_either_framing(tmp_path: Path, chunked: bool) -> None:
    with Server(tmp_path / "data", project_quota_bytes=4 * MIB, uploads_per_minute=0) as server:
        assert is_rejected_for_quota(upload(server, 4 * MIB + 64 * 1024, chunked=chunked))
        assert upload(server, 4 * MIB, chunked=chunked).status_code == 200, "one that fits to the byte"
        assert is_rejected_for_quota(upload(server, 64 * 1024, chunked=chunked))


@contextlib.contextmanager
def open_upload(server: Server, declared: int | None, sent: int) -> Iterator[socket.socket]:
    """Open an upload that stalls after `sent` bytes of its file."""
    length = b"Transfer-Encoding: chunked" if declared is None else b"Content-Length: %d" % declared
    head = [b"POST /v1/files HTTP/1.1", b"Host: t", b"Authorization: Bearer " + KEY.encode(), length]
    head += [b"Content-Type: multipart/form-data; boundary=x", b"", b""]
    content = FORM + b"x" * sent
    if declared is None:
        content = b"%x\r\n%b\r\n" % (len(content), content)
    with socket.create_connection(("127.0.0.1", int(server.base_url.split(":")[2].split("/")[0]))) as connection:
        connection.sendall(b"\r\n".join(head) + content)
        yield connection


def reserved(server: Server) -> int:
    return int(server.place.sql("SELECT sum(bytes_reserved) FROM projects")[0][0])


@pytest.mark.parametrize("declared", [19 * MIB, None])
def test_a_stalled_upload_reserves_little_more_than_it_has_sent(tmp_path: Path, declared: int | None) -> None:
    with (
        Server(tmp_path / "data", project_quota_bytes=20 * MIB) as server,
        open_upload(server, declared, sent=300_000) as connection,
    ):
        deadline = time.monotonic() + 20
        while (held := reserved(server)) < 300_000 - UNRESERVED and time.monotonic() < deadline:
            time.sleep(0.05)
        assert 300_000 - UNRESERVED <= held <= 3 * MIB
        assert upload(server, 10 * MIB, chunked=False).status_code == 200
        connection.close()
        deadline = time.monotonic() + 20
        while reserved(server) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert reserved(server) == 0


def test_an_upload_that_reserves_in_many_steps_creates_one_file(tmp_path: Path) -> None:
    with Server(tmp_path / "data", project_quota_bytes=100 * MIB) as server:
        for chunked in (True, False):
            assert upload(server, 40 * MIB, chunked=chunked).json()["bytes"] == 40 * MIB
        assert reserved(server) == 0
        assert is_rejected_for_quota(upload(server, 21 * MIB))
        assert reserved(server) == 0
        assert upload(server, 20 * MIB).status_code == 200
