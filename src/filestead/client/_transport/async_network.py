"""Connections of asyncio that detect an early response, as `network` does; apart, since importing asyncio is slow."""
# ruff: noqa: ASYNC109  # the signatures are httpcore2's

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore2

from filestead.client._transport.network import EARLY_RESPONSE, INTERIM_PREFIX, InterimResponseCounter

HIGH_WATER = 256 * 1024
"""Bytes received and not yet read, above which reading from the socket pauses."""


class BufferedProtocol(asyncio.Protocol):
    """Buffers received bytes until they are read."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = False
        self.failure: Exception | None = None
        self.transport: asyncio.Transport
        self._write_paused = False
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if len(self.received) > HIGH_WATER:
            self.transport.pause_reading()
        self._changed.set()

    def eof_received(self) -> bool:
        """Record that the server sends no more; buffered bytes can still be read."""
        self.ended = True
        self._changed.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended, self.failure = True, exc
        self._changed.set()

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._changed.set()

    @property
    def has_response(self) -> bool:
        """Whether the server has begun a final response, or has closed the connection."""
        return self.ended or (bool(self.received) and not self.received.startswith(INTERIM_PREFIX))

    async def drain(self) -> None:
        """Wait until the send buffer has room, or a response has begun."""
        while self._write_paused and not self.has_response:
            self._changed.clear()
            await self._changed.wait()

    async def wait_readable(self) -> None:
        """Wait for bytes or for the end of the connection."""
        while not self.received and not self.ended:
            self._changed.clear()
            await self._changed.wait()


class AsyncEarlyResponseStream(httpcore2.AsyncNetworkStream):
    """A connection that reads while it writes."""

    def __init__(self, protocol: BufferedProtocol) -> None:
        self._protocol = protocol
        self._interim = InterimResponseCounter()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        protocol = self._protocol
        try:
            async with asyncio.timeout(timeout):
                await protocol.wait_readable()
        except TimeoutError as error:
            raise httpcore2.ReadTimeout from error
        if not protocol.received and protocol.failure is not None:
            raise httpcore2.ReadError(str(protocol.failure)) from protocol.failure
        data = bytes(protocol.received[:max_bytes])
        del protocol.received[:max_bytes]
        self._interim.feed(data)
        if not protocol.ended and len(protocol.received) <= HIGH_WATER:
            protocol.transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it. Raises `WriteError` if the server responds before that."""
        self._interim.restart()
        protocol = self._protocol
        if not protocol.has_response:
            protocol.transport.write(buffer)
            try:
                async with asyncio.timeout(timeout):
                    await protocol.drain()
            except TimeoutError as error:
                raise httpcore2.WriteTimeout from error
        if protocol.has_response:
            raise httpcore2.WriteError(str(protocol.failure or EARLY_RESPONSE))

    async def aclose(self) -> None:
        """Close at once; buffered bytes are discarded."""
        self._protocol.transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        protocol = BufferedProtocol()
        try:
            transport = await loop.start_tls(
                self._protocol.transport,
                protocol,
                ssl_context,
                server_hostname=server_hostname,
                ssl_handshake_timeout=timeout,
            )
        except (TimeoutError, OSError) as error:
            await self.aclose()
            raise httpcore2.ConnectError(str(error)) from error
        assert transport is not None
        protocol.connection_made(transport)
        return AsyncEarlyResponseStream(protocol)

    def get_extra_info(self, info: str) -> Any:
        names = {"client_addr": "sockname", "server_addr": "peername"}
        if info == "is_readable":
            return bool(self._protocol.received) or self._protocol.ended
        return self._protocol.transport.get_extra_info(names.get(info, info))


class AsyncEarlyResponseBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections that detect an early response."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address that accepts (Happy Eyeballs, RFC 8305)."""
        loop = asyncio.get_running_loop()
        local = (local_address, 0) if local_address else None
        try:
            async with asyncio.timeout(timeout):
                _, protocol = await loop.create_connection(
                    BufferedProtocol, host, port, happy_eyeballs_delay=0.25, local_addr=local
                )
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        for option in socket_options or ():
            protocol.transport.get_extra_info("socket").setsockopt(*option)
        return AsyncEarlyResponseStream(protocol)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
