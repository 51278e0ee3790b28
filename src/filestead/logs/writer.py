"""Writes lines of requests on a thread, so that a slow reader of the log never stops the event loop.

Lines are formatted and written together at most every `DELAY_SECONDS`, which takes half the time of doing it one by
one. A process that is killed loses the lines of this time. Lines that are not written in time are dropped and counted.
"""

import contextlib
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable
from time import sleep
from typing import Generic, TypeVar

DELAY_SECONDS = 0.1
MAX_LINES = 20_000
CLOSE_SECONDS = 2.0
MAX_PIECE_BYTES = 16 * 1024
"""Formatting more at once would hold up the event loop for more than a tenth of a millisecond."""


def piece_bytes(descriptor: int, processes: int) -> int:
    """How much is written at once: what several processes write to one pipe must not be split."""
    shared_pipe = processes > 1 and not stat.S_ISREG(os.fstat(descriptor).st_mode)
    return select.PIPE_BUF if shared_pipe else MAX_PIECE_BYTES


T = TypeVar("T")


class LineWriter(Generic[T]):
    """Writes to a file descriptor. `write` is called by one thread."""

    def __init__(
        self, descriptor: int, format_line: Callable[[T], bytes], dropped: Callable[[], None], *, processes: int = 1
    ) -> None:
        """`format_line` makes a line with its line break, on the thread; `dropped` is called for each dropped line.

        `processes` is the number of those that write to the descriptor.
        """
        self._descriptor = descriptor
        self._format_line = format_line
        self._dropped = dropped
        self._piece_bytes = piece_bytes(descriptor, processes)
        self._lines: deque[T] = deque()
        self._ready = threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="filestead-log", daemon=True)
        self._thread.start()

    def write(self, line: T) -> None:
        """Add a line, which is formatted later."""
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
            with contextlib.suppress(OSError):  # the log is closed or full: requests are served without it
                self._write_all()
            if closing and not self._lines:
                return

    def _write_all(self) -> None:
        piece: list[bytes] = []
        size = 0
        while self._lines:
            line = self._format_line(self._lines.popleft())
            if piece and size + len(line) > self._piece_bytes:
                self._write_piece(b"".join(piece))
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        if piece:
            self._write_piece(b"".join(piece))

    def _write_piece(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
