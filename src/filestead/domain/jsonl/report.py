"""The report on the lines of a file, checked as one kind of content."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import length_hint
from typing import Any, ClassVar, Protocol

from filestead.domain.jsonl import limits
from filestead.domain.jsonl.decoders import Decode, Decoders
from filestead.domain.jsonl.lines import BLANKS, Slice, has_long_integer, is_utf8, without_lone_surrogates
from filestead.domain.jsonl.members import JsonObject, LineFault
from filestead.domain.jsonl.syntax import LONG_INTEGER, NOT_UTF8, START, TOO_DEEP, excerpt, explain, fault_of


@dataclass(frozen=True, slots=True)
class LineReport:
    """What was seen of a file under one content; a complete content (`MAX_FAULTS`) sees nothing of the lines after."""

    lines: int
    """Non-blank lines."""
    first_is_object: bool
    """The first non-blank line is a JSON object."""
    not_object: tuple[int, str] | None
    """The first line that is not a JSON object: its physical number from 1, and a printable excerpt of its start."""
    details: str | None
    """None when every line is well formed; else names the first bad line, its fault, and how many more are bad."""
    problem: str | None = None
    """What is wrong with the line of `not_object`, and what to do, in one sentence."""
    utf8: bool = True
    """Whether the line of `not_object` is UTF-8."""


class LineFormat(Protocol):
    """The check of one kind of file; it lives as long as the upload does."""

    max_lines: ClassVar[int]
    built: ClassVar[bool]
    """Whether what a line is full of would be built, so that its lists and objects must be few."""
    decoders: tuple[Decode, ...]
    """Typed decoders, of which each line of a good file suits one; the last that did is tried first."""

    @property
    def check_decoded(self) -> Callable[[Iterable[Any], Callable[[], int]], None] | None:
        """Check decoded lines; `number()` is the number of the last one. None if decoding checks everything.

        After `Undecided` the last line is passed to `check`; `LineFault` is final.
        """

    def check(self, number: int, line: JsonObject) -> None:
        """Raise `LineFault` unless the line, with its physical number, is well formed."""


class NotObject(Exception):
    """A line that is not a JSON object: the reason, and as much of its start as an explanation needs."""

    def __init__(self, line: bytes, fault: str | None = None) -> None:
        super().__init__(fault)
        # The blanks at the end depend on how the upload was cut.
        self.line = line if line.startswith(b"{") else line[:START].rstrip(BLANKS)
        self._fault = fault

    @property
    def fault(self) -> str:
        """The reason, computed on demand: of 1,000 invalid lines only the first is explained."""
        return self._fault or fault_of(self.line)

    @property
    def utf8(self) -> bool:
        """Whether it is UTF-8."""
        return self._fault != NOT_UTF8 and is_utf8(self.line, cut=len(self.line) == START)


class Tally:
    """The report of one kind of content, as far as the lines were checked."""

    def __init__(self, line_format: LineFormat, decoders: Decoders) -> None:
        self._format = line_format
        self._decode = line_format.decoders[0]
        self._decoders = decoders
        self._lines = 0
        self._first_is_object = True
        self._not_object: tuple[int, NotObject] | None = None
        self._faults = 0
        self._slow_lines = 0
        self._first_fault: str | None = None
        self.complete = False

    def add(self, part: Slice) -> None:
        """Check the lines of a slice."""
        room = self._format.max_lines - self._lines
        if part.irregular:
            for index, line in enumerate(part.lines[:room]):
                self._check_line(part.number_of(index), line)
        else:
            self._add_regular(part, min(len(part.lines), room))
        if len(part.lines) > room and not self.complete:
            self._lines += 1
            self._record_fault(part.number_of(room), f"the file has more than {self._format.max_lines:,} requests")
            self.complete = True

    def add_object(self, number: int, containers: int) -> None:
        """Count a line that is a JSON object with so many lists and objects in it, and too long to be decoded."""
        self._lines += 1
        if self._format.built and containers > limits.MAX_CONTAINERS:
            self._record_fault(number, f"it has more than {limits.MAX_CONTAINERS:,} lists and objects")

    def add_not_object(self, number: int, line: NotObject) -> None:
        """Count a line that is not a JSON object."""
        self._lines += 1
        self._record_not_object(number, line)

    def _add_regular(self, part: Slice, total: int) -> None:
        """Decode line after line in C as long as the decoder accepts them."""
        index, lines, replaced = 0, iter(part.lines[:total]), False
        while not self.complete:
            try:
                self._check_decoded(part, lines, total)
                self._lines += total - index
                return
            except (ValueError, RecursionError) as undecided:
                fault: Exception = undecided
            except LineFault as found:
                fault = found
            bad = total - length_hint(lines) - 1
            self._lines += bad - index
            index = bad
            if not replaced and isinstance(fault, ValueError):
                replaced = True
                if part.replace_lone_surrogates():
                    lines = iter(part.decodable[index:total])
                    continue
            index += 1
            if isinstance(fault, LineFault):
                self._lines += 1
                self._record_fault(part.number_of(bad), str(fault))
            else:
                self._check_line(part.number_of(bad), part.lines[bad])

    def _check_decoded(self, part: Slice, lines: Iterator[bytes], total: int) -> None:
        decoded = map(self._decode, lines)
        if self._format.check_decoded is None:
            deque(decoded, maxlen=0)
        else:
            self._format.check_decoded(decoded, lambda: part.number_of(total - length_hint(lines) - 1))

    def _check_line(self, number: int, line: bytes) -> None:
        """Check one line and record its fault."""
        self._lines += 1
        try:
            self._check_strictly(number, line)
        except NotObject as other:
            self._record_not_object(number, other)
        except LineFault as fault:
            self._record_fault(number, str(fault))

    def _check_strictly(self, number: int, line: bytes) -> None:
        """Raise `NotObject` or `LineFault` unless the line is well formed."""
        if not line.startswith(b"{") or not is_utf8(line):
            raise NotObject(line)
        if self._passes_a_decoder(number, line):
            return
        self._slow_lines += 1
        self.complete |= self._slow_lines > limits.MAX_SLOW_LINES
        self._format.check(number, self._read(self._decoders.members, line))

    def _passes_a_decoder(self, number: int, line: bytes) -> bool:
        decodable = without_lone_surrogates(line)
        for decode in (self._decode, *self._format.decoders):
            try:
                decoded = decode(decodable)
                if has_long_integer(decodable, decode):
                    raise NotObject(line, LONG_INTEGER)
                if self._format.check_decoded is not None:
                    self._format.check_decoded((decoded,), lambda: number)
            except (ValueError, RecursionError):
                continue
            self._decode = decode
            return True
        return False

    def _read(self, decode: Decode, line: bytes) -> Any:
        decodable = without_lone_surrogates(line)
        try:
            value = decode(decodable)
            if has_long_integer(decodable, decode):
                raise NotObject(line, LONG_INTEGER)
        except ValueError:
            raise NotObject(line) from None
        except RecursionError:
            raise NotObject(line, TOO_DEEP) from None
        except MemoryError:
            raise LineFault("", "it takes more memory to check than there is") from None
        return value

    def report(self) -> LineReport:
        """The report on the lines so far."""
        details = self._first_fault if self._lines else "The file has no lines."
        more = self._faults - 1
        if more > 0:
            at_least = "At least " if self.complete else ""
            details = f"{details} {at_least}{more} more {'line has' if more == 1 else 'lines have'} faults."
        first = self._lines > 0 and self._first_is_object
        if self._not_object is None:
            return LineReport(self._lines, first, None, details)
        number, other = self._not_object
        problem = explain(number, other.line, other.fault, lines=self._lines)
        return LineReport(self._lines, first, (number, excerpt(other.line)), details, problem, other.utf8)

    def _record_not_object(self, number: int, other: NotObject) -> None:
        self._not_object = self._not_object or (number, other)
        self._first_is_object = self._first_is_object and self._lines > 1
        self._record_fault(number, other.fault if self._first_fault is None else "")

    def _record_fault(self, number: int, fault: str) -> None:
        self._faults += 1
        self._first_fault = self._first_fault or f"Line {number}: {fault}."
        self.complete |= self._faults >= limits.MAX_FAULTS
