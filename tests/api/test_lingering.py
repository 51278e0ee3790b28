"""Connections that close behind an answer that came early: the answer arrives, and what that costs is bounded."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from filestead.server.http1.limits import ConnectionLimits
from filestead.server.http1.lingering import LingeringLimits

from .raw_http import CHUNKED, Client, Running, request, serve

Open = Callable[..., Client]
EARLY = request(b"Content-Length: 1000000000", line=b"POST /early HTTP/1.1")
KNOWN = request(b"Content-Length: 1000000000", line=b"POST /known HTTP/1.1")
QUICK = LingeringLimits(read_timeout=0.4, rate_window=0.4, min_rate=100_000, max_seconds=60)


@pytest.fixture
def connect() -> Iterator[Open]:
    with contextlib.ExitStack() as stack:
        yield lambda running: stack.enter_context(contextlib.closing(Client(running.port)))


@contextlib.contextmanager
def lingering(limits: LingeringLimits = QUICK, **changes: Any) -> Iterator[Running]:
    with serve(ConnectionLimits(lingering=replace(limits, **changes))) as server:
        yield server


def pour(client: Client, seconds: float, *, piece: bytes = b"x" * 65536, pause: float = 0.0) -> int:
    """Send for so many seconds or until the connection is cut; the bytes that went out."""
    sent, until = 0, time.monotonic() + seconds
    client.sock.settimeout(0.05)
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                sent += client.sock.send(piece)
            time.sleep(pause)
    return sent


def cut(client: Client, seconds: float) -> float:
    """The seconds until the server has cut a client that goes on sending."""
    began = time.monotonic()
    pour(client, seconds, pause=0.01)
    return time.monotonic() - began


@pytest.mark.parametrize("framing", [b"Content-Length: 30000000", CHUNKED, b"Expect: 100-continue\r\n" + CHUNKED])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_the_answer_arrives_when_the_whole_body_is_sent_first(connect: Open, framing: bytes, version: bytes) -> None:
    if version == b"1.0" and CHUNKED in framing:
        pytest.skip("HTTP/1.0 has no chunks")
    with lingering() as server:
        client = connect(server)
        client.sock.sendall(request(framing, line=b"POST /early HTTP/" + version))
        for _ in range(458):
            client.sock.sendall(b"10000\r\n%b\r\n" % (b"x" * 65536) if CHUNKED in framing else b"x" * 65536)
        (answer,) = client.answers()
        assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_what_is_sent_behind_an_early_answer_is_no_request(connect: Open) -> None:
    with lingering() as server:
        client = connect(server).send(request(b"Content-Length: 3", line=b"POST /early HTTP/1.1"))
        assert client.one().headers["connection"] == "close"
        assert client.send(b"abc" + request(line=b"GET /smuggled HTTP/1.1")).answers() == []
        assert server.seen[client.port] == ["/early"]


def test_a_body_that_is_already_there_keeps_the_connection(connect: Open) -> None:
    with lingering() as server:
        client = connect(server).send(request(b"Content-Length: 3", line=b"POST /early HTTP/1.1", body=b"abc"))
        assert "connection" not in client.one().headers
        assert client.send(request()).one().status == 200


def test_requests_behind_the_last_one_do_not_cost_its_answer(connect: Open) -> None:
    with lingering() as server:
        client = connect(server)
        client.sock.sendall(request(b"Connection: close", line=b"GET /gate HTTP/1.1") + request() * 50)
        server.gate.set()
        time.sleep(0.2)  # the reset of a socket that was closed over them would come now
        assert [answer.scope["path"] for answer in client.answers()] == ["/gate"]


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
def test_lingering_ends(connect: Open, limits: dict[str, Any], piece: bytes, pause: float) -> None:
    with lingering(**limits) as server:
        client = connect(server).send(EARLY)
        assert client.one()
        began = time.monotonic()
        pour(client, 6, piece=piece, pause=pause) if piece else None
        assert server.lets_go(6)
        assert time.monotonic() - began < 5


def test_a_slow_sender_is_waited_for(connect: Open) -> None:
    with lingering() as server:
        client = connect(server).send(EARLY)
        assert client.one()
        assert cut(client, 2.0) >= 2.0


def test_the_oldest_gives_way_and_those_with_a_key_last(connect: Open) -> None:
    with lingering(max_connections=2, read_timeout=60, rate_window=60) as server:
        known, first, second = (connect(server).send(raw) for raw in (KNOWN, EARLY, EARLY))
        assert known.one() and first.one() and second.one()
        third = connect(server).send(EARLY)
        assert third.one()
        assert cut(second, 3) < 2.5
        assert cut(first, 3) < 2.5
        assert cut(known, 0.5) >= 0.5
        assert cut(third, 0.5) >= 0.5


@pytest.mark.parametrize("raw", [EARLY, KNOWN], ids=["stranger", "known"])
def test_strangers_share_a_rate(connect: Open, raw: bytes) -> None:
    rate = 2_000_000
    with lingering(unauthenticated_rate=rate, unauthenticated_burst=rate, read_timeout=60, rate_window=60) as server:
        client = connect(server).send(raw)
        assert client.one()
        sent = pour(client, 3)
        # What the kernel holds on both sides counts as sent.
        assert (sent < 4 * rate + 12_000_000) == (raw is EARLY)


def test_strangers_who_wait_for_their_share_are_not_taken_for_silent(connect: Open) -> None:
    with lingering(unauthenticated_rate=400_000, unauthenticated_burst=1, min_rate=1) as server:
        clients = [connect(server).send(EARLY) for _ in range(3)]
        assert all(client.one() and pour(client, 0.05) for client in clients)
        time.sleep(1.2)
        assert not any(client.is_cut_off(0.01) for client in clients)


def test_a_graceful_stop_does_not_wait_for_those_who_linger(connect: Open) -> None:
    with lingering(read_timeout=60, rate_window=60) as server:
        client = connect(server).send(EARLY)
        assert client.one()
        began = time.monotonic()
        server.server.should_exit = True
        pour(client, 5, pause=0.01)
        server.thread.join(5)
        assert not server.thread.is_alive()
        assert time.monotonic() - began < 4


def test_nothing_is_logged(connect: Open, caplog: pytest.LogCaptureFixture) -> None:
    with lingering() as server:
        client = connect(server).send(EARLY)
        assert client.one()
        assert pour(client, 0.2)
        client.close()
        assert server.lets_go(3)
    assert caplog.records == []
