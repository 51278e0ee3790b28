"""The lines of a batch file while it is read in blocks: their numbers, their offsets, their bytes.

Blank lines are skipped and counted. Memory is bounded by the longest line that is allowed.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_LINE = 32 * 1024 * 1024
"""Bytes of one request. The whole of it is in memory while it runs. Our choice: images may need a few megabytes."""
_BLANK = b" \t\r"
_BLANKS = re.compile(rb"[ \t\r\n]*+")


class Line(NamedTuple):
    """A line that is not blank."""

    number: int
    """From 1, blank lines included."""
    offset: int
    data: bytes | None
    """Without blanks around it; None if it is longer than `MAX_LINE`."""


class LineReader:
    """Splits consecutive blocks of a file into lines."""

    def __init__(self) -> None:
        self._number = 1
        self._read = 0
        self._start = 0
        self._partial = bytearray()  # += is amortised, so a line in thousands of blocks costs linear time
        self._too_long = False

    def feed(self, block: bytes) -> Iterator[Line]:
        """Yield the lines that end in this block. The next block may come only after the last one."""
        position, size = 0, len(block)
        while position < size:
            if not self._partial and not self._too_long:
                start = _BLANKS.match(block, position).end()  # type: ignore[union-attr]  # it matches everywhere
                # In one step, however many there are: 200 MiB of newlines must not need an iteration each.
                self._number += block.count(b"\n", position, start)
                self._start, position = self._read + start, start
            end = block.find(b"\n", position)
            if end < 0:
                self._hold(block[position:])
                break
            yield self._line(block[position:end])
            position = end + 1
        self._read += size

    def finish(self) -> Iterator[Line]:
        """Yield the last line if no newline ends it."""
        if self._partial or self._too_long:
            yield self._line(b"")

    def _hold(self, data: bytes) -> None:
        self._partial += data
        if len(self._partial) > MAX_LINE:
            self._too_long = True
        if self._too_long:
            self._partial.clear()

    def _line(self, data: bytes) -> Line:
        if self._partial or self._too_long:
            self._hold(data)
            data = bytes(self._partial)
            self._partial.clear()
        data = data.rstrip(_BLANK)
        line = Line(self._number, self._start, None if self._too_long or len(data) > MAX_LINE else data)
        self._too_long = False
        self._number += 1
        return line
