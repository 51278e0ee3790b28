"""What is fuzzed: each reader of bytes of clients, with what must hold for any input. Each function takes the bytes.

The first bytes of an input choose how the rest is cut into pieces: it must not matter.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from filestead.api.http.errors import ApiError
from filestead.api.http.messages import Headers
from filestead.api.http.multipart import PART_END, MultipartError, MultipartReader, PartStart, parse_boundary
from filestead.api.http.ranges import ContentResponse, evaluate_preconditions_and_range, parse_growing_range
from filestead.decoders import DECODERS
from filestead.domain.files.model import File
from filestead.domain.jsonl.checks import LineChecks
from filestead.domain.jsonl.kinds import ContentCheck
from filestead.domain.jsonl.limits import MAX_FAULTS
from filestead.server.http1.limits import ConnectionLimits
from filestead.server.http1.protocol import protocol_class

BOUNDARY = b"b"
MAX_BYTES = 16_384
"""Longer inputs are cut: they find nothing that shorter ones do not, but slowly."""


def cut(data: bytes) -> Iterator[bytes]:
    """The input behind its first byte, in pieces of so many bytes."""
    size = data[0] + 1 if data else 1
    return (data[start : start + size] for start in range(1, len(data), size))


def multipart(data: bytes) -> None:
    """A form is refused with `MultipartError` or has the same parts however it is cut; parts are well-formed."""
    data = data[:MAX_BYTES]
    with contextlib.suppress(MultipartError):
        parse_boundary(data[:2000].decode("latin-1"))
    whole = _parts([data[1:]])
    assert whole == _parts(cut(data))


def _parts(pieces: "Iterator[bytes] | list[bytes]") -> list[tuple[str, str | None, bytes]] | None:
    reader, parts = MultipartReader(BOUNDARY), []
    head: PartStart | None = None
    content = b""
    try:
        for piece in pieces:
            for event in reader.feed(piece):
                if isinstance(event, PartStart):
                    assert head is None
                    head, content = event, b""
                elif event is PART_END:
                    assert head is not None
                    parts.append((head.name, head.filename, content))
                    head = None
                else:
                    assert head is not None
                    assert event
                    content += event
        reader.close()
    except MultipartError:
        return None
    assert head is None
    return parts


def ranges(data: bytes) -> None:
    """A range is refused, or lies within the file; a whole response has the whole file."""
    size = int.from_bytes(data[:3])
    header = data[3:MAX_BYTES].decode("latin-1")
    file = File("file-x", "a", "user_data", size, 0, None, "processed", None, "00" * 32, "k")
    for name in ("range", "if-range", "if-match", "if-none-match"):
        headers = Headers.of({"range": "bytes=0-1", name: header})
        response, refusal = _evaluated(file, headers)
        if response is None:
            assert refusal in (412, 416)
            continue
        assert 0 <= response.start <= response.end <= size
        if response.status == 200:
            assert (response.start, response.end) == (0, size)
        if response.status == 206:
            assert response.start < response.end
            assert response.headers["content-range"] == f"bytes {response.start}-{response.end - 1}/{size}"
    growing = parse_growing_range(header)
    assert growing is None or (growing[0] >= 0 and (growing[1] is None or growing[1] > growing[0]))


def _evaluated(file: File, headers: Headers) -> tuple[ContentResponse | None, int | None]:
    """The response, or the status of a refusal."""
    try:
        return evaluate_preconditions_and_range(file, headers), None
    except ApiError as error:
        return None, error.response.status


def jsonl(data: bytes) -> None:
    """Lines are reported alike however they are cut, counted as they are, and every object is one for Python too."""
    data = data[:MAX_BYTES]
    whole, pieces = _checked([data[1:]]), _checked(cut(data))
    lines = [line.strip(b" \t\r") for line in data[1:].split(b"\n")]
    count = sum(bool(line) for line in lines)
    for content in ContentCheck:
        report = whole.report(content)
        assert report == pieces.report(content)
        if count < MAX_FAULTS:
            assert report.lines == count
        if report.details is None:
            assert all(isinstance(json.loads(line), dict) for line in lines if line)


def _checked(pieces: "Iterator[bytes] | list[bytes]") -> LineChecks:
    checks = LineChecks(DECODERS, tuple(ContentCheck))
    for piece in pieces:
        checks.feed(piece)
    checks.finish()
    return checks


class _Connections:
    """Connections of the server on an event loop of this thread, over real sockets, with a small application."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self.failures: list[dict[str, Any]] = []
        self.requests: list[tuple[str, bytes, bytes, list[Any], bytes]] = []
        limits = ConnectionLimits(max_head_bytes=4096, max_headers=20, max_target_bytes=1024)
        self.config = uvicorn.Config(
            self._app, http=protocol_class(limits, _error), interface="asgi3", log_config=None, log_level="critical"
        )
        self.config.load()
        self.state = uvicorn.server.ServerState()
        self.listener = socket.create_server(("127.0.0.1", 0))

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body += event["body"]
            if not event["more_body"]:
                break
        self.requests.append((scope["method"], scope["raw_path"], scope["query_string"], scope["headers"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def exchange(self, pieces: list[bytes]) -> tuple[list[Any], bytes]:
        """Send the pieces; return the requests that the application has had, and all bytes that came back."""
        self.requests = []
        peer = socket.create_connection(self.listener.getsockname())
        accepted, _ = self.listener.accept()
        peer.setblocking(False)
        await self.loop.connect_accepted_socket(
            lambda: self.config.http_protocol_class(
                config=self.config, server_state=self.state, app_state={}, _loop=self.loop
            ),
            accepted,
        )
        with contextlib.closing(peer), contextlib.suppress(ConnectionError):
            for piece in pieces:
                await self.loop.sock_sendall(peer, piece)
                await self._settle()
            with contextlib.suppress(OSError):  # of a server that has closed before the last piece came
                peer.shutdown(socket.SHUT_WR)
            received = b""
            async with asyncio.timeout(20):
                while part := await self.loop.sock_recv(peer, 65536):
                    received += part
            return self.requests, received
        return self.requests, b""

    async def _settle(self) -> None:
        """Let the server read, and its application respond."""
        quiet = 0
        for _ in range(2000):
            await asyncio.sleep(0)
            quiet = 0 if self.state.tasks else quiet + 1
            if quiet > 8:
                return


def _error(status: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    body = json.dumps({"error": message}).encode()
    return [(b"content-type", b"application/json")], body


_connections: list[_Connections] = []


def head(data: bytes) -> None:
    """Every request has one response, a rejection is the last one, and segments do not matter."""
    if not _connections:
        _connections.append(_Connections())
    made = _connections[0]
    data = data[:MAX_BYTES]
    at = int.from_bytes(data[:2]) % max(1, len(data) - 2)
    content = data[2:]
    requests, received = made.loop.run_until_complete(made.exchange([content]))
    statuses = _statuses(received, [method for method, *_ in requests])
    assert set(statuses[:-1]) <= {200}, statuses
    assert statuses.count(200) <= len(requests)
    again, _ = made.loop.run_until_complete(made.exchange([content[:at], content[at:]]))
    assert again == requests
    assert made.failures == []
    for method, path, _, headers, _ in requests:
        assert method.isalpha()
        assert path.startswith(b"/")
        names = [name for name, _ in headers]
        assert len(headers) <= 20
        assert not (b"content-length" in names and b"transfer-encoding" in names)
        assert not any(b"\r" in value or b"\n" in value or b"\0" in value for _, value in headers)


def _statuses(received: bytes, methods: list[str]) -> list[int]:
    """Of the responses to requests of these methods. One to HEAD has no body, whatever length it states."""
    found: list[int] = []
    while received:
        top, end, received = received.partition(b"\r\n\r\n")
        if not end:
            break  # the connection was reset while it was sent
        first, *fields = top.split(b"\r\n")
        assert first.startswith(b"HTTP/1.1 "), first
        status = int(first[9:12])
        if status == 100:
            continue
        lengths = [int(field[15:]) for field in fields if field.lower().startswith(b"content-length:")]
        assert len(lengths) == 1, fields
        if methods[len(found) : len(found) + 1] != ["HEAD"]:
            received = received[lengths[0] :]
        found.append(status)
    return found


READERS: dict[str, Callable[[bytes], None]] = {
    "multipart": multipart,
    "ranges": ranges,
    "jsonl": jsonl,
    "head": head,
}
