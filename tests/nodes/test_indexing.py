"""Indexing on several nodes: roles, a worker that is killed, and searches that agree."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import shared_postgres
from tests.support.installations import OnServers
from tests.support.seaweedfs import shared_server
from tests.support.servers import Server, run_command

FILES = 150


@pytest.fixture
def place() -> Iterator[OnServers]:
    made = OnServers(shared_postgres(), shared_server(), "indexing")
    yield made
    shared_postgres().drop("indexing")


def node(stack: ExitStack, folder: Path, place: OnServers, role: str) -> Server:
    server = Server(folder, place=place, role=role, uploads_per_minute=0, attached_files_per_minute=0)
    return stack.enter_context(server)


def counts(server: Server, store: str) -> dict[str, int]:
    found: dict[str, int] = server.client.get(f"/vector_stores/{store}").json()["file_counts"]
    return found


def wait_for(server: Server, store: str, **wanted: int) -> None:
    deadline = time.monotonic() + 120
    while not all(counts(server, store)[name] >= number for name, number in wanted.items()):
        assert time.monotonic() < deadline, counts(server, store)
        time.sleep(0.05)


def freeze_while_it_holds_jobs(worker: Server, place: OnServers) -> bool:
    """Stop the process if it has jobs right now, so that it is killed in the middle of them."""
    worker.process.send_signal(signal.SIGSTOP)
    if place.sql("SELECT 1 FROM jobs WHERE token IS NOT NULL"):
        return True
    worker.process.send_signal(signal.SIGCONT)
    time.sleep(0.01)
    return False


def search(server: Server, store: str, query: str) -> list[Any]:
    return list(server.client.post(f"/vector_stores/{store}/search", json={"query": query}).json()["data"])


def test_jobs_of_a_killed_worker_go_to_another_node(place: OnServers, tmp_path: Path) -> None:
    with ExitStack() as stack:
        api = node(stack, tmp_path / "api", place, "api")
        content = b" ".join(b"common%d" % (number % 97) for number in range(2_000))
        ids = [api.upload(b"unique%d %b" % (n, content), name=f"{n}.txt")["id"] for n in range(FILES)]
        store = api.client.post("/vector_stores", json={"file_ids": ids}).json()["id"]
        time.sleep(2)
        assert counts(api, store)["completed"] == 0, "a node with the role api runs no jobs"
        first = node(stack, tmp_path / "first", place, "worker")
        assert first.client.get("/vector_stores").status_code == 404, "a worker serves only health checks"
        assert first.client.get(first.origin + "/health/ready").status_code == 200
        wait_for(api, store, completed=5)
        while not freeze_while_it_holds_jobs(first, place):
            assert counts(api, store)["in_progress"], "all files are indexed"
        first.kill()
        place.sql("UPDATE jobs SET due_us = 1 WHERE token IS NOT NULL")  # as if the leases had expired
        second = node(stack, tmp_path / "second", place, "all")
        wait_for(api, store, completed=FILES)
        assert counts(api, store) == {"in_progress": 0, "completed": FILES, "failed": 0, "cancelled": 0, "total": FILES}
        assert place.sql("SELECT count(*) FROM jobs WHERE kind = 'index'") == [(0,)]
        for number in range(0, FILES, 10):
            found = search(second, store, f"unique{number}")
            assert [result["filename"] for result in found] == [f"{number}.txt"], "indexed once"
        assert search(api, store, "common5 unique7") == search(second, store, "common5 unique7"), "nodes agree"
        api.client.delete(f"/files/{ids[0]}")
        assert search(second, store, "unique0") == [], "at once on every node"
    checked = run_command(tmp_path / "nowhere", "verify", place=place)
    assert checked.returncode == 0, checked.stdout
