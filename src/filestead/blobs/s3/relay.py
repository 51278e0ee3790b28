"""One connection of the driver's proxy: reads heads, lines and counted bytes, and forwards bytes to another connection.

Sockets are used without transports and streams: a byte is copied out of the kernel once and into it once, in pieces of
`PIECE_BYTES`, of which each connection holds one per direction.
"""

import asyncio
import contextlib
import socket
import sys
from typing import Self

PIECE_BYTES = 256 * 1024
PIECES_PER_TURN = 8
"""Pieces that are forwarded before other connections get a turn."""

MAX_HEAD_BYTES = 64 * 1024
READ_BYTES = 64 * 1024


class ConnectionLost(Exception):
    """The peer closed the connection, or sent something that is not HTTP."""


class Connection:
    """A connected socket. It is closed by `close` or at the end of a `with` block."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._loop = loop
        self._buffer = bytearray()
        """Bytes that were received and not yet read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket. No task may be waiting for it."""
        self._sock.close()

    def is_idle(self) -> bool:
        """Whether the connection is open and has no unread bytes."""
        if self._buffer:
            return False
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    async def read_until(self, end: bytes) -> bytes:
        """Read up to and including `end`. Raises `ConnectionLost` if it is not within `MAX_HEAD_BYTES`."""
        searched = 0
        while (found := self._buffer.find(end, searched)) < 0:
            searched = max(0, len(self._buffer) - len(end) + 1)
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise ConnectionLost
            await self._receive()
        text = bytes(self._buffer[: found + len(end)])
        del self._buffer[: found + len(end)]
        return text

    async def _receive(self) -> None:
        piece = await self._loop.sock_recv(self._sock, READ_BYTES)
        if not piece:
            raise ConnectionLost
        self._buffer += piece

    async def wait_until_lost(self) -> None:
        """Never return, but raise `ConnectionLost` when the peer closes. Reads nothing, so it may be cancelled."""
        readable = asyncio.Event()
        self._loop.add_reader(self._sock, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(self._sock)
        with contextlib.suppress(OSError):
            if self._sock.recv(1, socket.MSG_PEEK):
                await self._loop.create_future()  # the peer sends its next request, so it is still there
        raise ConnectionLost

    async def send(self, data: bytes | memoryview, seconds: float | None = None) -> None:
        """Send all of it; `TimeoutError` if that takes longer than `seconds`."""
        async with asyncio.timeout(seconds):
            await self._loop.sock_sendall(self._sock, data)

    async def forward(
        self, target: "Connection", left: int | None, *, prefix: bytes = b"", seconds: float | None = None
    ) -> None:
        """Send `prefix` and the next `left` bytes from here to another connection, each piece within `seconds`.

        None as `left` means all bytes until the peer closes.
        """
        buffered = bytes(self._buffer[:left])
        del self._buffer[:left]
        if prefix or buffered:
            await target.send(prefix + buffered, seconds)
        until_closed = left is None
        left = sys.maxsize if left is None else left - len(buffered)
        room = memoryview(bytearray(min(PIECE_BYTES, left)))
        pieces = 0
        while left > 0:
            size = await self._loop.sock_recv_into(self._sock, room[:left])
            if not size:
                if until_closed:
                    return
                raise ConnectionLost
            await target.send(room[:size], seconds)
            left -= size
            pieces += 1
            if pieces % PIECES_PER_TURN == 0:  # neither call yields to the loop while the sockets are ready
                await asyncio.sleep(0)

    async def linger(self, seconds: float) -> None:
        """Shut down sending and drain input: a close with unread input would discard what was sent last."""
        with contextlib.suppress(OSError, TimeoutError):
            self._sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(seconds):
                while await self._loop.sock_recv(self._sock, READ_BYTES):
                    pass
