"""The command line from its start to its end: help, and a list of 100 files."""

import subprocess
import sys
import time
from collections.abc import Sequence

from bench.nginx import Nginx
from bench.plan import Bench, WrongAnswer
from bench.report import Goal, Row
from tests.support.installations import clean_environment
from tests.support.servers import KEY

PROGRAM = (sys.executable, "-m", "filestead.cli.main")
FILES = 100
RUNS = 10


def measure_command_line(bench: Bench, _: Nginx | None) -> list[Row]:
    """Each command in turns with a Python that does nothing; the first run of each does not count."""
    with bench.filestead() as server:
        for _file in range(FILES):
            server.upload()
        environment = clean_environment() | {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": KEY}
        # The first run compiles the modules, as `pip install` does.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return [
            _row("filestead --help", ("--help",), environment, Goal(60)),
            _row(f"filestead files list, {FILES} files", ("files", "list"), environment, Goal(250)),
        ]


def _row(name: str, words: Sequence[str], environment: dict[str, str], goal: Goal) -> Row:
    pairs = [
        (_milliseconds((*PROGRAM, *words), environment), _milliseconds((sys.executable, "-c", "pass"), environment))
        for _ in range(1 + RUNS)
    ]
    ours, bare = zip(*pairs[1:], strict=True)
    return Row(measure=name, unit="ms", ours=ours, against="bare Python", reference=bare, goal=goal)


def _milliseconds(command: Sequence[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    took = (time.perf_counter() - began) * 1000
    if done.returncode != 0:
        raise WrongAnswer(done.stderr.decode())
    return took
