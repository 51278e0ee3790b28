"""Attribute filters of a search: comparisons, and their combinations with `and` and `or`.

The types of filters and values are those of the official description. What it leaves open is decided here:

- A key that the attributes lack, or whose value is of another type than the filter's, is not equal to anything: `eq`,
  `in`, `gt`, `gte`, `lt` and `lte` do not match, `ne` and `nin` do.
- Types are string, number and boolean. Integers and floats compare by value, integers beyond 64 bits as the nearest
  float; a boolean is not a number.
- Strings are ordered by code points, booleans by false before true.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from filestead.domain.errors import InvalidFilter

MAX_DEPTH = 8
"""Compound filters within one another."""

MAX_COMPARISONS = 256
"""Comparisons of a filter in total."""

MAX_LIST = 1_024
"""Values of `in` and `nin`."""

Value: TypeAlias = str | float | bool
Values: TypeAlias = frozenset[tuple[type, Value]]
"""Values with the types by which they compare."""

Attributes: TypeAlias = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares the attribute `key` with a value, or with each of the values for `in` and `nin`."""

    type: str
    key: str
    value: "Value | Values"

    def matches(self, attributes: Attributes) -> bool:
        """Whether a file with these attributes is found."""
        if self.key not in attributes:
            return self.type in _NEGATIONS
        return _OPERATORS[self.type](attributes[self.key], self.value)


@dataclass(frozen=True, slots=True)
class Compound:
    """Matches if all (`and`) or any (`or`) of its filters match. There is at least one."""

    type: str
    filters: "tuple[Filter, ...]"

    def matches(self, attributes: Attributes) -> bool:
        """Whether a file with these attributes is found."""
        results = (part.matches(attributes) for part in self.filters)
        return all(results) if self.type == "and" else any(results)


Filter: TypeAlias = Comparison | Compound


def parse_filter(value: object, param: str = "filters") -> Filter:
    """The filter that a decoded JSON value describes.

    Args:
        value: decoded JSON.
        param: path of the value in the request, with which the paths of errors begin.

    Raises:
        InvalidFilter: the value is not a filter, or is larger than the limits of this module.
    """
    return _Parser().parse(value, param, depth=0)


class _Parser:
    """Counts the comparisons of one filter."""

    def __init__(self) -> None:
        self._comparisons = 0

    def parse(self, value: object, param: str, depth: int) -> Filter:
        members = _object(value, param)
        kind = members.get("type", _MISSING)
        path = f"{param}.type"
        if kind is _MISSING:
            raise InvalidFilter(path, f"Missing required parameter: '{path}'.")
        if not isinstance(kind, str) or kind not in {*_OPERATORS, *_COMPOUNDS}:
            supported = ", ".join(f"'{name}'" for name in [*_OPERATORS, *_COMPOUNDS])
            raise InvalidFilter(path, f"Invalid value: {_shown(kind)}. Supported values are: {supported}.")
        if kind in _COMPOUNDS:
            return self._compound(kind, members, param, depth)
        return self._comparison(kind, members, param)

    def _compound(self, kind: str, members: Mapping[str, object], param: str, depth: int) -> Compound:
        if depth == MAX_DEPTH:
            raise InvalidFilter(param, f"Filters are nested too deeply: at most {MAX_DEPTH} compound filters.")
        (filters,) = _members(members, param, "filters")
        path = f"{param}.filters"
        if not isinstance(filters, list):
            raise _wrong_type(path, "an array of filters", filters)
        if not filters:
            raise InvalidFilter(path, f"Invalid '{path}': empty array. Expected at least one filter.")
        return Compound(
            kind, tuple(self.parse(part, f"{path}[{number}]", depth + 1) for number, part in enumerate(filters))
        )

    def _comparison(self, kind: str, members: Mapping[str, object], param: str) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise InvalidFilter(param, f"Too many filters: at most {MAX_COMPARISONS} comparisons.")
        key, value = _members(members, param, "key", "value")
        if not isinstance(key, str):
            raise _wrong_type(f"{param}.key", "a string", key)
        return Comparison(
            kind, key, _list(value, f"{param}.value") if kind in _LISTS else _scalar(value, f"{param}.value")
        )


def _object(value: object, param: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _wrong_type(param, "an object", value)
    return value


def _members(members: Mapping[str, object], param: str, *names: str) -> list[object]:
    """The members of these names, which must be all there are beside `type`."""
    for name in members:
        if name not in names and name != "type":
            path = f"{param}.{name[:_SHOWN]}"
            raise InvalidFilter(path, f"Unknown parameter: '{path}'.")
    for name in names:
        if name not in members:
            path = f"{param}.{name}"
            raise InvalidFilter(path, f"Missing required parameter: '{path}'.")
    return [members[name] for name in names]


def _scalar(value: object, param: str) -> Value:
    if isinstance(value, str | bool | int | float):
        return _nearest(value, param)
    raise _wrong_type(param, "a string, a number or a boolean", value)


def _nearest(value: Value, param: str) -> Value:
    """The value; in place of an integer beyond 64 bits, the float that an attribute would have."""
    if not isinstance(value, int) or abs(value) < 2**63:
        return value
    try:
        return float(value)
    except OverflowError:
        raise InvalidFilter(param, f"Invalid '{param}': the number is too large.") from None


def _list(values: object, param: str) -> Values:
    if not isinstance(values, list):
        raise _wrong_type(param, "an array of strings or numbers", values)
    if len(values) > MAX_LIST:
        raise InvalidFilter(param, f"Invalid '{param}': array too long. Expected at most {MAX_LIST} values.")
    nearest: list[Value] = []
    for number, value in enumerate(values):
        path = f"{param}[{number}]"
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise _wrong_type(path, "a string or a number", value)
        nearest.append(_nearest(value, path))
    return frozenset((_kind(value), value) for value in nearest)


def _wrong_type(param: str, expected: str, value: object) -> InvalidFilter:
    return InvalidFilter(param, f"Invalid type for '{param}': expected {expected}, but got {_type(value)}.")


def _type(value: object) -> str:
    """The name of a JSON type, with its article."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    return names.get(type(value), "an object")


def _shown(value: object) -> str:
    return f"'{value[:_SHOWN]}'" if isinstance(value, str) else _type(value)


def _kind(value: Value) -> type:
    """The type by which a value compares."""
    return float if type(value) is int else type(value)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Value, Any], bool]:
    return lambda attribute, value: _kind(attribute) is _kind(value) and compare(attribute, value)


def _in(attribute: Value, values: Values) -> bool:
    return (_kind(attribute), attribute) in values


_equal = _ordered(operator.eq)

_OPERATORS: Mapping[str, Callable[[Value, Any], bool]] = {
    "eq": _equal,
    "ne": lambda attribute, value: not _equal(attribute, value),
    "gt": _ordered(operator.gt),
    "gte": _ordered(operator.ge),
    "lt": _ordered(operator.lt),
    "lte": _ordered(operator.le),
    "in": _in,
    "nin": lambda attribute, values: not _in(attribute, values),
}
_NEGATIONS = frozenset({"ne", "nin"})
_LISTS = frozenset({"in", "nin"})
_COMPOUNDS = ("and", "or")
_MISSING = object()
_SHOWN = 64
"""Characters of a wrong name that an error repeats."""
