"""kill -9 while a batch runs: each line has one result at the end, in one of the files, and the counts are exact.

On SQLite and a disk, and on PostgreSQL and S3. `BATCH_KILLS` is the number of kills on each; `CRASH_SEED` repeats a run.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.batches.models import ThreadedModels
from tests.batches.runs import ENDED, content, counts, create, get, lines
from tests.crash.harness import wait_until_quiet
from tests.support.databases import shared_postgres
from tests.support.installations import OnDisk, OnServers, Place
from tests.support.model_server import Fault, ModelServer, Received
from tests.support.promises import Trials
from tests.support.seaweedfs import shared_server
from tests.support.servers import Server, run_command

KILLS = int(os.environ.get("BATCH_KILLS", "20"))
SEED = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().getrandbits(32)
LINES = 200
REFUSED = 20
"""Every so many lines, the model server refuses one."""
LONGEST = 0.5
"""Seconds from the start of a server to its end: some kills come in the validation, some at the end of a batch."""

IN_FLIGHT = 2
"""Every so many kills, one waits for a batch of which some lines have results and others not, on any machine."""


@pytest.fixture(params=["embedded", "shared"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "embedded":
        yield OnDisk(tmp_path / "data")
    else:
        name = "batch-kills"
        yield OnServers(shared_postgres(), shared_server(), name)
        shared_postgres().drop(name)


def end_lease(place: Place) -> None:
    """As if the seconds of the lease had passed. In an embedded installation, the next server ends it itself."""
    if isinstance(place, OnServers):
        place.sql("UPDATE jobs SET due_us = 1 WHERE token IS NOT NULL")


def settings(models: ThreadedModels) -> dict[str, Any]:
    return {"upstream_url": models.url, "uploads_per_minute": 0, "sweep_seconds": 0.2}


def refuse_some(received: Received) -> Fault | None:
    number = int(str(received.json["messages"][-1]["content"]).split()[1])
    return Fault.of_status(400, "no") if not number % REFUSED else Fault.slow(0.02)


def check(server: Server, batch: Any) -> None:
    """Each line has one result."""
    assert batch["status"] == "completed", batch
    output, errors = content(server, batch["output_file_id"]), content(server, batch["error_file_id"])
    found = Counter(each["custom_id"] for each in [*output, *errors])
    assert found == Counter(f"line-{number}" for number in range(1, LINES + 1))
    assert counts(batch) == (LINES, LINES - LINES // REFUSED, LINES // REFUSED)
    assert len(errors) == LINES // REFUSED
    assert batch["usage"]["total_tokens"] == sum(each["response"]["body"]["usage"]["total_tokens"] for each in output)


def wait_for_results(server: Server, batches: list[Any]) -> None:
    """Wait until a batch, a new one if need be, is between its first result and its last."""
    deadline = time.monotonic() + 60
    while True:
        batch = get(server, batches[-1])
        total, completed, failed = counts(batch)
        if 0 < completed + failed < total:
            return
        if batch["status"] in ENDED:
            batches.append(create(server, lines(LINES)))
        assert time.monotonic() < deadline, batch


@pytest.mark.promise("R-18")
def test_case_26_kills_while_batches_run(place: Place, tmp_path: Path, trials: Trials) -> None:
    print(f"CRASH_SEED={SEED} BATCH_KILLS={KILLS}")
    dice = random.Random(SEED)
    data = tmp_path / "data"
    with ThreadedModels(ModelServer(instant=True)) as models:
        models.server.script = refuse_some
        batches: list[Any] = []
        interrupted = 0
        for kill in range(KILLS):
            with Server(data, place=place, **settings(models)) as server:
                if not batches or get(server, batches[-1])["status"] in ENDED:
                    batches.append(create(server, lines(LINES)))
                time.sleep(dice.uniform(0.0, LONGEST))
                if kill % IN_FLIGHT == 0:
                    wait_for_results(server, batches)
                total, completed, failed = counts(get(server, batches[-1]))
                server.kill()
                trials()
                interrupted += 0 < completed + failed < total
                end_lease(place)
        print(f"{len(batches)} batches, {interrupted} of {KILLS} kills while lines were in flight")
        assert interrupted >= KILLS // 2 // IN_FLIGHT
        with Server(data, place=place, **settings(models)) as server:
            deadline = time.monotonic() + 120
            while any((last := get(server, batch))["status"] not in ENDED for batch in batches):
                assert time.monotonic() < deadline, last
                time.sleep(0.1)
            for batch in batches:
                check(server, get(server, batch))
            # A sweep deletes the journals.
            while any(map(place.sql, ("SELECT 1 FROM batch_results", "SELECT 1 FROM jobs WHERE kind = 'batch'"))):
                assert time.monotonic() < deadline
                time.sleep(0.1)
    if isinstance(place, OnDisk):
        wait_until_quiet(data)
    checked = run_command(data, "verify", place=place)
    assert checked.returncode == 0, checked.stdout
