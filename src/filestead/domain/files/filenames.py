"""File names: data for display and download, never used as paths."""

import re
import unicodedata

from filestead.domain.errors import BadFilename

MAX_CHARACTERS = 255
"""In code points, since no file on disk has this name."""

_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Overrides and isolates, which display `txt.exe` as `exe.txt`. Plain marks (U+200E, U+200F) cannot."""

_DROPPED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, surrogates, and the separators of lines and paragraphs."""


def clean(name: str) -> str:
    """The name to store: no path, no control characters, 1 to 255 characters.

    Some clients send a whole path; the part behind the last slash, of either kind, is the name.
    Raises `BadFilename`.
    """
    base = _DIRECTIONS.sub("", name.replace("\\", "/").rpartition("/")[2])
    base = "".join(c for c in base if unicodedata.category(c) not in _DROPPED_CATEGORIES)
    if base.strip() in ("", ".", ".."):
        raise BadFilename("is empty")
    if len(base) > MAX_CHARACTERS:
        raise BadFilename(f"is longer than {MAX_CHARACTERS} characters")
    return base
