"""Lingering close: an early response arrives, and the input that is discarded after it is limited."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from filestead.server.http1.limits import ConnectionLimits
from filestead.server.http1.lingering import LingeringLimits

from .raw_http import CHUNKED, Client, RawServer, request, serve

pytestmark = pytest.mark.embedded("connections to an application of the test, which stores nothing")

Connect = Callable[..., Client]
RESPONDED_EARLY = request(b"Content-Length: 1000000000", line=b"POST /early HTTP/1.1")
AUTHENTICATED = request(b"Content-Length: 1000000000", line=b"POST /authenticated HTTP/1.1")
SHORT_LIMITS = LingeringLimits(read_timeout=0.4, rate_window=0.4, min_rate=100_000, max_seconds=60)


@pytest.fixture
def connect() -> Iterator[Connect]:
    with contextlib.ExitStack() as stack:
        yield lambda running: stack.enter_context(contextlib.closing(Client(running.port)))


@contextlib.contextmanager
def lingering(limits: LingeringLimits = SHORT_LIMITS, **changes: Any) -> Iterator[RawServer]:
    with serve(ConnectionLimits(lingering=replace(limits, **changes))) as server:
        yield server


def send_for(client: Client, seconds: float, *, piece: bytes = b"x" * 65536, pause: float = 0.0) -> int:
    """Send for some seconds or until the connection is reset, and return the number of bytes sent."""
    sent, until = 0, time.monotonic() + seconds
    client.sock.settimeout(0.05)
    with contextlib.suppress(ConnectionError):
        while True:
            with contextlib.suppress(TimeoutError):
                sent += client.sock.send(piece)
            time.sleep(pause)
            if time.monotonic() >= until:
                break
    return sent


def seconds_until_reset(client: Client, seconds: float) -> float:
    """Return the seconds until the server resets the connection of a client that keeps sending."""
    began = time.monotonic()
    send_for(client, seconds, pause=0.01)
    return time.monotonic() - began


@pytest.mark.parametrize("framing", [b"Content-Length: 30000000", CHUNKED, b"Expect: 100-continue\r\n" + CHUNKED])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_client_that_sends_the_whole_body_first_receives_the_early_response(
    connect: Connect, framing: bytes, version: bytes
) -> None:
    if version == b"1.0" and CHUNKED in framing:
        pytest.skip("HTTP/1.0 has no chunks")
    with lingering(read_timeout=30, rate_window=30) as server:
        client = connect(server)
        client.sock.sendall(request(framing, line=b"POST /early HTTP/" + version))
        for _ in range(458):
            client.sock.sendall(b"10000\r\n%b\r\n" % (b"x" * 65536) if CHUNKED in framing else b"x" * 65536)
        (response,) = client.responses()
        assert (response.status, response.headers["connection"]) == (200, "close")


def test_input_after_an_early_response_is_not_parsed_as_a_request(connect: Connect) -> None:
    with lingering() as server:
        client = connect(server).send(request(b"Content-Length: 3", line=b"POST /early HTTP/1.1"))
        assert client.one_response().headers["connection"] == "close"
        assert client.send(b"abc" + request(line=b"GET /smuggled HTTP/1.1")).responses() == []
        assert server.paths[client.port] == ["/early"]


def test_the_connection_stays_open_if_the_body_has_already_arrived(connect: Connect) -> None:
    with lingering() as server:
        client = connect(server).send(request(b"Content-Length: 3", line=b"POST /early HTTP/1.1", body=b"abc"))
        assert "connection" not in client.one_response().headers
        assert client.send(request()).one_response().status == 200


def test_requests_after_the_last_one_do_not_reset_its_response(connect: Connect) -> None:
    with lingering() as server:
        client = connect(server)
        client.sock.sendall(request(b"Connection: close", line=b"GET /gate HTTP/1.1") + request() * 50)
        server.gate.set()
        time.sleep(0.2)  # the reset of a socket that was closed over them would come now
        assert [response.scope["path"] for response in client.responses()] == ["/gate"]


@pytest.mark.parametrize(
    ("limits", "piece", "pause"),
    [
        ({}, b"", 0.05),
        ({"read_timeout": 60}, b"x", 0.02),
        ({"max_seconds": 0.8}, b"x" * 65536, 0.01),
        ({"max_bytes": 2_000_000}, b"x" * 65536, 0.0),
    ],
    ids=["silence", "trickle", "total", "bytes"],
)
@pytest.mark.timing
def test_lingering_ends_at_each_limit(connect: Connect, limits: dict[str, Any], piece: bytes, pause: float) -> None:
    with lingering(**limits) as server:
        client = connect(server).send(RESPONDED_EARLY)
        assert client.one_response()
        began = time.monotonic()
        send_for(client, 6, piece=piece, pause=pause) if piece else None
        assert server.has_no_connections_within(6)
        assert time.monotonic() - began < 5


@pytest.mark.timing
def test_a_sender_above_the_minimum_rate_is_not_disconnected(connect: Connect) -> None:
    with lingering() as server:
        client = connect(server).send(RESPONDED_EARLY)
        assert client.one_response()
        assert seconds_until_reset(client, 2.0) >= 2.0


def test_the_oldest_lingering_connection_is_closed_and_authenticated_ones_last(connect: Connect) -> None:
    with lingering(max_connections=2, read_timeout=60, rate_window=60) as server:
        authenticated, first, second = (
            connect(server).send(raw) for raw in (AUTHENTICATED, RESPONDED_EARLY, RESPONDED_EARLY)
        )
        assert authenticated.one_response() and first.one_response() and second.one_response()
        third = connect(server).send(RESPONDED_EARLY)
        assert third.one_response()
        assert seconds_until_reset(second, 30) < 29
        assert seconds_until_reset(first, 30) < 29
        assert seconds_until_reset(authenticated, 0.5) >= 0.5
        assert seconds_until_reset(third, 0.5) >= 0.5


@pytest.mark.parametrize("raw", [RESPONDED_EARLY, AUTHENTICATED], ids=["unauthenticated", "authenticated"])
def test_unauthenticated_connections_share_a_rate(connect: Connect, raw: bytes) -> None:
    rate = 2_000_000
    with lingering(unauthenticated_rate=rate, unauthenticated_burst=rate, read_timeout=60, rate_window=60) as server:
        client = connect(server).send(raw)
        assert client.one_response()
        sent = send_for(client, 3)
        # What the kernel holds on both sides counts as sent.
        assert (sent < 4 * rate + 12_000_000) == (raw is RESPONDED_EARLY)


def test_throttled_connections_are_not_closed_by_the_read_timeout(connect: Connect) -> None:
    with lingering(unauthenticated_rate=400_000, unauthenticated_burst=1, min_rate=1) as server:
        clients = [connect(server).send(RESPONDED_EARLY) for _ in range(3)]
        assert all(client.one_response() and send_for(client, 0.05) for client in clients)
        time.sleep(1.2)
        assert not any(client.is_reset_within(0.01) for client in clients)


@pytest.mark.timing
def test_a_graceful_shutdown_does_not_wait_for_lingering_connections(connect: Connect) -> None:
    with lingering(read_timeout=60, rate_window=60) as server:
        client = connect(server).send(RESPONDED_EARLY)
        assert client.one_response()
        began = time.monotonic()
        server.server.should_exit = True
        send_for(client, 5, pause=0.01)
        server.thread.join(5)
        assert not server.thread.is_alive()
        assert time.monotonic() - began < 4


def test_lingering_logs_nothing(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    with lingering() as server:
        client = connect(server).send(RESPONDED_EARLY)
        assert client.one_response()
        assert send_for(client, 0.2)
        client.close()
        assert server.has_no_connections_within(30)
    assert caplog.records == []
