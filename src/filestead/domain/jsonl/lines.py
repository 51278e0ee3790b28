"""A slice of whole lines: where the lines are, which numbers they have, and what makes them hard to decode."""

import codecs
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import accumulate

from filestead.domain.jsonl.limits import MAX_DIGITS

BLANKS = b" \t\r\n"
_ENDS = re.compile(rb"\n[ \t\r\n]*+")
_DIGITS = b"0123456789"

_LONE_SURROGATE = re.compile(
    # What stands before it, in bounded pieces and escape by escape: a backslash may itself be escaped.
    rb"((?:[^\\]++|\\[^u]|\\u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u(?![dD][89a-fA-F][0-9a-fA-F]{2})|\\\Z){0,2000}+)(?:\\u[dD]([89a-fA-F][0-9a-fA-F]{2}))?",
    re.DOTALL,
)
_LONE_WITHOUT_BACKSLASHES = re.compile(
    rb"(?<=\\u)[dD](?:(?=[89aAbB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
    rb"|(?=[c-fC-F][0-9a-fA-F]{2})(?<!\\u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD]))"
)
"""The letter of it that is replaced, where no backslash is escaped: twice as fast."""
_LONG_INTEGER = re.compile(rb"(?<![0-9.eE+])(?<![eE]-)[0-9]{%d,}+(?![.eE])" % (MAX_DIGITS + 1))


class Slice:
    """Lines that stand together in a file; blank ones are left out."""

    def __init__(self, data: bytes, number: int, *, hard: bool = False) -> None:
        """`data` is whole lines, the first of which has the number `number`."""
        self.hard = hard
        body = data.strip(BLANKS)
        self.number = number + (data.count(b"\n", 0, data.find(body[:1])) if body and data[0] in BLANKS else 0)
        self.body = body
        self.lines = body.split(b"\n") if body else []
        # A blank line sorts before all that have something at their beginning.
        self._blank_lines = body != b"" and min(self.lines) < b"!"
        if self._blank_lines:
            self.lines = self._cut(body)
        self.decodable = self.lines

    def number_of(self, index: int) -> int:
        """The physical number of a line, from 1."""
        return self._numbers[index] if self._blank_lines else self.number + index

    @cached_property
    def _numbers(self) -> list[int]:
        return list(accumulate((end.count(b"\n") for end in _ENDS.findall(self.body)), initial=self.number))

    def _cut(self, body: bytes) -> list[bytes]:
        return _ENDS.split(body) if self._blank_lines else body.split(b"\n")

    def mend(self) -> bool:
        """Let `decodable` have no lone surrogate escapes, which strict decoders refuse; whether there were any."""
        mended = without_lone_surrogates(self.body)
        if mended == self.body:
            return False
        self.decodable = self._cut(mended)
        return True


def slices(data: bytes, number: int) -> Iterator[Slice]:
    """The lines in order; each that a typed decoder does not see through is `hard` and in a slice of its own."""
    while data:
        spot = _hard_spot(data)
        if spot is None:
            yield Slice(data, number)
            return
        start, end = data.rfind(b"\n", 0, spot) + 1, (data.find(b"\n", spot) + 1) or len(data)
        if start:
            yield Slice(data[:start], number)
        number += data.count(b"\n", 0, start)
        yield Slice(data[start:end], number, hard=True)
        number += 1
        data = data[end:]


def _hard_spot(data: bytes) -> int | None:
    """Where typed decoders would look away: bytes that are not UTF-8, or an integer of very many digits."""
    spots = [] if (digits := _long_digits(data)) is None else [digits]
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            spots.append(error.start)
    return min(spots, default=None)


def is_utf8(data: bytes, *, cut: bool = False) -> bool:
    """Whether the bytes are UTF-8; if they are `cut` off, the last character may be."""
    if not data.isascii():
        try:
            codecs.utf_8_decode(data, "strict", not cut)
        except UnicodeDecodeError:
            return False
    return True


def without_lone_surrogates(data: bytes) -> bytes:
    r"""JSON in which each escape of half a pair (`\ud83d`) names another character of as many bytes (`\ue83d`).

    Python's reader takes them, and so does the hosted service: they come from text that was cut inside of an emoji.
    The characters in their place are private ones, so different strings stay different.
    """
    if rb"\ud" not in data and rb"\uD" not in data:
        return data
    if b"\\\\" not in data:
        return _LONE_WITHOUT_BACKSLASHES.sub(b"e", data)
    found = map(re.Match.groups, _LONE_SURROGATE.finditer(data))
    return b"".join(before + rb"\ue" + rest if rest else before for before, rest in found)


def count_values(data: bytes | bytearray, start: int, end: int) -> int:
    """At least as many as there are values in this part of a line; commas and brackets in strings count too."""
    return sum(data.count(sign, start, end) for sign in (b",", b"[", b"{"))


def has_long_integer(line: bytes, decode: Callable[[bytes], object]) -> bool:
    """Whether a line that `decode` takes has an integer of more digits than Python reads (`MAX_DIGITS`)."""
    if _long_digits(line) is None:
        return False
    changed = _LONG_INTEGER.sub(b"x", line)
    if changed == line:
        return False
    try:
        decode(changed)  # inside of a string the change does no harm
    except ValueError:
        return True
    return False


def _long_digits(data: bytes) -> int | None:
    """Where there is a run of more than `MAX_DIGITS` digits; to find it, one byte of so many is looked at."""
    for position in range(MAX_DIGITS, len(data), MAX_DIGITS + 1):
        if data[position] in _DIGITS:
            before = data[position - MAX_DIGITS : position]
            after = data[position : position + MAX_DIGITS + 1]
            run = len(before) - len(before.rstrip(_DIGITS)) + len(after) - len(after.lstrip(_DIGITS))
            if run > MAX_DIGITS:
                return position
    return None
