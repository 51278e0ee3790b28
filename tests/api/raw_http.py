"""What the tests of the HTTP connection share: a real server with a tiny app, a client that is only a socket."""

import asyncio
import collections
import contextlib
import json
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn

from filestead.server.http1.limits import ConnectionLimits
from filestead.server.http1.protocol import protocol_class

PATIENCE = 10  # seconds until a test gives up on a socket
BIG = 16 * 2**20
CHUNKED = b"Transfer-Encoding: chunked"


def request(*headers: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: t", body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *([host] if host else []), *headers, b"", body])


def post(*headers: bytes, body: bytes = b"abc") -> bytes:
    return request(*headers, line=b"POST / HTTP/1.1", body=body)


NEXT = request(b"Connection: close", line=b"GET /next HTTP/1.1")


def head_of(size: int, line: bytes = b"GET / HTTP/1.1", field: bytes = b"X: ") -> bytes:
    return request(field + b"a" * (size - len(request(field, line=line))), line=line)


def refuse(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    headers = [(b"content-type", b"application/json"), (b"x-request-id", b"req_t"), (b"Content-Length", b"1")]
    return headers, json.dumps({"error": error}).encode()


class Running:
    """A server in a thread of its own; notes what reaches its app."""

    def __init__(
        self, limits: ConnectionLimits, *, keep_alive: int = 30, send_buffer: int | None = None, loop: str = "uvloop"
    ) -> None:
        self.seen: dict[int, list[str]] = collections.defaultdict(list)  # by the client's port
        self.gate, self.dropped = threading.Event(), threading.Event()
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        if send_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self.app,
            http=protocol_class(limits, refuse),
            interface="asgi3",
            loop=loop,
            ws=asyncio.Protocol,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_keep_alive=keep_alive,
            timeout_graceful_shutdown=2,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def lets_go(self, seconds: float) -> bool:
        """Has the server no connection left within so many seconds?"""
        until = time.monotonic() + seconds
        while self.server.server_state.connections and time.monotonic() < until:
            time.sleep(0.02)
        return not self.server.server_state.connections

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen[scope["client"][1]].append(scope["raw_path"].decode())
        size, path = 0, scope["path"]
        if path == "/gate":
            await asyncio.to_thread(self.gate.wait, PATIENCE)
        if path == "/known":
            scope["state"]["principal"] = "somebody"
        while path not in ("/early", "/known"):
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            size += len(event["body"])
            if not event["more_body"]:
                break
        shown = {name: scope[name] for name in ("method", "path", "http_version")} | {"size": size}
        shown |= {name: scope[name].decode() for name in ("raw_path", "query_string")}
        shown["headers"] = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
        body = bytes(int(scope["query_string"])) if path == "/blob" else json.dumps(shown).encode()
        streamed = path in ("/big", "/listen")
        length = BIG if streamed else len(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
        for _ in range(BIG // 2**16 if streamed else 0):
            await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})
        while path == "/listen":
            if (await receive())["type"] == "http.disconnect":
                self.dropped.set()
                return
        await send({"type": "http.response.body", "body": b"" if streamed else body})


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def scope(self) -> Any:
        return json.loads(self.body)

    def check(self, status: int) -> bool:
        """Has this status, and if that is an error, then in the envelope and as the connection's last answer."""
        assert self.status == status
        if status != 200:
            assert self.headers["connection"] == "close"
            assert self.headers["x-request-id"] == "req_t"
            assert set(json.loads(self.body)["error"]) == {"message", "type", "param", "code"}
        return True


class Client:
    def __init__(self, port: int, receive_buffer: int | None = None, source: str = "127.0.0.1") -> None:
        self.sock = socket.socket()
        self.sock.bind((source, 0))
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
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs)
        return Answer(int(line[9:12]), headers, self.file.read(int(headers.get("content-length", 0))))

    def one(self) -> Answer:
        answer = self.answer()
        assert answer is not None
        return answer

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

    def is_cut_off(self, seconds: float) -> bool:
        """Is the connection reset within so many seconds, without a byte being read?"""
        poll = select.poll()
        poll.register(self.sock, select.POLLERR)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        self.file.close()
        self.sock.close()


def deliver(client: Client, raw: bytes, delivery: str) -> list[Answer]:
    """All answers to `raw` and to a plain request behind it. Whatever is smuggled in between would show."""
    if delivery == "joined":
        return client.send(raw + NEXT).answers()
    pieces = [raw[at : at + 1] for at in range(len(raw))] if delivery == "dripped" else [raw]
    return [client.send(*pieces).one(), *client.send(NEXT).answers()]


def running(limits: ConnectionLimits, **options: Any) -> Iterator[Running]:
    server = Running(limits, **options)
    try:
        yield server
    finally:
        server.gate.set()
        server.stop()


serve = contextlib.contextmanager(running)
