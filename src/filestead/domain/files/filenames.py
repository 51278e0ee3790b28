"""File names are data: kept for display and download, never used as a path."""

import re
import unicodedata

from filestead.domain.errors import BadFilename

MAX_CHARACTERS = 255
"""Code points, as the name never becomes that of a file on our disk."""

_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Overrides and isolates, which let `exe.txt` be shown for `txt.exe`. Plain marks (U+200E, U+200F) cannot."""

_DROPPED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, surrogates, and the separators of lines and paragraphs."""


def clean(name: str) -> str:
    """The name as it is kept: no path part, no control characters, 1 to 255 characters.

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
