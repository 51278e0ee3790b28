"""JSON text in the colours of the official command line: names, strings, escapes, numbers and marks apart.

FORCE_COLOR=1 and =0 decide for the JSON formats; otherwise a terminal is coloured. NO_COLOR and TERM=dumb are minded by
`pretty` alone. That is how the official client does it, and scripts that read its output rely on it.
"""

import re
from collections.abc import Iterator

_END = "\x1b[0m"
_PUNCTUATION, _NAME, _STRING, _ESCAPE = "\x1b[1m", "\x1b[1m\x1b[94m", "\x1b[32m", "\x1b[35m"
_WORDS = {"t": "\x1b[36m", "f": "\x1b[36m", "n": "\x1b[2m"}
_NUMBER = "\x1b[33m"
_TOKEN = re.compile(r'(\s+)|([{}\[\],:])|("(?:[^"\\]|\\.)*"?)|([^\s,:\[\]{}"]+)', re.DOTALL)


def add_colours(text: str) -> str:
    """Laid-out JSON with its colours."""
    return "".join(_coloured_tokens(text))


def _coloured_tokens(text: str) -> Iterator[str]:
    open_marks: list[str] = []
    named = False
    for space, mark, string, word in _TOKEN.findall(text):
        if space:
            yield space
        elif mark:
            in_object = open_marks[-1:] == ["{"]
            if mark in "{[":
                open_marks.append(mark)
            elif mark in "}]" and open_marks:
                open_marks.pop()
            named = mark == ":" if mark in ":,{" else named
            yield mark if mark == "," and not in_object else f"{_PUNCTUATION}{mark}{_END}"
        elif string:
            yield _colour_string(string, _NAME if open_marks[-1:] == ["{"] and not named else _STRING)
        else:
            yield f"{_WORDS.get(word[0], _NUMBER)}{word}{_END}"


def _colour_string(raw: str, style: str) -> str:
    """A string, its escapes set apart. The second of two backslashes counts as one more escape."""
    painted = [style]
    escaped = 0
    for at, character in enumerate(raw):
        if character == "\\":
            painted.append(_END + _ESCAPE + character)
            escaped = 5 if raw[at + 1 : at + 2] == "u" else 1
            continue
        painted.append(character)
        if escaped:
            escaped -= 1
            if not escaped:
                painted.append(_END + style)
    return "".join(painted) + _END
