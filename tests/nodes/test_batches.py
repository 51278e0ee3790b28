"""Batches on several nodes: one is killed, one is frozen past its lease and woken, and no line has two results."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.batches.models import ThreadedModels
from tests.batches.runs import content, counts, create, get, has_counts, lines, wait
from tests.support.databases import shared_postgres
from tests.support.installations import OnServers
from tests.support.model_server import Fault, ModelServer
from tests.support.seaweedfs import shared_server
from tests.support.servers import Server, run_command

LINES = 1_500


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[OnServers]:
    name = f"batches{len(request.node.name)}"  # a bucket's prefix is not emptied
    yield OnServers(shared_postgres(), shared_server(), name)
    shared_postgres().drop(name)


@pytest.fixture
def models() -> Iterator[ThreadedModels]:
    with ThreadedModels(ModelServer(instant=True)) as made:
        made.server.script = lambda received: Fault.slow(0.1)
        yield made


def node(stack: ExitStack, folder: Path, place: OnServers, models: ThreadedModels, role: str = "all") -> Server:
    server = Server(folder, place=place, role=role, uploads_per_minute=0, upstream_url=models.url)
    return stack.enter_context(server)


def check(server: Server, batch: Any) -> None:
    assert (batch["status"], counts(batch)) == ("completed", (LINES, LINES, 0))
    found = Counter(each["custom_id"] for each in content(server, batch["output_file_id"]))
    assert found == Counter(f"line-{number}" for number in range(1, LINES + 1))


def end_lease(place: OnServers) -> None:
    """As if the seconds of the lease had passed."""
    place.sql("UPDATE jobs SET due_us = 1 WHERE kind = 'batch' AND token IS NOT NULL")


def verify(folder: Path, place: OnServers) -> None:
    checked = run_command(folder, "verify", place=place)
    assert checked.returncode == 0, checked.stdout


def test_a_batch_of_a_killed_node_goes_on_at_another(place: OnServers, models: ThreadedModels, tmp_path: Path) -> None:
    with ExitStack() as stack:
        api = node(stack, tmp_path / "api", place, models, "api")
        first = node(stack, tmp_path / "first", place, models, "worker")
        batch = create(api, lines(LINES))
        wait(api, batch, has_counts(completed=200))
        first.kill()
        held = get(api, batch)
        assert held["status"] == "in_progress"
        node(stack, tmp_path / "second", place, models, "worker")
        end_lease(place)
        check(api, wait(api, batch))
        repeated = len(models.server.requests) - LINES
        assert repeated < 500, "what was stored is not asked again"
    verify(tmp_path / "nowhere", place)


def test_case_27_a_frozen_node_is_fenced_off(place: OnServers, models: ThreadedModels, tmp_path: Path) -> None:
    with ExitStack() as stack:
        api = node(stack, tmp_path / "api", place, models, "api")
        first = node(stack, tmp_path / "first", place, models, "worker")
        batch = create(api, lines(LINES))
        wait(api, batch, has_counts(completed=200))
        first.process.send_signal(signal.SIGSTOP)
        stopped_at = get(api, batch)["request_counts"]["completed"]
        end_lease(place)
        node(stack, tmp_path / "second", place, models, "worker")
        wait(api, batch, has_counts(completed=stopped_at + 300))
        first.process.send_signal(signal.SIGCONT)
        done = wait(api, batch)
        check(api, done)
        deadline = time.monotonic() + 30
        while "is not ours any more" not in first.output:
            assert time.monotonic() < deadline, first.output
            time.sleep(0.1)
        assert get(api, batch) == done, "the late node changes nothing"
        assert first.process.poll() is None
    verify(tmp_path / "nowhere", place)
