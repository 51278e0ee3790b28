"""The `pretty` format: a titled box around the members of a value, truncated to the width of the terminal."""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

from filestead.cli.client.formats.json_text import Value, members, unquote
from filestead.cli.terminal.escaping import escape_line

_TITLE, _FRAME, _NAME, _INDEX = "1", "38;5;63", "38;5;75", "38;5;242"
_STRING, _NUMBER, _BOOLEAN, _NULL = "38;5;113", "38;5;215", "38;5;207", "3;38;5;245"
_FRAME_COLUMNS = 4
_SHORT_ESCAPES = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_JOINER, _EMOJI_STYLE = "\u200d", "\ufe0f"
_SKIN_TONES = ("\U0001f3fb", "\U0001f3ff")
_REGIONAL_INDICATORS = ("\U0001f1e6", "\U0001f1ff")


@dataclass(frozen=True, slots=True)
class _Segment:
    """Text in one style, given as the parameters of an SGR sequence."""

    text: str
    style: str | None = None


def draw_box(value: Value | None, title: str, *, columns: int, colours: bool, terminal: bool = False) -> str:
    """Draw the value in a box. Only texts are cut to `columns`; names and numbers may make it wider.

    For a `terminal`, characters that could reorder the text are escaped, too.
    """
    width = columns - _FRAME_COLUMNS
    lines = list(_lines(value, 0, width)) if value is not None else [[_Segment("Invalid JSON", _NULL)]]
    if terminal:
        lines = [[replace(piece, text=escape_line(piece.text)) for piece in line] for line in lines]
    inner = max(sum(display_width(piece.text) for piece in line) for line in lines)

    def styled(text: str, style: str | None) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if colours and style else text

    edge = styled("│", _FRAME)
    rows = [f"  {styled(title, _TITLE)}", styled("╭" + "─" * (inner + 2) + "╮", _FRAME)]
    for line in lines:
        padding = " " * (inner - sum(display_width(piece.text) for piece in line))
        rows.append(f"{edge} {''.join(styled(piece.text, piece.style) for piece in line)}{padding} {edge}")
    rows.append(styled("╰" + "─" * (inner + 2) + "╯", _FRAME))
    return "\n".join(rows) + "\n"


def use_colours(*, terminal: bool) -> bool:
    """Whether to use colours: on a terminal, unless NO_COLOR is set or TERM is dumb."""
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _lines(value: Value, depth: int, width: int) -> Iterator[list[_Segment]]:
    if not value.items:
        yield [_inline(value, width)]
        return
    indent = [_Segment("  " * depth)] if depth else []
    last = f"{len(value.items)}."
    for number, (key, item) in enumerate(members(value), 1):
        name = _escape_controls(unquote(key)) + ":" if key else f"{number}."
        lead = [*indent, _Segment(name, _NAME if key else _INDEX)]
        if item.items:
            yield lead
            yield from _lines(item, depth + 1, width)
        elif item.kind in {"object", "array"}:
            yield [*lead, _inline(item, width)]
        else:
            gap = " " if key else " " * (len(last) - len(name) + 1)
            used = 2 * depth + display_width(name) + len(gap)
            yield [*lead, _Segment(gap), _inline(item, width - used)]


def _inline(value: Value, width: int) -> _Segment:
    """A scalar or an empty value, on one line."""
    if value.kind == "object" or (value.kind == "string" and not value.text):
        return _Segment("(empty)", _NULL)
    if value.kind == "array":
        return _Segment(" (none)", _NULL)
    if value.kind == "string":
        return _Segment(_truncate(_escape_controls(value.text), width), _STRING)
    if value.kind in {"true", "false"}:
        return _Segment("yes" if value.kind == "true" else "no", _BOOLEAN)
    return _Segment(value.raw, _NULL if value.kind == "null" else _NUMBER)


def _escape_controls(text: str) -> str:
    """Escape control characters, as JSON does."""
    return "".join(
        _SHORT_ESCAPES.get(character, f"\\u{ord(character):04x}")
        if unicodedata.category(character) == "Cc"
        else character
        for character in text
    )


def _truncate(text: str, width: int) -> str:
    """Cut a text to the width; where a name has left no room, it is only marked, as by the official client."""
    if display_width(text) <= width:
        return text
    if width < 1:
        return text + "…"
    used = 0
    for at, character in enumerate(text):
        used += _character_width(character)
        if used > width - 1:
            return text[:at] + "…"
    return text + "…"


def display_width(text: str) -> int:
    """The columns of a text on a terminal: joined emoji, flags and combining characters take those of one character."""
    if text.isascii():
        return len(text)
    columns = last = 0
    joined = half_flag = False
    for character in text:
        flag = _REGIONAL_INDICATORS[0] <= character <= _REGIONAL_INDICATORS[1]
        if character == _EMOJI_STYLE and last == 1:
            columns, last = columns + 1, 2  # The character before it is drawn as an emoji.
        elif joined or (flag and half_flag) or (last == 2 and _SKIN_TONES[0] <= character <= _SKIN_TONES[1]):
            pass
        elif width := 2 if flag else _character_width(character):
            columns, last = columns + width, width
        half_flag = flag and not half_flag
        joined = character == _JOINER and last == 2
    return columns


def _character_width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf", "Zl", "Zp"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
