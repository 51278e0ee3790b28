"""Order, fairness and prefix caches, with the physics of a model server."""

import random
import time
from pathlib import Path

import pytest

from filestead.worker.batches.dispatcher import MAX_IN_FLIGHT_BYTES
from tests.batches.models import ThreadedModels
from tests.batches.runs import CHAT, Line, counts, create, encode, get, has_counts, line, lines, wait
from tests.support.model_server import Fault, Machine, ModelServer
from tests.support.servers import Server, run_command

PREFIXES = 10
LINES_PER_PREFIX = 100


def shared_prefix_lines() -> list[Line]:
    """Ten system prompts with 100 lines each, shuffled."""
    prompts = [f"You are assistant number {n}. " + f"Rule {n} of many. " * 300 for n in range(PREFIXES)]
    made = []
    for number in range(PREFIXES * LINES_PER_PREFIX):
        messages = [
            {"role": "system", "content": prompts[number % PREFIXES]},
            {"role": "user", "content": f"question {number}"},
        ]
        body = {"model": "m", "messages": messages, "max_tokens": 16}
        made.append({"custom_id": str(number), "method": "POST", "url": CHAT, "body": body})
    random.Random(5).shuffle(made)
    return made


def hit_share(folder: Path, order: str) -> float:
    machine = Machine(knee=16, cached_prefixes=2)
    with ThreadedModels(ModelServer(machine, speed=20, records=False)) as models:
        with Server(folder / order, upstream_url=models.url, batch_order=order) as server:
            done = wait(server, create(server, shared_prefix_lines()), seconds=120)
            assert done["status"] == "completed"
        engine = models.server.engine
        return engine.hits / (engine.hits + engine.misses)


def test_case_34_shared_prefixes_are_found_in_the_cache(tmp_path: Path) -> None:
    assert hit_share(tmp_path, "prefix") >= 0.95


def test_case_34_in_the_order_of_the_file_they_are_not(tmp_path: Path) -> None:
    assert hit_share(tmp_path, "input") <= 0.30


@pytest.mark.timing
def test_case_35_a_small_batch_of_another_project_beside_a_large_one(tmp_path: Path) -> None:
    machine = Machine(knee=16, step_seconds=0.002)
    with (
        ThreadedModels(ModelServer(machine, speed=5, records=False)) as models,
        Server(tmp_path / "data", upstream_url=models.url) as server,
    ):
        large = create(server, lines(20_000, max_tokens=64))
        wait(server, large, has_counts(completed=500))
        key = run_command(server.data_dir, "keys", "create", "--project", "other", place=server.place).stdout.strip()
        headers = {"Authorization": f"Bearer {key}"}
        files = {"file": ("a.jsonl", encode(lines(10, max_tokens=64)))}
        file_id = server.client.post("/files", data={"purpose": "batch"}, files=files, headers=headers).json()["id"]
        body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
        before = get(server, large)["request_counts"]["completed"]
        begun = time.monotonic()
        small = server.client.post("/batches", json=body, headers=headers).json()
        while server.client.get(f"/batches/{small['id']}", headers=headers).json()["status"] != "completed":
            assert time.monotonic() - begun < 60
            time.sleep(0.02)
        taken = time.monotonic() - begun
        while (found := get(server, large))["request_counts"]["completed"] == before:  # written once a second
            assert time.monotonic() - begun < 60
            time.sleep(0.02)
        rate = (found["request_counts"]["completed"] - before) / (time.monotonic() - begun)
        assert found["status"] == "in_progress"
        assert taken < 0.05 * (20_000 - before) / rate, (taken, rate)


@pytest.mark.timing
def test_cases_32_and_33_the_best_parallelism_is_found_without_a_refusal(tmp_path: Path) -> None:
    machine = Machine(knee=16)
    with (
        ThreadedModels(ModelServer(machine, speed=20)) as models,
        Server(tmp_path / "data", upstream_url=models.url) as server,
    ):
        created = create(server, lines(6_000, max_tokens=32))
        wait(server, created, has_counts(completed=4_000), seconds=120)
        seen = []
        while get(server, created)["status"] == "in_progress":
            engine = models.server.engine
            seen.append(len(engine.running) + len(engine.waiting))
            time.sleep(0.02)
    seen.sort()
    assert 12 <= seen[len(seen) // 2] <= 24, seen
    assert seen[-1] <= 40, "it does not run away"


def test_large_bodies_in_flight_are_bounded(tmp_path: Path) -> None:
    size = 4 * 1024 * 1024
    given = [line(str(number), "x" * size) for number in range(24)]
    most = 0
    with ThreadedModels(ModelServer(instant=True, records=False)) as models:
        models.server.script = lambda received: Fault.slow(0.3)
        with Server(tmp_path / "data", upstream_url=models.url) as server:
            created = create(server, given)
            while get(server, created)["status"] in {"validating", "in_progress"}:
                busy = sum(connection.task is not None for connection in list(models.server.connections))
                most = max(most, busy)
                time.sleep(0.01)
            assert counts(wait(server, created)) == (24, 24, 0)
    assert 1 < most <= MAX_IN_FLIGHT_BYTES // size
