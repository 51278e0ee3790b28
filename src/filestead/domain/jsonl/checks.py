"""Checks of JSONL content while an upload streams: blocks are split into slices of whole lines, and faults counted.

Memory is bounded, and each call of a decoder is short. `batch.py`, `training.py` and `evals.py` define the well-formed
lines of each kind of file.
"""

import re
from collections.abc import Callable, Collection
from functools import partial

from filestead.domain.jsonl import limits
from filestead.domain.jsonl.batch import BatchLines
from filestead.domain.jsonl.decoders import Decoders
from filestead.domain.jsonl.evals import EvalsLines
from filestead.domain.jsonl.kinds import ContentCheck
from filestead.domain.jsonl.lines import count_values, slices
from filestead.domain.jsonl.longline import LongLine
from filestead.domain.jsonl.report import LineFormat, LineReport, NotObject, Tally
from filestead.domain.jsonl.syntax import START
from filestead.domain.jsonl.training import TrainingLines

_BLANKS = re.compile(rb"[ \t\r\n]*+")
_BRACE = ord("{")


def _no_pause() -> None:
    """Go on at once."""


class LineChecks:
    """The checks of one upload, for every content that it may still turn out to be.

    Blocks come one after another, in any sizes.
    """

    def __init__(self, decoders: Decoders, contents: Collection[ContentCheck], *, hosted: bool = False) -> None:
        """`hosted` judges batch requests by the rules of the hosted service's runner."""
        self._tallies = {content: Tally(_format(content, decoders, hosted=hosted), decoders) for content in contents}
        self._active = list(self._tallies.values())
        self._pause: Callable[[], object] = _no_pause
        self._number = 1
        self._partial = bytearray()  # += is amortised, so a line in thousands of blocks costs linear time
        self._long: LongLine | None = None
        self._steps = limits.MAX_STEPS
        self._skipping = False

    @property
    def complete(self) -> bool:
        """Whether no more lines need to be checked."""
        return not self._active

    @property
    def buffered_bytes(self) -> int:
        """Bytes of an incomplete line that are buffered, which `finish` checks."""
        return len(self._partial)

    def feed(self, block: bytes, pause: Callable[[], object] = _no_pause) -> None:
        """Check the next bytes of the file; `pause` is called between two slices."""
        self._pause = pause
        position = self._continue_line(block) if self._partial or self._skipping or self._long else 0
        size = len(block)
        window = min(limits.SLICE, limits.MAX_LINE)
        while self._active and position < size:
            end = block.rfind(b"\n", position, position + window) + 1
            if end:
                self._check_slice(block[position:end])
            else:
                position = self._skip_blank_lines(block, position)
                end = block.find(b"\n", position) + 1
                self._buffer(block, position, end - 1 if end else size)
                if not end:
                    return
                self._end_line()
            position = end
            if position < size:
                self._pause()

    def finish(self) -> None:
        """Check a last line without a newline."""
        self._end_line()

    def report(self, content: ContentCheck) -> LineReport:
        """The report for one of the kinds of content that were requested; KeyError for another one."""
        return self._tallies[content].report()

    def _skip_blank_lines(self, block: bytes, start: int) -> int:
        # In one step, however many there are: half a gigabyte of newlines must not need an iteration each.
        end = _BLANKS.match(block, start).end()  # type: ignore[union-attr]  # it matches everywhere
        self._number += block.count(b"\n", start, end)
        return end

    def _continue_line(self, block: bytes) -> int:
        """Continue the line that an earlier block began; returns the start of the next line."""
        newline = block.find(b"\n")
        end = len(block) if newline < 0 else newline
        self._buffer(block, 0, end)
        if newline < 0:
            return end
        self._end_line()
        return newline + 1

    def _buffer(self, block: bytes, start: int, end: int) -> None:
        """Buffer an incomplete line, or check as much of it as is possible without buffering."""
        if start == end or self._skipping or not self._active:
            return
        if self._long is not None:
            self._feed_long_line(block, start, end)
            return
        first = self._partial[0] if self._partial else block[start]
        room = (limits.MAX_LINE + 1 if first == _BRACE else START) - len(self._partial)
        self._partial += block[start : min(end, start + room)]
        if end - start < room:
            return
        if first == _BRACE:
            self._begin_long_line()
            self._feed_long_line(block, start + room, end)
        else:
            self._add_not_object(NotObject(bytes(self._partial)))
            self._partial.clear()
            self._skipping = True

    def _begin_long_line(self) -> None:
        """Check only the syntax of the line: of what is buffered, and of what follows."""
        self._long = LongLine(self._steps)
        held, self._partial = self._partial, bytearray()
        self._feed_long_line(held, 0, len(held))

    def _feed_long_line(self, block: bytes | bytearray, start: int, end: int) -> None:
        assert self._long is not None
        with memoryview(block) as view:
            for position in range(start, end, limits.SLICE):
                self._long.feed(bytes(view[position : min(end, position + limits.SLICE)]))
                self._pause()

    def _end_line(self) -> None:
        """Check the line that ends here."""
        if self._partial and self._is_dense():
            self._begin_long_line()
        if self._long is not None:
            self._end_long_line(self._long)
            self._long = None
        elif self._partial:
            held, self._partial = bytes(self._partial), bytearray()
            self._check_slice(held)
        elif not self._skipping:
            return
        self._skipping = False
        self._number += 1

    def _is_dense(self) -> bool:
        """Whether the buffered line has so many values that decoding it would block other requests."""
        values = 0
        if len(self._partial) > limits.DENSE_BYTES:
            for position in range(0, len(self._partial), limits.SLICE):
                values += count_values(self._partial, position, position + limits.SLICE)
                self._pause()
        return values > limits.DENSE_VALUES

    def _end_long_line(self, line: LongLine) -> None:
        fault = line.finish()
        self._steps = line.steps
        if fault is None:
            self._add(lambda tally: tally.add_object(self._number, line.containers))
        else:
            self._add_not_object(NotObject(line.start, fault))

    def _check_slice(self, data: bytes) -> None:
        for part in slices(data, self._number):
            self._add(partial(Tally.add, part=part))
        self._number += data.count(b"\n")

    def _add_not_object(self, other: NotObject) -> None:
        self._add(lambda tally: tally.add_not_object(self._number, other))

    def _add(self, add: Callable[[Tally], None]) -> None:
        for tally in self._active:
            add(tally)
        if any(tally.complete for tally in self._active):
            self._active = [tally for tally in self._active if not tally.complete]


def _format(content: ContentCheck, decoders: Decoders, *, hosted: bool) -> LineFormat:
    if content is ContentCheck.BATCH:
        return BatchLines(decoders, hosted=hosted)
    return TrainingLines(decoders) if content is ContentCheck.TRAINING else EvalsLines(decoders)
