"""A proxy between client and server that injects a fault into each exchange. One exchange per connection."""

import contextlib
import gzip
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

CHUNK = 65536


@dataclass
class Fault:
    """The fault of one exchange; by default none."""

    response: bytes | None = None
    """Response this instead of asking the server."""
    cut_upload: int | None = None
    """Close after this many bytes of the request body."""
    drop_response: bool = False
    """Let the server send its whole response, and close without forwarding any of it."""
    cut: int | None = None
    """Close after this many bytes of the response body."""
    reset: bool = False
    """Cut by a reset instead of a close."""
    corrupt: int | None = None
    """Flip a bit in this byte of the response body."""
    strip: tuple[str, ...] = ()
    """Headers removed from the request and from the response."""
    add: tuple[str, ...] = ()
    """Header lines added to the response."""
    compress: bool = False
    """Compress the response body, as a proxy may."""
    pause: threading.Event | None = None
    """Wait for this event after `cut` bytes of the response body, instead of closing."""
    edit: Callable[[bytes], bytes] = field(default=lambda head: head)
    """Edit the head of the response."""


@dataclass(frozen=True)
class Seen:
    """The head of a received request."""

    method: str
    target: str
    headers: dict[str, str]


def raw_response(status: str, *headers: str, body: bytes = b"") -> bytes:
    """A complete response, as sent on a connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Proxy:
    """Each exchange consumes one of `faults`; without faults it passes unchanged. `seen` has every request."""

    def __init__(self, port: int, faults: list[Fault] | None = None) -> None:
        self._upstream = port
        self.faults = faults or []
        self.seen: list[Seen] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head, rest = _read_head(client)
            if not head:
                return
            fault = self.faults.pop(0) if self.faults else Fault()
            self.seen.append(_seen(head))
            if fault.response is not None:
                client.sendall(fault.response)
                client.shutdown(socket.SHUT_WR)
                while client.recv(CHUNK):
                    pass
                return
            with socket.create_connection(("127.0.0.1", self._upstream)) as server:
                # A request to a proxy has an absolute URL; the server expects a path.
                head = re.sub(rb"^(\w+) http://[^/]+", rb"\1 ", head)
                server.sendall(_without(head, *fault.strip, "connection", end=b"Connection: close\r\n\r\n"))
                upload = threading.Thread(target=_relay_upload, args=(client, server, rest, fault), daemon=True)
                upload.start()
                self._relay_response(server, client, fault)
            upload.join(10)

    def _relay_response(self, server: socket.socket, client: socket.socket, fault: Fault) -> None:
        head, body = _read_head(server)
        if fault.drop_response:
            while server.recv(CHUNK):
                pass
            client.shutdown(socket.SHUT_RDWR)
            return
        head = fault.edit(head)
        extra = "".join(f"{line}\r\n" for line in fault.add).encode() + b"\r\n"
        if fault.compress:
            while chunk := server.recv(CHUNK):
                body += chunk
            body = gzip.compress(body)
            extra = f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n".encode() + extra
            client.sendall(_without(head, *fault.strip, "content-length", end=extra) + body)
            client.shutdown(socket.SHUT_WR)
            return
        client.sendall(_without(head, *fault.strip, end=extra))
        _relay_body(server, client, body, fault)


def _relay_body(server: socket.socket, client: socket.socket, body: bytes, fault: Fault) -> None:
    sent = 0
    while body or (body := server.recv(CHUNK)):
        if fault.corrupt is not None and sent <= fault.corrupt < sent + len(body):
            place = fault.corrupt - sent
            body = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        if fault.cut is not None and sent + len(body) > fault.cut:
            client.sendall(body[: fault.cut - sent])
            if fault.pause is None:
                if fault.reset:  # By closing, once the other thread has let go of the socket.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.shutdown(socket.SHUT_RD)
                else:
                    client.shutdown(socket.SHUT_RDWR)
                return
            fault.pause.wait(60)
            sent, body, fault.cut = fault.cut, body[fault.cut - sent :], None
        client.sendall(body)
        sent += len(body)
        body = b""
    client.shutdown(socket.SHUT_WR)


def _relay_upload(client: socket.socket, server: socket.socket, first: bytes, fault: Fault) -> None:
    sent = 0
    with contextlib.suppress(OSError):
        chunk = first
        while chunk or (chunk := client.recv(CHUNK)):
            if fault.cut_upload is not None and sent + len(chunk) > fault.cut_upload:
                server.sendall(chunk[: fault.cut_upload - sent])
                client.shutdown(socket.SHUT_RDWR)
                server.shutdown(socket.SHUT_RDWR)
                return
            server.sendall(chunk)
            sent += len(chunk)
            chunk = b""
        server.shutdown(socket.SHUT_WR)  # the client has left, which the server would see, too


def _read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(CHUNK)
        if not chunk:
            return b"", b""
        data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n", rest


def _without(head: bytes, *names: str, end: bytes) -> bytes:
    for name in names:
        head = re.sub(rb"(?im)^" + name.encode() + rb":[^\r]*\r\n", b"", head)
    return head + end


def _seen(head: bytes) -> Seen:
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.split(":", 1) for line in lines)
    return Seen(method, target, {name.lower(): value.strip() for name, value in pairs})
