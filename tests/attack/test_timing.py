"""The time of a response does not tell whether an id exists in another project, or how much of a key is right.

Requests of two kinds alternate at random, and the means of their times are compared (Welch's t). A busy machine adds noise to
both kinds, which hides a difference but makes none. `make torture` takes more samples. Both kinds name one id again and again: that an
id is new takes longer, whether it exists or not, as a new denial is counted.
"""

import os
import random
import secrets
import socket
import statistics
import time
from collections.abc import Callable, Iterator

import pytest

from tests.api.tenants import Tenant
from tests.support.event_server import EventServer
from tests.support.keys import Wanted, make_keys
from tests.support.servers import Server

MANY = int(os.environ.get("TIMING_SAMPLES", "5000"))
SAMPLES = pytest.mark.parametrize("samples", [400, pytest.param(MANY, marks=pytest.mark.torture)])
"""Of each kind."""
T_MAX = 4.5
"""Beyond it the times of two kinds differ, with a chance of less than 1 in 100,000 to be wrong."""
SEED = int(os.environ.get("TIMING_SEED", "0")) or secrets.randbelow(2**32)


def welch_t(first: list[float], second: list[float]) -> float:
    """The t of the test of Welch: positive if times of the first kind are longer."""
    variance = statistics.variance(first) / len(first) + statistics.variance(second) / len(second)
    return (statistics.fmean(first) - statistics.fmean(second)) / variance**0.5


class Connection:
    """Requests on one connection, with the time until the whole response is there."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def ask(self, request: bytes, status: bytes) -> float:
        """Microseconds."""
        start = time.perf_counter_ns()
        self._socket.sendall(request)
        received = self._socket.recv(65536)
        while not _is_whole(received):
            received += self._socket.recv(65536)
        took = time.perf_counter_ns() - start
        assert received.startswith(b"HTTP/1.1 " + status), received[:300]
        return took / 1000


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(body) >= int(length.partition(b":")[2])


def compare(
    server: Server, kinds: tuple[Callable[[], bytes], Callable[[], bytes]], status: bytes, samples: int
) -> float:
    """The t of the times of two kinds of requests, which all get a response of this status."""
    order = [0, 1] * samples
    random.Random(SEED).shuffle(order)
    times: tuple[list[float], list[float]] = ([], [])
    connection = Connection(server)
    try:
        for kind in [0, 1] * 20:
            connection.ask(kinds[kind](), status)
        for kind in order:
            times[kind].append(connection.ask(kinds[kind](), status))
    finally:
        connection.close()
    return welch_t(*times)


def request(method: str, path: str, key: str) -> bytes:
    return f"{method} /v1{path} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("timing") / "data"
    with (
        EventServer() as upstream,
        Server(folder, upstream_url=upstream.url, uploads_per_minute=0, wrong_keys_per_minute=10_000_000) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def keys(server: Server) -> dict[str, str]:
    return make_keys(server, {"owner": Wanted("mine"), "stranger": Wanted("another")})


@pytest.fixture(scope="module")
def owner(server: Server, keys: dict[str, str]) -> Tenant:
    server.client.headers["authorization"] = f"Bearer {keys['owner']}"
    return Tenant(server.client).fill()


@SAMPLES
@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/files/{}", "file"),
        ("GET", "/files/{}/content", "file"),
        ("DELETE", "/files/{}", "file"),
        ("GET", "/vector_stores/{}", "store"),
        ("GET", "/batches/{}", "batch"),
        ("POST", "/uploads/{}/cancel", "upload"),
    ],
)
def test_a_foreign_id_takes_as_long_as_an_unknown_one(
    server: Server, keys: dict[str, str], owner: Tenant, method: str, path: str, kind: str, samples: int
) -> None:
    there = owner.ids[kind]
    nothing = there[:-8] + secrets.token_hex(4)

    def unknown() -> bytes:
        return request(method, path.format(nothing), keys["stranger"])

    def foreign() -> bytes:
        return request(method, path.format(there), keys["stranger"])

    t = compare(server, (foreign, unknown), b"404", samples)
    assert abs(t) < T_MAX, f"t = {t:.1f} of {samples} samples each, TIMING_SEED={SEED}"


@SAMPLES
@pytest.mark.parametrize("unknown_characters", [2, 20])
def test_a_key_that_is_nearly_right_takes_as_long_as_any(
    server: Server, keys: dict[str, str], unknown_characters: int, samples: int
) -> None:
    key = keys["owner"]
    known = key[:-unknown_characters]

    def nearly() -> bytes:
        rest = secrets.token_urlsafe(32)[:unknown_characters]
        return request("GET", "/files", known + rest if known + rest != key else known + "..")

    def wrong() -> bytes:
        return request("GET", "/files", "sk-" + secrets.token_urlsafe(32))

    t = compare(server, (nearly, wrong), b"401", samples)
    assert abs(t) < T_MAX, f"t = {t:.1f} of {samples} samples each, TIMING_SEED={SEED}"


def test_a_difference_of_a_few_microseconds_is_found() -> None:
    """The comparison itself: noise as of a busy machine, and a difference of a tenth of it."""
    source = random.Random(1)
    same = [source.gauss(300, 30) + source.expovariate(1 / 20) for _ in range(8000)]
    assert abs(welch_t(same[::2], same[1::2])) < T_MAX
    assert abs(welch_t([each + 5 for each in same[::2]], same[1::2])) > T_MAX
