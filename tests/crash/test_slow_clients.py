"""Clients that are silent, slow, gone or deaf: each is cut off in time, nothing of it stays, and nobody else waits.

`ABORTS` is how many transfers are broken off in each way.
"""

import contextlib
import json
import os
import random
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.crash.harness import findings, garbage, send_form, wait_until_quiet
from tests.support.parts import add_part, create_upload, send_complete
from tests.support.promises import Trials
from tests.support.servers import KEY, Server
from tests.support.waiting import wait_until

MIB = 2**20
IDLE_SECONDS = 1
RATE = 1024
FIELD = b"--b\r\nContent-Disposition: form-data; name=%b\r\n\r\n"
START = FIELD % b"purpose" + b"user_data\r\n" + FIELD % b"file; filename=a"
PART_START = FIELD % b"data; filename=a"
END = b"\r\n--b--\r\n"
ABORTS = int(os.environ.get("ABORTS", "50"))
AT_ONCE = 20
WAYS = ("closed", "reset", "half-closed")


class Upload:
    """An upload over a socket of its own, of which the test decides what arrives when."""

    def __init__(self, server: Server, size: int, path: str = "/files", start: bytes = START) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        head = (
            f"POST /v1{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(start) + size + len(END)}\r\n\r\n"
        )
        self.send(head.encode() + start)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, Any]:
        """The whole answer, up to the end of the connection."""
        raw = b""
        with contextlib.suppress(ConnectionResetError):
            while data := self.socket.recv(65536):
                raw += data
        head, _, body = raw.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), json.loads(body)

    def vanish(self, way: str = "reset") -> None:
        """One of `WAYS`; a client that closes its half only reads what is said of it."""
        if way == "reset":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif way == "half-closed":
            self.socket.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while self.socket.recv(65536):
                    pass
        self.socket.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("slow") / "data",
        idle_seconds=IDLE_SECONDS,
        min_upload_rate=RATE,
        send_stall_seconds=1,
        uploads_per_minute=0,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def idle_files(server: Server) -> int:
    """How many files and sockets the server has open when only our client is there."""
    server.upload(b"wakes what wakes only once")
    return process_of(server).num_fds()


@pytest.fixture(autouse=True)
def nothing_stays(server: Server, idle_files: int) -> Iterator[None]:
    yield
    wait_until_quiet(server.data_dir)
    assert findings(server.data_dir) == []


def is_stalled(answer: tuple[int, Any]) -> bool:
    status, body = answer
    return status == 408 and body["error"]["code"] == "request_timeout"


# --- slow -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [0, 1, 100_000])
@pytest.mark.timing
def test_a_client_that_falls_silent(server: Server, sent: int) -> None:
    upload = Upload(server, 200_000)
    upload.send(b"x" * sent)
    began = time.monotonic()
    assert is_stalled(upload.answer())
    # The answer comes at once; the end of the connection waits up to two seconds for what the client still sends.
    assert IDLE_SECONDS - 0.1 < time.monotonic() - began < IDLE_SECONDS + 3


def drip(upload: Upload, rate: int, seconds: float) -> None:
    """Send in small pieces until the time is up or the server has had enough."""
    ends = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while time.monotonic() < ends:
            upload.send(b"x" * (rate // 20))
            time.sleep(0.05)


@pytest.mark.timing
def test_a_client_below_the_rate(server: Server) -> None:
    upload = Upload(server, MIB)
    dripping = threading.Thread(target=drip, args=(upload, RATE // 2, 8))
    dripping.start()
    began = time.monotonic()
    assert is_stalled(upload.answer())
    assert time.monotonic() - began < 2 * IDLE_SECONDS + 3
    upload.vanish()
    dripping.join()


@pytest.mark.timing
def test_a_client_just_above_the_rate(server: Server) -> None:
    size = 10_000
    upload = Upload(server, size)
    with contextlib.suppress(OSError):  # it was cut off
        for _ in range(size // 250):  # 2,500 bytes a second, for four seconds
            upload.send(b"x" * 250)
            time.sleep(0.1)
        upload.send(END)
    assert upload.socket.recv(100).startswith(b"HTTP/1.1 200 ")


# --- gone -----------------------------------------------------------------------------------------------------------


def process_of(server: Server) -> psutil.Process:
    return psutil.Process(server.process.pid)


def require_nothing_kept(server: Server, idle_files: int, abort: Callable[[], None], trials: Trials) -> None:
    """Transfers that are broken off leave no file, no descriptor and no memory."""
    process = process_of(server)

    def abort_many(times: int) -> None:
        for number in range(times):
            abort()
            if number % AT_ONCE == AT_ONCE - 1:  # memory depends on how many the server has not noticed yet
                wait_until(lambda: process.num_fds() <= idle_files + AT_ONCE, process.open_files)
        wait_until(lambda: process.num_fds() <= idle_files + 5, lambda: (idle_files, process.open_files()))
        wait_until_quiet(server.data_dir)

    warm_up = max(2 * AT_ONCE, ABORTS // 4)
    abort_many(warm_up)  # so that pools and caches have what they keep
    memory = process.memory_info().rss
    listed = server.client.get("/files?limit=10000").json()["data"]
    abort_many(ABORTS)
    assert process.memory_info().rss - memory < 20 * MIB
    assert server.client.get("/files?limit=10000").json()["data"] == listed
    trials(warm_up + ABORTS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["file", "part"])
@pytest.mark.promise("R-17")
def test_clients_that_vanish(server: Server, idle_files: int, kind: str, way: str, trials: Trials) -> None:
    size = 2 * MIB
    content = os.urandom(size)
    dice = random.Random(50)
    target = ("/files", START)
    upload_id = create_upload(server.client, size)["id"]
    if kind == "part":
        target = (f"/uploads/{upload_id}/parts", PART_START)

    def abort() -> None:
        upload = Upload(server, size, *target)
        with contextlib.suppress(ConnectionError):
            upload.send(content[: dice.choice([0, 1, dice.randrange(1000), dice.randrange(size), size])])
        with contextlib.suppress(OSError):
            upload.vanish(way)

    require_nothing_kept(server, idle_files, abort, trials)
    part = add_part(server.client, upload_id, content)
    completed = send_complete(server.client, upload_id, [part])
    assert completed.status_code == 200, "the upload is as good as before"
    assert server.client.delete(f"/files/{completed.json()['file']['id']}").status_code == 200


@pytest.mark.parametrize("way", WAYS[:2])
@pytest.mark.promise("R-17")
def test_readers_that_vanish(server: Server, idle_files: int, way: str, trials: Trials) -> None:
    file_id = server.upload(os.urandom(4 * MIB))["id"]
    dice = random.Random(51)

    def abort() -> None:
        reader = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        request = f"GET /v1/files/{file_id}/content HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        reader.sendall(request.encode())
        reader.recv(dice.choice([1, 1_000, MIB]))
        if way == "reset":
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reader.close()

    require_nothing_kept(server, idle_files, abort, trials)
    assert server.client.delete(f"/files/{file_id}").status_code == 200


def test_a_client_that_goes_after_its_last_byte(server: Server) -> None:
    """The outcome is unknown to the client; whichever it is, it is all of it."""
    for _ in range(20):
        upload = Upload(server, 7)
        upload.send(b"wholly!" + END)
        upload.vanish()
    wait_until_quiet(server.data_dir)
    for file in server.client.get("/files").json()["data"]:
        if file["bytes"] == 7:
            assert server.client.get(f"/files/{file['id']}/content").content == b"wholly!"


# --- deaf -----------------------------------------------------------------------------------------------------------


def test_a_reader_that_takes_nothing(server: Server) -> None:
    size = 32 * MIB
    file_id = server.upload(os.urandom(size))["id"]
    process = process_of(server)
    before = process.num_fds()
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", server.port))
        request = f"GET /v1/files/{file_id}/content HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        reader.sendall(request.encode())
        wait_until(lambda: process.num_fds() > before, "the download did not begin")
        wait_until(lambda: process.num_fds() <= before, "the blob and the connection stay open")
        reader.settimeout(30)
        taken = 0
        with contextlib.suppress(ConnectionResetError):
            while data := reader.recv(MIB):
                taken += len(data)
        assert taken < size // 2
    assert server.client.get(f"/files/{file_id}/content").headers["content-length"] == str(size)


# --- many -----------------------------------------------------------------------------------------------------------


@pytest.mark.timing
def test_two_hundred_slow_uploads_slow_nobody_down(tmp_path: Path) -> None:
    content = os.urandom(4 * MIB)

    with Server(tmp_path / "data", min_upload_rate=10, uploads_per_minute=0) as server:

        def fastest() -> float:
            times = []
            for _ in range(7):
                began = time.perf_counter()
                assert send_form(server.client, "fast", content).status_code == 200
                times.append(time.perf_counter() - began)
            return sorted(times)[len(times) // 2]

        alone = fastest()
        slow = [Upload(server, MIB) for _ in range(200)]
        ended = threading.Event()

        def drip_all() -> None:
            while not ended.wait(0.2):
                for upload in slow:
                    upload.send(b"x" * 20)

        dripping = threading.Thread(target=drip_all)
        dripping.start()
        try:
            crowded = fastest()
        finally:
            ended.set()
            dripping.join()
        for upload in slow:
            upload.vanish()
        assert crowded < 3 * alone + 0.05, (alone, crowded)
        wait_until_quiet(server.data_dir)


# --- the end --------------------------------------------------------------------------------------------------------


def test_sigterm_lets_an_upload_finish(tmp_path: Path) -> None:
    with Server(tmp_path / "data", shutdown_seconds=5) as server:
        upload = Upload(server, 100_000)
        upload.send(b"x" * 50_000)
        wait_until(lambda: os.listdir(server.data_dir / "staging") or "pending" in str(garbage(server.data_dir)), "")
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        upload.send(b"x" * 50_000 + END)
        status, body = upload.answer()
        assert (status, body["bytes"]) == (200, 100_000)
        server.process.wait(30)
    with Server(tmp_path / "data") as server:
        assert [file["id"] for file in server.client.get("/files").json()["data"]] == [body["id"]]
        assert findings(server.data_dir) == []


@pytest.mark.parametrize("size", [1000, MIB], ids=["small", "large"])
@pytest.mark.timing
def test_sigterm_does_not_wait_for_ever(tmp_path: Path, size: int) -> None:
    with Server(tmp_path / "data", shutdown_seconds=1) as server:
        upload = Upload(server, 2 * MIB)
        upload.send(b"x" * size)
        wait_until(lambda: "pending" in str(garbage(server.data_dir)), "the upload did not begin")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        dripping = threading.Thread(target=drip, args=(upload, 100_000, 8))
        dripping.start()
        server.process.wait(20)
        took = time.monotonic() - began
        dripping.join()
        assert took < 1 + 5, server.output
        assert "Traceback" not in server.output, server.output
        requests = [json.loads(line) for line in server.output.splitlines() if line.startswith('{"time"')]
        assert [each["status"] for each in requests if each.get("method") == "POST"] == [503], server.output
    with Server(tmp_path / "data") as server:
        wait_until_quiet(server.data_dir)
        assert server.client.get("/files").json()["data"] == []
        assert findings(server.data_dir) == []
