"""Batches over HTTP: lines a second, memory, validation, fairness, and what others notice while one runs.

The model server responds at once and is a process of its own, so that only the node limits the rate.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import httpx2

from bench.models import (
    create,
    finished,
    get,
    input_file,
    model_server,
    other_project,
    upload_input,
    wait,
    wait_completed,
)
from bench.nginx import Nginx
from bench.plan import MIB, Bench, WrongAnswer
from bench.report import Goal, Row
from bench.usage import Peak, resident
from tests.support.servers import Server

LARGE_BYTES = 200 * MIB
LARGE_LINES = 50_000
"""The limits of the hosted service."""
SMALL_LINES = 10
TURNS = 4
"""Idle, busy, idle, busy."""
KIB = 1024


def measure_batches(bench: Bench, _: Nginx | None) -> list[Row]:
    """The figures of one node with the default settings, but for the rates."""
    rows: list[Row] = []
    with model_server("--instant") as url, bench.folder("batches") as folder:
        folder.mkdir()
        with Server(folder / "data", upstream_url=url, uploads_per_minute=0, batches_per_hour=0) as server:
            _run(server.client, input_file(folder / "warm.jsonl", 100), 100)
            rows += _rates(bench, server, folder)
            rows.append(_fairness(bench, server, folder))
            rows += _others(bench, server, folder)
        with Server(folder / "large", upstream_url=url, uploads_per_minute=0) as server:
            rows += _large(bench, server, folder)
    return rows


def _run(client: httpx2.Client, path: Path, lines: int) -> float:
    """Seconds from the creation of a batch to its end, with its files published."""
    file_id = upload_input(client, path)
    started = time.perf_counter()
    wait_completed(client, create(client, file_id), lines)
    return time.perf_counter() - started


def _rates(bench: Bench, server: Server, folder: Path) -> list[Row]:
    bench.progress("batches: small lines")
    lines = bench.plan.batch_lines
    path = input_file(folder / "small.jsonl", lines)
    rates = [lines / _run(server.client, path, lines) for _ in range(bench.plan.load_rounds)]
    measure = f"a batch of {lines:,} small lines, from creation to end"
    return [Row(measure=measure, unit="lines/s", ours=rates, goal=Goal(2_500, at_least=True))]


def _large(bench: Bench, server: Server, folder: Path) -> list[Row]:
    """Memory over that after a small batch; the upload of the input is over by then."""
    lines = bench.plan.large_batch_lines
    bench.progress(f"batches: {lines:,} lines of {LARGE_BYTES // LARGE_LINES:,} bytes")
    client = server.client
    _run(client, input_file(folder / "warm.jsonl", 100), 100)
    file_id = upload_input(client, input_file(folder / "large.jsonl", lines, LARGE_BYTES // LARGE_LINES))
    idle = resident(server.process.pid)
    with Peak(server.process.pid) as peak:
        started = time.perf_counter()
        batch = create(client, file_id)
        created = time.perf_counter()
        wait(client, batch, lambda found: found["status"] != "validating")
        validated = time.perf_counter()
        wait_completed(client, batch, lines)
        ended = time.perf_counter()
    name = f"{lines:,} lines of {lines * LARGE_BYTES // LARGE_LINES // MIB} MiB"
    note = f"peak {peak.mib:.0f} MiB over {idle:.0f} MiB after a small batch"
    rate = lines / (ended - validated)
    return [
        Row(measure=f"{name}: create", unit="ms", ours=[(created - started) * 1_000], goal=Goal(100)),
        Row(measure=f"{name}: validate", unit="s", ours=[validated - created], goal=Goal(5)),
        Row(measure=f"{name}: run", unit="lines/s", ours=[rate], goal=Goal(2_500, at_least=True)),
        Row(measure=f"{name}: memory over idle", unit="MiB", ours=[peak.mib - idle], goal=Goal(40), note=note),
    ]


def _fairness(bench: Bench, server: Server, folder: Path) -> Row:
    """The end of a small batch of another project, as a share of what the large one still takes."""
    bench.progress("batches: a small one of another project")
    lines, client, other = bench.plan.batch_lines, server.client, other_project(server)
    large = create(client, upload_input(client, input_file(folder / "fair.jsonl", lines)))
    file_id = upload_input(other, input_file(folder / "ten.jsonl", SMALL_LINES))
    wait(client, large, lambda found: finished(found) > 0)
    started = time.perf_counter()
    small = create(other, file_id)
    wait_completed(other, small, SMALL_LINES)
    taken = time.perf_counter() - started
    left = lines - finished(get(client, large))
    wait_completed(client, large, lines)
    remaining = time.perf_counter() - started
    if not left:
        raise WrongAnswer("the large batch ended before the small one")
    return Row(
        measure=f"{SMALL_LINES} lines of another project beside {lines:,}",
        unit="s",
        ours=[taken],
        against="rest of the large one",
        reference=[remaining],
        goal=Goal(0.05, of="ratio"),
    )


def _others(bench: Bench, server: Server, folder: Path) -> list[Row]:
    """Latencies of uploads and reads, idle and while a batch runs at full rate, in turns."""
    bench.progress("batches: uploads and reads while one runs")
    client = server.client
    input_id = upload_input(client, input_file(folder / "beside.jsonl", LARGE_LINES))
    file_id = str(server.upload(b"x" * KIB)["id"])
    uploads: list[list[float]] = [[], []]
    reads: list[list[float]] = [[], []]
    rates = []
    for turn in range(TURNS):
        busy = turn % 2
        batch = create(client, input_id) if busy else None
        if batch is not None:
            wait(client, batch, lambda found: finished(found) >= 1_000)
            before, started = finished(get(client, batch)), time.perf_counter()
        for _ in range(bench.plan.beside_requests):
            uploads[busy].append(_timed(lambda: server.upload(b"x" * KIB)))
            reads[busy].append(_timed(lambda: client.get(f"/files/{file_id}").raise_for_status()))
        if batch is not None:
            found = get(client, batch)
            if found["status"] != "in_progress":
                raise WrongAnswer("the batch ended before the requests beside it")
            rates.append((finished(found) - before) / (time.perf_counter() - started))
            client.post(f"/batches/{batch['id']}/cancel").raise_for_status()
            wait(client, batch)
    note = f"the batch ran {median(rates):,.0f} lines/s meanwhile"
    return [_beside("uploads of 1 KB", uploads, note), _beside("GET /v1/files/{id}", reads, note)]


def _timed(request: Callable[[], object]) -> float:
    """Milliseconds of a request."""
    started = time.perf_counter()
    request()
    return (time.perf_counter() - started) * 1_000


def _beside(name: str, found: Sequence[Sequence[float]], note: str) -> Row:
    idle, busy = found
    goal = Goal(1.2, of="ratio")
    return Row(
        measure=f"{name} while a batch runs", unit="ms", ours=busy, against="idle", reference=idle, goal=goal, note=note
    )
