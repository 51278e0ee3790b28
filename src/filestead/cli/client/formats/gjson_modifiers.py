"""The modifiers of GJSON paths: each takes the text of a JSON value and an argument, and returns a text."""

import re
from collections.abc import Callable
from decimal import Decimal

from filestead.cli.client.formats.gjson_syntax import is_json, quote
from filestead.cli.client.formats.json_text import (
    MAX_LINE_BYTES,
    Layout,
    Value,
    entries,
    format_compact,
    format_indented,
    from_first_value,
    members,
    parse,
    unquote,
)

Select = Callable[[str, str], str | None]
"""`gjson.select`."""


def dig(select: Select, text: str, path: str) -> str:
    """What the path leads to from the value itself and from each value inside it."""
    found: list[str] = []
    pending = [from_first_value(text)]
    while pending:
        value = pending.pop()
        here = select(value, path)
        if here is not None:
            found.append(here)
        if value[:1] in {"{", "["}:
            pending += [item for _, item in entries(value)][::-1]
    return f"[{','.join(found)}]"


def _this(text: str, _: str) -> str:
    return text


def _valid(text: str, _: str) -> str:
    return text if is_json(text) else ""


def _ugly(text: str, _: str) -> str:
    value = parse(text)
    return format_compact(value) if value else ""


def _pretty(text: str, argument: str) -> str:
    """Reformat; `sortKeys` sorts members by name, `indent` and `prefix` are white space, `width` limits arrays."""
    value = parse(text)
    if value is None:
        return ""
    options = {"sortKeys": "false", "indent": "  ", "prefix": "", "width": f"{MAX_LINE_BYTES}"} | _options(argument)
    indent, prefix = (re.sub(r"[^ \t\r\n]", "", options[name]) for name in ("indent", "prefix"))
    width = int(options["width"]) if re.fullmatch(r"[0-9]{1,9}", options["width"]) else 0
    value = _sorted(value) if options["sortKeys"] == "true" else value
    layout = Layout(indent, prefix, width)
    return prefix + format_indented(value, column=len(prefix), layout=layout) + "\n"


def _sorted(value: Value) -> Value:
    pairs = [(key, _sorted(item)) for key, item in members(value)]
    if value.kind == "object":
        pairs.sort(key=lambda pair: pair[0])
    return Value(value.kind, value.raw, [key for key, _ in pairs] if value.keys else [], [item for _, item in pairs])


def _reverse(text: str, _: str) -> str:
    value = from_first_value(text)
    if value[:1] not in {"{", "["}:
        return text
    items = [f"{key}:{item}" if key else item for key, item in entries(value)]
    return _join_items(value, items[::-1])


def _flatten(text: str, argument: str) -> str:
    """Put the items of arrays inside an array in their place; `{"deep":true}` also inside of those."""
    value = from_first_value(text)
    if not value.startswith("["):
        return text
    items: list[str] = []
    for _, item in entries(value):
        nested = _flatten(item, argument) if _option(argument, "deep") else item
        flat = _inside(nested) if item.startswith("[") else item
        items += [flat] if flat else []
    return _join_items(value, items)


def _keys(text: str, _: str) -> str:
    value = from_first_value(text)
    if value[:1] in {"{", "["}:
        return f"[{','.join(key or 'null' for key, _ in entries(value))}]"
    return "[null]" if value else "[]"


def _values(text: str, _: str) -> str:
    value = from_first_value(text)
    if value.startswith("["):
        return text
    return f"[{','.join(item for _, item in entries(value)) if value.startswith('{') else value}]"


def _join(text: str, argument: str) -> str:
    """Merge an array of objects. Of members with the same name the last wins; `{"preserve":true}` keeps all."""
    value = from_first_value(text)
    if not value.startswith("["):
        return text
    objects = [item for _, item in entries(value) if item.startswith("{")]
    if _option(argument, "preserve"):
        return "{" + ",".join(map(_inside, objects)) + "}"
    merged: dict[str, tuple[str, str]] = {}
    for key, item in (pair for found in objects for pair in entries(found)):
        first, _ = merged.setdefault(unquote(key), (key, item))
        merged[unquote(key)] = first, item
    return "{" + ",".join(f"{key}:{item}" for key, item in merged.values()) + "}"


def _to_string(text: str, _: str) -> str:
    return quote(text)


def _from_string(text: str, _: str) -> str:
    value = from_first_value(text)
    if not value or not is_json(text):
        return ""
    if value.startswith('"'):
        return unquote(value)
    if re.fullmatch(r"-?[0-9]+", value) or value[0] not in "-0123456789":
        return "" if value == "null" else value
    return f"{Decimal(repr(float(value))):f}".removesuffix(".0")


def _group(text: str, _: str) -> str:
    """Convert an object of arrays to an array of objects."""
    value = from_first_value(text)
    if not value.startswith("{"):
        return ""
    columns = [(key, [cell for _, cell in entries(item)]) for key, item in entries(value) if item.startswith("[")]
    rows = [
        ",".join(f"{key}:{cells[row]}" for key, cells in columns if row < len(cells))
        for row in range(max((len(cells) for _, cells in columns), default=0))
    ]
    return "[" + ",".join(f"{{{row}}}" for row in rows) + "]"


def _join_items(container: str, items: list[str]) -> str:
    return container[0] + ",".join(items) + ("}" if container[0] == "{" else "]")


def _inside(container: str) -> str:
    """The text between the brackets, spelled as it is."""
    return container.strip()[1:-1].strip()


def _option(argument: str, name: str) -> bool:
    return _options(argument).get(name) == "true"


def _options(argument: str) -> dict[str, str]:
    """The options of an argument: texts without quotes, and other values as they are spelled."""
    argument = from_first_value(argument)
    pairs = entries(argument) if argument.startswith("{") else ()
    return {unquote(key): unquote(value) if value.startswith('"') else value for key, value in pairs}


MODIFIERS: dict[str, Callable[[str, str], str]] = {
    "this": _this,
    "valid": _valid,
    "ugly": _ugly,
    "pretty": _pretty,
    "reverse": _reverse,
    "flatten": _flatten,
    "keys": _keys,
    "values": _values,
    "join": _join,
    "tostr": _to_string,
    "fromstr": _from_string,
    "group": _group,
}
