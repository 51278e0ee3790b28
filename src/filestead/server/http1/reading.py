"""How bytes come from the socket: into buffers that all connections share, a little at a time until a body is wanted.

What is read is parsed at once, but only up to the end of a request: what is behind an unanswered one is kept as it
came. Parsed, it would take up to a hundred times as much.
"""

import asyncio
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

UNREAD_BYTES = 16 * 1024
"""More than that waits to be sent only of one part of an answer: the next part, or request, waits for the peer."""

BLANK_LINE = b"\r\n\r\n"


class Buffers:
    """What the connections of one event loop read into, one after the other."""

    def __init__(self) -> None:
        self.head = memoryview(bytearray(16 * 1024))
        """For heads, and for what comes before the application has asked for a body: it may have to be kept."""

        self.body = memoryview(bytearray(256 * 1024))


class Connection(Protocol):
    """The protocol behind a `Receiver`."""

    def buffer(self) -> memoryview:
        """Where the next bytes go."""

    def data_received(self, data: memoryview) -> None:
        """Take what is in the buffer; the next read of any connection overwrites it."""

    def eof_received(self) -> bool | None:
        """The peer sends no more."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""

    def pause_writing(self) -> None:
        """Enough is waiting to be sent."""

    def resume_writing(self) -> None:
        """Write on."""


class Receiver(asyncio.BufferedProtocol):
    """What the transport sees of a connection. uvicorn's protocol takes bytes only, in pieces of any size."""

    __slots__ = ("_buffer", "_connection")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = memoryview(b"")

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        self._buffer = self._connection.buffer()
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand them on."""
        self._connection.data_received(self._buffer[:nbytes])

    def eof_received(self) -> bool | None:
        """As the connection's."""
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """As the connection's."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """As the connection's."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """As the connection's."""
        self._connection.resume_writing()


class Cutter:
    """Cuts what comes at blank lines, for heads and chunked bodies end nowhere else, also if one comes in pieces."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    def cut(self, data: memoryview) -> int:
        """How many bytes there are up to the end of a blank line, or up to their own end."""
        joint = (self._tail + bytes(data[:3])).find(BLANK_LINE)
        if joint >= 0:
            return joint + len(BLANK_LINE) - len(self._tail)
        found = bytes(data).find(BLANK_LINE)
        return found + len(BLANK_LINE) if found >= 0 else len(data)

    def went_on(self, data: memoryview) -> None:
        """These bytes are parsed."""
        last = bytes(data[-3:])
        self._tail = last if len(last) == 3 else (self._tail + last)[-3:]


class Flow(FlowControl):
    """Reads nothing while it is held; uvicorn reads on at each answer and each `receive`."""

    _held = False

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        transport.set_write_buffer_limits(UNREAD_BYTES)

    def hold(self) -> None:
        """Read nothing until `release`."""
        self._held = True
        self.pause_reading()

    def release(self) -> None:
        """Read on, if that was held back."""
        if self._held:
            self._held = False
            self.resume_reading()

    def resume_reading(self) -> None:
        """Read on unless held."""
        if not self._held:
            super().resume_reading()
