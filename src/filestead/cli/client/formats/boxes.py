"""The `pretty` format: a titled box around the members of a value, truncated to the width of the terminal."""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from filestead.cli.client.formats.json_text import Value, members, unquote

_TITLE, _FRAME, _NAME, _STRING, _SCALAR, _INDEX = "1", "38;5;63", "38;5;75", "38;5;113", "38;5;215", "38;5;242"
_FRAME_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class _Segment:
    """Text in one style, given as the parameters of an SGR sequence."""

    text: str
    style: str | None = None


def draw_box(value: Value | None, title: str, *, columns: int, colours: bool) -> str:
    """Draw the value in a box of at most `columns`, unless its names alone are wider."""
    width = columns - _FRAME_COLUMNS
    lines = list(_lines(value, 0, width)) if value is not None else [[_Segment("Invalid JSON")]]
    inner = max(sum(_display_width(piece.text) for piece in line) for line in lines)

    def styled(text: str, style: str | None) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if colours and style else text

    edge = styled("│", _FRAME)
    rows = [f"  {styled(title, _TITLE)}", styled("╭" + "─" * (inner + 2) + "╮", _FRAME)]
    for line in lines:
        padding = " " * (inner - sum(_display_width(piece.text) for piece in line))
        rows.append(f"{edge} {''.join(styled(piece.text, piece.style) for piece in line)}{padding} {edge}")
    rows.append(styled("╰" + "─" * (inner + 2) + "╯", _FRAME))
    return "\n".join(rows) + "\n"


def use_colours(*, terminal: bool) -> bool:
    """Whether to use colours: on a terminal, unless NO_COLOR is set or TERM is dumb."""
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _lines(value: Value, depth: int, width: int) -> Iterator[list[_Segment]]:
    indent = "  " * depth
    if value.kind not in {"object", "array"} or not value.items:
        yield [*([_Segment(indent)] if indent else []), _scalar_segment(value, width - len(indent))]
        return
    last = f"{len(value.items)}."
    for number, (key, item) in enumerate(members(value), 1):
        name = _escape_unprintable(unquote(key)) + ":" if key else f"{number}."
        lead = [*([_Segment(indent)] if indent else []), _Segment(name, _NAME if key else _INDEX)]
        if item.items:
            yield lead
            yield from _lines(item, depth + 1, width)
        elif item.kind == "object" and not key:
            yield [*lead, _Segment("(empty)")]
        else:
            gap = " " if key else " " * (len(last) - len(name) + 1)
            used = len(indent) + _display_width(name) + len(gap)
            yield [*lead, _Segment(gap), _scalar_segment(item, width - used)]


def _scalar_segment(value: Value, width: int) -> _Segment:
    if value.kind == "string":
        return _Segment(_truncate(_escape_unprintable(value.text), width), _STRING)
    if value.kind in {"object", "array"}:
        return _Segment("(empty)" if value.kind == "object" else "(none)", _INDEX)
    word = {"true": "yes", "false": "no"}.get(value.kind, value.raw)
    return _Segment(_truncate(word, width), _SCALAR)


def _escape_unprintable(text: str) -> str:
    """Escape line breaks and unprintable characters."""
    return "".join(
        character if character.isprintable() or character == " " else _escape(character) for character in text
    )


def _escape(character: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character, f"\\u{ord(character):04x}")


def _truncate(text: str, width: int) -> str:
    if _display_width(text) <= width:
        return text
    truncated, used = "", 0
    for character in text:
        used += _display_width(character)
        if truncated and used > width - 1:
            break
        truncated += character
    return truncated + "…"


def _display_width(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
