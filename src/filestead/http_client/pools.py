"""Idle connections to one origin, and new ones, within the policy of destinations."""

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from filestead.egress import DestinationRefused, Egress, Origin, numeric_addresses, tls_context
from filestead.http_client.errors import EndpointRefused, EndpointUnreachable

IDLE_SECONDS = 30.0
"""A connection that was idle for longer is not used again: a firewall may have dropped it without a word."""


class PooledConnection(Protocol):
    """What a pool needs of a connection, which is an `asyncio.Protocol`."""

    idle_since: float

    @property
    def is_reusable(self) -> bool:
        """Whether a further request can be sent."""

    def abort(self) -> None:
        """Close at once."""


C = TypeVar("C", bound=PooledConnection)


class Pool(Generic[C]):
    """Connections to one origin. The connection that became idle last is used first."""

    def __init__(
        self,
        origin: Origin,
        egress: Egress,
        *,
        tls: bool,
        new: Callable[[Callable[[C], None]], C],
        connect_seconds: float,
    ) -> None:
        """`new` makes a connection, and is given what the connection calls when it is lost."""
        self._origin = origin
        self._egress = egress
        self._tls = tls
        self._make = new
        self._connect_seconds = connect_seconds
        self._idle: deque[C] = deque()
        self._is_closed = False

    def take_idle(self) -> C | None:
        """An idle connection, if there is one."""
        self._drop_expired()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                return connection
            connection.abort()
        return None

    def put(self, connection: C) -> None:
        """Keep a connection for later, if it can be used again."""
        if self._is_closed or not connection.is_reusable:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)
        self._drop_expired()

    async def connect(self, seconds: float) -> C:
        """Open a connection within `seconds`. Raises `EndpointUnreachable`."""
        host, port = self._origin
        seconds = min(seconds, self._connect_seconds)
        try:
            async with asyncio.timeout(seconds):
                return await self._connect()
        except TimeoutError:
            raise EndpointUnreachable(f"{host}:{port}: no connection within {seconds:g} seconds") from None
        except DestinationRefused as error:
            raise EndpointRefused(f"{host}:{port}: {_reason(error)}") from None
        except OSError as error:  # of sockets, the resolver and TLS
            raise EndpointUnreachable(f"{host}:{port}: {_reason(error)}") from None

    async def _connect(self) -> C:
        loop = asyncio.get_running_loop()
        host, port = self._origin
        self._egress.require_configured(self._origin)
        found = numeric_addresses(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        failure: OSError = ConnectionRefusedError("no address")
        for family, address in self._egress.allowed_addresses(found):
            try:
                # The type of the standard library wants a protocol, which every connection is.
                factory: Any = self._new
                _, connection = await loop.create_connection(
                    factory,
                    address,
                    port,
                    family=family,
                    ssl=tls_context() if self._tls else None,
                    server_hostname=host if self._tls else None,
                )
            except OSError as error:
                failure = error
            else:
                made: C = connection
                return made
        raise failure

    def _new(self) -> C:
        return self._make(self._forget)

    def _forget(self, connection: C) -> None:
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
