r"""What goes to a terminal: text that cannot command it.

Whoever answers a request chooses text that ends on the user's screen: members of JSON, headers, the reason of a status,
names of files. A control character among it could move the cursor, rewrite lines that are there, or set the clipboard;
a bidirectional control shows text in another order than it has. All of them are written as `\u001b` or `\u202e`, which
is also how JSON spells them. Only the colours that this program paints itself are left alone (`Painted`).

A pipe or a file gets every byte unchanged: none of this is called for it.
"""

import re
import sys
from typing import Any, TextIO

# C0 and DEL but tab and newline, C1, line and paragraph separators, bidirectional marks, embeddings, overrides and
# isolates, and bytes that are no UTF-8 (surrogates of `surrogateescape`): 0x9b commands a terminal of eight bits.
_CONTROLS = "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff"
_CONTROLS_IN_TEXT = re.compile(f"(?!\\r\\n)[{_CONTROLS}]")
_CONTROLS_IN_LINE = re.compile(f"[\\t\\n{_CONTROLS}]")


class ColouredText(str):
    """Text in which every control sequence is a colour of this program, and all that is not ours was `visible`."""

    __slots__ = ()


def escape_controls(text: str) -> str:
    """Text whose control characters can be seen. Lines and tabs stay: those of a document, or of our own layout."""
    return text if isinstance(text, ColouredText) else _CONTROLS_IN_TEXT.sub(_escape, text)


def escape_line(text: str) -> str:
    """The same for what must stay on its line, as a name or a JSON string does."""
    return _CONTROLS_IN_LINE.sub(_escape, text)


def guard_standard_streams() -> None:
    """From here on, `print` to a standard output or standard error that is a terminal writes visible text."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, _GuardedStream) and stream.isatty():
            setattr(sys, name, _GuardedStream(stream))


def unguarded_stream(stream: TextIO) -> TextIO:
    """The stream below a guard, for what draws on the terminal itself and makes visible what is not its own."""
    return stream.below if isinstance(stream, _GuardedStream) else stream


class _GuardedStream:
    """A text stream on a terminal."""

    def __init__(self, below: TextIO) -> None:
        self.below = below

    def write(self, text: str) -> int:
        return self.below.write(escape_controls(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
