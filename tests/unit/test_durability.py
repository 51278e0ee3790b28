"""docs/durability.md: each promise names tests, and each of them exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/durability.md").read_text()
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PROMISES = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| promise"))]


def functions_of(path: str) -> set[str]:
    """Of a module; those in classes do not count."""
    file = ROOT / path
    if not file.is_file():
        return set()
    nodes = ast.parse(file.read_text()).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda line: line.split("|")[1].strip()[:60])
def test_a_promise_names_tests_that_exist(promise: str) -> None:
    named = TEST.findall(promise)
    assert named and len(named) == promise.count("::")
    assert [f"{path}::{name}" for path, name in named if name not in functions_of(path)] == []
    assert all(name.startswith("test_") for _, name in named)


def test_every_heading_but_two_has_promises() -> None:
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    without = [part.splitlines()[0] for part in parts if "\n| promise | tests |\n" not in part]
    assert without == ["Run the tests yourself", "Not promised, or not tested"]
    assert len(PROMISES) > 30
