"""An answer that comes before the whole upload has been sent reaches every way of sending, on an idle and a busy machine.

One of each here; the long version (`TORTURE=1`, marker `torture`) sends 6 of each on an idle machine, 2 on a busy one, and
one of 60 MB. `REFUSALS=24` makes that 24 and 8: more than 1,000 by each way of sending.
"""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests

from tests.e2e.programs import find_program
from tests.e2e.senders import python
from tests.e2e.senders.jobs import Job, outcome, plan, write, write_lines
from tests.support.servers import Server

pytestmark = pytest.mark.embedded("refused before anything is stored")

TRIES = int(os.environ.get("REFUSALS", "6"))
"""Of each refusal in the long version: a third of them on a busy machine."""
SENDERS = Path(__file__).parent / "senders"
Outcomes = dict[tuple[str, bool, bool], list[Any]]
"""(name, chunked, expect) -> what each try has got."""

Send = Callable[[list[Job], Path], Outcomes]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _node(script: str) -> Send:
    def send(jobs: list[Job], folder: Path) -> Outcomes:
        node = find_program("node")
        write(jobs, folder / "jobs.json")
        lines = map(json.loads, _run([node, str(SENDERS / script), str(folder / "jobs.json")]).splitlines())
        return {(line["name"], line["chunked"], line["expect"]): line["outcomes"] for line in lines}

    return send


def _java(kind: str) -> Send:
    def send(jobs: list[Job], folder: Path) -> Outcomes:
        java = shutil.which("java")
        if java is None:
            warnings.warn("java is not installed: its ways of sending are skipped", stacklevel=2)
            pytest.skip("java is not installed")
        write_lines(jobs, folder / "jobs.txt")
        found: Outcomes = {}
        for line in _run([java, str(SENDERS / "Senders.java"), kind, str(folder / "jobs.txt")]).splitlines():
            name, chunked, expect, *outcomes = line.split("\t")
            found[name, chunked == "1", expect == "1"] = [int(text) if text.isdigit() else text for text in outcomes]
        return found

    return send


def _curl(jobs: list[Job], folder: Path) -> Outcomes:
    curl, body, answer = find_program("curl"), folder / "body", folder / "answer"
    found: Outcomes = {}
    for job in jobs:
        body.write_bytes(job.body)
        fields = {**job.headers, "Expect": "100-continue" if job.expect else ""}
        fields |= {"Transfer-Encoding": "chunked"} if job.chunked else {}
        options = [option for name, value in fields.items() for option in ("-H", f"{name}: {value}".strip())]
        command = [curl, "-s", "-X", job.method, *options, "--data-binary", f"@{body}", "-o", str(answer), job.url]
        outcomes: list[Any] = []
        for _ in range(job.tries):
            done = subprocess.run([*command, "-w", "%{http_code}"], capture_output=True, text=True, check=False)
            status = int(done.stdout) if done.returncode == 0 else f"curl: exit status {done.returncode}"
            outcomes.append(outcome(status, answer.read_bytes()) if isinstance(status, int) else status)
        found[job.name, job.chunked, job.expect] = outcomes
    return found


def _python(opened: Callable[[], contextlib.AbstractContextManager[python.Sender]]) -> Send:
    def send(jobs: list[Job], folder: Path) -> Outcomes:
        found: Outcomes = {}
        with opened() as one:
            for job in jobs:
                outcomes: list[Any] = []
                for _ in range(job.tries):
                    try:
                        outcomes.append(one(job))
                    except Exception as error:
                        outcomes.append(f"{type(error).__name__}: {error}")
                found[job.name, job.chunked, job.expect] = outcomes
        return found

    return send


@contextlib.contextmanager
def _requests() -> Iterator[python.Sender]:
    with requests.Session() as session:
        yield python.with_requests(session)


@contextlib.contextmanager
def _httpx() -> Iterator[python.Sender]:
    with httpx2.Client() as client:
        yield python.with_httpx(client)


WAYS: dict[str, Send] = {
    "node fetch": _node("node_fetch.mjs"),
    "node http, as axios": _node("node_http.mjs"),
    "java HttpClient": _java("client"),
    "java HttpURLConnection": _java("connection"),
    "curl": _curl,
    "requests": _python(_requests),
    "httpx": _python(_httpx),
    "all, then read": _python(lambda: contextlib.nullcontext(python.all_then_read)),
    "like Go": _python(lambda: contextlib.nullcontext(python.like_go)),
    "like aiohttp": _python(lambda: contextlib.nullcontext(python.like_aiohttp)),
}


@contextlib.contextmanager
def busy(loops: int) -> Iterator[None]:
    """Other programs use up the processor."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def lost(jobs: list[Job], found: Outcomes) -> Counter[str]:
    """What came instead of the right answer, and how often."""
    wanted = {(job.name, job.chunked, job.expect): job for job in jobs}
    assert found
    assert all(len(outcomes) == wanted[key].tries for key, outcomes in found.items())
    return Counter(
        f"{key[0]}{', chunked' * key[1]}{', expect' * key[2]}: {got}"
        for key, outcomes in found.items()
        for got in outcomes
        if got != wanted[key].status
    )


@pytest.mark.parametrize("loops", [0, 2], ids=["idle", "busy"])
@pytest.mark.parametrize("way", WAYS)
def test_no_answer_is_lost(server: Server, tmp_path: Path, way: str, loops: int) -> None:
    jobs = plan(server, size=5_000_000, tries=1)
    with busy(loops):
        found = WAYS[way](jobs, tmp_path)
    assert lost(jobs, found) == {}


def test_a_slow_line_gets_its_answer(server: Server, tmp_path: Path) -> None:
    """4 seconds of sending: longer than a client is usually waited for."""
    jobs = [job for job in plan(server, size=70_000_000, tries=1) if job.name == "wrong key" and not job.expect]
    send = _python(lambda: contextlib.nullcontext(python.slowly))
    with ThreadPoolExecutor(len(jobs)) as pool:
        for job, found in zip(jobs, pool.map(lambda job: send([job], tmp_path), jobs), strict=True):
            assert lost([job], found) == {}


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("loops", [0, 3], ids=["idle", "busy"])
@pytest.mark.parametrize("way", WAYS)
def test_none_of_hundreds_is_lost(server: Server, tmp_path: Path, way: str, loops: int) -> None:
    plans = [plan(server, size=5_000_000, tries=TRIES // 3 if loops else TRIES)]
    plans += [plan(server, size=60_000_000, tries=1)] if not loops else []
    with busy(loops):
        missing = [lost(jobs, WAYS[way](jobs, tmp_path)) for jobs in plans]
    assert list(itertools.chain(*missing)) == []
