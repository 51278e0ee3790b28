"""One connection of the driver's proxy: read by heads, lines and counts of bytes, and passed on to another.

Sockets are used without transports and streams: a byte is copied out of the kernel once and into it once, in pieces of
`PIECE` bytes, of which each connection holds one for each direction.
"""

import asyncio
import contextlib
import socket
from typing import Self

PIECE = 256 * 1024
TURN = 8
"""Pieces, after which it is another connection's turn."""

HEAD_BYTES = 64 * 1024
READ_BYTES = 64 * 1024


class Gone(Exception):
    """The peer broke off, or what it sends is not HTTP."""


class Channel:
    """A connected socket, which is closed by `close` or at the end of a `with`."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._loop = loop
        self._ahead = bytearray()
        """What has been received and not been asked for yet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Break off. Nothing may be waiting for it any more."""
        self._sock.close()

    def is_idle(self) -> bool:
        """Whether a connection that nothing is expected on is still open and silent."""
        if self._ahead:
            return False
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    async def until(self, end: bytes) -> bytes:
        """What comes, up to and with `end`; `Gone` if that does not come within `HEAD_BYTES`."""
        searched = 0
        while (found := self._ahead.find(end, searched)) < 0:
            searched = max(0, len(self._ahead) - len(end) + 1)
            if len(self._ahead) > HEAD_BYTES:
                raise Gone
            await self._more()
        text = bytes(self._ahead[: found + len(end)])
        del self._ahead[: found + len(end)]
        return text

    async def watch(self) -> None:
        """Return never, but raise `Gone` when the peer breaks off. Takes nothing, so that it may be cancelled."""
        readable = asyncio.Event()
        self._loop.add_reader(self._sock, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(self._sock)
        with contextlib.suppress(OSError):
            if self._sock.recv(1, socket.MSG_PEEK):
                await self._loop.create_future()  # it sends on, and so is there
        raise Gone

    async def _more(self) -> None:
        piece = await self._loop.sock_recv(self._sock, READ_BYTES)
        if not piece:
            raise Gone
        self._ahead += piece

    async def send(self, data: bytes | memoryview, seconds: float | None = None) -> None:
        """Send all of it; `TimeoutError` if that takes longer."""
        async with asyncio.timeout(seconds):
            await self._loop.sock_sendall(self._sock, data)

    async def pass_on(
        self, to: "Channel", left: int | None, *, before: bytes = b"", seconds: float | None = None
    ) -> None:
        """Send `before` and the next `left` bytes of this one to another, each piece within `seconds`.

        All there are to the end, if their number is not known.
        """
        ahead = len(self._ahead) if left is None else min(left, len(self._ahead))
        if before or ahead:
            first = before + bytes(self._ahead[:ahead])
            del self._ahead[:ahead]
            await to.send(first, seconds)
        if left is not None:
            left -= ahead
            if left == 0:
                return
        room = memoryview(bytearray(PIECE if left is None else min(PIECE, left)))
        pieces = 0
        while left is None or left > 0:
            size = await self._loop.sock_recv_into(self._sock, room if left is None else room[:left])
            if not size:
                if left is None:
                    return
                raise Gone
            await to.send(room[:size], seconds)
            if left is not None:
                left -= size
            pieces += 1
            if pieces % TURN == 0:  # neither call waits while there is something to do
                await asyncio.sleep(0)

    async def linger(self, seconds: float) -> None:
        """Let the peer read what it was sent: a close with bytes unread would take it back."""
        with contextlib.suppress(OSError, TimeoutError):
            self._sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(seconds):
                while await self._loop.sock_recv(self._sock, READ_BYTES):
                    pass
