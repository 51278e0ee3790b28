"""Colours JSON text like the official command line: names, strings, escapes, numbers and punctuation.

For the JSON formats, FORCE_COLOR=1 and =0 override the default, which is colours on a terminal. Only `pretty` honours
NO_COLOR and TERM=dumb. The official client behaves this way, and scripts that parse its output rely on it.
"""

import re
from collections.abc import Iterator

_END = "\x1b[0m"
_PUNCTUATION, _NAME, _STRING, _ESCAPE = "\x1b[1m", "\x1b[1m\x1b[94m", "\x1b[32m", "\x1b[35m"
_WORDS = {"t": "\x1b[36m", "f": "\x1b[36m", "n": "\x1b[2m"}
_NUMBER = "\x1b[33m"
_TOKEN = re.compile(r'(\s+)|([{}\[\],:])|("(?:[^"\\]|\\.)*"?)|([^\s,:\[\]{}"]+)', re.DOTALL)


def add_colours(text: str) -> str:
    """Add colours to formatted JSON."""
    return "".join(_coloured_tokens(text))


def _coloured_tokens(text: str) -> Iterator[str]:
    open_brackets: list[str] = []
    named = False
    for space, mark, string, word in _TOKEN.findall(text):
        if space:
            yield space
        elif mark:
            in_object = open_brackets[-1:] == ["{"]
            if mark in "{[":
                open_brackets.append(mark)
            elif mark in "}]" and open_brackets:
                open_brackets.pop()
            named = mark == ":" if mark in ":,{" else named
            yield mark if mark == "," and not in_object else f"{_PUNCTUATION}{mark}{_END}"
        elif string:
            yield _colour_string(string, _NAME if open_brackets[-1:] == ["{"] and not named else _STRING)
        else:
            yield f"{_WORDS.get(word[0], _NUMBER)}{word}{_END}"


def _colour_string(raw: str, style: str) -> str:
    """Colour a string and its escapes. The second of two backslashes starts another escape."""
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
