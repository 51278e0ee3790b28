"""GJSON paths for `--transform`, evaluated by pygjson; results keep the spelling of the server.

Added to pygjson: the modifiers in `_MODIFIERS`, quoted names in `{"n":path}`, literals, and queries for `~null`. What
is not understood even so raises `UnsupportedPath`: no wrong result.
"""

import json
import re
from collections.abc import Callable, Iterator

import pygjson

from filestead.cli.client.formats import gjson_syntax
from filestead.cli.client.formats.gjson_syntax import Member, TildeQuery, UnsupportedPath
from filestead.cli.client.formats.json_text import Value, format_compact, format_indented, members, parse, unquote

__all__ = ["UnsupportedPath", "select"]

_QUOTED_NAME = re.compile(r'(?<=[{,])"([^"\\.|#@!*?\[\]{}(): ]+)":(?!\s*!)')


def select(text: str, path: str) -> str | None:
    """The JSON text at the path, spelled as in `text`; None if there is none. Raises `UnsupportedPath`."""
    found: str | None = text
    for step in _split_steps(path):
        if found is not None:
            found = _select_step(found, step)
    return found


def _select_step(text: str, step: str) -> str | None:
    name, _, argument = step.partition(":")
    if name in _MODIFIERS:
        return _MODIFIERS[name](text, argument)
    if step.startswith("!"):
        return gjson_syntax.literal(step)
    if query := gjson_syntax.tilde_query(step):
        return _filter(text, query)
    if (gjson_syntax.has_literal(step) or _OURS.search(step)) and (multipath := gjson_syntax.split_multipath(step)):
        found, rest = _combine(text, multipath[0], step[0]), multipath[1].removeprefix(".")
        return select(found, rest) if rest else found
    gjson_syntax.require_supported(step)
    found_by_library = _query(text, _QUOTED_NAME.sub(r"\1:", step))
    if found_by_library is None or "-0" in step:
        gjson_syntax.require_no_negative_index(step)
    return found_by_library


def _combine(text: str, paths: list[Member], bracket: str) -> str:
    """The result of a multipath; members that lead nowhere are left out."""
    found = [(member.name, value) for member in paths if (value := select(text, member.path)) is not None]
    if bracket == "[":
        return "[" + ",".join(value for _, value in found) + "]"
    return "{" + ",".join(f"{name}:{value}" for name, value in found) + "}"


def _filter(text: str, query: TildeQuery) -> str | None:
    """The items that a `~` query selects: all with `#` behind it, else the first."""
    array = select(text, query.list) if query.list else text
    value = parse(array) if array is not None else None
    if value is None or value.kind != "array":
        return None
    found = [item for item in map(format_compact, value.items) if _matches(item, query)]
    rest = query.rest
    if rest.startswith("#"):
        rest, result = rest[1:], "[" + ",".join(found) + "]"
        # What follows with a dot is looked up in each item.
        return select(result, f"#{rest}") if rest.startswith(".") else select(result, rest.removeprefix("|") or "@this")
    return select(found[0], rest[1:] or "@this") if found else None


def _matches(item: str, query: TildeQuery) -> bool:
    found = select(item, query.path) if query.path else item
    matches = found in {None, "null"} if query.kind == "null" else found is not None
    return matches is query.equal


def _query(text: str, path: str) -> str | None:
    try:
        result = pygjson.get(text, path)
    except ValueError:
        return None
    if not result.exists():
        return None
    if result.type_ is str:
        # pygjson unescapes a string, but not inside an array.
        array: str = pygjson.get(text, f"[{path}]").to_str()
        kept = parse(array)
        return kept.items[0].raw if kept and len(kept.items) == 1 else json.dumps(result.to_str(), ensure_ascii=False)
    if result.type_ is bool:
        return "true" if result.to_bool() else "false"
    found: str = result.to_str()
    return "null" if result.type_ is None else found


def _split_steps(path: str) -> list[str]:
    """Split the path at pipes, and before modifiers of ours, if it has something that pygjson does not know."""
    steps = gjson_syntax.split_outside(path, "|")
    if len(steps) == 1 and not _OURS.search(path):
        return [path]
    if any(step.startswith("!") or _OURS.search(step) for step in steps) or gjson_syntax.has_literal(path):
        return [part for step in steps for part in _split_at_modifier(step)]
    return [path]


def _split_at_modifier(step: str) -> Iterator[str]:
    """`nested.@keys` as two steps; behind `#` a modifier is applied to each item, which is left to pygjson."""
    pieces = gjson_syntax.split_outside(step, ".")
    for at, piece in enumerate(pieces[1:], 1):
        if piece.partition(":")[0] in _MODIFIERS and not pieces[at - 1].endswith("#"):
            yield ".".join(pieces[:at])
            yield ".".join(pieces[at:])
            return
    yield step


def _keys(text: str, _: str) -> str | None:
    value = parse(text)
    if value is None or value.kind not in {"object", "array"}:
        return "[]" if value else None
    return "[" + ",".join(key or "null" for key, _ in members(value)) + "]"


def _values(text: str, _: str) -> str | None:
    value = parse(text)
    if value is None or value.kind == "array":
        return text
    return "[" + ",".join(map(format_compact, value.items)) + "]"


def _group(text: str, _: str) -> str | None:
    """Convert an object of arrays to an array of objects."""
    value = parse(text)
    if value is None or value.kind != "object":
        return ""
    columns = [(key, item.items) for key, item in members(value) if item.kind == "array"]
    rows: list[Value] = []
    for at in range(max((len(items) for _, items in columns), default=0)):
        cells = [(key, items[at]) for key, items in columns if at < len(items)]
        rows.append(Value("object", keys=[key for key, _ in cells], items=[item for _, item in cells]))
    return format_compact(Value("array", items=rows))


def _from_string(text: str, _: str) -> str | None:
    value = parse(text)
    try:
        return json.dumps(json.loads(value.text)) and value.text if value else None
    except ValueError:
        return None


def _to_string(text: str, _: str) -> str | None:
    return json.dumps(text, ensure_ascii=False)


def _join(text: str, argument: str) -> str | None:
    """Merge an array of objects. Of members with the same name the last wins; `{"preserve":true}` keeps all."""
    value = parse(text)
    if value is None or value.kind != "array":
        return text
    found = [member for item in value.items if item.kind == "object" for member in members(item)]
    if not _option(argument, "preserve"):
        found = list(dict(found).items())
    return format_compact(Value("object", keys=[key for key, _ in found], items=[item for _, item in found]))


def _pretty(text: str, argument: str) -> str | None:
    """Reformat; `{"sortKeys":true}` sorts members by name."""
    value = parse(text)
    if value is None:
        return text
    return format_indented(_sorted(value) if _option(argument, "sortKeys") else value) + "\n"


def _sorted(value: Value) -> Value:
    pairs = [(key, _sorted(item)) for key, item in members(value)]
    if value.kind == "object":
        pairs.sort(key=lambda pair: pair[0])
    return Value(value.kind, value.raw, [key for key, _ in pairs] if value.keys else [], [item for _, item in pairs])


def _dig(text: str, argument: str) -> str | None:
    """What the path leads to from the value itself and from each value inside it."""
    found: list[str] = []
    pending = [parse(text)]
    while pending:
        value = pending.pop()
        if value is None:
            continue
        here = select(format_compact(value), argument)
        if here is not None:
            found.append(here)
        pending += reversed(value.items)
    return "[" + ",".join(found) + "]"


def _option(argument: str, name: str) -> bool:
    options = parse(argument)
    return options is not None and any(
        unquote(key) == name and item.kind == "true" for key, item in members(options) if key
    )


_MODIFIERS: dict[str, Callable[[str, str], str | None]] = {
    "@keys": _keys,
    "@values": _values,
    "@group": _group,
    "@fromstr": _from_string,
    "@tostr": _to_string,
    "@join": _join,
    "@pretty": _pretty,
    "@dig": _dig,
}
_OURS = re.compile("|".join(f"{name}(?![a-z])" for name in _MODIFIERS))
