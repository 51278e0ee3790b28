"""Formats a JSON value as block YAML, like the official command line.

Names and strings are plain if YAML 1.1 and 1.2 both parse them as the same string, literal blocks if they have several
lines, and double-quoted otherwise; numbers keep the server's spelling. The emitter of PyYAML quotes other strings.
"""

import json
import re

from filestead.cli.client.formats.json_text import Value, members, unquote

_UNPRINTABLE = "\x7f-\x9f\u2028\u2029\ufeff\ufdd0-\ufdef\ufffe\uffff"
_NOT_IN_BLOCK = re.compile(rf"\n*(?:[ \t]|\Z)|.*?[\x00-\x08\x0b-\x1f{_UNPRINTABLE}]", re.DOTALL)
_NUMBER = (
    r"[-+]?(?:0(?:b[01_]+|o[0-7_]+|x[0-9a-f_]+)|\.inf"
    r"|(?:[0-9][0-9_]*(?::[0-5]?[0-9])*(?:\.[0-9_]*)?|\.[0-9_]+)(?:e[-+]?[0-9]+)?)"
)
_TIME = r"(?:t|\s+)[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(?:\.[0-9]*)?(?:\s*(?:z|[-+][0-9]{1,2}(?::[0-9]{1,2})?))?"
_NOT_A_STRING = re.compile(
    rf"|=|<<|~|null|true|false|y|yes|n|no|on|off|{_NUMBER}|\.nan|[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}(?:{_TIME})?",
    re.IGNORECASE | re.ASCII,
)
_NOT_PLAIN = re.compile(
    r"[,\[\]{}#&*!|>'\"%@`\s]|(?:-|---|\.\.\.|\?)(?:[ \t]|\Z)"
    rf"|.*?(?::(?:[ \t]|\Z)|[ \t](?:#|\Z)|[\x00-\x1f{_UNPRINTABLE}])",
    re.DOTALL | re.ASCII,
)
_ESCAPED = re.compile(rf"[\x00-\x1f\"\\{_UNPRINTABLE}]")
_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def format_yaml(value: Value) -> str:
    """Format a document without markers, with a final newline. Raises `ValueError` for what is not JSON, or cut off."""
    if value.cut_off:
        raise ValueError("the JSON ends too early for YAML")
    first, *rest = _lines(value)
    return "\n".join([first, *(rest if value.items else _indented(rest))]) + "\n"


def _lines(value: Value) -> list[str]:
    """The lines of a value; the first follows what introduces it."""
    if not value.items:
        return _scalar_lines(value)
    lines = []
    for key, item in members(value):
        first, *rest = _lines(item)
        if not key:
            lines += [f"- {first}", *_indented(rest)]
            continue
        *before, name = _key_lines(unquote(key))
        # The members of an object stand below its name, those of an object in a list behind the dash.
        lines += [
            *before,
            *([f"{name}:", *_indented([first, *rest])] if item.items else [f"{name}: {first}", *_indented(rest)]),
        ]
    return lines


def _key_lines(name: str) -> list[str]:
    header, *rest = _string_lines(name)
    return [f"? {header}", *_indented(rest), ""] if rest else [header]


def _scalar_lines(value: Value) -> list[str]:
    """The lines of a scalar, or of an empty object or array."""
    if value.kind == "string":
        return _string_lines(value.text)
    if value.kind in {"object", "array"}:
        return ["{}" if value.kind == "object" else "[]"]
    try:
        json.loads(value.raw)
    except ValueError:
        raise ValueError(f"the response is not JSON from {value.raw[:20]!r} on") from None
    return [value.raw]


def _string_lines(text: str) -> list[str]:
    """A string, or the header and the lines of a literal block."""
    if "\n" in text and not _NOT_IN_BLOCK.match(text):
        header = "|+" if text.endswith("\n\n") else "|" if text.endswith("\n") else "|-"
        return [header, *text.removesuffix("\n").split("\n")]
    if "\n" in text or _NOT_A_STRING.fullmatch(text) or _NOT_PLAIN.match(text):
        return [f'"{_ESCAPED.sub(_escape, text)}"']
    return [text]


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return _SHORT_ESCAPES.get(match[0]) or (f"\\x{code:02X}" if code < 256 else f"\\u{code:04X}")


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" if line else "" for line in lines]
