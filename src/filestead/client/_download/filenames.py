"""Names that a file system accepts, made from names that a server sends."""

import os
import re

NAME_MAX = 255
"""Bytes in a file name, on nearly every file system."""
MAX_EXTENSION_BYTES = 32
"""A longer extension counts as part of the name."""


def safe_filename(filename: str, file_id: str) -> str:
    """A server's name for a file as a name within a directory: never a path, hidden, an option, or too long.

    It is the last path component, without unprintable characters and without leading dots and dashes.
    """
    for given in (filename, file_id):
        name = re.split(r"[/\\]", given)[-1]
        name = "".join(c for c in name if c.isprintable()).strip().lstrip("-. ")
        if name:
            return fit_filename(name)
    return "download"


def fit_filename(name: str, suffix: str = "") -> str:
    """The name with `suffix` before its extension, with the stem truncated so that it has at most `NAME_MAX` bytes."""
    stem, extension = os.path.splitext(name)
    if len(os.fsencode(extension)) > MAX_EXTENSION_BYTES:
        stem, extension = name, ""
    available = NAME_MAX - len(os.fsencode(suffix + extension))
    while len(os.fsencode(stem)) > available:
        stem = stem[:-1]
    return stem + suffix + extension
