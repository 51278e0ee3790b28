"""The syntax of GJSON paths, as far as pygjson does not know it: steps, multipaths, literals and `~` queries."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL = re.compile(r"[\[{,:]!(?!=)")
_TILDE = re.compile(r"~(?!(?:true|false)\s*\))")
_TILDE_QUERY = re.compile(
    r"(?P<list>.*?)[.|]?#\((?P<path>[^()=!<>%~]*)(?P<operator>==|!=)~(?P<kind>null|\*)\)(?P<rest>.*)"
)
_NEGATIVE_INDEX = re.compile(r"(?:^|[.|])(-\d+)(?=$|[.|])")
_SIMPLE_NAME = re.compile(r'[^\[\]{}()"#@!*?]+')


class UnsupportedPath(ValueError):
    """A path with a construct that cannot be evaluated; the message names it."""


class Member(NamedTuple):
    """A member of a multipath: the JSON text of its name (empty in an array), and its path."""

    name: str
    path: str


class TildeQuery(NamedTuple):
    """`list.#(path==~null)#rest`: which items of a list are null or missing (`null`), or exist (`*`)."""

    list: str
    path: str
    equal: bool
    kind: str
    rest: str


def split_outside(path: str, separators: str) -> list[str]:
    """Split at the separators outside brackets and strings; a backslash escapes."""
    pieces, start = [], 0
    for at, depth in _scan(path):
        if path[at] in separators and not depth:
            pieces.append(path[start:at])
            start = at + 1
    return [*pieces, path[start:]]


def _scan(path: str) -> Iterator[tuple[int, int]]:
    """The positions outside strings and escapes, with the depth of brackets behind the character there."""
    depth = at = 0
    while at < len(path):
        if path[at] == '"' and (string := _STRING.match(path, at)):
            at = string.end()
            continue
        depth += (path[at] in "{[(") - (path[at] in "}])")
        yield at, depth
        at += 2 if path[at] == "\\" else 1


def literal(step: str) -> str:
    """The JSON text of `!value`. Raises `UnsupportedPath` if it is not JSON."""
    try:
        json.loads(step[1:])
    except ValueError:
        raise UnsupportedPath(f"the literal {step} is not JSON; a text needs double quotes") from None
    return step[1:]


def split_multipath(step: str) -> tuple[list[Member], str] | None:
    """The members of `{...}` or `[...]` and the path behind it; None if the step does not begin with one."""
    if step[:1] not in {"{", "["}:
        return None
    end = next((at for at, depth in _scan(step) if not depth), None)
    if end is None:
        return None
    members = [_member(text, named=step[0] == "{") for text in split_outside(step[1:end], ",") if text]
    return members, step[end + 1 :]


def tilde_query(step: str) -> TildeQuery | None:
    """The first query for `~null` or `~*`; None if there is none, or if it is inside brackets."""
    found = _TILDE_QUERY.fullmatch(step)
    if found is None or found["list"].count("(") != found["list"].count(")") or set(found["list"]) & set("{["):
        return None
    return TildeQuery(found["list"], found["path"], found["operator"] == "==", found["kind"], found["rest"])


def has_literal(step: str) -> bool:
    """Whether a multipath in the step has a member like `!true`."""
    return bool(_LITERAL.search(_STRING.sub('""', step)))


def require_supported(step: str) -> None:
    """Raise `UnsupportedPath` for what pygjson would ignore, so that the result would be wrong."""
    plain = _STRING.sub('""', step)
    if _LITERAL.search(plain):
        raise UnsupportedPath(f"literals are understood only in a multipath of their own, not in {step}")
    if "#(" in plain and (found := _TILDE.search(plain)):
        raise UnsupportedPath(f"the query {plain[found.start() :].rstrip('#)')} is not understood here, in {step}")


def require_no_negative_index(step: str) -> None:
    """Raise `UnsupportedPath` for an index that counts from the end, which GJSON does not have."""
    if found := _NEGATIVE_INDEX.search(_STRING.sub('""', step)):
        raise UnsupportedPath(f"the index {found[1]} is negative; use @reverse and count from the other end")


def _member(text: str, *, named: bool) -> Member:
    if not named:
        return Member("", text)
    quoted = _STRING.match(text)
    if quoted and text[quoted.end() : quoted.end() + 1] == ":":
        return Member(quoted[0], text[quoted.end() + 1 :])
    name, colon, path = text.partition(":")
    if colon and _SIMPLE_NAME.fullmatch(name):
        return Member(json.dumps(name, ensure_ascii=False), path)
    last = re.split(r"(?<!\\)[.|]", text)[-1]
    return Member(json.dumps(last if _SIMPLE_NAME.fullmatch(last) else "_", ensure_ascii=False), text)
