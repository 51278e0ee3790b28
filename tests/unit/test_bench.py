"""What `python -m bench` makes of its figures: ratios, verdicts, and whether uploads were lost. It measures nothing."""

import json
import os
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest

from bench import peers, plot
from bench.__main__ import MEASURES, named
from bench.ogx_files import measure_ogx_files
from bench.peers import rates_row, running
from bench.plan import QUICK, Bench, CannotMeasure, WrongAnswer
from bench.production_rows import plan_row
from bench.report import Goal, Row, as_json, table
from bench.requests import require_all
from bench.unobserved import NoSignals
from filestead.app.signals import Signals
from filestead.metrics.board import Board
from filestead.settings import Settings

RATIO = Goal(3.5, of="ratio")
RATE = Goal(800, at_least=True)


def test_the_ratio_is_that_of_the_medians() -> None:
    assert Row(measure="m", ours=[9, 3, 100], reference=[2, 3, 1, 50]).ratio == 9 / 2.5


def test_there_is_no_ratio_without_a_reference() -> None:
    assert Row(measure="m", ours=[1]).ratio is None
    assert Row(measure="m", reference=[1]).ratio is None


@pytest.mark.parametrize(
    ("goal", "ours", "reference", "verdict"),
    [
        (RATIO, [3.5], [1], "ok"),
        (RATIO, [3.51], [1], "MISSED"),
        (RATIO, [3.5], [], "not measured"),
        (RATE, [800], [], "ok"),
        (RATE, [799], [], "MISSED"),
        (RATE, [1, 800, 900], [1e6], "ok"),
        (RATE, [], [], "not measured"),
        (Goal(64), [64], [], "ok"),
        (Goal(64), [65], [], "MISSED"),
        (None, [1], [], "-"),
        (None, [], [], "not measured"),
    ],
)
def test_a_goal_is_held_against_the_median_or_the_ratio(
    goal: Goal | None, ours: list[float], reference: list[float], verdict: str
) -> None:
    assert Row(measure="m", ours=ours, reference=reference, goal=goal).verdict(judged=True) == verdict


def test_a_problem_is_a_miss_whatever_the_figures_and_whether_judged_or_not() -> None:
    row = Row(measure="m", ours=[1e6], goal=RATE, problem="3 answers were not 200")
    assert row.verdict(judged=True) == row.verdict(judged=False) == "MISSED"
    assert "m: 3 answers were not 200" in table([row], judged=True)


def test_a_quick_run_does_not_judge() -> None:
    assert Row(measure="m", ours=[1], goal=RATE).verdict(judged=False) == "not judged"


def test_table_and_json_carry_the_figures() -> None:
    row = Row(measure="m", unit="s", ours=[1.239, 0.5, 2], against="nginx", reference=[1, 2, 3], goal=RATIO, note="n")
    first, _, line, *_, last = table([row], judged=True).splitlines()
    assert first.split() == ["measure", "ours", "reference", "ratio", "goal", "verdict"]
    assert line.split() == "m 1.24 (0.5-2) s nginx 2 (1-3) s 0.62 ratio <= 3.5 ok".split()
    assert last == "m: n"
    (entry,) = as_json([row], judged=True)
    assert entry["ours"] == [1.239, 0.5, 2]
    assert (entry["ratio"], entry["goal"], entry["verdict"]) == (1.239 / 2, "ratio <= 3.5", "ok")


def test_what_was_in_flight_may_be_listed_without_an_answer() -> None:
    require_all(["a", "b"], ["a", "b", "c"], in_flight=1)


@pytest.mark.parametrize(
    ("answered", "listed"),
    [(["a", "b"], ["a"]), (["a"], ["a", "b", "c"]), (["a"], ["a", "a"]), (["a", "a"], ["a", "b"])],
    ids=["lost", "invented", "listed twice", "answered twice"],
)
def test_lost_and_doubled_uploads_are_found(answered: list[str], listed: list[str]) -> None:
    with pytest.raises(WrongAnswer):
        require_all(answered, listed, in_flight=1)


def test_a_profile_is_chosen_by_the_word_that_its_measures_begin_with() -> None:
    assert named("listing") == ["listing"]
    assert named("production-listing") == ["production-listing"]
    assert len(named("production")) > 3
    assert {name for name in MEASURES if name.startswith("production")} == set(named("production"))
    assert named("prod") == named("") == named("no-such") == []


def explained(*nodes: dict[str, Any]) -> dict[str, Any]:
    """What PostgreSQL says of a plan whose nodes stand on one another."""
    plan: dict[str, Any] = {}
    for node in reversed(nodes):
        below = {"Plans": [plan]} if plan else {}
        plan = {"Shared Hit Blocks": 5, "Shared Read Blocks": 2, "Actual Rows": 101, **node, **below}
    return {"Plan": plan, "Planning Time": 0.25, "Execution Time": 0.5}


LIMIT = {"Node Type": "Limit"}
SCAN = {"Node Type": "Index Scan", "Index Name": "files_by_time"}


def test_a_page_in_the_order_of_an_index_is_told_with_its_cost() -> None:
    row = plan_row("m", explained(LIMIT, SCAN))
    assert (row.ours, row.problem) == ([0.75], "")
    assert row.note == "Limit over Index Scan files_by_time, 101 rows, 7 blocks"


@pytest.mark.parametrize(
    "nodes",
    [
        (LIMIT, {"Node Type": "Sort"}, SCAN),
        (LIMIT, {"Node Type": "Seq Scan"}),
        (LIMIT, {**SCAN, "Rows Removed by Filter": 1}),
    ],
    ids=["sorted", "read to the end", "more read than listed"],
)
def test_a_page_that_grows_with_the_table_is_a_problem(nodes: tuple[dict[str, Any], ...]) -> None:
    assert plan_row("m", explained(*nodes)).verdict(judged=False) == "MISSED"


def test_the_server_without_signals_has_all_that_the_other_parts_ask_of_them() -> None:
    signals = Signals(Settings(), Board())
    assert [name for name in dir(signals) if not name.startswith("_") and not hasattr(NoSignals(), name)] == []


# --- other servers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", [None, "", sys.executable, "/no/such/python"])
def test_without_a_python_that_has_ogx_the_measure_says_what_to_do(
    python: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OGX_PYTHON", raising=False)
    if python is not None:
        monkeypatch.setenv("OGX_PYTHON", python)
    with pytest.raises(CannotMeasure, match=r"^set OGX_PYTHON to a Python of version 3\.12 .*pip install ogx"):
        measure_ogx_files(Bench(QUICK, tmp_path, print), None)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_ends_at_its_start_is_named_with_what_it_said_last(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('starting'); raise SystemExit('no such option')"]
    with (
        pytest.raises(CannotMeasure, match=r"^the peer does not start .*\(no such option\)$"),
        running("the peer", command, os.environ, tmp_path / "log", lambda: 1 / 0),
    ):
        pytest.fail("it is not running")


def test_a_server_runs_from_its_first_answer_to_the_end_of_the_block(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        f"import time, pathlib; pathlib.Path({str(tmp_path / 'up')!r}).touch(); time.sleep(60)",
    ]
    with running("the peer", command, os.environ, tmp_path / "log", (tmp_path / "up").read_bytes):
        (process,) = [child for child in psutil.Process().children() if child.cmdline() == command]
        assert process.is_running()
    assert not process.is_running()


def test_a_server_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "STOP_SECONDS", 0.2)
    up = tmp_path / "up"
    code = f"import pathlib, signal, time; signal.signal(15, signal.SIG_IGN); pathlib.Path({str(up)!r}).touch()"
    command = [sys.executable, "-c", f"{code}; time.sleep(60)"]
    with running("the peer", command, os.environ, tmp_path / "log", up.read_bytes):
        (process,) = [child for child in psutil.Process().children() if child.cmdline() == command]
    assert not process.is_running()


def test_rates_are_compared_without_the_warm_up() -> None:
    row = rates_row("m", [(1, 100), (30, 10), (40, 20), (50, 30)], "OGX", "n")
    assert (row.ours, row.reference, row.ratio, row.note) == ((30, 40, 50), (10, 20, 30), 2, "n")
    assert row.verdict(judged=True) == "ok"
    assert rates_row("m", [(1, 1), (9, 10)], "OGX").verdict(judged=True) == "MISSED"


# --- the plot ----------------------------------------------------------------------------------------------------------


def result(*rows: Row) -> dict[str, Any]:
    machine = {"cores": 2, "load_average_before": [0.5, 1, 1], "filestead": "1"}
    found: dict[str, Any] = json.loads(
        json.dumps({"at": "2026-01-02T03", "machine": machine, "measures": as_json(rows, True)})
    )
    return found


def test_the_plot_compares_with_other_programs_by_speed() -> None:
    rows = [
        Row(measure="rate", unit="/s", ours=[30, 10, 20], against="SeaweedFS PUT", reference=[10, 10, 20]),
        Row(measure="time", unit="s", ours=[2, 4], against="nginx GET", reference=[1, 1]),
        Row(measure="peer", unit="/s", ours=[6, 8], against="OGX, not synced", reference=[2, 2]),
        Row(measure="itself", unit="s", ours=[1], against="one worker", reference=[1]),
        Row(measure="wrong", unit="s", ours=[1], against="nginx GET", reference=[1], problem="lost"),
        Row(measure="alone", unit="s", ours=[1]),
        Row(measure="gone", unit="s", against="nginx GET", reference=[1]),
    ]
    assert plot.comparisons(result(*rows)["measures"]) == [
        plot.Comparison("rate", "SeaweedFS PUT", 2.0, 1.0, 3.0),
        plot.Comparison("time", "nginx GET", 1 / 3, 0.25, 0.5),
        plot.Comparison("peer", "OGX, not synced", 3.5, 3.0, 4.0),
    ]


def test_the_plot_is_an_image_in_two_versions(tmp_path: Path) -> None:
    row = Row(measure="<rate> & more", unit="/s", ours=[30, 10], against="nginx", reference=[10, 10])
    written = plot.write(result(row), tmp_path)
    assert [path.name for path in written] == ["benchmarks-light.svg", "benchmarks-dark.svg"]
    for path in written:
        texts = [text.text for text in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
        assert {"<rate> & more", "2.00 times"} <= set(texts)
        assert "2026-01-02, 2 cores, load 0.5 before the run, Filestead 1" in texts


def test_nothing_is_drawn_without_comparisons(tmp_path: Path) -> None:
    assert plot.write(result(Row(measure="alone", unit="s", ours=[1])), tmp_path) == []
    assert list(tmp_path.iterdir()) == []
