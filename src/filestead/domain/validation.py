"""Check JSONL content while an upload streams: cut blocks into lines, decode each once, tally faults by content.

Memory stays constant whatever arrives. What a well-formed line of each kind is stands in `lineformats.py`.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from filestead.domain.lineformats import FORMATS, LineFormat
from filestead.domain.members import JsonObject, LineFault
from filestead.domain.purposes import Content

MAX_LINE = 8 * 1024 * 1024
"""A longer JSON object is not checked and counts as well formed: fine-tuning lines may carry images as data URLs."""
MAX_FAULTS = 1000
"""A content with so many faulty lines is settled; no more lines are looked at on its behalf."""

EXCERPT = 20
EXCERPT_BYTES = 4 * EXCERPT  # holds that many characters of UTF-8
REASON = 80

_BLANKS = re.compile(rb"[ \t\r\n]*")
_BOM = b"\xef\xbb\xbf"
_BRACE = ord("{")


@dataclass(frozen=True, slots=True)
class LineReport:
    """What was seen of a file under one content; a settled content (`MAX_FAULTS`) sees nothing of the lines after."""

    lines: int
    """Non-blank lines."""
    first_is_object: bool
    """The first non-blank line is a JSON object."""
    not_object: tuple[int, str] | None
    """The first line that is not a JSON object: its physical number from 1, and a printable excerpt of its start."""
    details: str | None
    """None when every line is well formed; else names the first bad line, its fault, and how many more are bad."""


@dataclass(frozen=True, slots=True)
class _NotObject:
    """A line that is not a JSON object."""

    fault: str
    excerpt: str


class LineChecks:
    """The checks of one upload, for every content that it may still turn out to be.

    `decode` turns a line into a value or raises ValueError. Blocks come one after another, in any sizes.
    """

    def __init__(self, decode: Callable[[bytes], object], contents: Collection[Content]) -> None:
        self._decode = decode
        self._tallies = {content: _Tally(FORMATS[content]()) for content in contents}
        self._open = list(self._tallies.values())
        self._number = 1
        self._partial = bytearray()  # += on it is amortised, so a line in thousands of blocks costs linear time
        self._skipping = False

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        position = self._resume(block) if self._partial or self._skipping else 0
        find, size = block.find, len(block)
        while self._open and position < size:
            if block[position] != _BRACE:
                position = self._pass_blanks(block, position)
            end = find(b"\n", position)
            if end < 0:
                self._keep(block, position, size)
                return
            self._judge(block[position : end if end - position <= MAX_LINE else position + MAX_LINE + 1])
            self._number += 1
            position = end + 1

    def finish(self) -> None:
        """The file has ended: a last line without a newline is judged now."""
        self._judge_kept()

    def report(self, content: Content) -> LineReport:
        """What was seen, read as `content`; KeyError when it is none of the contents asked for."""
        return self._tallies[content].report()

    def _pass_blanks(self, block: bytes, start: int) -> int:
        # In one step, however many: half a gigabyte of newlines must not cost a turn of the loop each.
        end = _BLANKS.match(block, start).end()  # type: ignore[union-attr]  # it matches everywhere
        self._number += block.count(b"\n", start, end)
        return end

    def _resume(self, block: bytes) -> int:
        """Go on with the line that an earlier block began; where the next line starts."""
        newline = block.find(b"\n")
        end = len(block) if newline < 0 else newline
        if not self._skipping:
            self._keep(block, 0, end)
        if newline < 0:
            return end
        self._judge_kept()
        self._skipping = False
        self._number += 1
        return newline + 1

    def _keep(self, block: bytes, start: int, end: int) -> None:
        """Hold an unfinished line until its newline, or judge it once its beginning tells all that will be asked."""
        if start == end:
            return
        first = self._partial[0] if self._partial else block[start]
        room = (MAX_LINE if first == _BRACE else EXCERPT_BYTES) + 1 - len(self._partial)
        self._partial += block[start : min(end, start + room)]
        if end - start >= room:
            self._judge_kept()
            self._skipping = True

    def _judge_kept(self) -> None:
        if self._partial:
            self._judge(bytes(self._partial))
            self._partial.clear()

    def _judge(self, line: bytes) -> None:
        seen = self._read(line)
        settled = False
        for tally in self._open:
            settled |= tally.add(self._number, seen)
        if settled:
            self._open = [tally for tally in self._open if not tally.settled]

    def _read(self, line: bytes) -> JsonObject | _NotObject | None:
        """The line's object; None for one too long to check."""
        if line[0] != _BRACE:
            fault = "it starts with a byte order mark" if line.startswith(_BOM) else "it is not a JSON object"
            return _NotObject(fault, _excerpt(line))
        if len(line) > MAX_LINE:
            return None
        try:
            return self._decode(line)  # type: ignore[return-value]  # what begins with a brace is an object or an error
        except ValueError as error:
            return _NotObject(f"it is not valid JSON ({str(error)[:REASON]})", _excerpt(line))
        except RecursionError:
            return _NotObject("it is nested too deeply", _excerpt(line))


class _Tally:
    """The running report of one content."""

    def __init__(self, line_format: LineFormat) -> None:
        self._check = line_format.check
        self._max_lines = line_format.max_lines
        self._lines = 0
        self._first_is_object = True
        self._not_object: tuple[int, str] | None = None
        self._faults = 0
        self._first_fault: str | None = None
        self.settled = False

    def add(self, number: int, line: JsonObject | _NotObject | None) -> bool:
        """Count one non-blank line; whether the content is settled by it."""
        self._lines += 1
        if self._lines > self._max_lines:
            self._blame(number, f"the file has more than {self._max_lines:,} requests")
            self.settled = True
        elif isinstance(line, _NotObject):
            self._not_object = self._not_object or (number, line.excerpt)
            self._first_is_object = self._first_is_object and self._lines > 1
            self._blame(number, line.fault)
        elif line is not None:
            try:
                self._check(number, line)
            except LineFault as fault:
                self._blame(number, str(fault))
        return self.settled

    def report(self) -> LineReport:
        details = self._first_fault if self._lines else "The file has no lines."
        more = self._faults - 1
        if more > 0:
            at_least = "At least " if self.settled else ""
            details = f"{details} {at_least}{more} more {'line has' if more == 1 else 'lines have'} faults."
        return LineReport(self._lines, self._lines > 0 and self._first_is_object, self._not_object, details)

    def _blame(self, number: int, fault: str) -> None:
        self._faults += 1
        self._first_fault = self._first_fault or f"Line {number}: {fault}."
        self.settled = self._faults == MAX_FAULTS


def _excerpt(line: bytes) -> str:
    text = line[:EXCERPT_BYTES].decode("utf-8", "replace")[:EXCERPT].rstrip(" \t\r")
    escaped = (letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return "".join(escaped)[:EXCERPT]
