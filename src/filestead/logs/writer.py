"""Writes lines of requests on a thread, so that a slow reader of the log never stops the event loop.

Lines are written together at most every `DELAY_SECONDS`; a process that is killed loses those of this time. Lines that
are not written in time are dropped and counted. Pieces of at most `PIPE_BUF` bytes keep the lines of several processes
apart in one pipe.
"""

import contextlib
import os
import select
import threading
from collections.abc import Callable
from time import sleep

DELAY_SECONDS = 0.05
MAX_LINES = 20_000
CLOSE_SECONDS = 2.0
PIECE_BYTES = select.PIPE_BUF


class LineWriter:
    """Writes to a file descriptor. `write` is called by one thread."""

    def __init__(self, descriptor: int, dropped: Callable[[], None]) -> None:
        """`dropped` is called for each line that is dropped."""
        self._descriptor = descriptor
        self._dropped = dropped
        self._lines: list[bytes] = []
        self._ready = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="filestead-log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Add a line, which ends with a line break."""
        lines = self._lines
        if len(lines) >= MAX_LINES:
            self._dropped()
            return
        lines.append(line)
        if len(lines) == 1:
            self._ready.set()

    def close(self) -> None:
        """Write what is left; give up after `CLOSE_SECONDS`."""
        self._is_closing = True
        self._ready.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while True:
            self._ready.wait()
            if not self._is_closing:
                sleep(DELAY_SECONDS)
            closing = self._is_closing
            self._ready.clear()
            lines, self._lines = self._lines, []
            with contextlib.suppress(OSError):  # the log is closed or full: requests are served without it
                self._write(lines)
            if closing and not self._lines:
                return

    def _write(self, lines: list[bytes]) -> None:
        piece: list[bytes] = []
        size = 0
        for line in lines:
            if piece and size + len(line) > PIECE_BYTES:
                os.write(self._descriptor, b"".join(piece))
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        if piece:
            os.write(self._descriptor, b"".join(piece))
