"""Slices of whole lines: the lines, their numbers, and what typed decoders cannot read in them."""

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
    # The text before it, in bounded pieces and escape by escape: a backslash may itself be escaped.
    rb"((?:[^\\]++|\\[^u]|\\u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u(?![dD][89a-fA-F][0-9a-fA-F]{2})|\\\Z){0,2000}+)(?:\\u[dD]([89a-fA-F][0-9a-fA-F]{2}))?",
    re.DOTALL,
)
_LONE_WITHOUT_BACKSLASHES = re.compile(
    rb"(?<=\\u)[dD](?:(?=[89aAbB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
    rb"|(?=[c-fC-F][0-9a-fA-F]{2})(?<!\\u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD]))"
)
"""Matches the letter to replace, for data without escaped backslashes: twice as fast."""
_LONG_INTEGER = re.compile(rb"(?<![0-9.eE+])(?<![eE]-)[0-9]{%d,}+(?![.eE])" % (MAX_DIGITS + 1))


class Slice:
    """Consecutive lines of a file, without blank ones."""

    def __init__(self, data: bytes, number: int, *, irregular: bool = False) -> None:
        """`data` is whole lines; `number` is the number of the first. No typed decoder can read an `irregular` one."""
        self.irregular = irregular
        body = data.strip(BLANKS)
        self.number = number + (data.count(b"\n", 0, data.find(body[:1])) if body and data[0] in BLANKS else 0)
        self.body = body
        self.lines = body.split(b"\n") if body else []
        # A blank line sorts before every line that begins with a character of its own.
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

    def replace_lone_surrogates(self) -> bool:
        """Replace lone surrogate escapes in `decodable`, which strict decoders reject; False if there are none."""
        replaced = without_lone_surrogates(self.body)
        if replaced == self.body:
            return False
        self.decodable = self._cut(replaced)
        return True


def slices(data: bytes, number: int) -> Iterator[Slice]:
    """Yield the lines in order; an irregular line, which typed decoders cannot read, is a slice of its own."""
    while data:
        spot = _first_irregular_byte(data)
        if spot is None:
            yield Slice(data, number)
            return
        start, end = data.rfind(b"\n", 0, spot) + 1, (data.find(b"\n", spot) + 1) or len(data)
        if start:
            yield Slice(data[:start], number)
        number += data.count(b"\n", 0, start)
        yield Slice(data[start:end], number, irregular=True)
        number += 1
        data = data[end:]


def _first_irregular_byte(data: bytes) -> int | None:
    """The first byte that typed decoders would not check: not UTF-8, or of an integer with very many digits."""
    spots = [] if (digits := _long_digits(data)) is None else [digits]
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            spots.append(error.start)
    return min(spots, default=None)


def is_utf8(data: bytes, *, cut: bool = False) -> bool:
    """Whether the bytes are UTF-8; if they are `cut` off, the last character may be incomplete."""
    if not data.isascii():
        try:
            codecs.utf_8_decode(data, "strict", not cut)
        except UnicodeDecodeError:
            return False
    return True


def without_lone_surrogates(data: bytes) -> bytes:
    r"""JSON in which each escape of half a pair (`\ud83d`) names another character of as many bytes (`\ue83d`).

    Python's parser and the hosted service accept them: they come from text that was cut within an emoji. They are
    replaced by private-use characters, so different strings stay different.
    """
    if rb"\ud" not in data and rb"\uD" not in data:
        return data
    if b"\\\\" not in data:
        return _LONE_WITHOUT_BACKSLASHES.sub(b"e", data)
    found = map(re.Match.groups, _LONE_SURROGATE.finditer(data))
    return b"".join(before + rb"\ue" + rest if rest else before for before, rest in found)


def count_values(data: bytes | bytearray, start: int, end: int) -> int:
    """An upper bound of the number of values in this part of a line: commas and brackets in strings count, too."""
    return sum(data.count(sign, start, end) for sign in (b",", b"[", b"{"))


def has_long_integer(line: bytes, decode: Callable[[bytes], object]) -> bool:
    """Whether a line that `decode` accepts has an integer of more digits than Python reads (`MAX_DIGITS`)."""
    if _long_digits(line) is None:
        return False
    changed = _LONG_INTEGER.sub(b"x", line)
    if changed == line:
        return False
    try:
        decode(changed)  # within a string the change is harmless
    except ValueError:
        return True
    return False


def _long_digits(data: bytes) -> int | None:
    """The position of a run of more than `MAX_DIGITS` digits; only every `MAX_DIGITS`-th byte is examined first."""
    for position in range(MAX_DIGITS, len(data), MAX_DIGITS + 1):
        if data[position] in _DIGITS:
            before = data[position - MAX_DIGITS : position]
            after = data[position : position + MAX_DIGITS + 1]
            run = len(before) - len(before.rstrip(_DIGITS)) + len(after) - len(after.lstrip(_DIGITS))
            if run > MAX_DIGITS:
                return position
    return None
