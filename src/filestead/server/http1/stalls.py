"""Peers that take nothing of what is written for them are cut off."""

import asyncio
import fcntl
import logging
import socket
import struct
import sys
import termios

log = logging.getLogger("filestead.server.http1.protocol")


class SendWatch:
    """Watches one transport while written bytes wait for the peer; `seconds` without one taken end the connection."""

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._moved_at = 0.0

    def start(self) -> None:
        """Watch from now on, if anything waits."""
        if self._timer is None and self._transport.get_write_buffer_size():
            self._unsent = sys.maxsize
            self._check()

    def stop(self) -> None:
        """Everything is taken, or the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            return
        now, unsent = self._loop.time(), self._outstanding()
        if unsent < self._unsent:
            self._unsent, self._moved_at = unsent, now
        elif now - self._moved_at >= self._seconds:
            log.info("cut off a peer that reads nothing")
            # Reset, or the kernel goes on offering what it has queued long after we have forgotten the connection.
            self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
            return
        self._timer = self._loop.call_later(min(1.0, self._seconds / 4), self._check)

    def _outstanding(self) -> int:
        """Bytes that the peer has not acknowledged: the kernel's queue too, as it refills from ours in large steps."""
        size = self._transport.get_write_buffer_size()
        try:
            queued = fcntl.ioctl(self._socket().fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return size
        return size + int.from_bytes(queued, sys.byteorder)

    def _socket(self) -> socket.socket:
        found: socket.socket = self._transport.get_extra_info("socket")
        return found
