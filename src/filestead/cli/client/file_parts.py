"""Files in the forms of requests: paths, standard input, and file names that a form can carry."""

import os
import re

from filestead.cli.client.grammar.values import STDIN_PATHS
from filestead.cli.errors import CommandError
from filestead.client._upload.multipart import FilePart
from filestead.client._upload.sources import BLOCK_BYTES, Source, open_source
from filestead.client.config import OnProgress

STDIN_FILENAME = "anonymous_file"
"""The file name that the official client sends for standard input."""
_INVALID_IN_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Control characters other than tab, which the official client refuses too."""


def file_part(
    field: str,
    path: str,
    filename: str | None = None,
    *,
    rename: str = "rename the file",
    on_progress: OnProgress | None = None,
) -> FilePart:
    """The part of a form with the file at a path; `rename` tells how to avoid its name. Raises `CommandError`."""
    source = open_upload(path)
    require_valid_filename(source.filename if filename is None else filename, rename)
    return FilePart(field, source, filename, on_progress=on_progress)


def open_upload(path: str) -> Source:
    """Open a path, which may name standard input. Raises `OSError`."""
    if path not in STDIN_PATHS:
        return open_source(path)
    return Source(STDIN_FILENAME, None, False, lambda _: iter(lambda: os.read(0, BLOCK_BYTES), b""))


def require_valid_filename(filename: str, rename: str = "rename the file") -> None:
    """Raise `CommandError` for a name that a form cannot carry, or that servers would discard."""
    reason = ""
    try:
        filename.encode()
    except UnicodeEncodeError:
        reason = "is not valid UTF-8"
    if filename.endswith("\\"):
        reason = "ends with a backslash, which servers treat as a path separator"
    elif not reason and _INVALID_IN_HEADER.search(filename):
        reason = "contains control characters"
    if reason:
        raise CommandError(f"the file name {filename!a} {reason}; {rename}")
