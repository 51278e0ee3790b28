"""Sockets that notice an answer while a request is still being sent, so that a refused upload stops at once.

A server may answer 413 or 429 in the middle of an upload, and then close or just stop reading. httpcore2 reads the
answer after a `WriteError`; asyncio, left to itself, throws it away when writing fails. Over TLS, only asyncio notices
early. Loaded when the first connection is made.
"""

import re
import selectors
import socket
import ssl
from typing import Any

import httpcore2

ANSWERED = "the server answered before it had the whole request"
INTERIM = b"HTTP/1.1 1"
MOST_INTERIM = 1000
"""Before one answer; a server that says every second that it is still at work has a quarter of an hour."""
LONGEST_HEAD = 128 * 1024
_BEGINS_INTERIM = re.compile(rb"HTTP/\d\.\d 1")
_WHOLE_INTERIM = re.compile(rb"HTTP/\d\.\d 1.*?\n\r?\n", re.DOTALL)


class InterimCount:
    """Counts interim answers (1xx): httpcore2 reads any number of them, and none ever times out."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A request is being sent, and its answer comes next."""
        self._count = 0
        self._head: bytes | None = b""

    def arrived(self, data: bytes) -> None:
        """Note what was read. Raises `ReadError` when the answer proper does not come."""
        if self._head is None:
            return
        self._head += data
        while found := _WHOLE_INTERIM.match(self._head):
            self._head = self._head[found.end() :]
            self._count += 1
            if self._count > MOST_INTERIM:
                raise httpcore2.ReadError(f"the server sent {MOST_INTERIM} interim answers and no other")
        if len(self._head) > LONGEST_HEAD or (
            len(self._head) >= len(INTERIM) and not _BEGINS_INTERIM.match(self._head)
        ):
            self._head = None  # The answer has begun, or h11 refuses what has.


class CountingStream(httpcore2.NetworkStream):
    """A connection that passes everything on and counts interim answers."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._interim = InterimCount()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As httpcore2 reads. Raises `ReadError` when interim answers do not end."""
        data = self._stream.read(max_bytes, timeout)
        self._interim.arrived(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As httpcore2 writes."""
        self._interim.restart()
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        """Close the socket."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Go on under TLS."""
        return CountingStream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """As httpcore2 answers."""
        return self._stream.get_extra_info(info)


class WatchfulStream(CountingStream):
    """A TCP connection whose writing ends when there is something to read.

    Under TLS it is not watched: what is readable there need not be an answer.
    """

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        super().__init__(stream)
        self._socket: socket.socket = stream.get_extra_info("socket")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it. Raises `WriteError` when the server speaks first."""
        self._interim.restart()
        rest = memoryview(buffer)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
                while rest:
                    ready = selector.select(timeout)
                    if not ready:
                        raise httpcore2.WriteTimeout
                    if ready[0][1] & selectors.EVENT_READ and not self._peek().startswith(INTERIM):
                        raise httpcore2.WriteError(ANSWERED)
                    self._socket.settimeout(timeout)
                    rest = rest[self._socket.send(rest) :]
        except TimeoutError as error:
            raise httpcore2.WriteTimeout from error
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    def _peek(self) -> bytes:
        return self._socket.recv(len(INTERIM), socket.MSG_PEEK)


class WatchfulBackend(httpcore2.SyncBackend):
    """Makes such connections."""

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        """Connect."""
        return WatchfulStream(super().connect_tcp(*args, **kwargs))


def watch(client: Any, backend: httpcore2.NetworkBackend | httpcore2.AsyncNetworkBackend) -> None:
    """Have an httpx2 client make its connections with `backend`, which httpx2 has no argument for."""
    for transport in (client._transport, *client._mounts.values()):
        if hasattr(getattr(transport, "_pool", None), "_network_backend"):
            transport._pool._network_backend = backend
