"""Parser for YAML 1.2, and therefore JSON, compatible with the official command line."""

import re
from typing import Any

import yaml

from filestead.cli.client.grammar.scalars import format_scalar, parse_yaml_number


class _Yaml12Loader(yaml.SafeLoader):
    """The types of YAML 1.2 (`yes` and dates are strings); duplicate keys are an error."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own shape

    def resolve(self, kind: Any, value: str, implicit: Any) -> Any:
        """The type of a value; numbers are found by their value, since what is too large for one is a text."""
        if kind is yaml.ScalarNode and implicit[0] and parse_yaml_number(value) is not None:
            return "tag:yaml.org,2002:int"
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.value == "<<" and key_node.style is None and isinstance(value_node, yaml.MappingNode):
                merged |= self.construct_mapping(value_node, deep=deep)
                continue
            key = format_scalar(self.construct_object(key_node, deep=True))
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a scalar", key_node.start_mark)
            if key in mapping:
                raise yaml.constructor.ConstructorError(None, None, f'duplicate key "{key}"', key_node.start_mark)
            mapping[key] = self.construct_object(value_node, deep=deep)
        return {**merged, **mapping}


def _construct_string(loader: _Yaml12Loader, node: yaml.ScalarNode) -> str:
    """Combine surrogate pairs: JSON escapes a character beyond U+FFFF as two halves, which YAML does not join."""
    return str(loader.construct_scalar(node)).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _construct_number(loader: _Yaml12Loader, node: yaml.ScalarNode) -> int | float | str:
    text = str(loader.construct_scalar(node))
    number = parse_yaml_number(text)
    return text if number is None else number


_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Yaml12Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Yaml12Loader.add_constructor("tag:yaml.org,2002:str", _construct_string)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _construct_number)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:float", _construct_number)


def parse_yaml(text: str) -> Any:
    """Parse one YAML document. Raises `ValueError` with the position and the reason, also if anything follows it."""
    try:
        loader = _Yaml12Loader(text)
        loader.deep_construct = True  # Rejects recursive aliases.
        return loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"not valid YAML or JSON: {error}") from None
