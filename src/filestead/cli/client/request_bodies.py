"""Bodies and parameters of requests: members as JSON or as a form, and `@path` references replaced by files."""

import json
import math
import re
from collections.abc import Callable, Collection
from typing import Any

from filestead.cli.client.file_parts import file_part
from filestead.cli.client.grammar.scalars import format_json_float, format_scalar
from filestead.cli.client.grammar.values import STDIN_PATHS, expand_file_reference, referenced_path
from filestead.cli.errors import CommandError
from filestead.client._upload.multipart import FilePart, Form, TextField

_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
_SURROGATES = re.compile("[\ud800-\udfff]")


def query_parameter(value: Any) -> str:
    """A value as a query parameter."""
    return expand_file_reference(value) if isinstance(value, str) else format_scalar(value)


def json_body(members: dict[str, Any]) -> bytes:
    """Members as JSON, with `@path` references replaced. Raises `CommandError`."""
    try:
        return json_text(_json_value(members)).encode()
    except ValueError:
        raise CommandError("JSON has no infinite numbers and no NaN; use a finite number") from None


def json_text(value: Any) -> str:
    """A value as JSON, spelled as Go does: sorted, without spaces, `<`, `>` and `&` escaped. Raises `ValueError`."""
    return _json_text(value).translate(_ESCAPED)


def _json_text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json_text(name)}:{_json_text(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json_text, value)) + "]"
    if isinstance(value, float) and math.isfinite(value):
        return format_json_float(value)
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {_replace_surrogates(name): _json_value(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    if isinstance(value, str):
        return _replace_surrogates(expand_file_reference(value))
    return value


def _replace_surrogates(text: str) -> str:
    """Replace what is not UTF-8 in an argument or a file, as Go does."""
    return _SURROGATES.sub("\ufffd", text)


def stdin_uses(members: dict[str, Any], files: Collection[str]) -> int:
    """How often members refer to standard input: by `@-`, or as one of the members `files`, which are paths."""
    return sum(_stdin_uses(value, is_path=name in files) for name, value in members.items())


def _stdin_uses(value: Any, *, is_path: bool) -> int:
    if isinstance(value, dict):
        return sum(_stdin_uses(item, is_path=False) for item in value.values())
    if isinstance(value, list):
        return sum(_stdin_uses(item, is_path=is_path and not isinstance(item, list)) for item in value)
    if not isinstance(value, str):
        return 0
    return (value if is_path else str(referenced_path(value))) in STDIN_PATHS


OpenPart = Callable[[str, str], FilePart]
"""Opens the file for a field: called with the name of the field and the path."""


def form_body(members: dict[str, Any], files: Collection[str], open_part: OpenPart = file_part) -> Form:
    """Members as a form, sorted by name. Texts in the members `files` are paths. Raises `OSError`, `CommandError`."""
    fields: list[TextField | FilePart] = []
    for name in sorted(members):
        fields += _form_fields(name, members[name], open_part if name in files else None)
    return tuple(fields)


def _form_fields(name: str, value: Any, open_part: OpenPart | None = None) -> Form:
    """A member as form fields: `name[member]` and `name[]`; empty mappings and lists are not sent."""
    if isinstance(value, dict):
        return tuple(field for key in sorted(value) for field in _form_fields(f"{name}[{key}]", value[key]))
    if isinstance(value, list):
        items = [(item, None if isinstance(item, list) else open_part) for item in value]
        return tuple(field for item, opener in items for field in _form_fields(f"{name}[]", item, opener))
    if isinstance(value, str) and value and open_part:
        return (open_part(name, value),)
    if isinstance(value, str) and not open_part and (path := referenced_path(value)):
        return (file_part(name, str(path)),)
    return (TextField(name, query_parameter(value)),)
