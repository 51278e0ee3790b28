"""Flag values and piped request bodies: YAML or JSON, and `@path` references to files."""

import base64
import os
import re
import select
import stat
import sys
from pathlib import Path
from typing import Any

from filestead.cli.errors import UsageError

STDIN_PATHS = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
STDIN_POLL_TIMEOUT = 0.01
"""Seconds to wait for data on a pipe. A pipe without a writer must not block a command."""


def parse_mapping(text: str) -> dict[str, Any] | None:
    """Parse the value of a mapping flag; an empty text and null yield None. Raises `ValueError`."""
    from filestead.cli.client.grammar.yaml_reader import parse_yaml  # noqa: PLC0415 - loads PyYAML

    value = parse_yaml(text)
    if value is not None and not isinstance(value, dict):
        raise ValueError("must be a mapping, such as {key: value}")
    return value


def parse_any(text: str) -> Any:
    """Parse a value that is YAML or JSON; `@path` stays a text. Raises `ValueError`."""
    if text.startswith("@"):
        return text
    from filestead.cli.client.grammar.yaml_reader import parse_yaml  # noqa: PLC0415 - loads PyYAML

    try:
        return parse_yaml(text)
    except ValueError as error:
        raise ValueError(
            f"{error}; to pass a text as it is, put it in double quotes inside the quotes of the shell"
        ) from None


def read_piped_body() -> Any:
    """Parse the YAML or JSON on standard input; `{}` if there is none. Raises `UsageError`."""
    if not _stdin_has_data():
        return {}
    data = sys.stdin.buffer.read()
    if not data:
        return {}
    from filestead.cli.client.grammar.yaml_reader import parse_yaml  # noqa: PLC0415 - loads PyYAML

    try:
        return parse_yaml(data.decode("utf-8", "replace"))
    except ValueError as error:
        raise UsageError(f"cannot read request members from standard input: {error}") from None


def _stdin_has_data() -> bool:
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode):
        return os.fstat(0).st_size > os.lseek(0, 0, os.SEEK_CUR)
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return False
    return bool(select.select([0], [], [], STDIN_POLL_TIMEOUT)[0])


def expand_file_reference(value: str) -> str:
    r"""Replace `@path` and `@file://path` with the text of the file, `@data://path` with its base64.

    Content that does not begin as text in UTF-8 is base64 too, unless `@file://` asks for the text. `\@` is a literal
    `@`.
    """
    path = referenced_path(value)
    if path is None:
        return value.removeprefix("\\") if value.startswith("\\@") else value
    from filestead.cli.client.grammar.sniffing import is_text  # noqa: PLC0415 - rarely needed

    data = _read_stdin() if str(path) in STDIN_PATHS else path.read_bytes()
    if value.startswith("@file://"):
        return data.decode("utf-8", "surrogateescape")
    if value.startswith("@data://") or not is_text(data):
        return base64.b64encode(data).decode()
    try:
        return data.decode()
    except UnicodeDecodeError:  # Only its last character is not complete.
        return base64.b64encode(data).decode()


def _read_stdin() -> bytes:
    with open(0, "rb", closefd=False) as stdin:
        return stdin.read()


def referenced_path(value: str) -> Path | None:
    """The file that `@path` refers to, or None. `@word` is one only if that file exists; `-` is standard input."""
    if not value.startswith("@"):
        return None
    name = re.sub(r"^(data|file)://", "", value[1:])
    certain = name != value[1:] or set(name) & {".", "/"} or name in STDIN_PATHS
    return Path(name) if certain or Path(name).is_file() else None
