"""Sockets that notice an answer while a request is still being sent, so that a refused upload stops at once.

A server may answer 413 or 429 in the middle of an upload, and then close or just stop reading. httpcore2 reads the
answer after a `WriteError`; asyncio, left to itself, throws it away when writing fails. Over TLS, only asyncio notices
early. Loaded when the first connection is made.
"""

import selectors
import socket
import ssl
from typing import Any

import httpcore2

ANSWERED = "the server answered before it had the whole request"
INTERIM = b"HTTP/1.1 1"


class WatchfulStream(httpcore2.NetworkStream):
    """A TCP connection whose writing ends when there is something to read."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.get_extra_info("socket")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As httpcore2 reads."""
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it. Raises `WriteError` when the server speaks first."""
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

    def close(self) -> None:
        """Close the socket."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Go on under TLS, unwatched: what is readable there need not be an answer."""
        return self._stream.start_tls(ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        """As httpcore2 answers."""
        return self._stream.get_extra_info(info)


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
