"""JSON text, reformatted but not re-encoded: order, numbers, escapes and repeated members stay as the server sent them.

The layout is that of the official command line: two-space indents; an array without objects stays on one line if that
line has at most 79 bytes up to its closing bracket; 80 if it is the document, or in an array behind its first item.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from filestead.client.errors import FilesteadError

MAX_LINE_BYTES = 80
MAX_TOKENS = 2_000_000
"""Limit for one text: five times the tokens of a page of 10,000 files. Each token takes up to 200 bytes of memory."""
_TOKEN = re.compile(r'[ \t\r\n]*(?:([{}\[\],:])|("(?:[^"\\]|\\.)*"?)|([^\s,:\[\]{}"]+))', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SHORT_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class TooManyTokens(FilesteadError):
    """A text has more than `MAX_TOKENS` JSON tokens."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a value is spread over lines: what indents a member, what begins each line, and the limit for an array."""

    indent: str = "  "
    prefix: str = ""
    max_line_bytes: int = MAX_LINE_BYTES
    """One less for the value of a member, and for the first item of an array."""


DEFAULT_LAYOUT = Layout()


@dataclass(slots=True)
class Value:
    """A JSON value. `raw` is the text of a scalar; `keys` are the names of an object's `items`, quoted and escaped.

    An object or array is `cut_off` if the text ends before it does.
    """

    kind: str
    raw: str = ""
    keys: list[str] = field(default_factory=list)
    items: "list[Value]" = field(default_factory=list)
    cut_off: bool = False

    @property
    def text(self) -> str:
        """A string without quotes and escapes; the raw text of any other scalar."""
        return unquote(self.raw) if self.kind == "string" else self.raw


def from_first_value(text: str) -> str:
    """The text from the first JSON value on; empty if the text does not begin with one."""
    text = text.lstrip(" \t\r\n")
    if text[:1] in {"{", "["}:
        return text
    match = _TOKEN.match(text)
    word = match[2] or match[3] if match else None
    return word if word and (word[0] == '"' or _scalar_kind(word)) else ""


def parse(text: str) -> Value | None:
    """Parse the first value of a text, even if it is truncated; None if there is none. Raises `TooManyTokens`."""
    tokens = _limit_tokens(_TOKEN.finditer(from_first_value(text)))
    first = next(tokens, None)
    return None if first is None else _parse_value(first, tokens)


def unquote(raw: str) -> str:
    """Decode a raw string; unpaired surrogates and undecodable bytes become U+FFFD."""
    body = _ESCAPE.sub(_unescape, raw[1:].removesuffix('"'))
    return body.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def members(value: Value) -> Iterator[tuple[str, Value]]:
    """The raw name (empty in an array) and value of each item."""
    return zip(value.keys or [""] * len(value.items), value.items, strict=True)


def trailing_text(text: str) -> str:
    """The text behind the object or array that a text begins with."""
    text = from_first_value(text)
    if text[:1] not in {"{", "["}:
        return ""
    tokens = _limit_tokens(_TOKEN.finditer(text))
    end = _end(next(tokens), tokens)
    return "" if end is None else text[end:].strip(" \t\r\n")


def without_spaces(text: str) -> str:
    """A text without the spaces outside of strings."""
    return "".join(match[0].lstrip() for match in _TOKEN.finditer(text))


def member_text(text: str, name: str) -> str | None:
    """The text of the first member of that name of an object, with its spaces; None if there is none."""
    text = from_first_value(text)
    if not text.startswith("{"):
        return None
    return next((value for key, value in entries(text) if unquote(key) == name), None)


def entries(text: str) -> Iterator[tuple[str, str]]:
    """The raw name (empty in an array) and the text of each item of an object or array, even if that is cut off."""
    tokens = _limit_tokens(_TOKEN.finditer(text))
    named = next(tokens)[1] == "{"
    for token in tokens:
        if token[1] in {"}", "]"}:
            return
        if token[1] in {",", ":"}:
            continue
        key = token[0].lstrip() if named else ""
        value = next((other for other in tokens if other[1] != ":"), None) if named else token
        if value is None:
            return
        yield key, text[_start(value) : _end(value, tokens)]


def sequence(text: str) -> Iterator[str]:
    """The texts of the values that stand one behind another, as in JSON Lines."""
    tokens = _limit_tokens(_TOKEN.finditer(text))
    for token in tokens:
        if token[1] not in {",", ":", "}", "]"}:
            yield text[_start(token) : _end(token, tokens)]


def _start(token: re.Match[str]) -> int:
    return token.end() - len(token[0].lstrip())


def _end(first: re.Match[str], tokens: Iterator[re.Match[str]]) -> int | None:
    """Where the value ends that begins with a token; None if the text ends before it does."""
    depth = 0
    for token in itertools.chain([first], tokens):
        depth += (token[1] in {"{", "["}) - (token[1] in {"}", "]"})
        if depth <= 0:
            return token.end()
    return None


def format_compact(value: Value) -> str:
    """Format on one line without spaces."""
    if value.kind == "object":
        return "{" + ",".join(f"{key}:{format_compact(item)}" for key, item in members(value)) + _closing(value)
    if value.kind == "array":
        return "[" + ",".join(map(format_compact, value.items)) + _closing(value)
    return value.raw


def format_indented(value: Value, depth: int = 0, column: int = 0, layout: Layout = DEFAULT_LAYOUT) -> str:
    """Format on several lines; `column` is the number of bytes before the value that count for the limit of its line.

    The first line begins without the prefix of the layout.
    """
    if value.kind not in {"object", "array"}:
        return value.raw
    opening, closing = "{" if value.kind == "object" else "[", _closing(value)
    if not value.items:
        return opening + closing
    line = _format_on_one_line(value)
    if line is not None and 3 < layout.max_line_bytes - column >= _byte_length(line):
        return line
    lines = []
    for number, (key, item) in enumerate(members(value)):
        lead = layout.prefix + layout.indent * (depth + 1) + (f"{key}: " if key else "")
        lines.append(lead + format_indented(item, depth + 1, _byte_length(lead) + (number == 0 or bool(key)), layout))
    end = f"\n{layout.prefix}{layout.indent * depth}{closing}" if closing else ""
    return f"{opening}\n" + ",\n".join(lines) + end


def _closing(value: Value) -> str:
    """The closing bracket; as by the official client, a value that is cut off has none."""
    return "" if value.cut_off else "}" if value.kind == "object" else "]"


def _format_on_one_line(value: Value) -> str | None:
    """Format an array on one line; None if it contains an object."""
    if value.kind == "object":
        return None
    if value.kind != "array":
        return value.raw
    lines = [_format_on_one_line(item) for item in value.items]
    return None if None in lines else "[" + ", ".join(line or "" for line in lines) + _closing(value)


def _byte_length(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _limit_tokens(tokens: Iterator[re.Match[str]]) -> Iterator[re.Match[str]]:
    for count, token in enumerate(tokens):
        if count == MAX_TOKENS:
            raise TooManyTokens(f"the response has more than {MAX_TOKENS} JSON tokens; use --format raw to print it")
        yield token


def _parse_value(first: re.Match[str], tokens: Iterator[re.Match[str]]) -> Value:
    """Parse the value that begins with a token; the end of the text closes all open values."""
    if first[2]:
        return Value("string", first[2])
    if first[3]:
        return Value(_scalar_kind(first[3]) or "number", first[3])
    if first[1] not in {"{", "["}:
        return Value("null", "")
    value = Value("object" if first[1] == "{" else "array")
    for token in tokens:
        if token[1] in {"}", "]"}:
            break
        if token[1] in {",", ":"}:
            continue
        if value.kind == "object":
            value.keys.append(token[0].strip())
            member = next((other for other in tokens if other[1] != ":"), None)
            if member is None:
                value.keys.pop()
                continue  # To the end of the tokens.
            value.items.append(_parse_value(member, tokens))
        else:
            value.items.append(_parse_value(token, tokens))
    else:
        value.cut_off = True
    return value


def _scalar_kind(word: str) -> str | None:
    """The kind of a bare word by its first letters, as the official client determines it."""
    if word[0] == "t" or word[0] == "f":
        return "true" if word[0] == "t" else "false"
    if word[0] == "n" and word[1:2] in {"", "u"}:
        return "null"
    return "number" if word[0] in "+-0123456789iInN" else None


def _unescape(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    return _SHORT_ESCAPES.get(escape[2], escape[2])
