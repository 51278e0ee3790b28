"""Values of the command line and of a piped body: YAML or JSON, and `@path` for the content of a file."""

import base64
import os
import re
import select
import stat
import sys
from pathlib import Path
from typing import Any

from filestead.cli.errors import UsageError

STDIN_POLL_TIMEOUT = 0.01
"""How long a body may take to show up in the pipe; a pipe that nobody writes to must not hang a command."""


def parse_mapping(text: str) -> dict[str, Any] | None:
    """The value of a mapping flag; nothing and null stand for none."""
    from filestead.cli.client.grammar.yaml_reader import parse_yaml  # noqa: PLC0415 - loaded where there is YAML

    value = parse_yaml(text)
    if value is not None and not isinstance(value, dict):
        raise ValueError("it is a mapping, as in {anchor: created_at, seconds: 3600}")
    return value


def read_piped_body() -> Any:
    """The YAML or JSON on standard input, if there is any: `{}` if not. `UsageError` if it cannot be read."""
    if not _stdin_has_data():
        return {}
    data = sys.stdin.buffer.read()
    if not data:
        return {}
    from filestead.cli.client.grammar.yaml_reader import parse_yaml  # noqa: PLC0415 - loaded where there is YAML

    try:
        return parse_yaml(data.decode("utf-8", "replace"))
    except ValueError as error:
        raise UsageError(f"standard input is read as the request's members, and it is {error}") from None


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
    r"""A text value with `@path` replaced by that file's text, `@data://path` by its base64; `\@` is a plain `@`."""
    path = referenced_path(value)
    if path is None:
        return value.removeprefix("\\") if value.startswith("\\@") else value
    data = path.read_bytes()
    return base64.b64encode(data).decode() if value.startswith("@data://") else data.decode("utf-8", "surrogateescape")


def referenced_path(value: str) -> Path | None:
    """The file that an `@path` names; a bare `@word` that names none is a word."""
    if not value.startswith("@"):
        return None
    name = re.sub(r"^(data|file)://", "", value[1:])
    return Path(name) if set(name) & {".", "/"} or Path(name).is_file() else None
