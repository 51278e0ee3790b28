"""Fixtures of the connection tests: a real server with a small application, and a client on a raw socket."""

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

TIMEOUT = 30  # seconds until a test gives up on a socket
BIG_BODY_BYTES = 16 * 2**20
CHUNKED = b"Transfer-Encoding: chunked"


def request(*headers: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: t", body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *([host] if host else []), *headers, b"", body])


def post(*headers: bytes, body: bytes = b"abc") -> bytes:
    return request(*headers, line=b"POST / HTTP/1.1", body=body)


NEXT_REQUEST = request(b"Connection: close", line=b"GET /next HTTP/1.1")


def head_of(size: int, line: bytes = b"GET / HTTP/1.1", field: bytes = b"X: ") -> bytes:
    return request(field + b"a" * (size - len(request(field, line=line))), line=line)


def error_response(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    headers = [(b"content-type", b"application/json"), (b"x-request-id", b"req_t"), (b"Content-Length", b"1")]
    return headers, json.dumps({"error": error}).encode()


class RawServer:
    """A server in its own thread, which records the requests that reach its application."""

    def __init__(
        self, limits: ConnectionLimits, *, keep_alive: int = 30, send_buffer: int | None = None, loop: str = "uvloop"
    ) -> None:
        self.paths: dict[int, list[str]] = collections.defaultdict(list)  # by the client's port
        self.gate, self.disconnected = threading.Event(), threading.Event()
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        if send_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self.app,
            http=protocol_class(limits, error_response),
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
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()

    def has_no_connections_within(self, seconds: float) -> bool:
        """Wait until the server has no connections; False if it still has some after the time."""
        until = time.monotonic() + seconds
        while self.server.server_state.connections and time.monotonic() < until:
            time.sleep(0.02)
        return not self.server.server_state.connections

    def wait_for_path(self, client: "Client", path: str) -> None:
        """Wait until a request of this client for a path has reached the application."""
        until = time.monotonic() + TIMEOUT
        while path not in self.paths[client.port]:
            assert time.monotonic() < until, f"{path} has not been asked for"
            time.sleep(0.01)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths[scope["client"][1]].append(scope["raw_path"].decode())
        size, path = 0, scope["path"]
        if path == "/gate":
            await asyncio.to_thread(self.gate.wait, TIMEOUT)
        if path == "/authenticated":
            scope["state"]["principal"] = "somebody"
        while path not in ("/early", "/authenticated"):
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
        length = BIG_BODY_BYTES if streamed else len(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
        for _ in range(BIG_BODY_BYTES // 2**16 if streamed else 0):
            await send({"type": "http.response.body", "body": bytes(2**16), "more_body": True})
        while path == "/listen":
            if (await receive())["type"] == "http.disconnect":
                self.disconnected.set()
                return
        await send({"type": "http.response.body", "body": b"" if streamed else body})


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def scope(self) -> Any:
        return json.loads(self.body)

    def check(self, status: int) -> bool:
        """Assert the status; an error must have the envelope and be the last response of its connection."""
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
        self.sock.settimeout(TIMEOUT)
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

    def response(self) -> Response | None:
        line = b""
        with contextlib.suppress(ConnectionResetError):
            line = self.file.readline()
        if not line:
            return None
        assert re.fullmatch(rb"HTTP/1\.1 \d{3} [A-Za-z -]+\r\n", line)
        pairs = [field.decode().strip().split(": ", 1) for field in iter(self.file.readline, b"\r\n")]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs)
        return Response(int(line[9:12]), headers, self.file.read(int(headers.get("content-length", 0))))

    def one_response(self) -> Response:
        response = self.response()
        assert response is not None
        return response

    def responses(self) -> list[Response]:
        """Return all responses until the server closes the connection."""
        return list(iter(self.response, None))

    def is_silent(self, seconds: float) -> bool:
        return not select.select([self.sock], [], [], seconds)[0]

    def drip(self, byte: bytes) -> float:
        """Send single bytes until the server reacts, and return the elapsed seconds."""
        start = time.monotonic()
        while self.send(byte).is_silent(0.03):
            assert time.monotonic() - start < TIMEOUT
        return time.monotonic() - start

    def is_reset_within(self, seconds: float) -> bool:
        """Wait for a reset without reading; False if none arrives in time."""
        poll = select.poll()
        poll.register(self.sock, select.POLLERR)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        self.file.close()
        self.sock.close()


def deliver(client: Client, raw: bytes, delivery: str) -> list[Response]:
    """Return all responses to `raw` and to a plain request after it. A smuggled request would add one."""
    if delivery == "joined":
        return client.send(raw + NEXT_REQUEST).responses()
    pieces = [raw[at : at + 1] for at in range(len(raw))] if delivery == "dripped" else [raw]
    return [client.send(*pieces).one_response(), *client.send(NEXT_REQUEST).responses()]


def running(limits: ConnectionLimits, **options: Any) -> Iterator[RawServer]:
    server = RawServer(limits, **options)
    try:
        yield server
    finally:
        server.gate.set()
        server.stop()


serve = contextlib.contextmanager(running)
