"""JSON as text: kept as the server spelled it (order, numbers, escapes, repeated members) while it is laid out anew.

The layouts are those of the official command line: two-space indents, and an array without objects stays on one line
while that line has at most 79 bytes up to its bracket.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from filestead.client.errors import FilesteadError

MAX_LINE_BYTES = 79
MAX_TOKENS = 2_000_000
"""Of one text: five times what a page of 10,000 files has. Each takes up to 200 bytes of memory."""
_TOKEN = re.compile(r'[ \t\r\n]*(?:([{}\[\],:])|("(?:[^"\\]|\\.)*"?)|([^\s,:\[\]{}"]+))', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SHORT_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class TooManyValues(FilesteadError):
    """A text has more names, values and marks than `MAX_TOKENS`."""


@dataclass(slots=True)
class Value:
    """A JSON value. `raw` is the text of a scalar; `keys` are the raw names of an object's items, in their quotes."""

    kind: str
    raw: str = ""
    keys: list[str] = field(default_factory=list)
    items: "list[Value]" = field(default_factory=list)

    @property
    def text(self) -> str:
        """A string without its quotes and escapes, anything else as it is spelled."""
        return unquote(self.raw) if self.kind == "string" else self.raw


def from_first_value(text: str) -> str:
    """The text from the first JSON value on; nothing where something else comes first."""
    text = text.lstrip(" \t\r\n")
    if text[:1] in {"{", "["}:
        return text
    found = _TOKEN.match(text)
    word = found[2] or found[3] if found else None
    return word if word and (word[0] == '"' or _scalar_kind(word)) else ""


def parse(text: str) -> Value | None:
    """The first value of a text, as much of it as is there; None if there is none. Raises `TooManyValues`."""
    tokens = _limit_tokens(_TOKEN.finditer(from_first_value(text)))
    first = next(tokens, None)
    return None if first is None else _parse_value(first, tokens)


def unquote(raw: str) -> str:
    """The characters of a raw string; halves of surrogate pairs and undecodable bytes become U+FFFD."""
    body = _ESCAPE.sub(_unescape, raw[1:].removesuffix('"'))
    return body.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def members(value: Value) -> Iterator[tuple[str, Value]]:
    """The raw name (empty in an array) and the value of each item."""
    return zip(value.keys or [""] * len(value.items), value.items, strict=True)


def format_compact(value: Value) -> str:
    """On one line without spaces."""
    if value.kind == "object":
        return "{" + ",".join(f"{key}:{format_compact(item)}" for key, item in members(value)) + "}"
    if value.kind == "array":
        return "[" + ",".join(map(format_compact, value.items)) + "]"
    return value.raw


def format_indented(value: Value, depth: int = 0, column: int = 0) -> str:
    """Over several lines; `column` is how many bytes stand before the value on its line."""
    if value.kind not in {"object", "array"}:
        return value.raw
    opening, closing = "{}" if value.kind == "object" else "[]"
    if not value.items:
        return opening + closing
    line = _format_on_one_line(value)
    if line is not None and column + _byte_length(line) <= MAX_LINE_BYTES:
        return line
    lines = []
    for key, item in members(value):
        lead = "  " * (depth + 1) + (f"{key}: " if key else "")
        lines.append(lead + format_indented(item, depth + 1, _byte_length(lead)))
    return f"{opening}\n" + ",\n".join(lines) + f"\n{'  ' * depth}{closing}"


def _format_on_one_line(value: Value) -> str | None:
    """An array as one line; None if there is an object in it."""
    if value.kind == "object":
        return None
    if value.kind != "array":
        return value.raw
    lines = [_format_on_one_line(item) for item in value.items]
    return None if None in lines else "[" + ", ".join(line or "" for line in lines) + "]"


def _byte_length(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _limit_tokens(tokens: Iterator[re.Match[str]]) -> Iterator[re.Match[str]]:
    for count, token in enumerate(tokens):
        if count == MAX_TOKENS:
            raise TooManyValues(f"the answer has more than {MAX_TOKENS} JSON values and marks; --format raw prints it")
        yield token


def _parse_value(first: re.Match[str], tokens: Iterator[re.Match[str]]) -> Value:
    """The value that begins with a token; a text that ends early ends its open values."""
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
                break
            value.items.append(_parse_value(member, tokens))
        else:
            value.items.append(_parse_value(token, tokens))
    return value


def _scalar_kind(word: str) -> str | None:
    """What a bare word is, by its first letters, as a reader in a hurry would take it."""
    if word[0] == "t" or word[0] == "f":
        return "true" if word[0] == "t" else "false"
    if word[0] == "n" and word[1:2] in {"", "u"}:
        return "null"
    return "number" if word[0] in "+-0123456789iInN" else None


def _unescape(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    return _SHORT_ESCAPES.get(escape[2], escape[2])
