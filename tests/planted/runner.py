"""Runs the tests of a planted bug on a copy of the code that has the bug, and demands that they fail as they should."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.planted.bug import PACKAGE, Bug, Edit
from tests.planted.recorder import RECORD
from tests.support import promises

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
TEST_SECONDS = 120
RUN_SECONDS = 240
"""That the tests of one bug may take together."""
CAUGHT = "caught"
PLUGINS = ("anyio.pytest_plugin", "pytest_timeout", "tests.planted.recorder")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one bug: `CAUGHT`, or what went wrong."""

    bug: Bug
    text: str
    seconds: float

    @property
    def caught(self) -> bool:
        return self.text == CAUGHT


@contextmanager
def changed(edits: Iterable[Edit]) -> Iterator[Path]:
    """A copy of `src/` with these edits, and room beside it."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        copy = Path(folder) / "src"
        # With the compiled modules, which stay valid: they go by size and time.
        shutil.copytree(SOURCE, copy)
        for edit in edits:
            edit.apply(copy)
            path = copy / PACKAGE / edit.module
            for stale in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                stale.unlink()
        yield copy


def run(tests: Iterable[str], copy: Path, seconds: float = RUN_SECONDS) -> list[dict[str, Any]]:
    """Run tests with the package of `copy`; returns what the recorder wrote. Raises `RuntimeError` if none can run."""
    record = copy.parent / "record"
    record.touch()
    # Variables of the run that this one is part of name its worker and its current test.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment.pop(promises.VARIABLE, None)  # what a planted bug breaks is no violation
    environment |= {"PYTHONPATH": str(copy), "TORTURE": "1", RECORD: str(record)}
    # Other plugins that are installed double the time that pytest takes to start.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = [option for plugin in PLUGINS for option in ("-p", plugin)]
    options += ["--timeout", str(TEST_SECONDS), "--basetemp", str(copy.parent / "t")]
    command = [sys.executable, "-m", "pytest", "-q", *options, *tests]
    status, output = _run(command, environment, seconds)
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    if not lines or not any("test" in line for line in lines):
        raise RuntimeError(f"pytest ended with {status}, and no test ran: {output[-500:]}")
    if (package := lines.pop(0)["package"]) != str(copy / PACKAGE):
        raise RuntimeError(f"the tests have used {package} instead of the copy")
    return lines


def _run(command: list[str], environment: dict[str, str], seconds: float) -> tuple[int, str]:
    """Run a command to its end; what it has started ends with it if it takes too long."""
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process.returncode, output


def plant(bug: Bug) -> Outcome:
    """Run the tests of a bug with the bug."""
    started = time.monotonic()
    try:
        with changed(bug.edits) as copy:
            text = judge(bug, run(bug.tests, copy))
    except (RuntimeError, LookupError, subprocess.TimeoutExpired) as error:
        text = f"broken: {error}"
    return Outcome(bug, text, time.monotonic() - started)


def judge(bug: Bug, records: Iterable[dict[str, Any]]) -> str:
    """`CAUGHT` if a test has failed by an assertion, in the test itself or in the check at its end."""
    failures = [record for record in records if record["outcome"] == "failed"]
    if not failures:
        return "missed: every test passed"
    for record in failures:
        if record["when"] != "setup" and set(record["kinds"]) & {AssertionError.__name__, bug.error}:
            return CAUGHT
    first = failures[0]
    return f"broken: {first['test']} failed in its {first['when']} with {'+'.join(first['kinds'])}: {first['text']}"


def without(bugs: Iterable[Bug]) -> str | None:
    """Run the tests of the bugs without any bug; returns which of them fail all the same."""
    tests = sorted({test for bug in bugs for test in bug.tests})
    with changed(()) as copy:
        failed = {
            record["test"] for record in run(tests, copy, RUN_SECONDS * len(tests)) if record["outcome"] == "failed"
        }
    return f"red without a bug: {', '.join(sorted(failed))}" if failed else None


def table(outcomes: Iterable[Outcome]) -> str:
    """What became of each bug, as lines of text."""
    outcomes = list(outcomes)
    width = max(len(outcome.bug.what) for outcome in outcomes)
    lines = [f"{'bug':5} {'promise':7} {'what':{width}}  {'outcome':7} {'seconds':>7}  harness"]
    for outcome in outcomes:
        bug = outcome.bug
        harness = " ".join(test.rpartition("/")[2] for test in bug.tests)
        word = outcome.text.partition(":")[0]
        lines.append(f"{bug.id:5} {bug.promise:7} {bug.what:{width}}  {word:7} {outcome.seconds:7.1f}  {harness}")
        if not outcome.caught:
            lines.append(f"      {outcome.text}")
    return "\n".join(lines)
