"""Reading from sockets: into shared buffers, a small one until the application asks for the body.

Input is parsed immediately, but only to the end of one request. What follows an unanswered request is kept unparsed:
parsed, it would use up to a hundred times as much memory.
"""

import asyncio
from typing import Protocol

SMALL_READ_BYTES = 16 * 1024


class ReadBuffers:
    """Buffers shared by the connections of one event loop, which use them one at a time."""

    def __init__(self) -> None:
        self.small = memoryview(bytearray(SMALL_READ_BYTES))
        """For heads, and for all input until the application asks for a body: it may have to be kept."""

        self.large = memoryview(bytearray(256 * 1024))


class Connection(Protocol):
    """The protocol that a `BufferedReceiver` feeds, with the methods of `asyncio.Protocol`."""

    def read_buffer(self) -> memoryview:
        """Return the buffer for the next read."""

    def data_received(self, data: memoryview) -> None:
        """Consume the data, which the next read of any connection overwrites."""

    def eof_received(self) -> bool | None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class BufferedReceiver(asyncio.BufferedProtocol):
    """The transport's protocol. It delegates to uvicorn's, which has no `get_buffer`."""

    __slots__ = ("_buffer", "_connection")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = memoryview(b"")

    def get_buffer(self, sizehint: int) -> memoryview:
        self._buffer = self._connection.read_buffer()
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(self._buffer[:nbytes])

    def eof_received(self) -> bool | None:
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
