"""Attribute filters: what they match, and the path that an error names."""

from typing import Any

import pytest

from filestead.domain.errors import InvalidFilter
from filestead.domain.vector_stores.filters import (
    MAX_COMPARISONS,
    MAX_DEPTH,
    MAX_LIST,
    parse_filter,
)

ATTRIBUTES = {"name": "Müller", "year": 2024, "price": 2.5, "draft": False}


def compare(kind: str, key: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "key": key, "value": value}


def both(kind: str, *filters: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "filters": list(filters)}


TRUE, FALSE = compare("eq", "year", 2024), compare("eq", "year", 1)


@pytest.mark.parametrize(
    ("kind", "key", "value", "expected"),
    [
        ("eq", "year", 2024, True),
        ("eq", "year", 2024.0, True),
        ("eq", "year", "2024", False),
        ("eq", "draft", False, True),
        ("eq", "draft", 0, False),
        ("eq", "price", True, False),
        ("eq", "name", "müller", False),
        ("eq", "missing", "x", False),
        ("ne", "year", 2024, False),
        ("ne", "year", 2025, True),
        ("ne", "year", "2024", True),
        ("ne", "draft", 0, True),
        ("ne", "missing", "x", True),
        ("gt", "year", 2023.5, True),
        ("gt", "year", 2024, False),
        ("gte", "year", 2024, True),
        ("gte", "year", 2025, False),
        ("lt", "price", 3, True),
        ("lt", "price", 2.5, False),
        ("lte", "price", 2.5, True),
        ("lte", "price", 2, False),
        ("gt", "name", "Mz", True),  # ü is U+00FC, after z
        ("lt", "name", "a", True),
        ("gt", "name", 1, False),
        ("lte", "name", 1, False),
        ("gt", "draft", -1, False),
        ("lt", "draft", True, True),
        ("lt", "missing", 1, False),
        ("in", "year", [1, 2024.0], True),
        ("in", "year", ["2024"], False),
        ("in", "draft", [0], False),
        ("in", "year", [], False),
        ("in", "missing", ["x"], False),
        ("nin", "year", [1, 2024], False),
        ("nin", "year", ["2024"], True),
        ("nin", "draft", [0], True),
        ("nin", "missing", ["x"], True),
    ],
)
def test_a_comparison(kind: str, key: str, value: Any, expected: bool) -> None:
    assert parse_filter(compare(kind, key, value)).matches(ATTRIBUTES) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (both("and", TRUE, TRUE), True),
        (both("and", TRUE, FALSE), False),
        (both("or", FALSE, TRUE), True),
        (both("or", FALSE, FALSE), False),
        (both("and", both("or", FALSE, TRUE), TRUE), True),
        (both("or", both("and", TRUE, FALSE), FALSE), False),
    ],
)
def test_a_compound(value: dict[str, Any], expected: bool) -> None:
    assert parse_filter(value).matches(ATTRIBUTES) is expected


@pytest.mark.parametrize(
    ("value", "param", "message"),
    [
        (None, "filters", "Invalid type for 'filters': expected an object, but got null."),
        ([TRUE], "filters", "Invalid type for 'filters': expected an object, but got an array."),
        ({}, "filters.type", "Missing required parameter: 'filters.type'."),
        ({"type": "like"}, "filters.type", "Invalid value: 'like'. Supported values are: 'eq', 'ne',"),
        ({"type": 1}, "filters.type", "Invalid value: an integer."),
        ({"type": ["eq"]}, "filters.type", "Invalid value: an array."),
        ({"type": "eq", "value": 1}, "filters.key", "Missing required parameter: 'filters.key'."),
        ({"type": "eq", "key": "a"}, "filters.value", "Missing required parameter: 'filters.value'."),
        (compare("eq", 1, 1), "filters.key", "expected a string, but got an integer."),  # type: ignore[arg-type]
        (compare("eq", "a", None), "filters.value", "a number or a boolean, but got null."),
        (compare("eq", "a", [1]), "filters.value", "but got an array."),
        (compare("gt", "a", {}), "filters.value", "but got an object."),
        (compare("in", "a", "b"), "filters.value", "expected an array of strings or numbers, but got a string."),
        (compare("in", "a", [1, True]), "filters.value[1]", "expected a string or a number, but got a boolean."),
        (compare("nin", "a", [0] * (MAX_LIST + 1)), "filters.value", "array too long"),
        (TRUE | {"x": 1}, "filters.x", "Unknown parameter: 'filters.x'."),
        (TRUE | {"filters": []}, "filters.filters", "Unknown parameter"),
        (TRUE | {"y" * 9999: 1}, "filters." + "y" * 64, "Unknown parameter"),
        ({"type": "and"}, "filters.filters", "Missing required parameter"),
        ({"type": "or", "filters": TRUE}, "filters.filters", "expected an array of filters, but got an object."),
        (both("or"), "filters.filters", "empty array"),
        (both("or", TRUE) | {"key": "a"}, "filters.key", "Unknown parameter"),
        (both("and", TRUE, both("or", FALSE, {"type": "eq"})), "filters.filters[1].filters[1].key", "Missing"),
        (both("and", *[TRUE] * (MAX_COMPARISONS + 1)), f"filters.filters[{MAX_COMPARISONS}]", "Too many filters"),
    ],
)
def test_an_error_names_the_member(value: object, param: str, message: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter(value)
    assert caught.value.param == param
    assert message in caught.value.message


def test_limits_are_within_reach() -> None:
    assert parse_filter(both("and", *[TRUE] * MAX_COMPARISONS)).matches(ATTRIBUTES)
    assert parse_filter(compare("in", "year", [2024] * MAX_LIST)).matches(ATTRIBUTES)


def test_depth_is_bounded() -> None:
    nested = TRUE
    for _ in range(MAX_DEPTH):
        nested = both("and", nested)
    assert parse_filter(nested).matches(ATTRIBUTES)
    with pytest.raises(InvalidFilter, match="nested too deeply"):
        parse_filter(both("and", nested))


def test_the_path_begins_with_the_name_that_the_caller_gives() -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter({"type": "eq"}, "tools[0].filters")
    assert caught.value.param == "tools[0].filters.key"
