"""GJSON paths for `--transform`, evaluated over the text of a document: results keep the spelling of the server.

The rules are those of the implementation in the official client. A path that asks for what GJSON does not have raises
`UnsupportedPath` where that client would ignore it: no wrong result.
"""

import itertools
import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from filestead.cli.client.formats.gjson_modifiers import MODIFIERS, dig
from filestead.cli.client.formats.gjson_syntax import (
    Query,
    Step,
    UnsupportedPath,
    first_item_step,
    first_step,
    parse_literal,
    parse_modifier,
    parse_multipath,
    parse_query,
    skip_multipath,
    split_at_separator,
    split_pipe,
    wildcard,
)
from filestead.cli.client.formats.json_text import entries, from_first_value, sequence, unquote

__all__ = ["UnsupportedPath", "select"]

_Found = tuple[str | None, str | None]
"""The text of a value, and the path that is applied to it, behind a pipe."""
_MODIFIER_NAMES = frozenset({*MODIFIERS, "dig"})
_first_step = partial(first_step, modifiers=_MODIFIER_NAMES)
_first_item_step = partial(first_item_step, modifiers=_MODIFIER_NAMES)
_OPPOSITE = {"true": "false", "false": "true"}
_TRUE_WORDS, _FALSE_WORDS = frozenset({"1", "t", "true"}), frozenset({"0", "f", "false"})


def select(text: str, path: str) -> str | None:
    """The JSON text at the path, spelled as in `text`; None if there is none. Raises `UnsupportedPath`."""
    if special := _special(text, path):
        value, rest = special
        return select(value, rest[1:]) if rest[:1] in {".", "|"} else from_first_value(value) or None
    path = skip_multipath(path)
    if path.startswith(".."):
        found, pipe = _find_item(sequence(text), path[2:])
    else:
        found, pipe = _find(from_first_value(text), path)
    return found if pipe is None else select(found or "", pipe)


def _special(text: str, path: str) -> tuple[str, str] | None:
    """The result of the modifier, literal or multipath that a path begins with, and the rest of the path."""
    if len(path) < 2:
        return None
    if path[0] == "!":
        return parse_literal(path)
    if path[0] == "@" and (modifier := parse_modifier(path, _MODIFIER_NAMES)):
        name, argument, rest = modifier
        return (dig(select, text, argument) if name == "dig" else MODIFIERS[name](text, argument)), rest
    if multipath := parse_multipath(path):
        found = [(member.name, value) for member in multipath[0] if (value := select(text, member.path)) is not None]
        if path[0] == "[":
            return "[" + ",".join(value for _, value in found) + "]", multipath[1]
        return "{" + ",".join(f"{name}:{value}" for name, value in found) + "}", multipath[1]
    return None


def _find(text: str, path: str) -> _Found:
    if text.startswith("{"):
        return _find_member(text, _first_step(path))
    if text.startswith("["):
        return _find_item((item for _, item in entries(text)), path)
    return None, None


def _find_member(text: str, step: Step) -> _Found:
    """The first member of that name that leads to a value."""
    pattern = wildcard(step.name) if step.pattern else None
    pipe = step.pipe
    for key, value in entries(text):
        name = unquote(key)
        if not (pattern.fullmatch(name) if pattern else name == step.name):
            continue
        if step.rest is None or step.piped:
            return value, pipe
        found, inner_pipe = _find(value, step.rest)
        if found is not None:
            return found, inner_pipe
        pipe = pipe if inner_pipe is None else inner_pipe
    return None, pipe


def _find_item(items: Iterable[str], path: str) -> _Found:
    if path.startswith("#."):
        path, pipe = split_pipe(path[2:])
        found = [value for item in items if (value := select(item, path)) is not None]
        return "[" + ",".join(found) + "]", pipe
    if path.startswith(("#(", "#[")):
        return _find_by_query(items, path)
    step = _first_item_step(path)
    if step.name == "#":
        return str(sum(1 for _ in items)), step.pipe
    if re.fullmatch(r"-\d+", step.name):
        raise UnsupportedPath(f"the index {step.name} is negative; use @reverse and count from the other end")
    if not re.fullmatch(r"[0-9]+", step.name):
        return None, step.pipe
    item = next((item for number, item in enumerate(items) if number == int(step.name)), None)
    if item is None or step.rest is None or step.piped:
        return item, step.pipe
    return _find(item, step.rest)


def _find_by_query(items: Iterable[str], path: str) -> _Found:
    """The first item that a query selects, or all; behind a dot stands a path inside of each.

    As in GJSON, what follows such a path behind a pipe is not reached if no item is selected, and a query that is not
    closed selects the first scalar.
    """
    query = parse_query(path)
    if query is None:
        return next((item for item in items if item[0] not in "[{"), None), None
    separator, rest = split_at_separator(path[query.end :])[1:]
    inside, pipe = split_pipe(rest) if separator == "." else (None, rest if separator else None)
    selected = (item for item in items if _is_selected(item, query))
    first = next(selected, None)
    if first is None:
        return "[]" if query.every else None, pipe if inside is None else None
    found = (item if inside is None else select(item, inside) for item in itertools.chain([first], selected))
    if not query.every:
        return next(found), pipe
    return "[" + ",".join(value for value in found if value is not None) + "]", pipe


def _is_selected(item: str, query: Query) -> bool:
    if item[0] not in "[{" and query.path:
        return False
    value = select(item, query.path) if item[0] in "[{" else item
    wanted = query.value
    if wanted.startswith("~"):
        value, wanted = _is_like(value, wanted[1:]), "true"
    if value is None:
        return False
    return _compare(value, query.operator, wanted) if query.operator else True


def _is_like(value: str | None, kind: str) -> str | None:
    """Whether a value is like `true`, `false`, `null`, or exists (`*`), as JSON."""
    scalar = "null" if value is None else unquote(value).lower() if value.startswith('"') else value
    number = _number(scalar) if value is not None and _is_number(value) else None
    is_text = value is not None and value.startswith('"')
    likes = {
        "*": value is not None,
        "null": not is_text and scalar.startswith("n"),
        "true": scalar in _TRUE_WORDS if is_text else scalar == "true" or bool(number),
        "false": scalar in _FALSE_WORDS if is_text else scalar in {"false", "null"} or number == 0,
    }
    return None if kind not in likes else "true" if likes[kind] else "false"


def _compare(value: str, operator: str, wanted: str) -> bool:
    """Compare a value with the text of a query. Objects, arrays and null are not compared."""
    if value.startswith('"'):
        text = unquote(value)
        if operator in {"%", "!%"}:
            return bool(wildcard(wanted).fullmatch(text)) is (operator == "%")
        return _ordered(text, operator, wanted)
    if value in {"true", "false"}:
        beyond = operator == "<" if value == "false" else operator == ">"
        if operator in {"=", "!="}:
            return (value == wanted) is (operator == "=")
        return operator == (">=" if value == "true" else "<=") or (beyond and wanted == _OPPOSITE[value])
    return _is_number(value) and _ordered(_number(value), operator, _number(wanted))


def _ordered(left: Any, operator: str, right: Any) -> bool:
    results = {
        "=": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }
    return bool(results.get(operator, False))


def _is_number(value: str) -> bool:
    return value[0] in "+-0123456789"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
