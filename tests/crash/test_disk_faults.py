"""A disk that is full, fails or rots: nothing false is acknowledged, nothing is left behind, the rest goes on."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.batches.models import ThreadedModels
from tests.batches.runs import create, get, lines, results, wait
from tests.crash.harness import (
    Victim,
    end_claims,
    error_of,
    expire,
    findings,
    garbage,
    send_form,
    sha256,
    sql,
    staged,
    stored,
    wait_until_quiet,
)
from tests.crash.small_disk import DISK, MIB, fill
from tests.support.model_server import Fault, ModelServer
from tests.support.servers import Server
from tests.support.waiting import wait_until

RESERVE = 4 * MIB


def ready(server: Server) -> int:
    """What an orchestrator sees."""
    return httpx2.get(server.origin + "/health/ready", timeout=30).status_code


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
@pytest.mark.parametrize("reserve", [0, RESERVE])
@pytest.mark.promise("R-09")
def test_an_upload_larger_than_the_disk(disk: Path, reserve: int, declared: bool) -> None:
    with Server(disk / "data", reserve_bytes=reserve) as server:
        kept = server.upload(b"kept" * 1000)
        form = httpx2.Request(
            "POST", server.base_url, files={"purpose": (None, b"user_data"), "file": ("b", b"x" * DISK)}
        )
        body = form.read()
        pieces = iter([body[at : at + MIB] for at in range(0, len(body), MIB)])
        response = server.client.post(
            "/files",
            headers={"content-type": form.headers["content-type"]},
            content=body if declared else pieces,
        )
        assert response.status_code == 507
        error = error_of(response)
        assert (error["code"], error["type"], error["param"]) == ("storage_full", "server_error", None)
        assert response.headers["x-should-retry"] == "false"
        wait_until_quiet(server.data_dir)
        assert [file["id"] for file in server.client.get("/files").json()["data"]] == [kept["id"]]
        server.upload(b"there is room for this")
        assert ready(server) == 200
        assert findings(server.data_dir) == []


@pytest.mark.promise("R-09")
def test_uploads_leave_the_reserve(disk: Path) -> None:
    """Whether their bytes are a file or a row."""
    with Server(disk / "data", reserve_bytes=0) as server:
        server.upload()
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with Server(disk / "data", reserve_bytes=free - 4 * MIB) as server:
        filler = server.upload(b"x" * (4 * MIB))["id"]
        for size in (MIB, 100):
            refused = send_form(server.client, "refused", b"x" * size)
            assert refused.status_code == 507, refused.text
            assert error_of(refused)["code"] == "storage_full"
        assert server.client.delete(f"/files/{filler}").status_code == 200
        wait_until_quiet(server.data_dir)
        server.upload(b"x" * MIB)
        assert findings(server.data_dir) == []


@pytest.mark.promise("R-09")
@pytest.mark.timing
def test_results_of_a_batch_leave_the_reserve(disk: Path) -> None:
    """They wait for room, and room can be made: files can be deleted, and batches cancelled."""
    large = b'{"text":"%b"}' % (b"x" * MIB)
    with (
        ThreadedModels(ModelServer(script=lambda received: Fault("status", 200, {}, large))) as models,
        Server(disk / "data", reserve_bytes=RESERVE, upstream_url=models.url) as server,
    ):
        filler = server.upload(b"x" * (24 * MIB))["id"]
        batch = create(server, lines(40))
        wait_until(lambda: "pauses, as its results cannot be stored now" in server.output, "pause")
        time.sleep(3)  # of further attempts
        assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > RESERVE // 2
        begun = time.monotonic()
        cancelled = server.client.post(f"/batches/{batch['id']}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelling")
        assert time.monotonic() - begun < 2, "the API does not wait for the disk"
        asked = len(models.server.requests)
        time.sleep(2)
        assert get(server, batch)["status"] == "cancelling"
        assert server.client.delete(f"/files/{filler}").status_code == 200
        done = wait(server, batch, seconds=30)
        assert (done["status"], done["request_counts"]["failed"]) == ("cancelled", 0)
        assert len(models.server.requests) == asked, "nothing is sent after the cancel"
        assert {each["custom_id"] for file in results(server, done) for each in file} == {
            each["custom_id"] for each in lines(40)
        }


@pytest.mark.promise("R-09")
def test_a_disk_without_a_free_byte(disk: Path) -> None:
    content = os.urandom(MIB)
    with Server(disk / "data", reserve_bytes=RESERVE, uploads_per_minute=0) as server:
        files = [server.upload(content)["id"] for _ in range(8)]
        ballast = fill(disk)
        refused = send_form(server.client, "refused", content)
        assert (refused.status_code, error_of(refused)["code"]) == (507, "storage_full")
        assert refused.headers["x-should-retry"] == "false"
        assert staged(server.data_dir) == set()
        assert [file["id"] for file in server.client.get("/files").json()["data"]] == files[::-1]
        assert sha256(server.client.get(f"/files/{files[0]}/content").content) == sha256(content)
        deleted = [server.client.delete(f"/files/{file_id}").status_code for file_id in files[:6]]
        assert deleted == [200] * 6
        wait_until_quiet(server.data_dir)
        assert [server.client.get(f"/files/{file_id}").status_code for file_id in files] == [404] * 6 + [200] * 2
        server.upload(content[:1000])  # what was deleted has made room
        ballast.unlink()
        server.upload(content)
        assert findings(server.data_dir) == []
        server.kill()
    with Server(disk / "data", reserve_bytes=RESERVE) as server:
        assert len(server.client.get("/files").json()["data"]) == 4
        assert findings(server.data_dir) == []


@pytest.mark.promise("R-09")
def test_killed_and_started_on_a_full_disk(disk: Path) -> None:
    content = os.urandom(MIB)
    with Server(disk / "data", reserve_bytes=RESERVE) as server:
        file_id = server.upload(content)["id"]
        ballast = fill(disk)
        send_form(server.client, "refused", content)
        server.kill()
    ballast.unlink()
    with Server(disk / "data", reserve_bytes=RESERVE) as server:
        assert [file["id"] for file in server.client.get("/files").json()["data"]] == [file_id]
        assert sha256(server.client.get(f"/files/{file_id}/content").content) == sha256(content)
        wait_until_quiet(server.data_dir)
        assert findings(server.data_dir) == []


# --- a failing disk -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def idle() -> Iterator[list[Victim]]:
    """Where the victim lies between two tests."""
    place: list[Victim] = []
    yield place
    for victim in place:
        victim.stop()


@pytest.fixture
def victim(idle: list[Victim], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """Empty and sound. One that cannot be made so again is not used by the next test."""
    found = idle.pop() if idle else Victim(tmp_path_factory.mktemp("faults") / "data", **SETTINGS)
    yield found
    found.disarm()
    for file in found.client.get("/files").json()["data"]:
        found.client.delete(f"/files/{file['id']}")
    with contextlib.suppress(AssertionError):
        wait_until_quiet(found.data_dir, 1)
    if not garbage(found.data_dir) and not findings(found.data_dir) and ready(found) == 200:
        idle.append(found)
    else:
        found.stop()


SETTINGS = {"uploads_per_minute": 0, "sweep_seconds": 3600}


FAULTS = {
    "fsync of the file": ("EIO", "before fsync staging"),
    "fsync of the file, disk full only now": ("ENOSPC", "before fsync staging"),
    "close of the file": ("EIO", "after close staging"),
    "rename": ("EIO", "before rename staging"),
    "fsync of the folder": ("EIO", "before fsync shard"),
    "fsync of the folder, late": ("EIO", "after fsync shard"),
    "create": ("EIO", "before open staging"),
    "create, no inode left": ("ENOSPC", "before open staging"),
    "write": ("EIO", "before write staging"),
    "write, quota of the disk": ("EDQUOT", "before write staging"),
}


def synced_once(trace: list[str]) -> bool:
    """No handle is synced twice between its opening and its closing."""
    synced: set[str] = set()
    for line in trace:
        step, _, fd = line.partition("|")
        if step.startswith("before close"):
            synced.discard(fd)
        elif step.startswith("before fsync"):
            if fd in synced:
                return False
            synced.add(fd)
    return True


@pytest.mark.parametrize("content", [b"small", b"large" * MIB], ids=["small", "large"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.promise("R-10")
def test_a_failing_system_call(victim: Victim, fault: str, content: bytes) -> None:
    act, step = FAULTS[fault]
    kept = victim.upload(b"kept")
    sick = act == "EIO"
    with victim.traced() as trace, victim.failing(act, step, "*"):
        response = send_form(victim.client, "refused", content)
        assert response.status_code == (500 if sick else 507)
        assert error_of(response)["code"] == ("storage_failed" if sick else "storage_full")
        assert [ready(victim) for _ in range(3)] == [503 if sick else 200] * 3
        # Everything else goes on.
        assert [file["id"] for file in victim.client.get("/files").json()["data"]] == [kept["id"]]
        assert victim.client.get(f"/files/{kept['id']}/content").content == b"kept"
        refused = send_form(victim.client, "refused too", content)
        assert refused.status_code == (503 if sick else 507)
        error_of(refused)
    assert synced_once(trace)
    assert ready(victim) == 200
    assert victim.upload(content)["bytes"] == len(content)
    sweep(victim.data_dir)
    assert len(stored(victim.data_dir)) == 2


def sweep(data_dir: Path) -> None:
    """After a sweep nothing is left of what failed."""
    assert findings(data_dir) == []
    wait_until_quiet(data_dir)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if FAULTS[fault][0] == "EIO"])
@pytest.mark.promise("R-10")
def test_a_system_call_that_fails_once(victim: Victim, fault: str) -> None:
    with victim.traced() as trace, victim.failing(*FAULTS[fault]):
        assert send_form(victim.client, "refused", b"content").status_code == 500
        wait_until_quiet(victim.data_dir)  # what is left is removed at once, and not only by a sweep
        assert victim.client.get("/files").json()["data"] == []
        assert ready(victim) == 200
    assert synced_once(trace)
    assert findings(victim.data_dir) == []


@pytest.mark.parametrize("call", ["records.begin_upload", "records.publish"])
@pytest.mark.promise("R-10")
def test_a_failing_commit_of_an_upload(victim: Victim, call: str) -> None:
    with victim.failing("EIO", f"before commit of {call}"):
        response = send_form(victim.client, "refused", b"content")
    assert (response.status_code, error_of(response)["code"]) == (500, "storage_failed")
    assert victim.client.get("/files").json()["data"] == []
    wait_until_quiet(victim.data_dir)
    victim.upload(b"content")
    assert findings(victim.data_dir) == []


@pytest.mark.promise("R-10")
def test_a_commit_that_works_but_says_that_it_failed(victim: Victim) -> None:
    with victim.failing("EIO", "after commit of records.publish"):
        assert send_form(victim.client, "unknown", b"content").status_code == 500
    # The client does not know; here it is there, and then all of it.
    (file,) = victim.client.get("/files").json()["data"]
    assert victim.client.get(f"/files/{file['id']}/content").content == b"content"
    assert garbage(victim.data_dir) == {}
    assert findings(victim.data_dir) == []


@pytest.mark.promise("R-10")
def test_a_failing_commit_of_a_delete(victim: Victim) -> None:
    file_id = victim.upload(b"content")["id"]
    with victim.failing("EIO", "before commit of records.delete"):
        response = victim.client.delete(f"/files/{file_id}")
    assert (response.status_code, error_of(response)["code"]) == (500, "storage_failed")
    assert victim.client.get(f"/files/{file_id}/content").content == b"content"
    assert victim.client.delete(f"/files/{file_id}").status_code == 200
    wait_until_quiet(victim.data_dir)
    assert findings(victim.data_dir) == []


@pytest.mark.parametrize(
    "step", ["before unlink blob", "before fsync shard", "before commit of records.delete_blob_rows"]
)
@pytest.mark.promise("R-10")
def test_a_removal_that_fails_is_done_by_the_sweep(victim: Victim, step: str) -> None:
    file_id = victim.upload(b"content")["id"]
    before = len(victim.trace())
    with victim.failing("EIO", step, "*"):
        assert victim.client.delete(f"/files/{file_id}").status_code == 200
        wait_until(lambda: any(line.startswith(step) for line in victim.trace()[before:]), "nothing was removed")
        assert victim.client.get(f"/files/{file_id}").status_code == 404
    sweep(victim.data_dir)
    assert stored(victim.data_dir) == set()


@pytest.mark.promise("R-10")
def test_a_sweep_whose_removal_fails_forgets_nothing(tmp_path: Path) -> None:
    with Victim(tmp_path / "data", sweep_seconds=0.1) as victim:
        file_ids = [victim.upload(b"content")["id"] for _ in range(3)]
        with victim.failing("EIO", "before unlink blob", 2):
            expire(victim.data_dir, *file_ids)
            wait_until(lambda: len(stored(victim.data_dir)) == 1, "nothing was swept")
            wait_until(lambda: len(sql(victim.data_dir, "SELECT key FROM blobs")) == 1, garbage(victim.data_dir))
        end_claims(victim.data_dir)
        wait_until_quiet(victim.data_dir)
        assert stored(victim.data_dir) == set()
        assert findings(victim.data_dir) == []


# --- bytes that rot -------------------------------------------------------------------------------------------------


def blob_of(victim: Server, file_id: str) -> Path:
    ((key,),) = sql(victim.data_dir, "SELECT blob_key FROM files WHERE id = ?", file_id)
    return victim.data_dir / "blobs" / key[:2] / key


@pytest.mark.parametrize("size", [1000, 3 * MIB], ids=["small", "large"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "emptied"])
@pytest.mark.promise("R-20")
def test_a_blob_that_is_not_whole(victim: Victim, harm: str, size: int) -> None:
    file_id, other = victim.upload(os.urandom(size))["id"], victim.upload(b"other")["id"]
    blob = blob_of(victim, file_id)
    if harm == "missing":
        blob.unlink()
    else:
        os.truncate(blob, size - 1 if harm == "truncated" else 0)
    for headers in ({}, {"range": f"bytes={size - 10}-"}):
        response = victim.client.get(f"/files/{file_id}/content", headers=headers)
        assert (response.status_code, error_of(response)["code"]) == (500, "file_corrupt")
        assert response.headers["x-should-retry"] == "false"
    assert victim.client.get(f"/files/{other}/content").content == b"other"
    (finding,) = findings(victim.data_dir)
    assert (finding["invariant"], finding["subject"], finding["severity"]) == ("I-02", file_id, "A")
    # A damaged file is still listed and can still be deleted.
    assert file_id in [file["id"] for file in victim.client.get("/files").json()["data"]]
    assert victim.client.delete(f"/files/{file_id}").status_code == 200
    wait_until_quiet(victim.data_dir)
    assert findings(victim.data_dir) == []


@pytest.mark.promise("R-20")
def test_a_flipped_bit(victim: Victim) -> None:
    file_id = victim.upload(os.urandom(MIB))["id"]
    blob = blob_of(victim, file_id)
    with blob.open("r+b") as file:
        file.seek(MIB // 2)
        (byte,) = file.read(1)
        file.seek(MIB // 2)
        file.write(bytes([byte ^ 1]))
    (finding,) = findings(victim.data_dir)
    assert (finding["invariant"], finding["subject"], finding["severity"]) == ("I-03", file_id, "A")


@pytest.mark.promise("R-20")
def test_a_link_in_place_of_a_blob(victim: Victim) -> None:
    file_id = victim.upload(b"content")["id"]
    blob = blob_of(victim, file_id)
    blob.unlink()
    blob.symlink_to("/etc/hostname")
    response = victim.client.get(f"/files/{file_id}/content")
    assert response.status_code == 500
    error_of(response)
    assert {finding["invariant"] for finding in findings(victim.data_dir)} == {"I-02", "I-06"}


@pytest.mark.parametrize("size", [1000, 3 * MIB], ids=["small", "large"])
@pytest.mark.promise("R-04")
def test_a_read_that_fails(victim: Victim, size: int) -> None:
    file_id = victim.upload(os.urandom(size))["id"]
    with victim.failing("EIO", "before pread blob"):
        response = victim.client.get(f"/files/{file_id}/content")
    assert (response.status_code, error_of(response)["type"]) == (500, "server_error")
    assert len(victim.client.get(f"/files/{file_id}/content").content) == size


@pytest.mark.promise("R-04")
def test_a_read_that_fails_half_way(victim: Victim) -> None:
    file_id = victim.upload(os.urandom(3 * MIB))["id"]
    with victim.failing("EIO", "before pread blob", 2), pytest.raises(httpx2.RemoteProtocolError):
        victim.client.get(f"/files/{file_id}/content")
