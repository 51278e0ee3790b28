"""GJSON paths for `--transform`, evaluated by pygjson; results keep the spelling of the server.

Added to pygjson: the modifiers in `_MODIFIERS` as steps of a pipe, and quoted names in `{"n":path}`.
"""

import json
import re
from collections.abc import Callable

import pygjson

from filestead.cli.client.formats.json_text import Value, format_compact, format_indented, members, parse, unquote

_QUOTED_NAME = re.compile(r'(?<=[{,])"([^"\\.|#@!*?\[\]{}(): ]+)":(?!\s*!)')


def select(text: str, path: str) -> str | None:
    """The JSON text at the path, spelled as in `text`; None if there is none."""
    found: str | None = text
    for step in _split_pipe(path):
        if found is not None:
            name, _, argument = step.partition(":")
            modifier = _MODIFIERS.get(name)
            found = modifier(found, argument) if modifier else _query(found, _QUOTED_NAME.sub(r"\1:", step))
    return found


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


def _split_pipe(path: str) -> list[str]:
    """Split the path at the pipes outside brackets and strings, if it contains one of our modifiers."""
    steps, depth, start, quoted = [], 0, 0, False
    for at, character in enumerate(path):
        if character == '"' and path[at - 1 : at] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (character in "{[(") - (character in "}])")
            if character == "|" and not depth and path[at - 1 : at] != "\\":
                steps.append(path[start:at])
                start = at + 1
    steps.append(path[start:])
    return steps if any(step.partition(":")[0] in _MODIFIERS for step in steps) else [path]


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
}
