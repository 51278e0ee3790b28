"""Parser for YAML 1.2, and therefore JSON, compatible with the official command line."""

import math
import re
from typing import Any

import yaml

from filestead.cli.client.grammar.scalars import format_float, format_scalar, parse_yaml_number


class _Yaml12Loader(yaml.SafeLoader):
    """The types of YAML 1.2 (`yes` and dates are strings); duplicate keys are an error."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own shape

    def scan_to_next_token(self) -> None:
        """Skip white space and comments. PyYAML takes a tab for the beginning of a token, also in JSON.

        A tab that indents the lines of a block remains an error.
        """
        while True:
            super().scan_to_next_token()
            before = self.buffer[self.pointer - self.column : self.pointer]
            indents = not self.flow_level and not before.strip(" \t") and not _BLANK.match(self.buffer, self.pointer)
            if self.peek() != "\t" or indents:
                return
            self.forward()

    def resolve(self, kind: Any, value: str, implicit: Any) -> Any:
        """The type of a value; numbers are found by their value, since what is too large for one is a text."""
        if kind is yaml.ScalarNode and implicit[0] and parse_yaml_number(value) is not None:
            return "tag:yaml.org,2002:int"
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(None, None, "not a mapping", node.start_mark)
        mapping: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.value == "<<" and key_node.style is None and isinstance(value_node, yaml.MappingNode):
                merged |= self.construct_mapping(value_node, deep=deep)
                continue
            key = _format_key(self.construct_object(key_node, deep=True))
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a scalar", key_node.start_mark)
            if key in mapping:
                raise yaml.constructor.ConstructorError(None, None, f'duplicate key "{key}"', key_node.start_mark)
            mapping[key] = self.construct_object(value_node, deep=deep)
        return {**merged, **mapping}


_BLANK = re.compile(r"[ \t]*(?:[\r\n#\0]|\Z)")
"""The rest of a line on which nothing stands."""


def _format_key(key: Any) -> str:
    """A key as Go prints it."""
    if key is None:
        return "null"
    return format_float(key) if isinstance(key, float) and math.isfinite(key) else format_scalar(key)


def _construct_string(loader: _Yaml12Loader, node: yaml.ScalarNode) -> str:
    """Combine surrogate pairs: JSON escapes a character beyond U+FFFF as two halves, which YAML does not join."""
    return str(loader.construct_scalar(node)).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _construct_number(loader: _Yaml12Loader, node: yaml.ScalarNode) -> int | float | str:
    text = str(loader.construct_scalar(node))
    number = parse_yaml_number(text)
    return text if number is None else number


def _construct_boolean(loader: _Yaml12Loader, node: yaml.ScalarNode) -> bool:
    """Any boolean of YAML 1.1, as `!!bool yes` asks for it."""
    text = str(loader.construct_scalar(node)).lower()
    if text not in loader.bool_values:
        raise yaml.constructor.ConstructorError(None, None, f"{text!r} is not a boolean", node.start_mark)
    return loader.bool_values[text]


def _construct_binary(loader: _Yaml12Loader, node: yaml.ScalarNode) -> str:
    """Base64, which is how JSON spells bytes."""
    return "".join(str(loader.construct_scalar(node)).split())


_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Yaml12Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Yaml12Loader.add_constructor("tag:yaml.org,2002:str", _construct_string)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _construct_number)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:float", _construct_number)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:bool", _construct_boolean)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:binary", _construct_binary)
for _tag in ("timestamp", "set", "omap", "pairs"):  # JSON has none of them.
    del _Yaml12Loader.yaml_constructors[f"tag:yaml.org,2002:{_tag}"]


def parse_yaml(text: str) -> Any:
    """Parse one YAML document. Raises `ValueError` with the position and the reason, also if anything follows it."""
    try:
        loader = _Yaml12Loader(text)
        loader.deep_construct = True  # Rejects recursive aliases.
        return loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"not valid YAML or JSON: {error}") from None
