"""`tests/security.toml`: no rule of the catalogue is missing, and each test that it names exists."""

import ast
import functools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TABLE: dict[str, Any] = tomllib.loads((ROOT / "tests/security.toml").read_text())
RULES: dict[str, Any] = TABLE["rules"]
ADVISORIES: list[dict[str, Any]] = TABLE["advisories"]
ROWS = [*RULES.items(), *((", ".join(row["ids"]), row) for row in ADVISORIES)]
NUMBER = re.compile(r"\d+(?:[.-]\d+)+|\d{2,}")
"""A version, a date, or the number of an issue."""
ID = re.compile(r"(?:CVE-\d{4}|GHSA(?:-[0-9a-z]{4}){2})-[0-9a-z]+")


@functools.cache
def defined_in(path: str) -> set[str]:
    """The names of the tests of a module."""
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    return (ROOT / path).is_file() and name.startswith("test_") and name in defined_in(path)


def test_every_rule_is_listed() -> None:
    assert list(RULES) == [f"S-{number:02}" for number in range(1, 41)]


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[name for name, _ in ROWS])
def test_a_row_has_tests_that_exist_or_a_reason(name: str, row: dict[str, Any]) -> None:
    assert set(row) <= {"ids", "where", "rule", "tests", "open", "not_applicable"}
    assert row["rule"].endswith(".")
    assert [test for test in row.get("tests", []) if not exists(test)] == []
    if "not_applicable" in row:
        assert set(row) <= {"ids", "where", "rule", "not_applicable"}
        assert row["not_applicable"].endswith(".")
    else:
        assert row.get("tests") or row.get("open"), "neither tests nor a reason"


def test_every_advisory_of_the_catalogue_is_listed_once(conformance_data: Path) -> None:
    listed = [advisory for row in ADVISORIES for advisory in row["ids"]]
    assert len(listed) == len(set(listed))
    catalogue = (conformance_data / "reliability-security.md").read_text()
    section = catalogue[catalogue.index("## 6. ") : catalogue.index("## 7. ")]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not re.match(r"\| (Id|Root)", line)]
    names = [line.split("|")[1].strip() for line in rows]
    assert len({found for name in names for found in ID.findall(name)}) > 80
    assert [name for name in names if not is_named(name, listed)] == []


def is_named(row: str, listed: list[str]) -> bool:
    """Whether all advisories, issues, versions and dates of a row are listed; of one without, the words of an entry."""
    row = re.sub(r"\((?!.*(?:CVE|GHSA))[^)]*[a-z][^)]*\)", "", row)  # remarks
    advisories = set(ID.findall(row))
    others = set(NUMBER.findall(ID.sub("", row)))
    if advisories or others:
        numbers = {number for name in listed for number in (*NUMBER.findall(name), name.rpartition("-")[2])}
        return advisories <= set(listed) and others <= numbers
    return any(set(re.findall(r"\w+", name)) - {"and"} <= set(re.findall(r"\w+", row)) for name in listed)


def test_a_row_that_is_not_listed_is_found() -> None:
    listed = [
        "CVE-2023-1",
        "CVE-2023-28858",
        "CVE-2023-28859",
        "LiteLLM issue 36087",
        "Swift TempURL and DLO",
        "x 0.0.28",
    ]
    rows = ["A CVE-2023-1 (within 36 h)", "CVE-2023-28858/28859", "LiteLLM issue 36087", "OpenStack Swift TempURL/DLO"]
    assert all(is_named(row, listed) for row in [*rows, "boundary cap (0.0.28)"])
    for row in (
        "A CVE-2023-2",
        "CVE-2023-28858/2886",
        "LiteLLM issue 36088",
        "OpenStack Swift DLO",
        "cap (0.0.28, 0.0.32)",
    ):
        assert not is_named(row, listed), row


PAGE = (ROOT / "docs/security.md").read_text()
NAMES = re.compile(r"`(test_\w+)`")
WITHOUT_A_TEST = ("Reporting a weakness",)
OPEN = (
    "the operator, the database, and root of a node",
    "- There is no scan for viruses",
    "- Connections of clients are not encrypted",
)
"""What is said to be not checked, or not promised."""


def test_every_test_that_the_page_names_exists() -> None:
    defined = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
    there = {name for path in ROOT.glob("tests/**/test_*.py") for name in defined.findall(path.read_text())}
    named = set(NAMES.findall(PAGE))
    assert len(named) > 80
    assert named - there == set()


def test_every_claim_of_the_page_names_a_test() -> None:
    """Each row of a table and each item of a list has one, and each section."""
    for section in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        if title in WITHOUT_A_TEST:
            continue
        assert NAMES.search(text), title
        rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
        items = re.findall(r"^- .*(?:\n  .*)*", text, re.MULTILINE)
        for claim in [row for row in rows if not row.startswith("| ---")] + items:
            assert NAMES.search(claim) or any(each in claim for each in OPEN), claim
