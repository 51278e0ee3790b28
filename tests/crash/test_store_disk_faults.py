"""A disk that fails or is full under uploads in parts, vector stores and batches: a clear refusal, and then it goes on.

The system calls of SQLite are made to fail by strace; `test_disk_faults.py` has uploads and deletes of files.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.batches import runs
from tests.batches.models import ThreadedModels
from tests.crash.harness import (
    Victim,
    end_claims,
    error_of,
    findings,
    garbage,
    sql,
    staged,
    wait_until_quiet,
)
from tests.crash.small_disk import MIB, fill
from tests.crash.system_calls import may_attach
from tests.support.model_server import ModelServer
from tests.support.parts import add_part, create_upload, send_complete, send_part
from tests.support.servers import Server
from tests.support.waiting import wait_until

TEXT = b"harbour lights at night"
PART = os.urandom(70_000)
LINES = 3
SETTINGS = {"uploads_per_minute": 0, "sweep_seconds": 3_600}

pytestmark = pytest.mark.embedded("makes the system calls on a data directory fail")


@pytest.fixture(scope="module")
def models() -> Iterator[ThreadedModels]:
    with ThreadedModels(ModelServer(instant=True)) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: ThreadedModels) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("faults") / "data"
    with Server(folder, upstream_url=models.url, **SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, models: ThreadedModels) -> Iterator[Victim]:
    with Victim(tmp_path_factory.mktemp("faults") / "data", upstream_url=models.url, **SETTINGS) as running:
        yield running


@dataclass
class Subjects:
    """What the requests are about."""

    server: Server
    kept: str = field(init=False)
    text: str = field(init=False)
    input: str = field(init=False)
    store: str = field(init=False)
    filled: str = field(init=False)
    upload: str = field(init=False)
    part: str = field(init=False)

    def __post_init__(self) -> None:
        server = self.server
        client = server.client
        self.kept = server.upload(PART)["id"]
        self.text = server.upload(TEXT, name="a.txt")["id"]
        self.input = server.upload(runs.encode(runs.lines(LINES)), purpose="batch", name="input.jsonl")["id"]
        self.store = client.post("/vector_stores", json={}).json()["id"]
        self.filled = client.post("/vector_stores", json={"file_ids": [self.text]}).json()["id"]
        wait_for_index(client, self.filled, self.text)
        self.upload = create_upload(client, 2 * len(PART))["id"]
        self.part = add_part(client, self.upload, PART)
        wait_until_quiet(server.data_dir)


Request = Callable[[httpx2.Client, Subjects], httpx2.Response]


def wait_for_index(client: httpx2.Client, store: str, file_id: str) -> None:
    def status() -> Any:
        return client.get(f"/vector_stores/{store}/files/{file_id}").json()["status"]

    wait_until(lambda: status() == "completed", status)
    found = client.post(f"/vector_stores/{store}/search", json={"query": "harbour"}).json()["data"]
    assert [each["file_id"] for each in found] == [file_id]


def complete(client: httpx2.Client, subjects: Subjects) -> httpx2.Response:
    """Of an upload with all its parts, which are made before the disk fails."""
    return send_complete(client, subjects.upload, [subjects.part, subjects.part])


REQUESTS: dict[str, Request] = {
    "upload created": lambda client, _: client.post(
        "/uploads", json={"filename": "b", "purpose": "user_data", "bytes": 10, "mime_type": "text/plain"}
    ),
    "part": lambda client, subjects: send_part(client, subjects.upload, PART[::-1], retries=1),
    "completion": lambda client, subjects: send_complete(client, subjects.upload, [subjects.part]),
    "attachment": lambda client, subjects: client.post(
        f"/vector_stores/{subjects.store}/files", json={"file_id": subjects.text}
    ),
    "detachment": lambda client, subjects: client.delete(f"/vector_stores/{subjects.filled}/files/{subjects.text}"),
    "store created": lambda client, _: client.post("/vector_stores", json={}),
    "store deleted": lambda client, subjects: client.delete(f"/vector_stores/{subjects.filled}"),
    "batch": lambda client, subjects: client.post(
        "/batches", json={"input_file_id": subjects.input, "endpoint": runs.CHAT, "completion_window": "24h"}
    ),
}
STATE = (
    "SELECT 'part', id FROM upload_parts UNION ALL SELECT status, id FROM uploads UNION ALL SELECT 'batch', id FROM "
    "batches UNION ALL SELECT vector_store_id, file_id FROM vector_store_files UNION ALL SELECT 'store', id FROM "
    "vector_stores UNION ALL SELECT 'file', id FROM files ORDER BY 1, 2"
)


def make_subjects(server: Server, name: str) -> Subjects:
    subjects = Subjects(server)
    if name == "completion":  # one part is all
        subjects.upload = create_upload(server.client, len(PART))["id"]
        subjects.part = add_part(server.client, subjects.upload, PART)
    return subjects


def check_reads(client: httpx2.Client, subjects: Subjects) -> None:
    """They go on while the disk fails."""
    assert client.get(f"/files/{subjects.kept}/content").content == PART
    assert subjects.kept in [file["id"] for file in client.get("/files").json()["data"]]
    wait_for_index(client, subjects.filled, subjects.text)


def check_recovery(server: Server, subjects: Subjects, send: Request) -> None:
    """The same request works in the same process, and nothing is left of the refused one."""
    response = send(server.client, subjects)
    assert response.status_code == 200, response.text
    if response.json()["object"] == "batch":
        done = runs.wait(server, response.json())
        assert (done["status"], runs.counts(done)) == ("completed", (LINES, LINES, 0))
    elif response.json()["object"] == "vector_store.file":
        wait_for_index(server.client, subjects.store, subjects.text)
    wait_until(lambda: sql(server.data_dir, "SELECT count(*) FROM jobs") == [(0,)], "a job is left")
    end_claims(server.data_dir)  # what could not be removed is left to a sweep
    assert findings(server.data_dir) == []
    wait_until_quiet(server.data_dir)


# --- system calls of SQLite that fail -------------------------------------------------------------------------------


@contextlib.contextmanager
def failing_calls(server: Server, call: str, error: str, folder: Path) -> Iterator[None]:
    """Every call of this name fails in all threads of a server."""
    output = folder / "strace"
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:error={error}", "-p", str(server.process.pid)]  # fmt: skip
    with output.open("wb") as stderr:
        tracer = subprocess.Popen(command, stderr=stderr)
    status = Path(f"/proc/{server.process.pid}/status")
    wait_until(
        lambda: f"TracerPid:\t{tracer.pid}\n" in status.read_text(), lambda: f"no strace: {output.read_text()}"
    )  # fmt: skip
    try:
        yield
    finally:
        tracer.terminate()
        tracer.wait(30)


@pytest.mark.skipif(
    shutil.which("strace") is None or not may_attach(),
    reason="strace is missing, or may not attach without root: failing system calls are NOT tried",
)
@pytest.mark.rotating(6)
@pytest.mark.parametrize(
    ("call", "error"), [("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("fdatasync", "EIO")], ids=lambda value: value
)
@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.promise("R-10")
def test_system_calls_of_the_database_fail(server: Server, tmp_path: Path, name: str, call: str, error: str) -> None:
    subjects = make_subjects(server, name)
    before = sql(server.data_dir, STATE)
    with failing_calls(server, call, error, tmp_path):
        response = REQUESTS[name](server.client, subjects)
        is_full = error == "ENOSPC"
        assert response.status_code == (507 if is_full else 500), response.text
        assert error_of(response)["code"] == ("storage_full" if is_full else "storage_failed")
        check_reads(server.client, subjects)
    assert sql(server.data_dir, STATE) == before, "nothing has changed"
    check_recovery(server, subjects, REQUESTS[name])


# --- steps that fail ------------------------------------------------------------------------------------------------

PART_FAULTS = {
    "create": ("EIO", "before open staging"),
    "write": ("EIO", "before write staging"),
    "write, disk full": ("ENOSPC", "before write staging"),
    "fsync": ("EIO", "before fsync staging"),
    "fsync, disk full only now": ("ENOSPC", "before fsync staging"),
    "rename": ("EIO", "before rename staging"),
    "fsync of the folder": ("EIO", "before fsync shard"),
    "commit of the beginning": ("EIO", "before commit of uploads.begin_part"),
    "commit": ("EIO", "before commit of uploads.accept_part"),
    "commit, disk full": ("ENOSPC", "before commit of uploads.accept_part"),
}


@pytest.mark.rotating(6)
@pytest.mark.parametrize("fault", PART_FAULTS)
@pytest.mark.promise("R-10")
def test_a_part_that_cannot_be_stored(victim: Victim, fault: str) -> None:
    act, step = PART_FAULTS[fault]
    subjects = Subjects(victim)
    before = sql(victim.data_dir, STATE)
    with victim.failing(act, step, "*"):
        response = REQUESTS["part"](victim.client, subjects)
        assert response.status_code == (507 if act == "ENOSPC" else 500), response.text
        assert error_of(response)["code"] == ("storage_full" if act == "ENOSPC" else "storage_failed")
        check_reads(victim.client, subjects)
    # What is unhealthy is asked again by whoever asks for it.
    wait_until(lambda: httpx2.get(f"{victim.origin}/health/ready").status_code == 200, "it is not ready")
    assert sql(victim.data_dir, STATE) == before
    check_recovery(victim, subjects, REQUESTS["part"])
    parts = [
        part for (part,) in sql(victim.data_dir, "SELECT id FROM upload_parts WHERE upload_id = ?", subjects.upload)
    ]
    assert send_complete(victim.client, subjects.upload, sorted(parts, key=lambda part: part != subjects.part)).status_code == 200  # fmt: skip


JOBS = {
    "index": ("attachment", "before commit of index.complete_file"),
    "validation": ("batch", "before commit of runs.start"),
    "results": ("batch", "before commit of runs.append"),
    "output": ("batch", "before commit of runs.finish"),
    "output file": ("batch", "before fsync staging"),
}


@pytest.mark.rotating(6)
@pytest.mark.parametrize("act", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("job", JOBS)
@pytest.mark.promise("R-10", "R-18")
def test_a_job_whose_effect_cannot_be_stored_is_repeated(victim: Victim, job: str, act: str) -> None:
    name, step = JOBS[job]
    subjects = Subjects(victim)
    before = len(victim.trace())
    with victim.failing(act, step, "*"):
        response = REQUESTS[name](victim.client, subjects)
        assert response.status_code == 200
        wait_until(lambda: any(line.startswith(step) for line in victim.trace()[before:]), "the step did not come")
        check_reads(victim.client, subjects)
        if name == "batch":
            assert runs.get(victim, response.json())["status"] not in runs.ENDED
    if name == "batch":
        done = runs.wait(victim, response.json())
        assert (done["status"], runs.counts(done)) == ("completed", (LINES, LINES, 0))
        assert sorted(runs.ids(runs.results(victim, done)[0])) == runs.ids(runs.lines(LINES))
    else:
        wait_for_index(victim.client, subjects.store, subjects.text)
    wait_until_quiet(victim.data_dir)
    assert findings(victim.data_dir) == []


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.mark.promise("R-09")
def test_a_disk_without_a_free_byte(disk: Path, models: ThreadedModels) -> None:
    """What needs room is refused, what needs hardly any may work, and what makes room works."""
    with Server(disk / "data", reserve_bytes=4 * MIB, upstream_url=models.url, **SETTINGS) as server:
        subjects = Subjects(server)
        ballast = fill(disk)
        refused = send_part(server.client, subjects.upload, PART[::-1])
        assert (refused.status_code, error_of(refused)["code"]) == (507, "storage_full")
        assert refused.headers["x-should-retry"] == "false"
        assert staged(server.data_dir) == set()
        answers = {name: REQUESTS[name](server.client, subjects) for name in ("attachment", "batch", "store created")}
        for name, response in answers.items():
            assert response.status_code in (200, 507), f"{name}: {response.text}"
            if response.status_code == 507:
                assert error_of(response)["code"] == "storage_full"
        check_reads(server.client, subjects)
        for name in ("detachment", "store deleted"):
            assert REQUESTS[name](server.client, subjects).status_code == 200, name
        assert server.client.post(f"/uploads/{subjects.upload}/cancel").json()["status"] == "cancelled"
        assert server.client.delete(f"/files/{subjects.kept}").status_code == 200
        ballast.unlink()
        again = Subjects(server)
        for name in ("part", "attachment", "batch"):
            check_recovery(server, again, REQUESTS[name])
        for name, response in answers.items():
            if name == "batch" and response.status_code == 200:
                assert runs.wait(server, response.json())["status"] == "completed", "an acknowledged batch runs"
        assert garbage(server.data_dir) == {}
