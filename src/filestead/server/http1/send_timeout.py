"""Send timeout: closes a connection whose peer stops reading."""

import asyncio
import fcntl
import logging
import socket
import struct
import sys
import termios

log = logging.getLogger("filestead.server.http1.protocol")


class SendTimeout:
    """Aborts a transport whose peer acknowledges nothing for `seconds` although written data is waiting for it."""

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._unacknowledged = 0
        self._progress_at = 0.0

    def start(self) -> None:
        """Start the timeout if written data is waiting."""
        if self._timer is None and self._transport.get_write_buffer_size():
            self._unacknowledged = sys.maxsize
            self._check()

    def stop(self) -> None:
        """Cancel the timeout: all data is acknowledged, or the connection is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            return
        now, unacknowledged = self._loop.time(), self._count_unacknowledged()
        if unacknowledged < self._unacknowledged:
            self._unacknowledged, self._progress_at = unacknowledged, now
        elif now - self._progress_at >= self._seconds:
            log.info("send timeout: connection reset")
            # A plain close would leave the kernel offering its queue long after the connection is forgotten here.
            self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
            return
        self._timer = self._loop.call_later(min(1.0, self._seconds / 4), self._check)

    def _count_unacknowledged(self) -> int:
        """Count also the bytes in the kernel's queue, which it refills from the transport's buffer in large steps."""
        size = self._transport.get_write_buffer_size()
        try:
            queued = fcntl.ioctl(self._socket().fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return size
        return size + int.from_bytes(queued, sys.byteorder)

    def _socket(self) -> socket.socket:
        sock: socket.socket = self._transport.get_extra_info("socket")
        return sock
