"""Writing to standard output and standard error."""

import os
import sys

from filestead.cli.terminal.escaping import escape_controls


def write(text: str) -> None:
    """Write to standard output, unbuffered; control characters are escaped on a terminal."""
    if sys.stdout.isatty():
        text = escape_controls(text)
    write_bytes(text.encode("utf-8", "surrogateescape"))


def write_bytes(data: bytes | memoryview) -> None:
    """Write bytes to standard output, unbuffered: a full disk or closed pipe raises here, not at exit."""
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(sys.stdout.fileno(), remaining) :]


def warn(text: str) -> None:
    """Print a warning to standard error."""
    print(f"filestead: {text}", file=sys.stderr)
