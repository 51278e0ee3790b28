"""The table of promises: what counts as a trial and as a violation, with workers and over several runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.promises import PROMISES, VARIABLE, Tally, read_record, table

ROOT = Path(__file__).parents[2]

CONFTEST = """
import pytest
from tests.support.promises import PromiseCounter

def pytest_configure(config):
    config.addinivalue_line("markers", "promise(id)")
    config.pluginmanager.register(PromiseCounter(), "promises")

@pytest.fixture
def trials(request):
    return lambda number=1: request.node.user_properties.append(("trials", number))

@pytest.fixture
def checked():
    yield
    raise AssertionError("lost")

@pytest.fixture
def broken():
    raise OSError("no database")
"""

TESTS = """
import pytest

pytestmark = pytest.mark.promise("R-01")

def test_one(): pass

@pytest.mark.promise("R-16", "R-18")
def test_many(trials):
    for _ in range(20):
        trials()
    trials(480)

@pytest.mark.promise("R-09")
def test_violation():
    assert False

@pytest.mark.promise("R-10")
def test_violation_at_the_end(checked): pass

@pytest.mark.promise("R-11")
def test_no_trial(broken): pass

@pytest.mark.promise("R-12")
def test_skipped(): pytest.skip()
"""


@pytest.fixture
def run(tmp_path: Path) -> object:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(TESTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(ROOT), VARIABLE: str(tmp_path / "record")}

    def run(*options: str) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", *options]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    return run


def test_trials_and_violations_are_counted_over_workers_and_runs(run: object, tmp_path: Path) -> None:
    counted = {
        "R-01": Tally(503, 2),
        "R-16": Tally(500, 0),
        "R-18": Tally(500, 0),
        "R-09": Tally(1, 1),
        "R-10": Tally(1, 1),
    }
    for number, options in enumerate(((), ("-n", "2")), 1):
        output = run(*options)  # type: ignore[operator]
        expected = {name: Tally(number * one.trials, number * one.violations) for name, one in counted.items()}
        assert read_record(tmp_path / "record") == expected
        assert table(expected) in output


def test_the_table_states_the_bound() -> None:
    lines = table({"R-16": Tally(1_000, 0), "R-01": Tally(1_000, 2), "R-02": Tally(0, 0)}).splitlines()
    assert [line.split()[-3:] for line in lines[1:]] == [
        *(["1,000", "2", "broken"], ["0", "0", "unknown"], ["1,000", "0", "0.30%"])
    ]
    assert all(PROMISES[line[:4]] in line for line in lines[1:])


def test_an_unknown_promise_is_refused(run: object, tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text('import pytest\n\n@pytest.mark.promise("R-99")\ndef test_it(): pass\n')
    assert "unknown promise: R-99" in run("--collect-only")  # type: ignore[operator]


def test_every_promise_has_a_test() -> None:
    marks = re.compile(r"mark\.promise\(([^)]*)\)")
    texts = (path.read_text() for path in ROOT.glob("tests/**/test_*.py") if path != Path(__file__))
    marked = {name for text in texts for names in marks.findall(text) for name in re.findall(r'"([\w-]+)"', names)}
    assert PROMISES.keys() - marked == set()
