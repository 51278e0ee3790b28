r"""Escaping of control characters in text that is written to a terminal.

A server controls text on the user's screen: JSON members, headers, status reasons, file names. A control character in
it could move the cursor, overwrite lines or set the clipboard; a bidirectional control could reorder the text. All of
them are written as `\u001b` or `\u202e`, as in JSON. Only the colours that this program adds are kept (`ColouredText`).

A pipe or a file receives every byte unchanged: nothing in this module is applied to it.
"""

import re
import sys
from typing import Any, TextIO

# C0 and DEL except tab and newline, C1, line and paragraph separators, bidirectional marks, embeddings, overrides and
# isolates, and bytes that are not UTF-8 (surrogates of `surrogateescape`): 0x9b starts a sequence on an 8-bit terminal.
_CONTROLS = "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff"
_CONTROLS_IN_TEXT = re.compile(f"(?!\\r\\n)[{_CONTROLS}]")
_CONTROLS_IN_LINE = re.compile(f"[\\t\\n{_CONTROLS}]")


class ColouredText(str):
    """Text whose only control sequences are colours added by this program; the rest has been escaped."""

    __slots__ = ()


def escape_controls(text: str) -> str:
    """Escape control characters, except newlines and tabs, which belong to a document or to our own layout."""
    return text if isinstance(text, ColouredText) else _CONTROLS_IN_TEXT.sub(_escape, text)


def escape_line(text: str) -> str:
    """Escape all control characters in text that must stay on one line, such as a name or a JSON string."""
    return _CONTROLS_IN_LINE.sub(_escape, text)


def guard_standard_streams() -> None:
    """Make `print` escape control characters wherever standard output or standard error is a terminal."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, _GuardedStream) and stream.isatty():
            setattr(sys, name, _GuardedStream(stream))


def unguarded_stream(stream: TextIO) -> TextIO:
    """The stream without the guard, for a caller that draws on the terminal and escapes foreign text itself."""
    return stream.stream if isinstance(stream, _GuardedStream) else stream


class _GuardedStream:
    """A text stream on a terminal that escapes control characters."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(escape_controls(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
