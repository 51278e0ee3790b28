"""Writing to standard output and standard error."""

import os
import sys

from filestead.cli.terminal.escaping import escape_controls


def write(text: str) -> None:
    """Write to standard output at once; a terminal gets visible text."""
    if sys.stdout.isatty():
        text = escape_controls(text)
    write_bytes(text.encode("utf-8", "surrogateescape"))


def write_bytes(data: bytes | memoryview) -> None:
    """Write bytes to standard output at once: what a full disk or a gone reader refuses is known here, not at exit."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(sys.stdout.fileno(), rest) :]


def warn(text: str) -> None:
    """Say something beside the result."""
    print(f"filestead: {text}", file=sys.stderr)
