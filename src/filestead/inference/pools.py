"""Idle connections to one origin, and new ones, within the policy of destinations."""

import asyncio
import os
import socket
import ssl
from collections import deque

from filestead.egress import Egress, Origin, numeric_addresses, tls_context
from filestead.inference.connections import Connection
from filestead.inference.errors import EndpointUnreachable

IDLE_SECONDS = 30.0
"""A connection that was idle for longer is not used again: a firewall may have dropped it without a word."""


class Pool:
    """Connections to one origin. The connection that became idle last is used first."""

    def __init__(
        self, origin: Origin, egress: Egress, *, tls: bool, max_response_bytes: int, connect_seconds: float
    ) -> None:
        self._origin = origin
        self._egress = egress
        self._tls = tls
        self._max_response_bytes = max_response_bytes
        self._connect_seconds = connect_seconds
        self._idle: deque[Connection] = deque()
        self._is_closed = False

    def take_idle(self) -> Connection | None:
        """An idle connection, if there is one."""
        self._drop_expired()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                return connection
            connection.abort()
        return None

    def put(self, connection: Connection) -> None:
        """Keep a connection for later, if it can be used again."""
        if self._is_closed or not connection.is_reusable:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)
        self._drop_expired()

    async def connect(self, seconds: float) -> Connection:
        """Open a connection within `seconds`. Raises `EndpointUnreachable`."""
        host, port = self._origin
        seconds = min(seconds, self._connect_seconds)
        try:
            async with asyncio.timeout(seconds):
                return await self._connect()
        except TimeoutError:
            raise EndpointUnreachable(f"{host}:{port}: no connection within {seconds:g} seconds") from None
        except OSError as error:  # of sockets, the resolver, TLS and the policy
            raise EndpointUnreachable(f"{host}:{port}: {_reason(error)}") from None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        host, port = self._origin
        self._egress.require_configured(self._origin)
        found = numeric_addresses(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        failure: OSError = ConnectionRefusedError("no address")
        for family, address in self._egress.allowed_addresses(found):
            try:
                _, connection = await loop.create_connection(
                    self._new,
                    address,
                    port,
                    family=family,
                    ssl=tls_context() if self._tls else None,
                    server_hostname=host if self._tls else None,
                )
            except OSError as error:
                failure = error
            else:
                return connection
        raise failure

    def _new(self) -> Connection:
        return Connection(self._max_response_bytes, self._forget)

    def _forget(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def _drop_expired(self) -> None:
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft().abort()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they are put back."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().abort()


def _reason(error: OSError) -> str:
    if error.errno and not isinstance(error, (ssl.SSLError, socket.gaierror)):
        return os.strerror(error.errno)  # the text of asyncio does not say why
    return error.strerror or str(error) or type(error).__name__
