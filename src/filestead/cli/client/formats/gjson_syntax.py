"""The syntax of GJSON paths: how a path is split into its first step and the rest."""

import json
import re
import string
from collections.abc import Collection
from typing import NamedTuple

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_OPENING, _CLOSING = frozenset("[{("), frozenset("]})")
_NOT_SIMPLE = re.compile(r"[\x00-\x1f\[\]{}()#|!]")
_LITERAL_WORDS = frozenset({"true", "false", "null", "nan", "inf"})
_OPERATORS = ("!=", "!%", "<=", ">=", "==", "<", ">", "=", "%")


class UnsupportedPath(ValueError):
    """A path with a construct that GJSON does not have; the message names it."""


class Step(NamedTuple):
    """The first name of a path, and the rest: behind a pipe it applies to the result, otherwise inside of it.

    A name with wildcards is a pattern.
    """

    name: str
    rest: str | None = None
    piped: bool = False
    pattern: bool = False

    @property
    def pipe(self) -> str | None:
        """The rest behind a pipe."""
        return self.rest if self.piped else None


class Query(NamedTuple):
    """`#(path operator value)`, of all items with a second `#`; `end` is its length."""

    path: str
    operator: str
    value: str
    every: bool
    end: int


class Member(NamedTuple):
    """A member of a multipath: the JSON text of its name (empty in an array), and its path."""

    name: str
    path: str


def first_step(path: str, modifiers: Collection[str]) -> Step:
    """Split at the first dot or pipe that is not escaped; before a modifier or multipath, a dot is a pipe."""
    name, pattern, at = "", False, 0
    while at < len(path):
        character = path[at]
        if character in ".|":
            piped = character == "|" or _begins_special(path[at + 1 :], modifiers)
            return Step(name, path[at + 1 :], piped, pattern)
        if character == "\\":
            at += 1
            name += path[at : at + 1]
        else:
            pattern = pattern or character in "*?"
            name += character
        at += 1
    return Step(name, pattern=pattern)


def first_item_step(path: str, modifiers: Collection[str]) -> Step:
    """As `first_step` for an array: it has no escapes and no wildcards, and a `#` keeps a dot from being a pipe."""
    name, separator, rest = split_at_separator(path)
    if not separator:
        return Step(name)
    return Step(name, rest, separator == "|" or ("#" not in name and _begins_special(rest, modifiers)))


def split_at_separator(path: str) -> tuple[str, str, str]:
    """What stands before the first dot or pipe, that character, and what follows; all of the path if there is none."""
    before, separator, after = [*re.split(r"([.|])", path, maxsplit=1), "", ""][:3]
    return before, separator, after


def _begins_special(path: str, modifiers: Collection[str]) -> bool:
    return path[:1] in {"[", "{"} or (path[:1] == "@" and re.split(r"[.|:]", path[1:], maxsplit=1)[0] in modifiers)


def wildcard(pattern: str) -> re.Pattern[str]:
    """The expression for a pattern: `*` is any text, `?` any character, and a backslash escapes."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    words = {"*": ".*", "?": "."}
    return re.compile("".join(words.get(part, re.escape(part[-1])) for part in parts), re.DOTALL)


def parse_query(path: str) -> Query | None:
    """The query that a path begins with; None if it is not closed."""
    end = _end_of_brackets(path, 1)
    if end is None:
        return None
    inner = path[2 : end - 1]
    start = next((at for at, depth in _outside_strings(inner) if not depth and inner[at] in "!=<>%"), len(inner))
    compared = inner[start:].strip()
    operator = next((word for word in _OPERATORS if compared.startswith(word)), "")
    value = compared[len(operator) :].strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = _unescape(value)
    every = path[end : end + 1] == "#"
    return Query(inner[:start].strip(), "=" if operator == "==" else operator, value, every, end + every)


def _unescape(quoted: str) -> str:
    try:
        return str(json.loads(quoted, strict=False))
    except ValueError:
        return quoted[1:-1]


def split_pipe(path: str) -> tuple[str, str | None]:
    """Split at the first pipe outside brackets and strings; behind a multipath, only at one that follows at once."""
    if path.startswith("{"):
        end = _end_of_brackets(path, 0) or len(path)
        return (path[:end], path[end + 1 :]) if path[end : end + 1] == "|" else (path, None)
    at = next((at for at, depth in _outside_strings(path) if not depth and path[at] == "|"), None)
    return (path, None) if at is None else (path[:at], path[at + 1 :])


def parse_multipath(path: str) -> tuple[list[Member], str] | None:
    """The members of the `{...}` or `[...]` that a path begins with, and the rest of it, behind a dot or pipe."""
    end = _end_of_brackets(path, 0) if path[:1] in {"[", "{"} else None
    if end is None or path[end : end + 1] not in {"", ".", "|"}:
        return None
    inner = path[1 : end - 1]
    commas = [at for at, depth in _outside_strings(inner) if not depth and inner[at] == ","]
    texts = [
        inner[start:stop] for start, stop in zip([0, *(at + 1 for at in commas)], [*commas, len(inner)], strict=True)
    ]
    return [_member(text, named=path[0] == "{") for text in texts], path[end:]


def skip_multipath(path: str) -> str:
    """A path without the brackets that it begins with and that are no multipath: GJSON goes on behind them."""
    if len(path) < 2 or path[0] not in "[{":
        return path
    return path[_end_of_brackets(path, 0) or len(path) :]


def _member(text: str, *, named: bool) -> Member:
    colon = next((at for at, depth in _outside_strings(text) if not depth and text[at] == ":"), 0)
    if colon and re.search(r"[.|]@", text[:colon]):
        colon = 0  # It belongs to a modifier.
    name, path = (text[:colon], text[colon + 1 :]) if colon else ("", text)
    if not named:
        return Member("", path)
    if name.startswith('"') and is_json(name):
        return Member(name, path)
    if not name:
        last = re.split(r"(?<!\\)[.|]", path)[-1]
        name = "_" if _NOT_SIMPLE.search(last) else last
    return Member(quote(name), path)


def parse_literal(path: str) -> tuple[str, str]:
    """The JSON text of the `!value` at its beginning, and the rest. Raises `UnsupportedPath` if it is not JSON.

    As in GJSON, nothing can follow a number, and what follows a text is ignored.
    """
    text = path[1:]
    word = re.split(r"[.|]", text, maxsplit=1)[0]
    if word.lower() in _LITERAL_WORDS:
        return word, text[len(word) :]
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        end = 0
    if text[end:] and text[:1] in {"-", *string.digits}:
        raise UnsupportedPath(f"!{text} begins with a number, which must be the end of the path")
    if text[:1] not in {'"', "[", "{", "-", *string.digits} or not end:
        raise UnsupportedPath(f"the literal !{word} is not JSON; a text needs double quotes")
    return text[:end], text[end:] if text[0] in "[{" else ""


def parse_modifier(path: str, modifiers: Collection[str]) -> tuple[str, str, str] | None:
    """The name and the argument of the `@name:argument` that a path begins with, and the rest of it."""
    name = re.split(r"[.|:]", path[1:], maxsplit=1)[0]
    if name not in modifiers:
        return None
    rest = path[1 + len(name) :]
    if not rest.startswith(":"):
        return name, "", rest
    rest = rest[1:]
    if rest[:1] in {"{", "["}:
        end = _end_of_brackets(rest, 0) or len(rest)
    elif quoted := _STRING.match(rest):
        end = quoted.end()
    else:
        end = rest.find("|") if "|" in rest else len(rest)
    return name, rest[:end], rest[end:]


def is_json(text: str) -> bool:
    """Whether a text is JSON."""
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(word: str) -> None:
    raise ValueError(word)


def quote(text: str) -> str:
    """A text as a JSON string, with the escapes of GJSON."""
    quoted = json.dumps(text, ensure_ascii=False).replace("\\b", "\\u0008").replace("\\f", "\\u000c")
    return re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", quoted)


def _end_of_brackets(path: str, start: int) -> int | None:
    """The position behind the bracket that closes the one at `start`."""
    return next((at + 1 for at, depth in _outside_strings(path, start) if not depth and path[at] in _CLOSING), None)


def _outside_strings(path: str, start: int = 0) -> list[tuple[int, int]]:
    """The positions outside strings and escapes, with the depth of brackets around the character there."""
    found, depth, at = [], 0, start
    while at < len(path):
        if path[at] == '"' and (quoted := _STRING.match(path, at)):
            at = quoted.end()
            continue
        if path[at] in _CLOSING:
            depth -= 1
        found.append((at, depth))
        if path[at] in _OPENING:
            depth += 1
        at += 2 if path[at] == "\\" else 1
    return found
