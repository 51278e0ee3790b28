"""File names are data: kept for display and download, never used as a path."""

import unicodedata

from filestead.domain.errors import BadFilename

MAX_BYTES = 255


def clean(name: str) -> str:
    """The name as it is kept: no path part, no control characters, 1 to 255 bytes of UTF-8.

    Some clients send a whole path; the part behind the last slash, of either kind, is the name.
    Raises `BadFilename`.
    """
    base = name.replace("\\", "/").rpartition("/")[2]
    base = "".join(c for c in base if unicodedata.category(c) not in ("Cc", "Cs"))
    if base.strip() in ("", ".", ".."):
        raise BadFilename("is empty")
    if len(base.encode()) > MAX_BYTES:
        raise BadFilename(f"is longer than {MAX_BYTES} bytes")
    return base
