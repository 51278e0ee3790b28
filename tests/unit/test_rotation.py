"""The shares of long tests: together they are all cases, and none of them is empty."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support import rotation


def case(nodeid: str, shares: int | None) -> pytest.Item:
    mark = pytest.mark.rotating(shares).mark if shares else None
    return cast(pytest.Item, SimpleNamespace(nodeid=nodeid, get_closest_marker=lambda name: mark))


def test_the_days_of_a_rotation_run_every_case_once() -> None:
    items = [case(f"a.py::long[{n}]", 3) for n in range(8)] + [case(f"a.py::other[{n}]", 2) for n in range(5)]
    run: dict[str, int] = {}
    for day in range(6):
        left_out = rotation.left_out(items, 20_000 + day)
        for item in items:
            run[item.nodeid] = run.get(item.nodeid, 0) + (item not in left_out)
    assert run == {item.nodeid: 2 if "long" in item.nodeid else 3 for item in items}


def test_tests_with_a_single_case_are_divided_among_the_days() -> None:
    items = [case(f"a.py::test_{n}[one]", 3) for n in range(90)]
    counts = [len(items) - len(rotation.left_out(items, 20_000 + day)) for day in range(3)]
    assert sum(counts) == len(items)
    assert min(counts) >= 20


def test_a_test_without_the_mark_runs_every_day() -> None:
    items = [case("a.py::short", None), case("a.py::long[1]", 3), case("a.py::long[2]", 3)]
    assert all(items[0] not in rotation.left_out(items, day) for day in range(3))


def test_a_case_that_is_asked_for_runs_every_day() -> None:
    items = [case(f"a.py::long[{n}]", 3) for n in range(3)]
    for day in range(3):
        assert items[1] not in rotation.left_out(items, day, asked_for=["a.py::long[1]", "b.py"])
        assert len(rotation.left_out(items, day, asked_for=["a.py"])) == 2


def test_the_share_is_chosen_once_for_a_run_and_what_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(rotation.VARIABLE)
    chosen: Any = rotation.today()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert rotation.today() == chosen > 20_000
    monkeypatch.setenv(rotation.VARIABLE, "7")
    assert rotation.today() == 7
