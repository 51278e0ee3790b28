"""How soon a server is ready again that was killed with many files and many unfinished uploads."""

import contextlib
import sqlite3
import time
from pathlib import Path

import httpx2
import pytest

from bench.listing import fill
from filestead.domain.jobs import JobKind
from filestead.installation import DATABASE
from tests.batches import runs
from tests.batches.models import ThreadedModels
from tests.crash.harness import findings, sql
from tests.support.model_server import Fault, ModelServer, Received
from tests.support.servers import Server
from tests.support.waiting import wait_until

READY_SECONDS = 5.0
"""As in the catalogue, on a machine that does nothing else. Beside other tests a start alone takes a few seconds."""
BESIDE_OTHERS_SECONDS = 15.0

pytestmark = pytest.mark.embedded("the files are rows of SQLite")


@pytest.mark.parametrize(
    ("files", "pending", "ready_seconds", "quiet_seconds"),
    [
        (20_000, 2_000, BESIDE_OTHERS_SECONDS, 60),
        pytest.param(100_000, 10_000, READY_SECONDS, 600, marks=pytest.mark.torture),
    ],
)
@pytest.mark.promise("R-23")
@pytest.mark.timeout(900)
@pytest.mark.timing
def test_a_restart_with_many_files(
    tmp_path: Path, files: int, pending: int, ready_seconds: float, quiet_seconds: float
) -> None:
    server = Server(tmp_path / "data", own_interpreter=True)
    kept = server.upload(b"kept")["id"]
    server.kill()
    middle = fill(server.data_dir / DATABASE, files).middle
    leave_pending_uploads(server.data_dir, pending)
    began = time.monotonic()
    with Server(server.data_dir, own_interpreter=True) as restarted:
        wait_until(lambda: is_ready(restarted), "the server is not ready", ready_seconds + 10)
        seconds = time.monotonic() - began
        print(f"ready {seconds:.2f} s after the start, with {files:,} files and {pending:,} unfinished uploads")
        assert seconds <= ready_seconds
        assert restarted.client.get(f"/files/{kept}/content").content == b"kept"
        assert restarted.client.get(f"/files/{middle}").status_code == 200
        assert restarted.upload(b"new")["bytes"] == 3
        left = "SELECT count(*) FROM blobs WHERE state != 'live'"
        wait_until(lambda: sql(server.data_dir, left) == [(0,)], "unfinished uploads are left", quiet_seconds)
        print(f"quiet {time.monotonic() - began:.1f} s after the start")
    assert sql(server.data_dir, "SELECT bytes_reserved FROM projects") == [(0,)]


class PausedModels(ThreadedModels):
    """Responds late, until it is told not to."""

    def __init__(self) -> None:
        self.is_paused = True
        super().__init__(ModelServer(instant=True, script=self._pause))

    def _pause(self, _: Received) -> Fault | None:
        return Fault.slow(120) if self.is_paused else None


@pytest.mark.parametrize(
    ("count", "ready_seconds"),
    [(50, BESIDE_OTHERS_SECONDS), pytest.param(500, READY_SECONDS, marks=pytest.mark.torture)],
)
@pytest.mark.promise("R-23", "R-18")
@pytest.mark.timeout(600)
@pytest.mark.timing
def test_a_restart_with_many_unfinished_jobs(tmp_path: Path, count: int, ready_seconds: float) -> None:
    with PausedModels() as models:
        settings = {"upstream_url": models.url, "uploads_per_minute": 0, "own_interpreter": True}
        server = Server(tmp_path / "data", **settings)
        batches = [runs.create(server, runs.lines(1)) for _ in range(count)]
        files = [server.upload(b"harbour lights at night", name=f"{number}.txt")["id"] for number in range(count)]
        store = server.client.post("/vector_stores", json={"file_ids": files}).json()["id"]
        server.kill()
        jobs = dict(sql(server.data_dir, "SELECT kind, count(*) FROM jobs GROUP BY kind"))
        assert jobs[JobKind.BATCH] == count, jobs
        models.is_paused = False
        began = time.monotonic()
        with Server(server.data_dir, **settings) as restarted:
            wait_until(lambda: is_ready(restarted), "the server is not ready", ready_seconds + 10)
            seconds = time.monotonic() - began
            print(f"ready {seconds:.2f} s after the start, with unfinished jobs: {jobs}")
            assert seconds <= ready_seconds
            for batch in batches:
                assert runs.counts(runs.wait(restarted, batch, seconds=300)) == (1, 1, 0)
            of_store = f"/vector_stores/{store}"
            wait_until(
                lambda: restarted.client.get(of_store).json()["file_counts"]["completed"] == count,
                "files are not indexed",
                300,
            )
            print(f"all jobs were done {time.monotonic() - began:.1f} s after the start")
        assert sql(server.data_dir, "SELECT count(*) FROM jobs") == [(0,)]
        assert findings(server.data_dir) == []


def is_ready(server: Server) -> bool:
    return httpx2.get(server.origin + "/health/ready").status_code == 200


def leave_pending_uploads(data_dir: Path, count: int) -> None:
    """Rows and staged bytes of uploads that a killed server did not finish; their leases are from before the kill."""
    with contextlib.closing(sqlite3.connect(data_dir / DATABASE)) as connection, connection:
        (project,) = connection.execute("SELECT id FROM projects").fetchone()
        keys = [f"{number:032x}" for number in range(count)]
        lease = int(time.time() * 1e6) + 3_600_000_000
        connection.executemany(
            "INSERT INTO blobs (key, project_id, state, lease_until_us, bytes_reserved) VALUES (?, ?, 'pending', ?, 10)",
            ((key, project, lease) for key in keys),
        )
        connection.execute("UPDATE projects SET bytes_reserved = bytes_reserved + ?", (10 * count,))
    for key in keys:
        (data_dir / "staging" / key).write_bytes(b"unfinished")
