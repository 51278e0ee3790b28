"""Values of the command line and of a piped body: YAML or JSON, and `@path` for the content of a file."""

import base64
import math
import os
import re
import select
import stat
import sys
from pathlib import Path
from typing import Any

import yaml

from filestead.cli.grammar import UsageError

PATIENCE_SECONDS = 0.01
"""How long a body may take to show up in the pipe; a pipe that nobody writes to must not hang a command."""


class _Loader(yaml.SafeLoader):
    """The types of YAML 1.2 (`yes` and dates are text), duplicate members refused."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own shape

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found: dict[str, Any] = {}
        for name, item in node.value:
            key = shown(self.construct_object(name, deep=True))
            if not isinstance(name, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a name is no list or mapping", name.start_mark)
            if key in found:
                raise yaml.constructor.ConstructorError(None, None, f'"{key}" stands twice', name.start_mark)
            found[key] = self.construct_object(item, deep=deep)
        return found


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    """JSON escapes a character beyond U+FFFF as two halves, which YAML leaves apart."""
    return str(loader.construct_scalar(node)).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    return int(text, 8 if re.match(r"[+-]?0[0-7]", text) else 0)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(str(loader.construct_scalar(node)).replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(0x[0-9a-fA-F_]+|0o?[0-7_]*|0b[01_]+|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9]+|\.inf)$|\.nan$"), list("-+.0123456789")
)
_Loader.add_constructor("tag:yaml.org,2002:str", _text)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def read_yaml(text: str) -> Any:
    """The first YAML document (JSON is YAML); ValueError with the place and the reason."""
    try:
        loader = _Loader(text)
        loader.deep_construct = True  # Refuses what contains itself.
        return loader.get_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"not YAML or JSON: {error}") from None


def mapping(text: str) -> dict[str, Any] | None:
    """The value of a mapping flag; nothing and null stand for none."""
    value = read_yaml(text)
    if value is not None and not isinstance(value, dict):
        raise ValueError("it is a mapping, as in {anchor: created_at, seconds: 3600}")
    return value


def piped_body() -> Any:
    """The YAML or JSON on standard input, if there is any: `{}` if not. `UsageError` if it cannot be read."""
    if not _has_piped_data():
        return {}
    data = sys.stdin.buffer.read()
    if not data:
        return {}
    try:
        return read_yaml(data.decode("utf-8", "replace"))
    except ValueError as error:
        raise UsageError(f"standard input is read as the request's members, and it is {error}") from None


def _has_piped_data() -> bool:
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode):
        return os.fstat(0).st_size > os.lseek(0, 0, os.SEEK_CUR)
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return False
    return bool(select.select([0], [], [], PATIENCE_SECONDS)[0])


def embedded(value: str) -> str:
    r"""A text value with `@path` replaced by that file's text, `@data://path` by its base64; `\@` is a plain `@`."""
    path = embedded_path(value)
    if path is None:
        return value.removeprefix("\\") if value.startswith("\\@") else value
    data = path.read_bytes()
    return base64.b64encode(data).decode() if value.startswith("@data://") else data.decode("utf-8", "surrogateescape")


def embedded_path(value: str) -> Path | None:
    """The file that an `@path` names; a bare `@word` that names none is a word."""
    if not value.startswith("@"):
        return None
    name = re.sub(r"^(data|file)://", "", value[1:])
    return Path(name) if set(name) & {".", "/"} or Path(name).is_file() else None


def shown(value: Any) -> str:
    """A scalar as form and query spell it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)
