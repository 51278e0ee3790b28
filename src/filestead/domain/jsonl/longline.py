"""Syntax check of a line that is too long to buffer: reads it in pieces and keeps only a stack of open containers."""

import codecs
import functools
import re

from filestead.domain.jsonl.limits import MAX_DEPTH, SLICE
from filestead.domain.jsonl.syntax import NOT_UTF8, START, TOO_DEEP

_BLANKS = rb"[ \t\r]*+"
_ESCAPE = rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})'
_STRING = rb'"[^"\\\x00-\x1f]*+(?:' + _ESCAPE + rb'[^"\\\x00-\x1f]*+)*+"'
# The end of a number must be visible: the next piece may continue it.
_NUMBER_ENDS = rb"(?=[ \t\r,\]}])"
_NUMBER = (
    rb"-?+(?:0|[1-9][0-9]*+)(?:" + _NUMBER_ENDS + rb"|(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+" + _NUMBER_ENDS + rb")"
)


def _with_containers(values: bytes) -> bytes:
    """A pattern of such values, and of lists and objects of them."""
    items = values + rb"(?:" + _BLANKS + rb"," + _BLANKS + values + rb")*+"
    member = _STRING + _BLANKS + rb":" + _BLANKS + values
    members = member + rb"(?:" + _BLANKS + rb"," + _BLANKS + member + rb")*+"
    inside = (
        rb"(?:\[" + _BLANKS + rb"(?:" + items + rb")?+" + _BLANKS + rb"\]|\{" + _BLANKS + rb"(?:" + members + rb")?+"
    )
    return rb"(?>" + values + rb"|" + inside + _BLANKS + rb"\}))"


_SCALAR = rb"(?>" + _STRING + rb"|" + _NUMBER + rb"|true|false|null|\[\]|\{\})"
_FLAT = _with_containers(_with_containers(_SCALAR))

_INSIDE_STRING = re.compile(rb'[^"\\\x00-\x1f]*+(?:' + _ESCAPE + rb'[^"\\\x00-\x1f]*+)*+')
_TOKEN = re.compile(_BLANKS + rb'([{}\[\],:"]|' + _NUMBER + rb"|true|false|null)")
_LONGEST_TOKEN = 8192

_VALUE, _ITEM, _NAME, _MORE_NAME, _COLON, _MORE, _DONE = range(7)
"""The expected token: a value, a value or the end of a list, a name or the end of an object, a name, ..."""
_OPEN = {ord("["): ord("]"), ord("{"): ord("}")}


@functools.cache  # compiled by the first long line: these two patterns take 60 ms, which every start would wait for
def _more_items() -> re.Pattern[bytes]:
    # The most frequent forms come first, which takes a quarter of the time.
    frequent = rb",(?:0|[1-9][0-9]*+)(?=[,\]])|,\[\]|,\{\}|"
    return re.compile(rb"(?:" + frequent + _BLANKS + rb"," + _BLANKS + _FLAT + rb")*+")


@functools.cache
def _more_members() -> re.Pattern[bytes]:
    return re.compile(rb"(?:" + _BLANKS + rb"," + _BLANKS + _STRING + _BLANKS + rb":" + _BLANKS + _FLAT + rb")*+")


class LongLine:
    """Checks whether a line is a JSON object while it arrives."""

    def __init__(self, steps: int) -> None:
        """A line that needs more than `steps` steps is a fault."""
        self.fault: str | None = None
        self.steps = steps
        self.containers = 0
        self.start = b""
        self._closing = bytearray()
        self._next = _VALUE
        self._in_string = False
        self._rest = b""
        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    def feed(self, piece: bytes) -> None:
        """Check the next bytes of the line, at most `SLICE` at a time."""
        self.start = self.start or piece[:START]
        if self.fault is not None:
            return
        try:
            self._utf8.decode(piece)
        except UnicodeDecodeError:
            self.fault = NOT_UTF8
            return
        self.containers += piece.count(b"{") + piece.count(b"[")
        text = self._rest + piece
        position = self._read(text, 0)
        self._rest = text[position:]
        if len(self._rest) > _LONGEST_TOKEN + SLICE:
            self._refuse()

    def finish(self) -> str | None:
        """End the line and return the fault, if it is not a JSON object."""
        if self.fault is None and (self._next != _DONE or self._rest.strip(b" \t\r")):
            self.fault = "it is not valid JSON (it ends before its object does)"
        return self.fault

    def _read(self, text: bytes, position: int) -> int:
        """Read whole tokens and return the position after the last one."""
        while self.fault is None and position < len(text):
            self.steps -= 1
            if self.steps < 0:
                self.fault = "it has too many nested values to be checked"
                break
            end = self._string(text, position) if self._in_string else self._token(text, position)
            if end is None:
                break
            position = end
        return position

    def _string(self, text: bytes, position: int) -> int | None:
        end = _INSIDE_STRING.match(text, position).end()  # type: ignore[union-attr]  # it matches everywhere
        if end == len(text):
            return end
        if text[end] == ord('"'):
            self._in_string = False
            return end + 1
        if text[end] == ord("\\") and len(text) - end < 6:
            return end if end > position else None
        self._refuse()
        return None

    def _token(self, text: bytes, position: int) -> int | None:
        if self._next == _MORE:
            flat = _more_items() if self._closing[-1] == ord("]") else _more_members()
            end = flat.match(text, position).end()  # type: ignore[union-attr]  # it matches everywhere
            if end > position:
                return end
        found = _TOKEN.match(text, position)
        if found is None:
            rest = text[position:].lstrip(b" \t\r")
            if len(rest) > _LONGEST_TOKEN or not _may_continue(rest):
                self._refuse()
            return None
        self._accept(found[1])
        return found.end()

    def _accept(self, token: bytes) -> None:
        sign, wanted = token[0], self._next
        if wanted in (_VALUE, _ITEM) and sign not in b"]},:":
            self._begin(sign)
        elif self._closing and sign == self._closing[-1] and wanted in (_ITEM, _NAME, _MORE):
            self._closing.pop()
            self._next = _MORE if self._closing else _DONE
        elif sign == ord('"') and wanted in (_NAME, _MORE_NAME):
            self._in_string = True
            self._next = _COLON
        elif sign == ord(":") and wanted == _COLON:
            self._next = _VALUE
        elif sign == ord(",") and wanted == _MORE:
            self._next = _VALUE if self._closing[-1] == ord("]") else _MORE_NAME
        else:
            self._refuse()

    def _begin(self, sign: int) -> None:
        closing = _OPEN.get(sign)
        if closing is not None:
            self._closing.append(closing)
            self._next = _ITEM if sign == ord("[") else _NAME
            if len(self._closing) > MAX_DEPTH:
                self.fault = TOO_DEEP
        elif not self._closing:
            self._refuse()
        else:
            self._in_string = sign == ord('"')
            self._next = _MORE

    def _refuse(self) -> None:
        self.fault = self.fault or "it is not valid JSON"


_INCOMPLETE_TOKEN = re.compile(rb"(?:-?[0-9.eE+-]*|t|tr|tru|f|fa|fal|fals|n|nu|nul)\Z")


def _may_continue(rest: bytes) -> bool:
    """Whether this is the start of a token that the next piece may complete."""
    return _INCOMPLETE_TOKEN.match(rest) is not None
