"""Memory of many transfers at once, with clients that are slow: bounded for each, whatever the size of the file."""

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.attack.test_connection_memory import memory_of
from tests.crash.harness import staged
from tests.support.servers import KEY, Server
from tests.support.waiting import wait_until

MIB = 2**20
DOWNLOADS = 100
UPLOADS = 20
BYTES_PER_DOWNLOAD = 1 * MIB
BYTES_PER_UPLOAD = 4 * MIB
NOISE_BYTES = 32 * MIB
BUFFER_BYTES = 64 * 1024
"""Of the client's socket, so that little of a file is on the way."""
SECONDS = 900
"""Of a test, and so long may a transfer wait for those before it."""
FINISHED = 5
"""So many transfers of each kind are continued to their end."""

pytestmark = pytest.mark.embedded("measures the process that reads and writes the files")


class Transfer:
    """One connection, and how far it has come."""

    def __init__(self, server: Server, head: str) -> None:
        self._connection = socket.socket()
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._connection.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        self._connection.settimeout(60)
        self._connection.connect(("127.0.0.1", server.port))
        authorization = f"Host: t\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n"
        self._connection.sendall(f"{head}\r\n{authorization}\r\n".encode())
        self.moved = 0

    def close(self) -> None:
        self._connection.close()


class Download(Transfer):
    """Reads a file slowly."""

    def __init__(self, server: Server, file_id: str) -> None:
        super().__init__(server, f"GET /v1/files/{file_id}/content HTTP/1.1")
        self._digest = hashlib.sha256()
        self._head = b""

    def step(self) -> bool:
        """Read some more; False at the end."""
        data = self._connection.recv(BUFFER_BYTES)
        if b"\r\n\r\n" not in self._head:
            self._head, separator, data = (self._head + data).partition(b"\r\n\r\n")
            self._head += separator
            assert self._head.startswith(b"HTTP/1.1 200"), self._head
            self._digest.update(data)
            return True
        self._digest.update(data)
        self.moved += len(data)
        return bool(data)

    def result(self) -> str:
        """The SHA-256 of all."""
        while self.step():
            pass
        return self._digest.hexdigest()


class Upload(Transfer):
    """Sends a file slowly."""

    def __init__(self, server: Server, content: bytes) -> None:
        fields = '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        fields += '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        self._left = memoryview(fields.encode() + content + b"\r\n--b--\r\n")
        kind = "Content-Type: multipart/form-data; boundary=b"
        super().__init__(server, f"POST /v1/files HTTP/1.1\r\n{kind}\r\nContent-Length: {len(self._left)}")

    def step(self) -> bool:
        """Send some more; False at the end."""
        sent = self._connection.send(self._left[:BUFFER_BYTES])
        self._left = self._left[sent:]
        self.moved += sent
        return bool(self._left)

    def result(self) -> str:
        """The response."""
        while self.step():
            pass
        response = b""
        while data := self._connection.recv(BUFFER_BYTES):
            response += data
        return response.decode()


@contextlib.contextmanager
def peak_of(server: Server) -> Iterator[list[int]]:
    """The most memory that the server has meanwhile, in the list at the end."""
    peak = [memory_of(server)]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], memory_of(server))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def move(transfers: list[Transfer], size: int) -> None:
    """Move each on by so much, in turns."""
    with ThreadPoolExecutor(8) as pool:
        while left := [one for one in transfers if one.moved < size]:
            list(pool.map(lambda one: one.step(), left))  # type: ignore[attr-defined]


@pytest.mark.timeout(SECONDS)
@pytest.mark.promise("R-21")
@pytest.mark.parametrize("size", [24 * MIB, pytest.param(256 * MIB, marks=pytest.mark.torture)])
def test_memory_of_many_slow_transfers_is_bounded(tmp_path: Path, size: int) -> None:
    content = os.urandom(MIB) * (size // MIB)
    digest = hashlib.sha256(content).hexdigest()
    settings = {"uploads_per_minute": 0, "inline_bytes": 0, "idle_seconds": SECONDS, "send_stall_seconds": SECONDS}
    with Server(tmp_path / "data", **settings) as server, contextlib.ExitStack() as stack:
        file_id = server.upload(content)["id"]
        for _ in range(3):
            assert server.client.get(f"/files/{file_id}/content").status_code == 200
        before = memory_of(server)
        with peak_of(server) as peak:
            downloads = [Download(server, file_id) for _ in range(DOWNLOADS)]
            uploads = [Upload(server, content) for _ in range(UPLOADS)]
            for one in (*downloads, *uploads):
                stack.callback(one.close)
            move([*downloads, *uploads], 6 * MIB)
            time.sleep(1)
            assert [one.result() for one in downloads[:FINISHED]] == [digest] * FINISHED
            for upload in uploads[:FINISHED]:
                assert upload.result().startswith("HTTP/1.1 200")
        growth = peak[0] - before
        print(f"{growth / MIB:.0f} MiB more for {DOWNLOADS} downloads and {UPLOADS} uploads of {size // MIB} MiB")
        assert growth < DOWNLOADS * BYTES_PER_DOWNLOAD + UPLOADS * BYTES_PER_UPLOAD + NOISE_BYTES
        stack.close()
        wait_until(lambda: not staged(server.data_dir), "the uploads that were left are still there")
        wait_until(lambda: psutil.Process(server.process.pid).num_fds() < 60, "files or connections are still open")
