"""The HTTP connection over raw sockets: framing, sizes, deadlines, stalled clients, many connections."""

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

from .http_corpus import ACCEPTED_REQUESTS, LAST_CHUNK, LAST_REQUESTS, REJECTED_BODIES, REJECTED_HEADS, SMUGGLED
from .raw_http import (
    BIG_BODY_BYTES,
    CHUNKED,
    NEXT_REQUEST,
    TIMEOUT,
    Client,
    RawServer,
    deliver,
    head_of,
    post,
    request,
    running,
    serve,
)

pytestmark = pytest.mark.embedded("connections to an application of the test, which stores nothing")

Connect = Callable[..., Client]


@pytest.fixture
def connect() -> Iterator[Connect]:
    with contextlib.ExitStack() as stack:

        def open_client(running: RawServer, receive_buffer: int | None = None) -> Client:
            client = stack.enter_context(contextlib.closing(Client(running.port, receive_buffer)))
            running.paths.pop(client.port, None)  # of an earlier connection from the same port
            return client

        yield open_client


@pytest.fixture(scope="module")
def small_limits() -> Iterator[RawServer]:
    yield from running(ConnectionLimits(max_head_bytes=1024, max_headers=10, max_target_bytes=200))


@pytest.fixture(scope="module")
def short_head_timeout() -> Iterator[RawServer]:
    yield from running(ConnectionLimits(head_seconds=0.4))


@pytest.fixture(scope="module")
def short_send_timeout() -> Iterator[RawServer]:
    yield from running(ConnectionLimits(send_stall_seconds=1.5))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Assert that no test logs a traceback, a warning, or a line that contains input from the network."""
    caplog.set_level(logging.INFO)
    yield
    for record in caplog.get_records("call") + caplog.get_records("teardown"):
        assert (record.levelno, record.exc_info) == (logging.INFO, None), record.getMessage()
        if record.name.startswith("filestead"):
            assert re.fullmatch(r"request rejected: \d{3} [A-Za-z0-9 /.-]+|send timeout: [a-z ]+", record.getMessage())


# --- framing --------------------------------------------------------------------------------------------------------


all_deliveries = pytest.mark.parametrize("delivery", ["whole", "joined", "dripped"])


@all_deliveries
@pytest.mark.parametrize(("raw", "status"), REJECTED_HEADS.values(), ids=map(repr, REJECTED_HEADS))
def test_an_invalid_head_gets_one_rejection_and_never_reaches_the_app(
    *,
    small_limits: RawServer,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    raw: bytes,
    status: int,
    delivery: str,
) -> None:
    client = connect(small_limits)
    (response,) = deliver(client, raw, delivery)
    assert response.check(status)
    assert small_limits.paths[client.port] == []
    assert len(caplog.records) == 1


@all_deliveries
@pytest.mark.parametrize("body", REJECTED_BODIES, ids=repr)
def test_an_invalid_chunked_body_gets_one_rejection(
    small_limits: RawServer, connect: Connect, caplog: pytest.LogCaptureFixture, body: bytes, delivery: str
) -> None:
    client = connect(small_limits)
    (response,) = deliver(client, post(CHUNKED, body=body), delivery)
    assert response.check(400)
    assert small_limits.paths[client.port] in ([], ["/"])
    assert len(caplog.records) == 1


@all_deliveries
@pytest.mark.parametrize(("raw", "expected"), ACCEPTED_REQUESTS.values(), ids=map(repr, ACCEPTED_REQUESTS))
def test_an_unusual_valid_request_reaches_the_app_unchanged(
    small_limits: RawServer, connect: Connect, raw: bytes, expected: dict[str, Any], delivery: str
) -> None:
    first, second = deliver(connect(small_limits), raw, delivery)
    assert (first.status, second.scope["path"]) == (200, "/next")
    assert {name: first.scope[name] for name in expected} == expected


@all_deliveries
@pytest.mark.parametrize(("raw", "expected"), LAST_REQUESTS.values(), ids=map(repr, LAST_REQUESTS))
def test_a_valid_request_without_keep_alive_is_the_last_of_its_connection(
    small_limits: RawServer, connect: Connect, raw: bytes, expected: dict[str, Any], delivery: str
) -> None:
    (response,) = deliver(connect(small_limits), raw, delivery)
    assert (response.status, response.headers["connection"]) == (200, "close")
    assert {name: response.scope[name] for name in expected} == expected


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
def test_two_pipelined_requests_are_served_wherever_the_segment_is_split(
    small_limits: RawServer, connect: Connect, first: bytes, size: int
) -> None:
    pair = first + NEXT_REQUEST
    for cut in range(len(pair)):
        responses = connect(small_limits).send(pair[:cut], pair[cut:]).responses()
        assert [(response.scope["path"], response.scope["size"]) for response in responses] == [
            ("/", size),
            ("/next", 0),
        ]


def test_a_rejection_is_sent_after_the_responses_that_are_owed(connect: Connect) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server).send(request(line=b"GET /gate HTTP/1.1") + request() + b"GET / HTTP/3.0\r\n\r\n")
        assert client.is_silent(0.2)
        server.gate.set()
        first, second, third = client.responses()
        assert (first.scope["path"], second.scope["path"]) == ("/gate", "/")
        assert third.check(400)


def test_an_invalid_pipelined_body_is_rejected_after_the_response_before_it(connect: Connect) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server).send(request(line=b"GET /gate HTTP/1.1") + post(CHUNKED, body=b"x\r\n"))
        assert client.is_silent(0.2)
        server.gate.set()
        first, second = client.responses()
        assert first.scope["path"] == "/gate"
        assert second.check(400)
        assert server.paths[client.port] in (["/gate"], ["/gate", "/"])


def test_no_100_continue_follows_a_rejection(connect: Connect) -> None:
    with serve(ConnectionLimits()) as server:
        (response,) = connect(server).send(post(CHUNKED, b"Expect: 100-continue", body=b"x\r\n")).responses()
        assert response.check(400)


def test_an_invalid_rest_of_a_body_after_its_response_closes_without_a_rejection(
    small_limits: RawServer, connect: Connect
) -> None:
    client = connect(small_limits).send(request(CHUNKED, line=b"POST /early HTTP/1.1"))
    assert client.one_response().check(200)
    assert client.send(b"x\r\n", SMUGGLED).responses() == []


def test_a_peer_that_is_still_sending_receives_the_rejection(small_limits: RawServer, connect: Connect) -> None:
    client = connect(small_limits)
    client.sock.sendall(request(b"X: " + b"a" * 2**22))  # raises if the connection is reset
    (response,) = client.responses()
    assert response.check(431)
    assert client.sock.recv(1) == b""


def test_input_after_an_upgrade_request_is_not_parsed(caplog: pytest.LogCaptureFixture, connect: Connect) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server).send(request(b"Connection: Upgrade", b"Upgrade: x", line=b"GET /gate HTTP/1.1"))
        assert client.is_silent(0.2)
        assert client.send(b"garbage").is_silent(0.2)
        server.gate.set()
        assert [response.scope["path"] for response in client.responses()] == ["/gate"]
        assert caplog.records == []


def test_the_rejection_of_a_head_request_has_no_body(small_limits: RawServer, connect: Connect) -> None:
    client = connect(small_limits).send(request(line=b"HEAD / HTTP/1.1", host=b""))
    assert client.file.read().endswith(b"\r\nconnection: close\r\n\r\n")


def test_100_continue_is_sent_when_the_app_reads_the_body(small_limits: RawServer, connect: Connect) -> None:
    expecting = (b"Content-Length: 3", b"Expect: 100-continue")
    client = connect(small_limits).send(post(*expecting, body=b""))
    assert client.file.readline() + client.file.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.send(b"abc").one_response().scope["size"] == 3
    (early,) = connect(small_limits).send(request(*expecting, line=b"POST /early HTTP/1.1")).responses()
    assert (early.status, early.headers["connection"]) == (200, "close")
    (old,) = connect(small_limits).send(request(*expecting, line=b"POST / HTTP/1.0", body=b"abc")).responses()
    assert old.status == 200


# --- sizes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 2, 1024], ids="in {}".format)
@pytest.mark.parametrize(
    "before", [b"", request(), post(b"Content-Length: 3")], ids=["first", "second", "after a body"]
)
@pytest.mark.parametrize("field", [b"X:", b"X: ", b"X:" + b" " * 90], ids=["tight", "usual", "padded"])
@pytest.mark.parametrize(("extra", "status"), [(-1, 200), (0, 200), (1, 431)])
def test_the_limit_on_the_size_of_a_head_is_exact(
    *, small_limits: RawServer, connect: Connect, extra: int, status: int, field: bytes, before: bytes, pieces: int
) -> None:
    head, client = head_of(1024 + extra, field=field), connect(small_limits)
    if before:
        assert client.send(before).one_response()
    step = -(-len(head) // pieces)
    assert client.send(*(head[at : at + step] for at in range(0, len(head), step))).one_response().check(status)


def test_a_body_does_not_count_toward_the_limit_on_heads(small_limits: RawServer, connect: Connect) -> None:
    head = head_of(1024, b"POST / HTTP/1.1", b"Content-Length: 100000\r\nX: ")
    assert connect(small_limits).send(head + bytes(100_000)).one_response().scope["size"] == 100_000


def test_a_too_large_head_in_the_same_segment_as_a_body_is_rejected(small_limits: RawServer, connect: Connect) -> None:
    first, second = connect(small_limits).send(post(b"Content-Length: 3") + head_of(1200)).responses()
    assert first.status == 200
    assert second.check(431)


@pytest.mark.parametrize(
    ("start", "more"),
    [(b"GET / HTTP/1.1\r\nX: ", b"aaaa"), (b"GET / HTTP/1.1\r\n", b"aaaa"), (b"", b"\r\n"), (b"GET ", b"    ")],
    ids=["value", "name", "blank lines", "blanks"],
)
def test_an_endless_head_is_rejected(small_limits: RawServer, connect: Connect, start: bytes, more: bytes) -> None:
    (response,) = connect(small_limits).send(start, *[more] * 600).responses()
    assert response.check(431)


@pytest.mark.parametrize(("count", "status"), [(9, 200), (10, 200), (11, 431)])
def test_the_limit_on_the_number_of_headers_is_exact(
    small_limits: RawServer, connect: Connect, count: int, status: int
) -> None:
    assert connect(small_limits).send(request(*[b"a: b"] * (count - 1))).one_response().check(status)


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (request(*[b"a: b"] * 11)[:-2], 431),
        (b"GET /" + b"a" * 200, 414),
        (post(CHUNKED, body=LAST_CHUNK[:3] + b"a: b\r\n" * 12), 431),
    ],
    ids=["headers", "target", "trailers"],
)
@pytest.mark.timing
def test_an_excess_is_rejected_before_the_message_is_complete(
    small_limits: RawServer, connect: Connect, start: bytes, status: int
) -> None:
    client = connect(small_limits).send(start)
    assert client.one_response().check(status)
    assert time.monotonic() - client.connected < ConnectionLimits().head_seconds / 2


@pytest.mark.parametrize(("size", "status"), [(199, 200), (200, 200), (201, 414), (9000, 414)])
def test_the_limit_on_the_size_of_a_target_is_exact(
    small_limits: RawServer, connect: Connect, size: int, status: int
) -> None:
    line = b"GET " + b"/?".ljust(size, b"a") + b" HTTP/1.1"
    assert connect(small_limits).send(request(line=line)).one_response().check(status)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (LAST_CHUNK[:3] + b"a: b\r\n" * 11 + b"\r\n", 431),
        (LAST_CHUNK[:3] + (b"a: " + b"b" * 510 + b"\r\n") * 2 + b"\r\n", 431),
        (LAST_CHUNK[:3] + b"a: " + b"b" * 3000, 400),
        (b"3;" + b"a" * 3000, 400),
        ((b"1;" + b"a" * 300 + b"\r\nb\r\n") * 10, 400),
    ],
    ids=["trailers", "large trailers", "endless trailer", "endless extension", "many extensions"],
)
def test_the_size_of_trailers_and_chunk_extensions_is_limited(
    small_limits: RawServer, connect: Connect, body: bytes, status: int
) -> None:
    (response,) = connect(small_limits).send(post(CHUNKED, body=body)).responses()
    assert response.check(status)


def test_ten_trailers_and_chunks_of_one_byte_are_accepted(small_limits: RawServer, connect: Connect) -> None:
    body = b"1\r\na\r\n" * 100_000 + LAST_CHUNK[:3] + b"a: b\r\n" * 10 + b"\r\n"
    response = connect(small_limits).send(post(CHUNKED, body=body)).one_response()
    assert response.scope["size"] == 100_000
    assert response.scope["headers"] == [["host", "t"], ["transfer-encoding", "chunked"]]


# --- deadlines ------------------------------------------------------------------------------------------------------


@pytest.mark.timing
def test_a_connection_without_a_request_is_closed(short_head_timeout: RawServer, connect: Connect) -> None:
    client = connect(short_head_timeout)
    assert client.responses() == []
    assert 0.3 < time.monotonic() - client.connected < 4


@pytest.mark.parametrize(
    ("start", "byte"),
    [(b"GET / HTTP/1.1\r\nX: ", b"a"), (b"GET ", b" "), (b"", b"\r\n"), (b"GET /\r\n", b"A")],
    ids=["value", "blanks", "blank lines", "HTTP/0.9"],
)
@pytest.mark.timing
@pytest.mark.promise("S-19")
def test_a_head_that_arrives_slowly_is_rejected_at_the_deadline(
    short_head_timeout: RawServer, connect: Connect, start: bytes, byte: bytes
) -> None:
    client = connect(short_head_timeout).send(start)
    client.drip(byte)
    assert 0.3 < time.monotonic() - client.connected < 4
    (response,) = client.responses()
    assert response.check(408)


@pytest.mark.timing
def test_a_later_head_has_its_own_deadline_from_its_first_byte(short_head_timeout: RawServer, connect: Connect) -> None:
    client = connect(short_head_timeout).send(request())
    assert client.one_response()
    assert client.is_silent(0.6)  # idle: only the keep-alive timeout counts
    assert 0.3 < client.send(b"GET / HTTP/1.1\r\nX: ").drip(b"a") < 4
    (response,) = client.responses()
    assert response.check(408)


@pytest.mark.timing
def test_the_head_timeout_does_not_run_while_a_response_is_owed(connect: Connect) -> None:
    with serve(ConnectionLimits(head_seconds=0.3)) as server:
        client = connect(server).send(request(line=b"GET /gate HTTP/1.1") + b"GET / HTTP/1.1\r\nHost: ")
        assert client.is_silent(0.6)
        server.gate.set()
        assert client.one_response()
        late = time.monotonic()
        (rejection,) = client.responses()
        assert rejection.check(408)
        assert 0.2 < time.monotonic() - late < 4


@pytest.mark.timing
def test_the_head_timeout_does_not_apply_to_a_body(short_head_timeout: RawServer, connect: Connect) -> None:
    client = connect(short_head_timeout).send(post(b"Content-Length: 3", body=b""))
    assert client.is_silent(0.6)
    assert client.send(b"abc").one_response().scope["size"] == 3
    assert client.send(request()).one_response().check(200)


@pytest.mark.timing
def test_an_idle_connection_is_closed_by_the_keep_alive_timeout(connect: Connect) -> None:
    with serve(ConnectionLimits(), keep_alive=1) as server:
        idle = connect(server).send(request())
        whole = connect(server).send(request(b"Content-Length: 3", line=b"POST /early HTTP/1.1", body=b"abc"))
        assert idle.one_response()
        assert whole.one_response()
        assert idle.responses() == whole.responses() == []
        assert 0.8 < time.monotonic() - idle.connected < 4


def test_the_keep_alive_timeout_does_not_run_while_a_pipelined_request_is_served(connect: Connect) -> None:
    with serve(ConnectionLimits(), keep_alive=1) as server:
        client = connect(server).send(request() + request(line=b"GET /gate HTTP/1.1"))
        assert client.one_response().scope["path"] == "/"
        assert client.is_silent(1.5)
        server.gate.set()
        assert client.one_response().scope["path"] == "/gate"


# --- readers that stall ---------------------------------------------------------------------------------------------


@pytest.mark.promise("S-19")
def test_a_client_that_stops_reading_a_response_is_reset(short_send_timeout: RawServer, connect: Connect) -> None:
    client = connect(short_send_timeout, 4096).send(request(line=b"GET /big HTTP/1.1"))
    assert client.is_reset_within(TIMEOUT)
    assert time.monotonic() - client.connected > 1.4


@pytest.mark.parametrize("more", [(), (b"Connection: close",)], ids=["kept alive", "closing"])
def test_a_client_that_stops_reading_a_completed_response_is_reset(
    short_send_timeout: RawServer, connect: Connect, more: tuple[bytes, ...]
) -> None:
    client = connect(short_send_timeout, 4096).send(request(*more, line=b"GET /blob?20000000 HTTP/1.1"))
    assert client.is_reset_within(TIMEOUT)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("more", [(), (b"Connection: close",)], ids=["kept alive", "closing"])
def test_a_client_that_stops_reading_before_the_last_bytes_is_reset(
    connect: Connect, more: tuple[bytes, ...], loop: str
) -> None:
    with serve(ConnectionLimits(send_stall_seconds=0.8), keep_alive=1, send_buffer=4096, loop=loop) as server:
        for size, left in [(60_000, 60_000), *((200_000, left) for left in range(4000, 120_000, 4000))]:
            client = connect(server, 4096).send(request(*more, line=b"GET /blob?%d HTTP/1.1" % size))
            assert len(client.file.read(size - left)) == size - left
        assert server.has_no_connections_within(TIMEOUT)


def test_a_client_that_stops_reading_does_not_delay_shutdown(connect: Connect) -> None:
    with serve(ConnectionLimits(send_stall_seconds=0.4), send_buffer=4096) as server:
        assert not connect(server, 4096).send(request(line=b"GET /blob?60000 HTTP/1.1")).is_silent(TIMEOUT)


def test_a_client_that_reads_slowly_is_not_reset(short_send_timeout: RawServer, connect: Connect) -> None:
    client = connect(short_send_timeout, 4096).send(request(line=b"GET /big HTTP/1.1"))
    taken = 0
    while time.monotonic() - client.connected < 5:
        time.sleep(0.05)  # the pace is what is tested: far too slow to free the kernel's buffer in a stall's time
        taken += len(client.sock.recv(1024))
    assert len(client.file.read(BIG_BODY_BYTES - taken)) == BIG_BODY_BYTES - taken


def test_the_app_receives_a_disconnect_while_another_request_is_queued(connect: Connect) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server, 4096).send(request(line=b"GET /listen HTTP/1.1") + request())
        assert client.sock.recv(1)
        client.close()
        assert server.disconnected.wait(TIMEOUT)


# --- many connections, and the end ----------------------------------------------------------------------------------


def test_connections_above_the_limit_receive_503_with_retry_after(connect: Connect) -> None:
    with serve(ConnectionLimits(max_connections=2)) as server:
        first, second = (connect(server).send(request()) for _ in range(2))
        assert first.one_response()
        assert second.one_response()
        (response,) = connect(server).send(request()).responses()
        assert response.check(503)
        assert response.headers["retry-after"] == "1"
        first.close()
        until = time.monotonic() + TIMEOUT
        while (response := connect(server).send(request()).one_response()) and response.status == 503:
            assert time.monotonic() < until
        assert second.send(request()).one_response()


@pytest.mark.timing
def test_a_thousand_idle_connections_do_not_delay_requests_and_are_closed(connect: Connect) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    with serve(ConnectionLimits(head_seconds=3)) as server:
        idle = [connect(server) for _ in range(1000)]
        times = []
        for _ in range(100):
            start = time.monotonic()
            assert connect(server).send(request()).one_response()
            times.append(time.monotonic() - start)
        assert sorted(times)[98] < 0.5
        assert all(client.responses() == [] for client in idle)
        assert time.monotonic() - idle[-1].connected < 3 + 5


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4])
def test_pipelined_requests_are_kept_unparsed(connect: Connect, cut: int) -> None:
    some = request() + post(b"Content-Length: 3") + request(b"Content-Length: 4", body=b"\r\n\r\n")
    with serve(ConnectionLimits()) as server:
        first = request(line=b"GET /gate HTTP/1.1")
        client = connect(server).send(first[: len(first) - cut])
        if cut:
            assert client.is_silent(0.05)
        client.send(first[len(first) - cut :] + some * 500 + NEXT_REQUEST)
        assert client.is_silent(0.2)
        (connection,) = server.server.server_state.connections
        assert len(connection.pipeline) == 0
        server.gate.set()
        *responses, last = client.responses()
        assert [response.scope["size"] for response in responses] == [0, *[0, 3, 4] * 500]
        assert last.scope["path"] == "/next"


def test_few_parsed_requests_are_queued_behind_a_chunked_body(connect: Connect) -> None:
    """Only the parser knows where a chunked body ends, and it cannot be stopped there."""
    with serve(ConnectionLimits()) as server:
        lines = b"\r\n" * 50
        body = b"%x\r\n%b\r\n" % (len(lines), lines) + LAST_CHUNK
        client = connect(server).send(request(CHUNKED, line=b"POST /gate HTTP/1.1", body=body + request() * 150))
        assert client.is_silent(0.2)
        server.gate.set()
        *responses, rejection = client.responses()
        assert [response.scope["size"] for response in responses] == [100, 0]
        assert rejection.check(503)


def test_reading_pauses_while_pipelined_requests_wait(connect: Connect) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server)
        client.sock.settimeout(0.5)
        waiting = request(line=b"GET /gate HTTP/1.1") + post(b"Content-Length: 100000000", body=bytes(10**8))
        with pytest.raises(TimeoutError):
            client.sock.sendall(request() * 60 + waiting)
        server.wait_for_path(client, "/gate")
        (connection,) = server.server.server_state.connections
        assert len(connection.cycle.body) < 2**20
        client.close()
        server.gate.set()
        assert server.has_no_connections_within(TIMEOUT)


def test_at_most_one_small_read_of_a_body_precedes_the_app_reading_it(connect: Connect) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server)
        client.sock.settimeout(0.5)
        body = bytes(10**8)
        with pytest.raises(TimeoutError):
            client.sock.sendall(request(b"Content-Length: 100000000", line=b"POST /gate HTTP/1.1", body=body))
        server.wait_for_path(client, "/gate")
        (connection,) = server.server.server_state.connections
        until = time.monotonic() + TIMEOUT
        while not connection.cycle.body and time.monotonic() < until:
            time.sleep(0.01)
        assert 0 < len(connection.cycle.body) <= len(connection.buffers.small)
        client.close()
        server.gate.set()
        assert server.has_no_connections_within(TIMEOUT)


def test_at_most_one_part_of_a_response_is_buffered_for_a_client_that_does_not_read(connect: Connect) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server, 4096).send(request(line=b"GET /blob?8000 HTTP/1.1") * 600)
        assert not client.is_silent(TIMEOUT)
        (connection,) = server.server.server_state.connections
        served = 0
        while served != len(server.paths[client.port]):
            served = len(server.paths[client.port])
            time.sleep(1)
        assert 0 < connection.transport.get_write_buffer_size() < 16 * 1024 + 8200
        assert len(connection._unparsed) <= len(connection.buffers.small)
        client.close()
        assert server.has_no_connections_within(TIMEOUT)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /", head_of(1000), request() * 3, post(b"Content-Length: 3"), post(CHUNKED, body=b"3\r\nabc"), b"?"],
    ids=["nothing", "part of a head", "a request", "three", "a body", "part of a body", "garbage"],
)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_closed_connection_is_freed_without_garbage_collection(connect: Connect, sent: bytes, reset: bool) -> None:
    """Closed connections must not stay in memory until the garbage collector examines the oldest generation."""
    with serve(ConnectionLimits()) as server:
        client = connect(server)
        until = time.monotonic() + TIMEOUT
        while not server.server.server_state.connections:
            assert time.monotonic() < until
            time.sleep(0.01)
        left = weakref.ref(*server.server.server_state.connections)
        client.send(sent).is_silent(0.2)
        gc.disable()
        try:
            if reset:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            assert server.has_no_connections_within(TIMEOUT)
            until = time.monotonic() + 20
            while left() is not None and time.monotonic() < until:
                time.sleep(0.02)
            assert left() is None
        finally:
            gc.enable()


def test_a_graceful_shutdown_completes_the_responses_that_are_owed(connect: Connect) -> None:
    with serve(ConnectionLimits()) as server:
        idle = connect(server).send(request())
        busy = connect(server).send(request(line=b"GET /gate HTTP/1.1"))
        assert idle.one_response()
        server.wait_for_path(busy, "/gate")
        server.server.should_exit = True
        assert idle.responses() == []
        server.gate.set()
        (response,) = busy.responses()
        assert (response.status, response.headers["connection"]) == (200, "close")
