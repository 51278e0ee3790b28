"""The same as `network` for asyncio: a module of its own, since asyncio takes longer to import than a small request."""
# ruff: noqa: ASYNC109  # the signatures are httpcore2's

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore2

from filestead.client._transport.network import ANSWERED, INTERIM, InterimCount

HIGH_WATER = 256 * 1024
"""Bytes that may wait to be read."""


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
        self._interim = InterimCount()

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
        self._interim.arrived(data)
        if not wire.ended and len(wire.received) <= HIGH_WATER:
            wire.transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it. Raises `WriteError` when the server speaks first."""
        self._interim.restart()
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
