"""A mixed load for a long time: afterwards nothing has been lost, and the process holds no more than at the beginning.

Clients upload (whole and in parts), read, list, delete, attach, search, and run batches. Some give up in the middle of
an upload or a download. Each minute something fails: the process stands still, the model server is down, another
process holds the database, or many clients connect and send nothing. `SOAK_SECONDS` is how long; `make torture` takes
15 minutes, and looks at the memory of the last 10.
"""

import math
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, mean, median
from typing import Any

import psutil
import pytest

from filestead.server.memory import MAX_ARENAS
from tests.batches import runs
from tests.batches.models import ThreadedModels
from tests.crash.harness import end_claims, findings, garbage, sha256, sql, wait_until_quiet
from tests.crash.soak_load import LINES, Load
from tests.support.model_server import ModelServer
from tests.support.promises import Trials
from tests.support.servers import Server
from tests.support.waiting import wait_until

SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.SystemRandom().getrandbits(32)
CLIENTS = 4
FILES = 5_000 if SECONDS >= 60 else 100
"""Stored and read before, so that the pages that each connection of SQLite caches (2 MB) are not taken for a leak."""
SETTINGS = {"uploads_per_minute": 0, "attached_files_per_minute": 0, "batches_per_hour": 0, "sweep_seconds": 0.5}
WARM_UP_SECONDS = min(600, SECONDS * (2 / 3 if SECONDS >= 60 else 1 / 3))
"""Caches and pools of memory fill for ten minutes: between the fifth and the fifteenth, memory grew by 1 MiB."""
LONG_SECONDS = 230
"""For so long memory must be observed before its slope means something."""
TEN_MINUTES = 600
MIB = 2**20
HEAP_BYTES = 64 * MIB
PAGE = 4_096
GROWTH_MIB = 32
SLOPE_MIB = 1.0
"""In ten minutes. Memory varies by 10 MiB with the transfers of the moment, so more has to be shown with 99 % confidence."""
BLOCK = 60
"""Looks, of which the median counts: those of half a minute."""
STUDENT_T = 2.9
"""The quantile of 99 % for ten medians, those of a run of 15 minutes; that for more of them is smaller."""


@dataclass
class Held:
    """What the process holds, over time."""

    seconds: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    """In MiB."""
    threads: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def look(self, process: psutil.Process) -> None:
        self.seconds.append(time.monotonic())
        self.resident.append(process.memory_info().rss / MIB)
        self.threads.append(process.num_threads())
        self.descriptors.append(process.num_fds())


@pytest.mark.embedded("the process of a server is what is measured")
@pytest.mark.promise("R-26")
@pytest.mark.timeout(SECONDS + 300)
def test_a_mixed_load_leaks_nothing(tmp_path: Path, trials: Trials) -> None:
    print(f"SOAK_SEED={SEED} SOAK_SECONDS={SECONDS:g}")
    dice = random.Random(SEED)
    failures: list[threading.ExceptHookArgs] = []
    threading.excepthook, before = failures.append, threading.excepthook
    held = Held()
    with (
        ThreadedModels(ModelServer(instant=True)) as models,
        Server(tmp_path / "data", own_interpreter=True, upstream_url=models.url, **SETTINGS) as server,
    ):
        process = psutil.Process(server.process.pid)
        try:
            load = Load(server, models)
            load.prepare(dice, FILES)
            load.until = time.monotonic() + SECONDS
            clients = [threading.Thread(target=load.work, args=(random.Random(dice.random()),)) for _ in range(CLIENTS)]
            clients.append(threading.Thread(target=load.disturb, args=(min(60, SECONDS / 4),)))
            for client in clients:
                client.start()
            warm_up_ends = time.monotonic() + WARM_UP_SECONDS
            while any(client.is_alive() for client in clients):
                if time.monotonic() > warm_up_ends:
                    held.look(process)
                time.sleep(0.5)
        finally:
            threading.excepthook = before
        assert not failures, failures[0].exc_value
        outputs = check(load)
        assert process.num_fds() <= median(held.descriptors), "without work it holds no more than under load"
        memory = growth(held)
        assert arenas(process.pid) < MAX_ARENAS, "beside the main one"
        trials(load.outside.requests + load.inside.requests)
    assert findings(tmp_path / "data") == []
    assert garbage(tmp_path / "data") == {}
    print(f"{len(load.stored)} files stored, {len(outputs)} batches, {load.cut} transfers given up; {memory}")
    for where, tally in (("while nothing failed", load.outside), ("in faults", load.inside)):
        print(f"{tally.requests} requests {where}, {tally.success():.3%} succeeded: {tally.failures[:3]}")
    assert load.outside.success() >= 0.9995
    assert load.inside.success() >= 0.95
    assert load.outside.requests > SECONDS
    assert len(load.faults) >= 3
    assert load.cut
    assert outputs


def check(load: Load) -> list[str]:
    """Everything that was acknowledged is there, with its bytes, and nothing else; returns the outputs of the batches."""
    server = load.server
    wait_until(lambda: not unfinished(load), lambda: unfinished(load), 60)
    end_claims(server.data_dir)
    sql(server.data_dir, "UPDATE uploads SET expires_at = created_at WHERE status = 'pending'")
    wait_until_quiet(server.data_dir, 30)
    outputs = []
    for batch_id in load.batches:
        batch = server.client.get(f"/batches/{batch_id}").json()
        assert (batch["status"], runs.counts(batch)) == ("completed", (LINES, LINES, 0)), batch
        outputs.append(batch["output_file_id"])
    names = {file["id"]: file["filename"] for file in files_of(server)}
    kept = load.stored.keys() - load.deleted - load.unsure
    assert kept <= names.keys()
    assert load.deleted.isdisjoint(names)
    others = names.keys() - kept - load.unsure - set(outputs)
    assert {names[file_id] for file_id in others} <= load.unsure_names
    for file_id in kept:
        assert sha256(server.client.get(f"/files/{file_id}/content").content) == load.stored[file_id]
    attached = {file["id"] for file in files_of(server, f"/vector_stores/{load.store}/files", 100)}
    assert attached - load.unsure == load.attached - load.unsure
    return outputs


def unfinished(load: Load) -> list[str]:
    """Batches that run."""
    found = []
    for batch_id in load.batches:
        status = load.server.client.get(f"/batches/{batch_id}").json()["status"]
        if status not in runs.ENDED:
            found.append(f"{batch_id}: {status}")
    return found


def files_of(server: Server, path: str = "/files", limit: int = 1_000) -> Iterator[Any]:
    """Every file of a list."""
    query: dict[str, Any] = {"limit": limit}
    while True:
        page = server.client.get(path, params=query).raise_for_status().json()
        yield from page["data"]
        if not page["has_more"]:
            return
        query["after"] = page["last_id"]


def arenas(pid: int) -> int:
    """The arenas that glibc has made for threads.

    A heap begins at a multiple of 64 MiB, with the address of its arena; this is at the beginning of the first heap.
    """
    starts = [
        int(line.partition("-")[0], 16)
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if line.split()[1] == "rw-p" and len(line.split()) == 5
    ]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        heaps = {
            start: int.from_bytes(os.pread(memory.fileno(), 8, start), sys.byteorder)
            for start in starts
            if start % HEAP_BYTES == 0
        }
    return len({arena for arena in heaps.values() if arena % HEAP_BYTES < PAGE and arena - arena % HEAP_BYTES in heaps})


def growth(held: Held) -> str:
    """Memory and threads must not grow after the warm-up; returns the figures."""
    third = max(1, len(held.resident) // 3)
    first, last = median(held.resident[:third]), median(held.resident[-third:])
    figures = f"{first:.1f} MiB, then {last:.1f}; at most {max(held.threads)} threads"
    assert last - first <= GROWTH_MIB, figures
    assert max(held.threads[-third:]) <= max(held.threads[:third]) + CLIENTS, figures
    if held.seconds[-1] - held.seconds[0] >= LONG_SECONDS:
        slope, error = slope_of(held.seconds, held.resident)
        figures += f"; {slope:+.2f} MiB in ten minutes, with a standard error of {error:.2f}"
        assert slope - STUDENT_T * error <= SLOPE_MIB, figures
    return figures


def slope_of(seconds: list[float], values: list[float]) -> tuple[float, float]:
    """By how much the medians of blocks grow in ten minutes, and the standard error of it."""
    starts = range(0, len(values) - BLOCK + 1, BLOCK)
    times = [seconds[start] / TEN_MINUTES for start in starts]
    medians = [median(values[start : start + BLOCK]) for start in starts]
    line = linear_regression(times, medians)
    left = sum((value - line.slope * time - line.intercept) ** 2 for time, value in zip(times, medians, strict=True))
    middle = mean(times)
    spread = sum((time - middle) ** 2 for time in times)
    return line.slope, math.sqrt(left / (len(times) - 2) / spread)


def test_a_leak_is_told_from_the_variation_of_a_load() -> None:
    dice = random.Random(1)
    seconds = [number * 0.5 for number in range(20 * BLOCK)]
    load = [108 + dice.gauss(0, 2) for _ in range(20)]
    values = [load[number // BLOCK] + dice.gauss(0, 2) for number in range(len(seconds))]
    growth(Held(seconds, values, [27] * len(seconds), []))
    leaking = [value + 9 * second / TEN_MINUTES for second, value in zip(seconds, values, strict=True)]
    with pytest.raises(AssertionError, match="in ten minutes"):
        growth(Held(seconds, leaking, [27] * len(seconds), []))


def test_an_hour_shows_a_smaller_leak() -> None:
    dice = random.Random(1)
    seconds = [number * 0.5 for number in range(100 * BLOCK)]
    values = [108 + dice.gauss(0, 2) for _ in seconds]
    growth(Held(seconds, values, [27] * len(seconds), []))
    leaking = [value + 2 * second / TEN_MINUTES for second, value in zip(seconds, values, strict=True)]
    with pytest.raises(AssertionError, match="in ten minutes"):
        growth(Held(seconds, leaking, [27] * len(seconds), []))
