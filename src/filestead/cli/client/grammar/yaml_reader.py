"""Parser for YAML 1.2, and therefore JSON, compatible with the official command line."""

import re
from typing import Any

import yaml

from filestead.cli.client.grammar.scalars import format_scalar


class _Yaml12Loader(yaml.SafeLoader):
    """The types of YAML 1.2 (`yes` and dates are strings); duplicate keys are an error."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own shape

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = format_scalar(self.construct_object(key_node, deep=True))
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a scalar", key_node.start_mark)
            if key in mapping:
                raise yaml.constructor.ConstructorError(None, None, f'duplicate key "{key}"', key_node.start_mark)
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping


def _construct_string(loader: _Yaml12Loader, node: yaml.ScalarNode) -> str:
    """Combine surrogate pairs: JSON escapes a character beyond U+FFFF as two halves, which YAML does not join."""
    return str(loader.construct_scalar(node)).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _construct_integer(loader: _Yaml12Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    return int(text, 8 if re.match(r"[+-]?0[0-7]", text) else 0)


def _construct_float(loader: _Yaml12Loader, node: yaml.ScalarNode) -> float:
    return float(str(loader.construct_scalar(node)).replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Yaml12Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(0x[0-9a-fA-F_]+|0o?[0-7_]*|0b[01_]+|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9]+|\.inf)$|\.nan$"), list("-+.0123456789")
)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:str", _construct_string)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _construct_integer)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def parse_yaml(text: str) -> Any:
    """Parse one YAML document. Raises `ValueError` with the position and the reason, also if anything follows it."""
    try:
        loader = _Yaml12Loader(text)
        loader.deep_construct = True  # Rejects recursive aliases.
        return loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"not valid YAML or JSON: {error}") from None
