"""Formats a JSON value as block YAML, like the official command line.

Names and strings are plain if YAML 1.1 and 1.2 both parse them as the same string, literal blocks if they have several
lines, and double-quoted otherwise. The emitter is PyYAML's; numbers keep the server's spelling.
"""

import io
import json
import re
from typing import Any

from yaml import events, nodes
from yaml.emitter import Emitter
from yaml.resolver import Resolver

from filestead.cli.client.formats.json_text import Value, members, unquote

_AMBIGUOUS = re.compile(r"[yYnN]|[-+]?(0[xob])?[0-9_]+|[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_UNICODE_LINE_BREAKS = re.compile("[\x85\u2028\u2029]")
MAX_KEY_LENGTH = 128
_STRING = "tag:yaml.org,2002:str"


def format_yaml(value: Value) -> str:
    """Format a document without markers, with a final newline. Raises `ValueError` for what is not JSON, or cut off."""
    if value.cut_off:
        raise ValueError("the JSON ends too early for YAML")
    out = io.StringIO()
    emitter = _Emitter(out, allow_unicode=True, width=1 << 30)
    emitter.emit(events.StreamStartEvent())
    emitter.emit(events.DocumentStartEvent(explicit=False))
    _emit(emitter, value)
    emitter.emit(events.DocumentEndEvent(explicit=False))
    emitter.emit(events.StreamEndEvent())
    return out.getvalue().removesuffix("...\n")


class _Emitter(Emitter):
    """Indents lists in mappings, escapes by code point, and never breaks the line in a quoted name."""

    ESCAPE_REPLACEMENTS = {'"': '"', "\\": "\\", "\n": "n", "\r": "r", "\t": "t"}  # type: ignore[misc]  # noqa: RUF012

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, indentless=False)

    def check_simple_key(self) -> bool:
        event = self.event
        quoted = isinstance(event, events.ScalarEvent) and event.style == '"' and len(event.value) < MAX_KEY_LENGTH
        return quoted or bool(super().check_simple_key())

    def determine_block_hints(self, text: str) -> str:
        return str(super().determine_block_hints(text.lstrip("\n")))


def _emit(emitter: _Emitter, value: Value) -> None:
    if value.kind == "object":
        emitter.emit(events.MappingStartEvent(None, None, implicit=True, flow_style=not value.items))
        for key, item in members(value):
            _emit_string(emitter, unquote(key))
            _emit(emitter, item)
        emitter.emit(events.MappingEndEvent())
    elif value.kind == "array":
        emitter.emit(events.SequenceStartEvent(None, None, implicit=True, flow_style=not value.items))
        for item in value.items:
            _emit(emitter, item)
        emitter.emit(events.SequenceEndEvent())
    elif value.kind == "string":
        _emit_string(emitter, value.text)
    else:
        json.loads(value.raw)
        emitter.emit(events.ScalarEvent(None, None, (True, False), value.raw))


def _emit_string(emitter: _Emitter, text: str) -> None:
    analysis = emitter.analyze_scalar(text)
    if "\n" in text and analysis.allow_block and text.strip("\n") and not _UNICODE_LINE_BREAKS.search(text):
        style = "|"
    elif analysis.allow_block_plain and not analysis.multiline and _is_plain_safe(text):
        style = None
    else:
        style = '"'
    emitter.emit(events.ScalarEvent(None, None, (True, True), text, style=style))


def _is_plain_safe(text: str) -> bool:
    if not text or _AMBIGUOUS.fullmatch(text):
        return False
    tag = _RESOLVER.resolve(nodes.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return bool(tag == _STRING)


_RESOLVER = Resolver()
