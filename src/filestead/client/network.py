"""Sockets that notice an answer while a request is still being sent, so that a refused upload stops at once.

A server may answer 413 or 429 in the middle of an upload, and then close or just stop reading. httpcore2 reads the
answer after a `WriteError`; asyncio, left to itself, throws it away when writing fails. Over TLS, only asyncio notices
early. Loaded when the first connection is made.
"""
# ruff: noqa: ASYNC109  # the signatures are httpcore2's

import asyncio
import selectors
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore2

ANSWERED = "the server answered before it had the whole request"
INTERIM = b"HTTP/1.1 1"
HIGH_WATER = 256 * 1024
"""Bytes that may wait to be read."""


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


class Wire(asyncio.Protocol):
    """What arrives on a connection, kept until it is read."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = False
        self.failure: Exception | None = None
        self.transport: asyncio.Transport
        self._full = False
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes from the server."""
        self.received += data
        if len(self.received) > HIGH_WATER:
            self.transport.pause_reading()
        self._changed.set()

    def eof_received(self) -> bool:
        """The server will send no more; what it has sent can still be read."""
        self.ended = True
        self._changed.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.ended, self.failure = True, exc
        self._changed.set()

    def pause_writing(self) -> None:
        """The kernel takes no more for now."""
        self._full = True

    def resume_writing(self) -> None:
        """The kernel has it all."""
        self._full = False
        self._changed.set()

    @property
    def answered(self) -> bool:
        """Whether the server has said something that ends a request."""
        return self.ended or (bool(self.received) and not self.received.startswith(INTERIM))

    async def drained(self) -> None:
        """Wait until all is written, or the server speaks."""
        while self._full and not self.answered:
            self._changed.clear()
            await self._changed.wait()

    async def something(self) -> None:
        """Wait for bytes or the end."""
        while not self.received and not self.ended:
            self._changed.clear()
            await self._changed.wait()


class AsyncStream(httpcore2.AsyncNetworkStream):
    """A connection of asyncio that goes on reading while it writes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Some bytes; none at the end."""
        wire = self._wire
        try:
            async with asyncio.timeout(timeout):
                await wire.something()
        except TimeoutError as error:
            raise httpcore2.ReadTimeout from error
        if not wire.received and wire.failure is not None:
            raise httpcore2.ReadError(str(wire.failure)) from wire.failure
        data = bytes(wire.received[:max_bytes])
        del wire.received[:max_bytes]
        if not wire.ended and len(wire.received) <= HIGH_WATER:
            wire.transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it. Raises `WriteError` when the server speaks first."""
        wire = self._wire
        if not wire.answered:
            wire.transport.write(buffer)
            try:
                async with asyncio.timeout(timeout):
                    await wire.drained()
            except TimeoutError as error:
                raise httpcore2.WriteTimeout from error
        if wire.answered:
            raise httpcore2.WriteError(str(wire.failure or ANSWERED))

    async def aclose(self) -> None:
        """Close at once; what was not sent is not wanted any more."""
        self._wire.transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """Go on under TLS."""
        loop = asyncio.get_running_loop()
        wire = Wire()
        try:
            transport = await loop.start_tls(
                self._wire.transport,
                wire,
                ssl_context,
                server_hostname=server_hostname,
                ssl_handshake_timeout=timeout,
            )
        except (TimeoutError, OSError) as error:
            await self.aclose()
            raise httpcore2.ConnectError(str(error)) from error
        assert transport is not None
        wire.connection_made(transport)
        return AsyncStream(wire)

    def get_extra_info(self, info: str) -> Any:
        """What the pool wants to know."""
        names = {"client_addr": "sockname", "server_addr": "peername"}
        if info == "is_readable":
            return bool(self._wire.received) or self._wire.ended
        return self._wire.transport.get_extra_info(names.get(info, info))


class AsyncBackend(httpcore2.AsyncNetworkBackend):
    """Makes such connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address that answers (RFC 8305)."""
        loop = asyncio.get_running_loop()
        local = (local_address, 0) if local_address else None
        try:
            async with asyncio.timeout(timeout):
                _, wire = await loop.create_connection(Wire, host, port, happy_eyeballs_delay=0.25, local_addr=local)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        for option in socket_options or ():
            wire.transport.get_extra_info("socket").setsockopt(*option)
        return AsyncStream(wire)

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)


def watch(client: Any, backend: httpcore2.NetworkBackend | httpcore2.AsyncNetworkBackend) -> None:
    """Have an httpx2 client make its connections with `backend`, which httpx2 has no argument for."""
    for transport in (client._transport, *client._mounts.values()):
        if hasattr(getattr(transport, "_pool", None), "_network_backend"):
            transport._pool._network_backend = backend
