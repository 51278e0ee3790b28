"""Tests that must fail, do: each planted bug turns the tests red that keep its promise."""

import re
from pathlib import Path

import pytest

from tests.planted.bug import Bug
from tests.planted.catalogue import BUGS
from tests.planted.runner import ROOT, SOURCE, judge, plant
from tests.support.promises import PROMISES

SHARES = len(BUGS) // 5
"""So that five bugs are planted each day."""

pytestmark = pytest.mark.embedded("changes the code, and chooses the installation itself")


def test_there_are_enough() -> None:
    assert len(BUGS) >= 25
    assert len({bug.id for bug in BUGS}) == len(BUGS)
    assert {bug.promise for bug in BUGS} <= PROMISES.keys()
    assert all(re.fullmatch(r"B-[0-9]{2}", bug.id) for bug in BUGS)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.id)
def test_the_table_is_true(bug: Bug, tmp_path: Path) -> None:
    """Each edit applies to the code as it is, leaves it valid, and its tests exist."""
    for edit in bug.edits:
        text = (SOURCE / "filestead" / edit.module).read_text()
        target = tmp_path / "filestead" / edit.module
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.write_text(text)
        edit.apply(tmp_path)
        compile(target.read_text(), str(target), "exec")
    assert bug.edits
    for test in bug.tests:
        path, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / path).read_text(), test


def test_what_counts_as_caught() -> None:
    bug = BUGS[0]
    passed = {"test": "a", "when": "call", "outcome": "passed", "kinds": [], "text": ""}
    failed = passed | {"outcome": "failed", "kinds": ["AssertionError"]}
    assert judge(bug, [passed, failed]) == "caught"
    assert judge(bug, [failed | {"when": "teardown"}]) == "caught"
    assert judge(bug, [passed]).startswith("missed")
    for other in (failed | {"when": "setup"}, failed | {"kinds": ["Timeout"]}, failed | {"kinds": ["ImportError"]}):
        assert judge(bug, [other]).startswith("broken")


@pytest.mark.rotating(SHARES)
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.id)
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    outcome = plant(bug)
    assert outcome.caught, (
        f"{bug.id} ({bug.what}) was not caught; {outcome.text}; repeat: python -m tests.planted {bug.id}"
    )
