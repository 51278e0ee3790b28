"""A proxy between client and server that spoils one exchange after another, as told. One connection, one exchange."""

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
    """What happens to one exchange; the default is nothing."""

    answer: bytes | None = None
    """Response this instead of asking the server."""
    cut_upload: int | None = None
    """Close after so many bytes of the request's body."""
    drop_answer: bool = False
    """Let the server answer in full, and close without passing any of it on."""
    cut: int | None = None
    """Close after so many bytes of the answer's body."""
    reset: bool = False
    """Cut by a reset instead of a close."""
    corrupt: int | None = None
    """Flip a bit of this byte of the answer's body."""
    strip: tuple[str, ...] = ()
    """Headers that neither side gets to see."""
    add: tuple[str, ...] = ()
    """Header lines that the answer gets besides."""
    compress: bool = False
    """Compress the answer's body, as a proxy on its own account may."""
    pause: threading.Event | None = None
    """Wait for this in the middle of the answer's body (after `cut` bytes, which are then no cut)."""
    edit: Callable[[bytes], bytes] = field(default=lambda head: head)
    """Change the head of the answer."""


@dataclass(frozen=True)
class Seen:
    """The head of a request, as it came."""

    method: str
    target: str
    headers: dict[str, str]


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Proxy:
    """`faults` are used up in order; then exchanges pass unchanged. `seen` has every request."""

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
            if fault.answer is not None:
                client.sendall(fault.answer)
                client.shutdown(socket.SHUT_WR)
                while client.recv(CHUNK):
                    pass
                return
            with socket.create_connection(("127.0.0.1", self._upstream)) as server:
                # A client that knows it talks to a proxy names the whole URL; servers want the path.
                head = re.sub(rb"^(\w+) http://[^/]+", rb"\1 ", head)
                server.sendall(_without(head, *fault.strip, "connection", end=b"Connection: close\r\n\r\n"))
                upload = threading.Thread(target=_relay_upload, args=(client, server, rest, fault), daemon=True)
                upload.start()
                self._relay_answer(server, client, fault)
            upload.join(10)

    def _relay_answer(self, server: socket.socket, client: socket.socket, fault: Fault) -> None:
        head, body = _read_head(server)
        if fault.drop_answer:
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
