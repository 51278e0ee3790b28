"""The HTTP connection over raw sockets: framing, limits, deadlines, stalls; a real server, a tiny app, no client library."""

import asyncio
import collections
import contextlib
import json
import logging
import re
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn

from filestead.server.protocol import ConnectionLimits, protocol_class

PATIENCE = 10  # seconds until a test gives up on a socket
BIG = 48 * 2**20
NEXT = b"GET /next HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"


def refuse(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    headers = [(b"content-type", b"application/json"), (b"x-request-id", b"req_t"), (b"Content-Length", b"1")]
    return headers, json.dumps({"error": error}).encode()


class Running:
    """A server in a thread of its own; notes what reaches its app."""

    def __init__(self, limits: ConnectionLimits, keep_alive: int = 30, send_buffer: int | None = None) -> None:
        self.seen: dict[int, list[str]] = collections.defaultdict(list)  # by the client's port
        self.gate, self.dropped = threading.Event(), threading.Event()
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        if send_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.port = listener.getsockname()[1]
        protocol = protocol_class(limits, refuse)
        options: dict[str, Any] = {"interface": "asgi3", "log_config": None, "log_level": "warning", "lifespan": "off", "timeout_graceful_shutdown": 2}
        config = uvicorn.Config(
            self.app, http=protocol, loop="uvloop", access_log=False, timeout_keep_alive=keep_alive, **options
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen[scope["client"][1]].append(scope["raw_path"].decode())
        size, path = 0, scope["path"]
        if path == "/gate":
            await asyncio.to_thread(self.gate.wait, PATIENCE)
        while path != "/early":
            event = await receive()
            if event["type"] == "http.disconnect":
                self.dropped.set()
                return
            size += len(event["body"])
            if not event["more_body"] and path != "/listen":
                break
        shown = {name: scope[name] for name in ("method", "path", "http_version")} | {"size": size}
        shown |= {name: scope[name].decode() for name in ("raw_path", "query_string")}
        shown["headers"] = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
        body = bytes(int(scope["query_string"])) if path == "/blob" else json.dumps(shown).encode()
        length = BIG if path == "/big" else len(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
        for _ in range(length // 2**16 if path == "/big" else 0):
            await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})
        await send({"type": "http.response.body", "body": b"" if path == "/big" else body})


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def scope(self) -> Any:
        return json.loads(self.body)

    def is_refusal(self, status: int) -> bool:
        assert (self.status, self.headers["connection"]) == (status, "close")
        assert self.headers["x-request-id"] == "req_t"
        assert set(json.loads(self.body)["error"]) == {"message", "type", "param", "code"}
        return True


class Client:
    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = self.sock.getsockname()[1]
        self.file = self.sock.makefile("rb")
        self.connected = time.monotonic()

    def send(self, *pieces: bytes) -> "Client":
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.sock.sendall(piece)
        return self

    def answer(self) -> Answer | None:
        line = b""
        with contextlib.suppress(ConnectionResetError):
            line = self.file.readline()
        if not line:
            return None
        assert re.fullmatch(rb"HTTP/1\.1 \d{3} [A-Za-z -]+\r\n", line)
        pairs = [field.decode().strip().split(": ", 1) for field in iter(self.file.readline, b"\r\n")]
        headers = dict(pairs)
        assert len(headers) == len(pairs)
        return Answer(int(line[9:12]), headers, self.file.read(int(headers.get("content-length", 0))))

    def answers(self) -> list[Answer]:
        """All answers until the server closes."""
        return list(iter(self.answer, None))

    def silent(self, seconds: float) -> bool:
        return not select.select([self.sock], [], [], seconds)[0]

    def drip(self, byte: bytes) -> float:
        """Send a byte now and then until the server reacts; the seconds that took."""
        start = time.monotonic()
        while self.send(byte).silent(0.03):
            assert time.monotonic() - start < PATIENCE
        return time.monotonic() - start

    def close(self) -> None:
        self.file.close()
        self.sock.close()


Open = Callable[..., Client]


@pytest.fixture
def connect() -> Iterator[Open]:
    with contextlib.ExitStack() as stack:

        def open_client(running: Running, receive_buffer: int | None = None) -> Client:
            return stack.enter_context(contextlib.closing(Client(running.port, receive_buffer)))

        yield open_client


def running(limits: ConnectionLimits, **options: Any) -> Iterator[Running]:
    server = Running(limits, **options)
    try:
        yield server
    finally:
        server.gate.set()
        server.stop()


serve = contextlib.contextmanager(running)


@pytest.fixture(scope="module")
def plain() -> Iterator[Running]:
    yield from running(ConnectionLimits(head_bytes=1024, headers=10, target_bytes=200))


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
    for record in caplog.records:
        assert record.levelno == logging.INFO and record.exc_info is None, record.getMessage()
        if record.name.startswith("filestead"):
            assert re.fullmatch(r"refused a request: \d{3} [A-Za-z0-9 /.-]+|cut off [a-z ]+", record.getMessage())


# --- framing --------------------------------------------------------------------------------------------------------


def request(*headers: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: t", body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *([host] if host else []), *headers, b"", body])


def post(*headers: bytes, body: bytes = b"abc") -> bytes:
    return request(*headers, line=b"POST / HTTP/1.1", body=body)


def lines(*wrong: bytes, status: int = 400) -> dict[bytes, tuple[bytes, int]]:
    return {line: (request(line=line), status) for line in wrong}


def hosts(*values: bytes) -> dict[bytes, tuple[bytes, int]]:
    return {b"Host: " + value: (request(host=b"Host: " + value), 400) for value in values}


def fields(*wrong: bytes, body: bytes = b"abc", status: int = 400) -> dict[bytes, tuple[bytes, int]]:
    return {field: (post(field, body=body), status) for field in wrong}


CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"
LAST = b"0\r\n\r\n"

HEADS_REFUSED: dict[bytes, tuple[bytes, int]] = {
    **fields(b"Content-Length: +3", b"Content-Length: -3", b"Content-Length: 1_0", b"Content-Length: 0x3"),
    **fields(b"Content-Length: 3 3", b"Content-Length: 3, 3", b"Content-Length: ", b"Content-Length: 3;"),
    **fields(b"Content-Length: 3\r\nContent-Length: 3", b"Content-Length: 3\r\nContent-Length: 4"),
    **fields(b"Content-Length: 18446744073709551616", b"Content-Length: \xd9\xa3", b"Content-Length : 3"),
    **fields(CHUNKED + b"\r\nContent-Length: 5", b"Content-Length: 5\r\n" + CHUNKED, body=LAST + b"G"),
    **fields(CHUNKED + b", chunked", CHUNKED + b"\r\n" + CHUNKED, CHUNKED + b", identity", body=LAST),
    **fields(CHUNKED + b"\r\nTransfer-Encoding: gzip", b"Transfer-Encoding: \x0bchunked", body=LAST),
    **fields(b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding:", body=LAST),
    **fields(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: xchunked", body=LAST, status=501),
    **fields(b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked;q=1", status=501),
    **fields(b"Transfer-Encoding: gzip\r\n" + CHUNKED, b'Transfer-Encoding: "chunked"', body=LAST, status=501),
    **fields(b"X: a\r\n b", b"X: a\r\n\tb", b"X : a", b"X\t: a", b": a", b"no colon", b"X(: a", b"X\xff: a", b"X\0: a"),
    **fields(b"X: a\0b", b"X: a\x01b", b"X: a\x7fb", b"X: a\rb", b"X: a\nb: c", b"X: a\r", b"X: a\nContent-Length: 3"),
    **fields(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 37", body=SMUGGLED),
    **fields(b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + CHUNKED, body=LAST + SMUGGLED),
    **lines(b"FOO / HTTP/1.1", b"get / HTTP/1.1", b"__class__ / HTTP/1.1", b"GET\t/ HTTP/1.1", b" GET / HTTP/1.1"),
    **lines(b"GET / HTTP/1.2", b"GET / HTTP/1.10", b"GET / http/1.1", b"GET / HTTP/1.1 ", b"GET / HTTP/", b"GET / X/1.1"),
    **lines(b"GET / HTTP/2.0", b"GET / HTTP/0.9", b"GET /", status=505),
    **lines(b"TRACE / HTTP/1.1", b"CONNECT t:80 HTTP/1.1", b"CONNECT / HTTP/1.1", status=501),
    **lines(b"GET http://t/ HTTP/1.1", b"GET http://t HTTP/1.1", b"GET http://u@t/ HTTP/1.1", b"GET t:80 HTTP/1.1"),
    **lines(b"GET * HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET a HTTP/1.1", b"GET @t HTTP/1.1", b"GET ?a HTTP/1.1"),
    **lines(b"GET \\a HTTP/1.1", b"GET /a#b HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /?\xff HTTP/1.1", b"GET /\0 HTTP/1.1"),
    **lines(b"GET /a\tb HTTP/1.1", b"GET /a b HTTP/1.1", b"PRI * HTTP/2.0"),
    **hosts(b"x/#@y", b"a@t", b"a b", b"t:80:80", b"t:x", b"t:", b"[::1", b"a?b", b"a\\b", b"a,b", b"http://t", b"\xff"),
    **hosts(b"", b"t\r\nHost: t", b"t\r\nHost: u", b"t\rX", b"-@", b"t:999999"),
    b"no host": (request(host=b""), 400),
    b"two hosts in 1.0": (request(b"Host: u", line=b"GET / HTTP/1.0"), 400),
    b"chunked in 1.0": (request(CHUNKED, line=b"POST / HTTP/1.0", body=LAST), 400),
    b"bare LF": (b"GET / HTTP/1.1\nHost: t\n\n", 400),
    b"bare LF after the line": (b"GET / HTTP/1.1\nHost: t\r\n\r\n", 400),
    b"bare LF at the end": (b"GET / HTTP/1.1\r\nHost: t\r\n\n", 400),
    b"fold in the first header": (request(host=b" Host: t"), 400),
    b"a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
}

BODIES_REFUSED = [
    *(b"-3\r\nabc\r\n", b"+3\r\nabc\r\n", b"0x3\r\nabc\r\n", b"g\r\nabc\r\n", b"\r\nabc\r\n", b" 3\r\nabc\r\n", b"3 \r\nabc\r\n"),
    *(b"fffffffffffffffff\r\nabc\r\n", b"3\nabc\r\n", b"3\rabc\r\n", b"3\r\nabc\n", b"3\r\nabc0\r\n", b"3\r\nabcd\r\n"),
    *(b"5\r\nabc\r\n" + LAST, b"3;\r\nabc\r\n", b"3;\x01\r\nabc\r\n", b"3;a\nabc\r\n", b'3;a="\n"\r\nabc\r\n', b"3 ;a\r\nabc\r\n"),
    *(b"0\n\n", b"0\r\n\n", b"0\r\nX: y\n\r\n", b"0\r\nX: y\r\n z\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\nX: \0\r\n\r\n"),
    *(b"0\r\nContent-Length: 5\r\n\r\n", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n\r\n\r\n"),
]

ACCEPTED: dict[bytes, tuple[bytes, dict[str, Any]]] = {
    b"blank lines first": (b"\r\n\r\n" + request(), {"size": 0}),
    b"lengths": (post(b"Content-Length: 003 \t"), {"size": 3, "headers": [["host", "t"], ["content-length", "003"]]}),
    b"a request as body": (post(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED), {"size": len(SMUGGLED)}),
    b"a request as body of GET": (request(b"Content-Length: 35", body=SMUGGLED), {"size": 35, "method": "GET"}),
    b"a request as chunk": (post(CHUNKED, body=b"23\r\n" + SMUGGLED + b"\r\n" + LAST), {"size": 35}),
    b"underscored names": (request(b"Content_Length: 3", b"Transfer_Encoding: chunked"), {"size": 0}),
    b"chunked, blanks and case": (post(b"Transfer-Encoding: \t Chunked ", body=b"003\r\nabc\r\n00\r\n\r\n"), {"size": 3}),
    b"chunk extensions": (post(CHUNKED, body=b'3;a=b;c="d e"\r\nabc\r\n0;x\r\n\r\n'), {"size": 3}),
    b"trailers": (
        post(CHUNKED, body=b"3\r\nabc\r\n0\r\nHost: u\r\nAuthorization: Bearer x\r\n\r\n"),
        {"size": 3, "headers": [["host", "t"], ["transfer-encoding", "chunked"]]},
    ),
    b"encoded dots": (request(line=b"GET /a/%2e%2e/b HTTP/1.1"), {"raw_path": "/a/%2e%2e/b", "path": "/a/../b"}),
    b"encoded slash": (request(line=b"GET /a%2Fb HTTP/1.1"), {"raw_path": "/a%2Fb", "path": "/a/b"}),
    b"two slashes": (request(line=b"GET //u/a HTTP/1.1"), {"raw_path": "//u/a", "path": "//u/a"}),
    b"backslash": (request(line=b"GET /..\\a?\\ HTTP/1.1"), {"raw_path": "/..\\a", "query_string": "\\"}),
    b"odd query": (request(line=b'GET /a?b?c=//d@e:1&"<> HTTP/1.1'), {"query_string": 'b?c=//d@e:1&"<>'}),
    b"encoded NUL and LF": (request(line=b"GET /%00%0a HTTP/1.1"), {"raw_path": "/%00%0a"}),
    b"a host with port": (request(host=b"Host: my_service.a-b:8000 "), {"headers": [["host", "my_service.a-b:8000"]]}),
    b"an IPv6 host": (request(host=b"Host: [::1]:80"), {"headers": [["host", "[::1]:80"]]}),
    b"bytes above ASCII": (request(b"X: a\xffb"), {"headers": [["host", "t"], ["x", "a\xffb"]]}),
    b"other methods": (request(line=b"PATCH / HTTP/1.1"), {"method": "PATCH"}),
}

CLOSED_AFTER: dict[bytes, tuple[bytes, dict[str, Any]]] = {
    b"HTTP/1.0": (request(line=b"GET / HTTP/1.0"), {"http_version": "1.0"}),
    b"HTTP/1.0 without host": (request(line=b"GET / HTTP/1.0", host=b""), {"http_version": "1.0"}),
    b"close": (request(b"Connection: close"), {}),
    b"h2c": (request(b"Connection: Upgrade", b"Upgrade: h2c"), {"method": "GET"}),
    b"websocket": (request(b"Connection: Upgrade", b"Upgrade: websocket"), {"method": "GET"}),
}


def deliver(client: Client, raw: bytes, delivery: str) -> list[Answer]:
    """All answers to `raw` and to a plain request behind it. Whatever is smuggled in between would show."""
    if delivery == "joined":
        return client.send(raw + NEXT).answers()
    first = client.send(*([raw[i : i + 1] for i in range(len(raw))] if delivery == "dripped" else [raw])).answer()
    assert first is not None
    return [first, *client.send(NEXT).answers()]


everyway = pytest.mark.parametrize("delivery", ["whole", "joined", "dripped"])


@everyway
@pytest.mark.parametrize(("raw", "status"), HEADS_REFUSED.values(), ids=map(repr, HEADS_REFUSED))
def test_a_bad_head_gets_one_refusal_and_never_reaches_the_app(
    plain: Running, connect: Open, caplog: pytest.LogCaptureFixture, raw: bytes, status: int, delivery: str
) -> None:
    client = connect(plain)
    (answer,) = deliver(client, raw, delivery)
    assert answer.is_refusal(status)
    assert plain.seen[client.port] == []
    assert len(caplog.records) == 1


@everyway
@pytest.mark.parametrize("body", BODIES_REFUSED, ids=repr)
def test_a_bad_chunked_body_gets_one_refusal(
    plain: Running, connect: Open, caplog: pytest.LogCaptureFixture, body: bytes, delivery: str
) -> None:
    client = connect(plain)
    (answer,) = deliver(client, post(CHUNKED, body=body), delivery)
    assert answer.is_refusal(400)
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


def test_a_pipelined_pair_is_answered_wherever_the_segments_are_cut(plain: Running, connect: Open) -> None:
    pair = post(CHUNKED, body=b"3\r\nabc\r\n0\r\nX: y\r\n\r\n") + NEXT
    for cut in range(len(pair)):
        answers = connect(plain).send(pair[:cut], pair[cut:]).answers()
        assert [answer.scope["size"] for answer in answers] == [3, 0]


def test_a_refusal_waits_for_the_answers_before_it(connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server).send(request(line=b"GET /gate HTTP/1.1") + request() + b"GET / HTTP/3.0\r\n\r\n")
        assert client.silent(0.2)
        server.gate.set()
        first, second, third = client.answers()
        assert (first.scope["path"], second.scope["path"]) == ("/gate", "/")
        assert third.is_refusal(400)


def test_a_bad_body_behind_a_slow_answer_is_refused_in_its_turn(connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server).send(request(line=b"GET /gate HTTP/1.1") + post(CHUNKED, body=b"x\r\n"))
        assert client.silent(0.2)
        server.gate.set()
        first, second = client.answers()
        assert first.scope["path"] == "/gate" and second.is_refusal(400)
        assert server.seen[client.port] == ["/gate"]


def test_a_bad_rest_of_an_answered_body_only_closes(plain: Running, connect: Open) -> None:
    client = connect(plain).send(request(CHUNKED, line=b"POST /early HTTP/1.1"))
    first = client.answer()
    assert first is not None and first.status == 200
    assert client.send(b"x\r\n", SMUGGLED).answers() == []


def test_a_refusal_to_head_has_no_body(plain: Running, connect: Open) -> None:
    client = connect(plain).send(request(line=b"HEAD / HTTP/1.1", host=b""))
    assert client.file.read().endswith(b"\r\nconnection: close\r\n\r\n")


def test_continue_is_sent_only_when_the_app_wants_the_body(plain: Running, connect: Open) -> None:
    expecting = (b"Content-Length: 3", b"Expect: 100-continue")
    client = connect(plain).send(post(*expecting, body=b""))
    assert client.file.readline() + client.file.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
    answer = client.send(b"abc").answer()
    assert answer is not None and answer.scope["size"] == 3
    early = connect(plain).send(request(*expecting, line=b"POST /early HTTP/1.1")).answer()
    assert early is not None and early.status == 200
    (old,) = connect(plain).send(request(*expecting, line=b"POST / HTTP/1.0", body=b"abc")).answers()
    assert old.status == 200


# --- sizes ----------------------------------------------------------------------------------------------------------


def head_of(size: int, line: bytes = b"GET / HTTP/1.1", field: bytes = b"X:  ") -> bytes:
    return request(field + b"a" * (size - len(request(field, line=line))), line=line)


@pytest.mark.parametrize("pieces", [1, 2, 1024], ids="in {}".format)
@pytest.mark.parametrize("before", [b"", request(), post(b"Content-Length: 3")], ids=["first", "second", "after a body"])
@pytest.mark.parametrize("field", [b"X:", b"X: ", b"X:" + b" " * 90], ids=["tight", "usual", "padded"])
@pytest.mark.parametrize(("extra", "status"), [(-1, 200), (0, 200), (1, 431)])
def test_the_size_of_a_head_is_exact(
    plain: Running, connect: Open, extra: int, status: int, field: bytes, before: bytes, pieces: int
) -> None:
    head, client = head_of(1024 + extra, field=field), connect(plain)
    if before:
        assert client.send(before).answer()
    step = -(-len(head) // pieces)
    answer = client.send(*(head[at : at + step] for at in range(0, len(head), step))).answer()
    assert answer is not None and answer.status == status
    assert status == 200 or (answer.is_refusal(431) and client.answers() == [])


def test_a_body_does_not_count_as_head(plain: Running, connect: Open) -> None:
    head = head_of(1024, b"POST / HTTP/1.1", b"Content-Length: 100000\r\nX: ")
    answer = connect(plain).send(head + bytes(100_000)).answer()
    assert answer is not None and answer.scope["size"] == 100_000


def test_a_large_head_behind_a_body_in_one_segment_is_refused(plain: Running, connect: Open) -> None:
    first, second = connect(plain).send(post(b"Content-Length: 3") + head_of(1200)).answers()
    assert first.status == 200 and second.is_refusal(431)


@pytest.mark.parametrize(
    ("start", "more"),
    [(b"GET / HTTP/1.1\r\nX: ", b"aaaa"), (b"GET / HTTP/1.1\r\n", b"aaaa"), (b"", b"\r\n"), (b"GET ", b"    ")],
    ids=["value", "name", "blank lines", "blanks"],
)
def test_a_head_without_end_is_refused(plain: Running, connect: Open, start: bytes, more: bytes) -> None:
    (answer,) = connect(plain).send(start, *[more] * 600).answers()
    assert answer.is_refusal(431)


@pytest.mark.parametrize(("count", "status"), [(9, 200), (10, 200), (11, 431)])
def test_the_number_of_headers_is_exact(plain: Running, connect: Open, count: int, status: int) -> None:
    answer = connect(plain).send(request(*[b"a: b"] * (count - 1))).answer()
    assert answer is not None and answer.status == status
    assert status == 200 or answer.is_refusal(431)


@pytest.mark.parametrize(("size", "status"), [(199, 200), (200, 200), (201, 414), (9000, 414)])
def test_the_size_of_a_target_is_exact(plain: Running, connect: Open, size: int, status: int) -> None:
    line = b"GET " + b"/?".ljust(size, b"a") + b" HTTP/1.1"
    answer = connect(plain).send(request(line=line)).answer()
    assert answer is not None and answer.status == status
    assert status == 200 or answer.is_refusal(414)


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
    assert answer.is_refusal(status)


def test_ten_trailers_and_tiny_chunks_pass(plain: Running, connect: Open) -> None:
    body = b"1\r\na\r\n" * 5000 + LAST[:3] + b"a: b\r\n" * 10 + b"\r\n"
    answer = connect(plain).send(post(CHUNKED, body=body)).answer()
    assert answer is not None and answer.scope["size"] == 5000
    assert answer.scope["headers"] == [["host", "t"], ["transfer-encoding", "chunked"]]


# --- deadlines ------------------------------------------------------------------------------------------------------


def test_a_connection_without_a_request_is_closed(hasty: Running, connect: Open) -> None:
    client = connect(hasty)
    assert client.answers() == []
    assert 0.3 < time.monotonic() - client.connected < 1.4


@pytest.mark.parametrize(
    ("start", "byte"),
    [(b"GET / HTTP/1.1\r\nX: ", b"a"), (b"GET ", b" "), (b"", b"\r\n"), (b"GET /\r\n", b"A")],
    ids=["value", "blanks", "blank lines", "HTTP/0.9"],
)
def test_a_dripped_head_is_cut_at_the_deadline(hasty: Running, connect: Open, start: bytes, byte: bytes) -> None:
    client = connect(hasty).send(start)
    client.drip(byte)
    assert 0.3 < time.monotonic() - client.connected < 1.4
    (answer,) = client.answers()
    assert answer.is_refusal(408)


def test_a_later_head_has_its_own_deadline_from_its_first_byte(hasty: Running, connect: Open) -> None:
    client = connect(hasty).send(request())
    assert client.answer()
    assert client.silent(0.6)  # idle: only the keep-alive timeout counts
    assert 0.3 < client.send(b"GET / HTTP/1.1\r\nX: ").drip(b"a") < 1.4
    (answer,) = client.answers()
    assert answer.is_refusal(408)


def test_the_clock_stands_still_while_an_answer_is_owed(connect: Open) -> None:
    with serve(ConnectionLimits(head_seconds=0.3)) as server:
        client = connect(server).send(request(line=b"GET /gate HTTP/1.1") + b"GET / HTTP/1.1\r\nHost: ")
        assert client.silent(0.6)
        server.gate.set()
        assert client.answer()
        late = time.monotonic()
        (refusal,) = client.answers()
        assert refusal.is_refusal(408) and 0.2 < time.monotonic() - late < 1.3


def test_a_body_that_nobody_waits_for_is_cut_at_the_deadline(hasty: Running, connect: Open) -> None:
    client = connect(hasty).send(request(b"Content-Length: 100000", line=b"POST /early HTTP/1.1"))
    assert client.answer()
    assert 0.3 < client.drip(b"a") < 1.4


def test_an_idle_connection_is_closed_by_the_keep_alive_timeout(connect: Open) -> None:
    with serve(ConnectionLimits(), keep_alive=1) as server:
        idle = connect(server).send(request())
        drained = connect(server).send(request(b"Content-Length: 3", line=b"POST /early HTTP/1.1"))
        assert idle.answer() and drained.answer()
        drained.send(b"abc")
        assert idle.answers() == drained.answers() == []
        assert 0.8 < time.monotonic() - idle.connected < 3


# --- readers that stall ---------------------------------------------------------------------------------------------


def cut_off(client: Client, seconds: float) -> bool:
    """Is the connection reset, without a byte being read?"""
    poll = select.poll()
    poll.register(client.sock, select.POLLERR)
    return bool(poll.poll(seconds * 1000))


def test_a_reader_that_stalls_is_cut_off(watchful: Running, connect: Open) -> None:
    client = connect(watchful, 4096).send(request(line=b"GET /big HTTP/1.1"))
    assert cut_off(client, 3)
    assert 0.7 < time.monotonic() - client.connected


@pytest.mark.parametrize("more", [(), (b"Connection: close",)], ids=["kept alive", "closing"])
def test_a_reader_that_stalls_on_a_finished_answer_is_cut_off(
    watchful: Running, connect: Open, more: tuple[bytes, ...]
) -> None:
    client = connect(watchful, 4096).send(request(*more, line=b"GET /blob?20000000 HTTP/1.1"))
    assert cut_off(client, 3)


@pytest.mark.parametrize("more", [(), (b"Connection: close",)], ids=["kept alive", "closing"])
def test_a_reader_that_stalls_on_a_few_kilobytes_is_cut_off(connect: Open, more: tuple[bytes, ...]) -> None:
    with serve(ConnectionLimits(send_stall_seconds=0.4), keep_alive=1, send_buffer=4096) as server:
        assert cut_off(connect(server, 4096).send(request(*more, line=b"GET /blob?60000 HTTP/1.1")), 4)


def test_a_slow_reader_that_moves_is_kept(watchful: Running, connect: Open) -> None:
    client = connect(watchful, 4096).send(request(line=b"GET /big HTTP/1.1"))
    while time.monotonic() - client.connected < 3:
        time.sleep(0.05)  # the pace is what is tested: far too slow to free the kernel's buffer in a stall's time
        assert client.sock.recv(1024)
    assert not cut_off(client, 0)


def test_the_app_hears_of_a_disconnect_when_another_request_waits(connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        client = connect(server).send(request(line=b"GET /listen HTTP/1.1") + request())
        assert client.silent(0.2)
        client.close()
        assert server.dropped.wait(PATIENCE)


# --- many connections, and the end ----------------------------------------------------------------------------------


def test_connections_above_the_cap_are_told_to_come_again(connect: Open) -> None:
    with serve(ConnectionLimits(connections=2)) as server:
        first, second = (connect(server).send(request()) for _ in range(2))
        assert first.answer() and second.answer()
        for raw in (b"", request()):
            (answer,) = connect(server).send(raw).answers()
            assert answer.is_refusal(503) and answer.headers["retry-after"] == "1"
        first.close()
        until = time.monotonic() + PATIENCE
        while (answer := connect(server).send(request()).answer()) and answer.status == 503:
            assert time.monotonic() < until
        assert second.send(request()).answer()


def test_a_thousand_idle_connections_do_not_hurt_a_request_and_go_away(connect: Open) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    with serve(ConnectionLimits(head_seconds=3)) as server:
        idle = [connect(server) for _ in range(1000)]
        times = []
        for _ in range(100):
            start = time.monotonic()
            assert connect(server).send(request()).answer()
            times.append(time.monotonic() - start)
        assert sorted(times)[98] < 0.25
        assert all(client.answers() == [] for client in idle)
        assert time.monotonic() - idle[-1].connected < 3 + 2


def test_a_graceful_stop_finishes_what_is_owed(connect: Open) -> None:
    with serve(ConnectionLimits()) as server:
        idle = connect(server).send(request())
        busy = connect(server).send(request(line=b"GET /gate HTTP/1.1"))
        assert idle.answer() and busy.silent(0.1)
        server.server.should_exit = True
        assert idle.answers() == []
        server.gate.set()
        (answer,) = busy.answers()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
