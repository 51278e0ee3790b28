"""Memory of connections without a valid key: at most 96 KiB each, which is returned to the operating system.

Without limits, a head of 4,676 headers used 781 KiB, and input after an unread response 500 KiB: 2,000 connections used
1.6 GB, repeatedly. docs/security.md has measurements with 2,000 connections.
"""

import contextlib
import resource
import selectors
import socket
import time
from collections.abc import Iterator

import httpx2
import psutil
import pytest

from tests.support.servers import Server

KIB = 1024
HEAD_BYTES = 32 * KIB
LINE = b"GET /v1/files HTTP/1.1\r\nHost: t\r\n"
POST = b"POST /v1/files HTTP/1.1\r\nHost: t\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
BLANK_LINES = b"50\r\n" + b"\r\n" * 40 + b"\r\n0\r\n\r\n"
TINY = LINE + b"".join(b"%x:\r\n" % number for number in range(99)) + b"\r\n"
MAX_BYTES_PER_CONNECTION = 96 * KIB
MAX_BYTES_LEFT_PER_CONNECTION = 16 * KIB
NOISE_BYTES = 8 * 1024 * KIB  # threads, caches and free blocks of a server that has not done everything yet
SETTLE_SECONDS = 1.5
GROWTH_BYTES = 1024 * KIB


def head_of_maximum_size(start: bytes, count: int) -> bytes:
    """Return a head of the maximum size, with `count` more headers, without its end."""
    names = [b"%02d:" % number for number in range(count)]
    room = HEAD_BYTES - len(start) - len(b"\r\n") - count * len(b"00:\r\n")
    values = [b"a" * (room // count)] * (count - 1)
    values.append(b"a" * (room - sum(map(len, values))))
    return start + b"".join(name + value + b"\r\n" for name, value in zip(names, values, strict=True))


HEAD = head_of_maximum_size(LINE, 98) + b"\r\n"

CASES: dict[str, bytes] = {
    "silent": b"",
    "thousands of headers": LINE + b"".join(b"%x:\r\n" % number for number in range(4676)),
    "an open head of many headers": head_of_maximum_size(LINE, 98),
    "an open head of tiny headers": TINY[:-2],
    "an open head of one header": head_of_maximum_size(LINE, 1)[:-2],
    "an open target": b"GET /" + b"a" * 8000,
    "a whole head": HEAD,
    "half a head behind a whole one": HEAD + HEAD[:-2],
    "large requests": HEAD * 20,
    "requests": (LINE + b"\r\n") * 500,
    "a body": head_of_maximum_size(POST + b"Content-Length: 1000000\r\n", 97) + b"\r\n" + bytes(500_000),
    "a chunked body": head_of_maximum_size(CHUNKED, 97) + b"\r\n" + b"1\r\na\r\n" * 50_000,
    "trailers": CHUNKED + b"\r\n0\r\n" + TINY[len(LINE) : -2],
    "requests of tiny headers behind a chunked body": CHUNKED + b"\r\n" + BLANK_LINES + TINY * 50,
}


@pytest.fixture(scope="module")
def idle_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has answered a few requests."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    limits = {"max_connections": 3000, "max_connections_per_address": 3000, "head_seconds": 60}
    with Server(tmp_path_factory.mktemp("attack") / "data", **limits) as serving:
        for _ in range(20):
            assert serving.client.get("/files").status_code == 200
            assert httpx2.get(serving.base_url + "/files").status_code == 401
        yield serving


def memory_of(server: Server) -> int:
    resident: int = psutil.Process(server.process.pid).memory_info().rss
    return resident


class ConnectionGroup:
    """Connections of one thread, which send and do not read."""

    def __init__(self, server: Server, stack: contextlib.ExitStack) -> None:
        self._server = server
        self._stack = stack
        self._selector = stack.enter_context(selectors.DefaultSelector())

    def open(self, count: int, sent: bytes) -> None:
        for _ in range(count):
            connection = self._stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(30)
            connection.connect(("127.0.0.1", self._server.port))
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_WRITE, memoryview(sent))

    def send(self) -> int:
        """Send until the server reads no more, and return its peak memory."""
        most, moved = memory_of(self._server), time.monotonic()
        while time.monotonic() - moved < SETTLE_SECONDS:
            if self._send_some():
                moved = time.monotonic()
            size = memory_of(self._server)
            if size > most + GROWTH_BYTES:
                moved = time.monotonic()
            most = max(most, size)
        return most

    def _send_some(self) -> int:
        taken = 0
        for key, _ in self._selector.select(0.1):
            connection, left = key.fileobj, key.data
            assert isinstance(connection, socket.socket)
            count = len(left)
            with contextlib.suppress(ConnectionError):
                count = connection.send(left) if left else 0
                taken += count
            if count < len(left):
                self._selector.modify(connection, selectors.EVENT_WRITE, left[count:])
            else:
                self._selector.unregister(connection)
        return taken


@pytest.mark.parametrize("count", [600, pytest.param(2000, marks=pytest.mark.torture)])
@pytest.mark.parametrize("sent", CASES.values(), ids=CASES)
def test_an_unauthenticated_connection_uses_little_memory_and_frees_it(
    idle_server: Server, sent: bytes, count: int
) -> None:
    before = memory_of(idle_server)
    with contextlib.ExitStack() as stack:
        connections = ConnectionGroup(idle_server, stack)
        connections.open(count, sent)
        most = connections.send()
        assert httpx2.get(idle_server.origin + "/health", timeout=30).status_code == 200
    assert most - before < count * MAX_BYTES_PER_CONNECTION + NOISE_BYTES
    until = time.monotonic() + 30
    while (
        left := memory_of(idle_server) - before
    ) > count * MAX_BYTES_LEFT_PER_CONNECTION + NOISE_BYTES and time.monotonic() < until:
        time.sleep(0.1)
    print(f"{(most - before) // KIB // count} KiB a connection, {left // KIB // count} KiB left")
    assert left < count * MAX_BYTES_LEFT_PER_CONNECTION + NOISE_BYTES
