"""Admission control: which connections are evicted or receive 503, and that health checks are always served."""

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest

from filestead.server.http1 import admission
from filestead.server.http1.limits import ConnectionLimits

from .raw_http import TIMEOUT, Client, RawServer, request, serve

pytestmark = pytest.mark.embedded("connections to an application of the test, which stores nothing")

Connect = Callable[..., Client]
IDLE_SECONDS = admission.MIN_IDLE_SECONDS + 0.2
GATE = request(line=b"GET /gate HTTP/1.1")
HEALTH = request(line=b"GET /health HTTP/1.1")


@pytest.fixture
def connect() -> Iterator[Connect]:
    with contextlib.ExitStack() as stack:

        def open_client(running: RawServer, source: str = "127.0.0.1") -> Client:
            return stack.enter_context(contextlib.closing(Client(running.port, source=source)))

        yield open_client


def is_closed(client: Client) -> bool:
    client.sock.settimeout(2)  # much earlier than by any timeout
    return client.sock.recv(1) == b""


def test_the_connection_that_has_been_idle_longest_is_evicted(connect: Connect) -> None:
    with serve(ConnectionLimits(max_connections=3)) as server:
        silent, used, newest = connect(server), connect(server), connect(server)
        assert used.send(request()).one_response().status == 200
        time.sleep(IDLE_SECONDS)
        assert connect(server).send(request()).one_response().status == 200
        assert is_closed(silent)
        assert newest.send(request()).one_response().status == 200
        assert used.send(request()).one_response().status == 200


def test_the_first_byte_of_the_next_head_restarts_the_idle_time_and_later_ones_do_not(connect: Connect) -> None:
    with serve(ConnectionLimits(max_connections=2)) as server:
        begun, idle = connect(server), connect(server)
        assert begun.send(request()).one_response().status == idle.send(request()).one_response().status == 200
        begun.send(b"GET / HTTP/1.1\r\n")
        time.sleep(IDLE_SECONDS)
        assert connect(server).send(request()).one_response().status == 200
        assert is_closed(idle)
        begun.send(b"X: y\r\n")
        time.sleep(IDLE_SECONDS)
        assert connect(server).send(request()).one_response().status == 200
        assert is_closed(begun)


def test_requests_in_progress_are_not_evicted_and_health_checks_are_served(connect: Connect) -> None:
    with serve(ConnectionLimits(max_connections=2)) as server:
        busy = [connect(server).send(GATE) for _ in range(2)]
        assert busy[1].is_silent(IDLE_SECONDS)
        for _ in range(3):
            response = connect(server).send(HEALTH).one_response()
            assert (response.status, response.headers["connection"]) == (200, "close")
            (response,) = connect(server).send(request()).responses()
            assert response.check(503)
            assert response.headers["retry-after"] == "1"
        server.gate.set()
        assert [client.one_response().status for client in busy] == [200, 200]


def test_the_oldest_connection_in_the_health_check_reserve_is_evicted(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "HEALTH_CHECK_RESERVE", 2)
    monkeypatch.setattr(admission, "MIN_IDLE_SECONDS", 60.0)
    with serve(ConnectionLimits(max_connections=1)) as server:
        first, *told, third, fourth = (connect(server) for _ in range(5))
        for client in told:
            (response,) = client.responses()
            assert response.check(503)
        assert third.send(HEALTH).one_response().status == 200
        assert fourth.send(HEALTH).one_response().status == 200
        assert first.send(request()).one_response().status == 200


def test_the_number_of_health_checks_in_progress_is_limited(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "HEALTH_CHECK_RESERVE", 2)
    with serve(ConnectionLimits(max_connections=1, health_check_paths=frozenset({b"/gate"}))) as server:
        busy = []
        for _ in range(5):
            busy.append(connect(server).send(GATE))
            server.wait_for_path(busy[-1], "/gate")  # the next connection could displace one that has asked for nothing
        assert all(client.is_silent(0.1) for client in busy)
        (response,) = connect(server).responses()
        assert response.check(503)
        server.gate.set()
        assert all(client.one_response().status == 200 for client in busy)


def test_connections_are_limited_per_address(connect: Connect) -> None:
    with serve(ConnectionLimits(max_connections=20, max_connections_per_address=2)) as server:
        neighbour, idle = connect(server, "127.0.0.2"), connect(server)
        busy = connect(server).send(GATE)
        assert busy.is_silent(IDLE_SECONDS)
        assert connect(server).send(request(b"Connection: close")).one_response().status == 200
        assert is_closed(idle)
        connect(server).send(GATE)
        time.sleep(IDLE_SECONDS)
        (response,) = connect(server).send(request()).responses()
        assert response.check(503)
        assert neighbour.send(request()).one_response().status == 200
        assert connect(server, "127.0.0.2").send(request()).one_response().status == 200


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::2:3", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_ipv6_addresses_are_grouped_by_64_bit_network(one: str, other: str, same: bool) -> None:
    class Peer:
        def evict(self) -> None: ...

    controller = admission.AdmissionController(10, 10)
    first, _ = controller.admit(Peer(), one, 0.0)
    second, _ = controller.admit(Peer(), other, 0.0)
    assert (first is second) == same


def test_closed_connections_leave_no_state(connect: Connect) -> None:
    with serve(ConnectionLimits(max_connections=4)) as server:
        for raw in (
            b"",
            request(),
            GATE,
            b"nonsense\r\n\r\n",
            b"GET /",
            request(b"Content-Length: 9", line=b"POST /early HTTP/1.1"),
        ):
            connect(server).send(raw).close()
        server.gate.set()
        assert server.has_no_connections_within(TIMEOUT)
        controller = server.server.config.http.admission
        assert (controller._count, controller._addresses, controller._idle) == (0, {}, {})
