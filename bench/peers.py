"""Servers of others: each is started for one measure, and rates are compared with its rates."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.plan import CannotMeasure
from bench.report import Goal, Row

START_SECONDS = 60.0
STOP_SECONDS = 30.0
SLOW_SECONDS = 30
"""Some answer a few requests after more than the two seconds that wrk allows by default."""


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str], environment: Mapping[str, str], output: Path, ask: Callable[[], object]
) -> Iterator[None]:
    """A server that prints to the file `output`, and is ready once `ask` raises nothing.

    Raises `CannotMeasure` with the last line that it printed, if it ends before or is not ready within a minute.
    """
    with output.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        if not _responds(process, ask):
            said = (output.read_text().splitlines() or ["it says nothing"])[-1]
            raise CannotMeasure(f"{name} does not start and is not measured ({said.strip()})")
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:  # it must not cost the figures
            process.kill()
            process.wait()


def _responds(process: "subprocess.Popen[bytes]", ask: Callable[[], object]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            ask()
            return True
        time.sleep(0.5)
    return False


def rates_row(measure: str, pairs: Sequence[tuple[float, float]], against: str, note: str = "") -> Row:
    """Our rate and the other's in each round, after the warm-up; the goal is to be at least as fast."""
    ours, theirs = zip(*pairs[1:], strict=True)
    goal = Goal(1, of="ratio", at_least=True)
    return Row(measure=measure, unit="/s", ours=ours, against=against, reference=theirs, goal=goal, note=note)
