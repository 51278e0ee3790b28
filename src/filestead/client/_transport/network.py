"""Connections that detect a response while the request is still being sent, so that a rejected upload stops at once.

A server may send 413 or 429 in the middle of an upload, and then close or stop reading. httpcore2 reads the response
after a `WriteError`; the streams of asyncio lose it when writing fails. Over TLS, only the asyncio backend detects an
early response. Imported with the first connection.
"""

import re
import selectors
import socket
import ssl
from typing import Any

import httpcore2

EARLY_RESPONSE = "the server responded before the request was complete"
INTERIM_PREFIX = b"HTTP/1.1 1"
MAX_INTERIM_RESPONSES = 1000
"""Before one final response: a quarter of an hour for a server that sends one each second."""
MAX_HEAD_BYTES = 128 * 1024
_INTERIM_START = re.compile(rb"HTTP/\d\.\d 1")
_COMPLETE_INTERIM = re.compile(rb"HTTP/\d\.\d 1.*?\n\r?\n", re.DOTALL)


class InterimResponseCounter:
    """Counts interim responses (1xx), which httpcore2 accepts without a limit or an overall timeout."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin with the response to the next request."""
        self._count = 0
        self._head: bytes | None = b""

    def feed(self, data: bytes) -> None:
        """Count in bytes that were read. Raises `ReadError` for too many interim responses."""
        if self._head is None:
            return
        self._head += data
        while found := _COMPLETE_INTERIM.match(self._head):
            self._head = self._head[found.end() :]
            self._count += 1
            if self._count > MAX_INTERIM_RESPONSES:
                raise httpcore2.ReadError(f"the server sent {MAX_INTERIM_RESPONSES} interim responses and no final one")
        if len(self._head) > MAX_HEAD_BYTES or (
            len(self._head) >= len(INTERIM_PREFIX) and not _INTERIM_START.match(self._head)
        ):
            self._head = None  # The final response has begun, or h11 rejects it.


class InterimCountingStream(httpcore2.NetworkStream):
    """A connection that counts interim responses."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._interim = InterimResponseCounter()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read some bytes. Raises `ReadError` for too many interim responses."""
        data = self._stream.read(max_bytes, timeout)
        self._interim.feed(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._interim.restart()
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return InterimCountingStream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class EarlyResponseStream(InterimCountingStream):
    """A TCP connection that stops writing when a response arrives.

    Not under TLS, where readable bytes may be a record of the protocol instead of a response.
    """

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        super().__init__(stream)
        self._socket: socket.socket = stream.get_extra_info("socket")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it. Raises `WriteError` if the server responds before that."""
        self._interim.restart()
        rest = memoryview(buffer)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
                while rest:
                    ready = selector.select(timeout)
                    if not ready:
                        raise httpcore2.WriteTimeout
                    if ready[0][1] & selectors.EVENT_READ and not self._received_prefix().startswith(INTERIM_PREFIX):
                        raise httpcore2.WriteError(EARLY_RESPONSE)
                    self._socket.settimeout(timeout)
                    rest = rest[self._socket.send(rest) :]
        except TimeoutError as error:
            raise httpcore2.WriteTimeout from error
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    def _received_prefix(self) -> bytes:
        return self._socket.recv(len(INTERIM_PREFIX), socket.MSG_PEEK)


class EarlyResponseBackend(httpcore2.SyncBackend):
    """Opens connections that detect an early response."""

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        return EarlyResponseStream(super().connect_tcp(*args, **kwargs))
