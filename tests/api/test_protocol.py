"""The HTTP connection over raw sockets: framing, sizes, deadlines, stalls, crowds."""

import contextlib
import gc
import logging
import re
import resource
import socket
import struct
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from filestead.server.http1.limits import ConnectionLimits

from .http_corpus import ACCEPTED, BODIES_REFUSED, CLOSED_AFTER, HEADS_REFUSED, LAST, SMUGGLED
from .raw_http import BIG, CHUNKED, NEXT, PATIENCE, Client, Running, deliver, head_of, post, request, running, serve

Open = Callable[..., Client]


@pytest.fixture
def connect() -> Iterator[Open]:
    with contextlib.ExitStack() as stack:

        def open_client(running: Running, receive_buffer: int | None = None) -> Client:
            client = stack.enter_context(contextlib.closing(Client(running.port, receive_buffer)))
            running.seen.pop(client.port, None)  # of an earlier connection from the same port
            return client

        yield open_client


@pytest.fixture(scope="module")
def plain() -> Iterator[Running]:
    yield from running(ConnectionLimits(max_head_bytes=1024, max_headers=10, max_target_bytes=200))


@pytest.fixture(scope="module")
def hasty() -> Iterator[Running]:
    yield from running(ConnectionLimits(head_seconds=0.4))


@pytest.fixture(scope="module")
def watchful() -> Iterator[Running]:
    yield from running(ConnectionLimits(send_stall_seconds=0.8))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test leaves a traceback or a warning, nor a line with anything from the wire in it."""
    caplog.set_level(logging.INFO)
    yield
    for record in caplog.get_records("call") + caplog.get_records("teardown"):
        assert (record.levelno, record.exc_info) == (logging.INFO, None), record.getMessage()
        if record.name.startswith("filestead"):
            assert re.fullmatch(r"request rejected: \d{3} [A-Za-z0-9 /.-]+|send timeout: [a-z ]+", record.getMessage())


# --- framing --------------------------------------------------------------------------------------------------------


everyway = pytest.mark.parametrize("delivery", ["whole", "joined", "dripped"])


@everyway
@pytest.mark.parametrize(("raw", "status"), HEADS_REFUSED.values(), ids=map(repr, HEADS_REFUSED))
def test_a_bad_head_gets_one_refusal_and_never_reaches_the_app(
    *, plain: Running, connect: Open, caplog: pytest.LogCaptureFixture, raw: bytes, status: int, delivery: str
) -> None:
    client = connect(plain)
    (answer,) = deliver(client, raw, delivery)
    assert answer.check(status)
    assert plain.seen[client.port] == []
    assert len(caplog.records) == 1


@everyway
@pytest.mark.parametrize("body", BODIES_REFUSED, ids=repr)
def test_a_bad_chunked_body_gets_one_refusal(
    plain: Running, connect: Open, caplog: pytest.LogCaptureFixture, body: bytes, delivery: str
) -> None:
    client = connect(plain)
    (answer,) = deliver(client, post(CHUNKED, body=body), delivery)
    assert answer.check(400)
    assert plain.seen[client.port] in ([], ["/"])
    assert len(caplog.records) == 1


@everyway
@pytest.mark.parametrize(("raw", "expected"), ACCEPTED.values(), ids=map(repr, ACCEPTED))
def test_a_legal_request_reaches_the_app_as_sent(
    plain: Running, connect: Open, raw: bytes, expected: dict[str, Any], delivery: str
) -> None:
    first, second = deliver(connect(plain), raw, delivery)
    assert (first.status, second.scope["path"]) == (200, "/next")
    assert {name: first.scope[name] for name in expected} == expected


@everyway
@pytest.mark.parametrize(("raw", "expected"), CLOSED_AFTER.values(), ids=map(repr, CLOSED_AFTER))
def test_some_legal_requests_are_the_last_of_their_connection(
    plain: Running, connect: Open, raw: bytes, expected: dict[str, Any], delivery: str
) -> None:
    (answer,) = deliver(connect(plain), raw, delivery)
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert {name: answer.scope[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("first", "size"),
    [
        (request(), 0),
        (b"\r\n\r\n" + request(b"Content-Length: 0"), 0),
        (post(b"Content-Length: 9", body=b"\r\n\r\nabc\r\n"), 9),
        (post(CHUNKED, body=b"3\r\nabc\r\n0\r\nX: y\r\n\r\n"), 3),
        (post(CHUNKED, body=b"4\r\n\r\n\r\n\r\n0\r\n\r\n"), 4),
    ],
    ids=["no body", "blank lines", "length", "trailer", "chunk"],
)
def test_a_pipelined_pair_is_answered_wherever_the_segments_are_cut(
    plain: Running, connect: Open, first: bytes, size: int
) -> None:
    pair = first + NEXT
    for cut in range(len(pair)):
        answers = connect(plain).send(pair[:cut], pair[cut:]).answers()
        assert [(answer.scope["path"], answer.scope["size"]) for answer in answers] == [("/", size), ("/next", 0)]


def test_a_refusal_waits_for_the_answers_before_it(connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server).send(request(line=b"GET /gate HTTP/1.1") + request() + b"GET / HTTP/3.0\r\n\r\n")
        assert client.silent(0.2)
        server.gate.set()
        first, second, third = client.answers()
        assert (first.scope["path"], second.scope["path"]) == ("/gate", "/")
        assert third.check(400)


def test_a_bad_body_behind_a_slow_answer_is_refused_in_its_turn(connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server).send(request(line=b"GET /gate HTTP/1.1") + post(CHUNKED, body=b"x\r\n"))
        assert client.silent(0.2)
        server.gate.set()
        first, second = client.answers()
        assert first.scope["path"] == "/gate"
        assert second.check(400)
        assert server.seen[client.port] in (["/gate"], ["/gate", "/"])


def test_a_refusal_is_not_followed_by_a_continue(connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        (answer,) = connect(server).send(post(CHUNKED, b"Expect: 100-continue", body=b"x\r\n")).answers()
        assert answer.check(400)


def test_a_bad_rest_of_an_answered_body_only_closes(plain: Running, connect: Open) -> None:
    client = connect(plain).send(request(CHUNKED, line=b"POST /early HTTP/1.1"))
    assert client.one().check(200)
    assert client.send(b"x\r\n", SMUGGLED).answers() == []


def test_a_refusal_is_not_lost_to_a_peer_that_is_still_sending(plain: Running, connect: Open) -> None:
    client = connect(plain)
    client.sock.sendall(request(b"X: " + b"a" * 2**22))  # raises if the connection is reset
    (answer,) = client.answers()
    assert answer.check(431)
    assert client.sock.recv(1) == b""


def test_nothing_behind_an_upgrade_is_read(caplog: pytest.LogCaptureFixture, connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server).send(request(b"Connection: Upgrade", b"Upgrade: x", line=b"GET /gate HTTP/1.1"))
        assert client.silent(0.2)
        assert client.send(b"garbage").silent(0.2)
        server.gate.set()
        assert [answer.scope["path"] for answer in client.answers()] == ["/gate"]
        assert caplog.records == []


def test_a_refusal_to_head_has_no_body(plain: Running, connect: Open) -> None:
    client = connect(plain).send(request(line=b"HEAD / HTTP/1.1", host=b""))
    assert client.file.read().endswith(b"\r\nconnection: close\r\n\r\n")


def test_continue_is_sent_only_when_the_app_wants_the_body(plain: Running, connect: Open) -> None:
    expecting = (b"Content-Length: 3", b"Expect: 100-continue")
    client = connect(plain).send(post(*expecting, body=b""))
    assert client.file.readline() + client.file.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.send(b"abc").one().scope["size"] == 3
    (early,) = connect(plain).send(request(*expecting, line=b"POST /early HTTP/1.1")).answers()
    assert (early.status, early.headers["connection"]) == (200, "close")
    (old,) = connect(plain).send(request(*expecting, line=b"POST / HTTP/1.0", body=b"abc")).answers()
    assert old.status == 200


# --- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 2, 1024], ids="in {}".format)
@pytest.mark.parametrize(
    "before", [b"", request(), post(b"Content-Length: 3")], ids=["first", "second", "after a body"]
)
@pytest.mark.parametrize("field", [b"X:", b"X: ", b"X:" + b" " * 90], ids=["tight", "usual", "padded"])
@pytest.mark.parametrize(("extra", "status"), [(-1, 200), (0, 200), (1, 431)])
def test_the_size_of_a_head_is_exact(
    *, plain: Running, connect: Open, extra: int, status: int, field: bytes, before: bytes, pieces: int
) -> None:
    head, client = head_of(1024 + extra, field=field), connect(plain)
    if before:
        assert client.send(before).one()
    step = -(-len(head) // pieces)
    assert client.send(*(head[at : at + step] for at in range(0, len(head), step))).one().check(status)


def test_a_body_does_not_count_as_head(plain: Running, connect: Open) -> None:
    head = head_of(1024, b"POST / HTTP/1.1", b"Content-Length: 100000\r\nX: ")
    assert connect(plain).send(head + bytes(100_000)).one().scope["size"] == 100_000


def test_a_large_head_behind_a_body_in_one_segment_is_refused(plain: Running, connect: Open) -> None:
    first, second = connect(plain).send(post(b"Content-Length: 3") + head_of(1200)).answers()
    assert first.status == 200
    assert second.check(431)


@pytest.mark.parametrize(
    ("start", "more"),
    [(b"GET / HTTP/1.1\r\nX: ", b"aaaa"), (b"GET / HTTP/1.1\r\n", b"aaaa"), (b"", b"\r\n"), (b"GET ", b"    ")],
    ids=["value", "name", "blank lines", "blanks"],
)
def test_a_head_without_end_is_refused(plain: Running, connect: Open, start: bytes, more: bytes) -> None:
    (answer,) = connect(plain).send(start, *[more] * 600).answers()
    assert answer.check(431)


@pytest.mark.parametrize(("count", "status"), [(9, 200), (10, 200), (11, 431)])
def test_the_number_of_headers_is_exact(plain: Running, connect: Open, count: int, status: int) -> None:
    assert connect(plain).send(request(*[b"a: b"] * (count - 1))).one().check(status)


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (request(*[b"a: b"] * 11)[:-2], 431),
        (b"GET /" + b"a" * 200, 414),
        (post(CHUNKED, body=LAST[:3] + b"a: b\r\n" * 12), 431),
    ],
    ids=["headers", "target", "trailers"],
)
def test_what_is_too_much_is_refused_before_the_end_has_come(
    plain: Running, connect: Open, start: bytes, status: int
) -> None:
    client = connect(plain).send(start)
    assert client.one().check(status)
    assert time.monotonic() - client.connected < ConnectionLimits().head_seconds / 2


@pytest.mark.parametrize(("size", "status"), [(199, 200), (200, 200), (201, 414), (9000, 414)])
def test_the_size_of_a_target_is_exact(plain: Running, connect: Open, size: int, status: int) -> None:
    line = b"GET " + b"/?".ljust(size, b"a") + b" HTTP/1.1"
    assert connect(plain).send(request(line=line)).one().check(status)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (LAST[:3] + b"a: b\r\n" * 11 + b"\r\n", 431),
        (LAST[:3] + (b"a: " + b"b" * 510 + b"\r\n") * 2 + b"\r\n", 431),
        (LAST[:3] + b"a: " + b"b" * 3000, 400),
        (b"3;" + b"a" * 3000, 400),
        ((b"1;" + b"a" * 300 + b"\r\nb\r\n") * 10, 400),
    ],
    ids=["trailers", "large trailers", "endless trailer", "endless extension", "many extensions"],
)
def test_trailers_and_extensions_are_capped(plain: Running, connect: Open, body: bytes, status: int) -> None:
    (answer,) = connect(plain).send(post(CHUNKED, body=body)).answers()
    assert answer.check(status)


def test_ten_trailers_and_tiny_chunks_pass(plain: Running, connect: Open) -> None:
    body = b"1\r\na\r\n" * 100_000 + LAST[:3] + b"a: b\r\n" * 10 + b"\r\n"
    answer = connect(plain).send(post(CHUNKED, body=body)).one()
    assert answer.scope["size"] == 100_000
    assert answer.scope["headers"] == [["host", "t"], ["transfer-encoding", "chunked"]]


# --- deadlines ------------------------------------------------------------------------------------------------------


def test_a_connection_without_a_request_is_closed(hasty: Running, connect: Open) -> None:
    client = connect(hasty)
    assert client.answers() == []
    assert 0.3 < time.monotonic() - client.connected < 4


@pytest.mark.parametrize(
    ("start", "byte"),
    [(b"GET / HTTP/1.1\r\nX: ", b"a"), (b"GET ", b" "), (b"", b"\r\n"), (b"GET /\r\n", b"A")],
    ids=["value", "blanks", "blank lines", "HTTP/0.9"],
)
def test_a_dripped_head_is_cut_at_the_deadline(hasty: Running, connect: Open, start: bytes, byte: bytes) -> None:
    client = connect(hasty).send(start)
    client.drip(byte)
    assert 0.3 < time.monotonic() - client.connected < 4
    (answer,) = client.answers()
    assert answer.check(408)


def test_a_later_head_has_its_own_deadline_from_its_first_byte(hasty: Running, connect: Open) -> None:
    client = connect(hasty).send(request())
    assert client.one()
    assert client.silent(0.6)  # idle: only the keep-alive timeout counts
    assert 0.3 < client.send(b"GET / HTTP/1.1\r\nX: ").drip(b"a") < 4
    (answer,) = client.answers()
    assert answer.check(408)


def test_the_clock_stands_still_while_an_answer_is_owed(connect: Open) -> None:
    with serve(ConnectionLimits(head_seconds=0.3)) as server:
        client = connect(server).send(request(line=b"GET /gate HTTP/1.1") + b"GET / HTTP/1.1\r\nHost: ")
        assert client.silent(0.6)
        server.gate.set()
        assert client.one()
        late = time.monotonic()
        (refusal,) = client.answers()
        assert refusal.check(408)
        assert 0.2 < time.monotonic() - late < 4


def test_a_slow_body_is_the_apps_business(hasty: Running, connect: Open) -> None:
    client = connect(hasty).send(post(b"Content-Length: 3", body=b""))
    assert client.silent(0.6)
    assert client.send(b"abc").one().scope["size"] == 3
    assert client.send(request()).one().check(200)


def test_an_idle_connection_is_closed_by_the_keep_alive_timeout(connect: Open) -> None:
    with serve(ConnectionLimits(), keep_alive=1) as server:
        idle = connect(server).send(request())
        whole = connect(server).send(request(b"Content-Length: 3", line=b"POST /early HTTP/1.1", body=b"abc"))
        assert idle.one()
        assert whole.one()
        assert idle.answers() == whole.answers() == []
        assert 0.8 < time.monotonic() - idle.connected < 4


def test_the_keep_alive_timeout_does_not_run_while_a_waiting_request_is_answered(connect: Open) -> None:
    with serve(ConnectionLimits(), keep_alive=1) as server:
        client = connect(server).send(request() + request(line=b"GET /gate HTTP/1.1"))
        assert client.one().scope["path"] == "/"
        assert client.silent(1.5)
        server.gate.set()
        assert client.one().scope["path"] == "/gate"


# --- readers that stall ---------------------------------------------------------------------------------------------


def test_a_reader_that_stalls_is_cut_off(watchful: Running, connect: Open) -> None:
    client = connect(watchful, 4096).send(request(line=b"GET /big HTTP/1.1"))
    assert client.is_cut_off(3)
    assert time.monotonic() - client.connected > 0.7


@pytest.mark.parametrize("more", [(), (b"Connection: close",)], ids=["kept alive", "closing"])
def test_a_reader_that_stalls_on_a_finished_answer_is_cut_off(
    watchful: Running, connect: Open, more: tuple[bytes, ...]
) -> None:
    client = connect(watchful, 4096).send(request(*more, line=b"GET /blob?20000000 HTTP/1.1"))
    assert client.is_cut_off(3)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("more", [(), (b"Connection: close",)], ids=["kept alive", "closing"])
def test_a_reader_that_stalls_near_the_end_is_let_go(connect: Open, more: tuple[bytes, ...], loop: str) -> None:
    with serve(ConnectionLimits(send_stall_seconds=0.4), keep_alive=1, send_buffer=4096, loop=loop) as server:
        for size, left in [(60_000, 60_000), *((200_000, left) for left in range(4000, 120_000, 4000))]:
            client = connect(server, 4096).send(request(*more, line=b"GET /blob?%d HTTP/1.1" % size))
            assert len(client.file.read(size - left)) == size - left
        assert server.lets_go(4)


def test_a_reader_that_stalls_does_not_hold_up_the_end(connect: Open) -> None:
    with serve(ConnectionLimits(send_stall_seconds=0.4), send_buffer=4096) as server:
        assert not connect(server, 4096).send(request(line=b"GET /blob?60000 HTTP/1.1")).silent(PATIENCE)


def test_a_slow_reader_that_moves_is_kept(watchful: Running, connect: Open) -> None:
    client = connect(watchful, 4096).send(request(line=b"GET /big HTTP/1.1"))
    taken = 0
    while time.monotonic() - client.connected < 3:
        time.sleep(0.05)  # the pace is what is tested: far too slow to free the kernel's buffer in a stall's time
        taken += len(client.sock.recv(1024))
    assert len(client.file.read(BIG - taken)) == BIG - taken


def test_the_app_hears_of_a_disconnect_when_another_request_waits(connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server, 4096).send(request(line=b"GET /listen HTTP/1.1") + request())
        assert client.sock.recv(1)
        client.close()
        assert server.dropped.wait(PATIENCE)


# --- many connections, and the end ----------------------------------------------------------------------------------


def test_connections_above_the_cap_are_told_to_come_again(connect: Open) -> None:
    with serve(ConnectionLimits(max_connections=2)) as server:
        first, second = (connect(server).send(request()) for _ in range(2))
        assert first.one()
        assert second.one()
        (answer,) = connect(server).send(request()).answers()
        assert answer.check(503)
        assert answer.headers["retry-after"] == "1"
        first.close()
        until = time.monotonic() + PATIENCE
        while (answer := connect(server).send(request()).one()) and answer.status == 503:
            assert time.monotonic() < until
        assert second.send(request()).one()


def test_a_thousand_idle_connections_do_not_hurt_a_request_and_go_away(connect: Open) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    with serve(ConnectionLimits(head_seconds=3)) as server:
        idle = [connect(server) for _ in range(1000)]
        times = []
        for _ in range(100):
            start = time.monotonic()
            assert connect(server).send(request()).one()
            times.append(time.monotonic() - start)
        assert sorted(times)[98] < 0.5
        assert all(client.answers() == [] for client in idle)
        assert time.monotonic() - idle[-1].connected < 3 + 5


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4])
def test_any_number_of_requests_waits_unparsed(connect: Open, cut: int) -> None:
    some = request() + post(b"Content-Length: 3") + request(b"Content-Length: 4", body=b"\r\n\r\n")
    with serve(ConnectionLimits()) as server:
        first = request(line=b"GET /gate HTTP/1.1")
        client = connect(server).send(first[: len(first) - cut])
        if cut:
            assert client.silent(0.05)
        client.send(first[len(first) - cut :] + some * 500 + NEXT)
        assert client.silent(0.2)
        (connection,) = server.server.server_state.connections
        assert len(connection.pipeline) == 0
        server.gate.set()
        *answers, last = client.answers()
        assert [answer.scope["size"] for answer in answers] == [0, *[0, 3, 4] * 500]
        assert last.scope["path"] == "/next"


def test_few_requests_wait_behind_a_chunked_body_of_blank_lines(connect: Open) -> None:
    """Where a chunked body ends, only the parser knows, and it cannot be stopped there."""
    with serve(ConnectionLimits()) as server:
        lines = b"\r\n" * 50
        body = b"%x\r\n%b\r\n" % (len(lines), lines) + LAST
        client = connect(server).send(request(CHUNKED, line=b"POST /gate HTTP/1.1", body=body + request() * 150))
        assert client.silent(0.2)
        server.gate.set()
        *answers, refusal = client.answers()
        assert [answer.scope["size"] for answer in answers] == [100, 0]
        assert refusal.check(503)


def test_nothing_is_read_while_requests_wait(connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server)
        client.sock.settimeout(0.5)
        waiting = request(line=b"GET /gate HTTP/1.1") + post(b"Content-Length: 100000000", body=bytes(10**8))
        with pytest.raises(TimeoutError):
            client.sock.sendall(request() * 60 + waiting)
        (connection,) = server.server.server_state.connections
        assert len(connection.cycle.body) < 2**20
        client.close()
        server.gate.set()
        assert server.lets_go(PATIENCE)


def test_no_more_than_a_head_is_read_of_a_body_that_nobody_wants_yet(connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server)
        client.sock.settimeout(0.5)
        body = bytes(10**8)
        with pytest.raises(TimeoutError):
            client.sock.sendall(request(b"Content-Length: 100000000", line=b"POST /gate HTTP/1.1", body=body))
        (connection,) = server.server.server_state.connections
        assert 0 < len(connection.cycle.body) <= len(connection.buffers.small)
        client.close()
        server.gate.set()
        assert server.lets_go(PATIENCE)


def test_no_more_than_a_part_of_an_answer_waits_for_a_peer_that_reads_nothing(connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server, 4096).send(request(line=b"GET /blob?8000 HTTP/1.1") * 600)
        assert not client.silent(PATIENCE)
        (connection,) = server.server.server_state.connections
        served = 0
        while served != len(server.seen[client.port]):
            served = len(server.seen[client.port])
            time.sleep(0.3)
        assert 0 < connection.transport.get_write_buffer_size() < 16 * 1024 + 8200
        assert len(connection._unparsed) <= len(connection.buffers.small)
        client.close()
        assert server.lets_go(PATIENCE)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /", head_of(1000), request() * 3, post(b"Content-Length: 3"), post(CHUNKED, body=b"3\r\nabc"), b"?"],
    ids=["nothing", "part of a head", "a request", "three", "a body", "part of a body", "garbage"],
)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_nothing_is_left_of_a_connection_without_a_collection(connect: Open, sent: bytes, reset: bool) -> None:
    """A crowd that is gone must not stay in memory until the garbage collector looks at the oldest generation."""
    with serve(ConnectionLimits()) as server:
        client = connect(server).send(sent)
        client.silent(0.2)
        left = weakref.ref(*server.server.server_state.connections)
        gc.disable()
        try:
            if reset:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            assert server.lets_go(PATIENCE)
            until = time.monotonic() + 2
            while left() is not None and time.monotonic() < until:
                time.sleep(0.02)
            assert left() is None
        finally:
            gc.enable()


def test_a_graceful_stop_finishes_what_is_owed(connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        idle = connect(server).send(request())
        busy = connect(server).send(request(line=b"GET /gate HTTP/1.1"))
        assert idle.one()
        assert busy.silent(0.1)
        server.server.should_exit = True
        assert idle.answers() == []
        server.gate.set()
        (answer,) = busy.answers()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
