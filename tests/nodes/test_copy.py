"""`filestead copy`, run as a user runs it: from a data directory to PostgreSQL and S3, back, and to another directory."""

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import os
import pty
import random
import secrets
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.nodes.places import TABLES, Place, Places, fill, searchable
from tests.support.batch_worker import BatchWorker, input_of, result
from tests.support.databases import shared_postgres
from tests.support.forked import ForkedProcess, run_forked
from tests.support.parts import add_part, create_upload, upload_in_parts

pytestmark = pytest.mark.embedded("chooses itself where its installations are")


PROGRAM = (sys.executable, "-m", "filestead.cli.main")
Way = tuple[Place, Place]


@pytest.fixture(params=["embedded-shared", "shared-embedded", "embedded-embedded"])
def way(places: Places, request: pytest.FixtureRequest) -> Way:
    source, _, target = request.param.partition("-")
    return getattr(places, source)(), getattr(places, target)()


@pytest.fixture(params=["embedded-shared", "shared-embedded"])
def short_way(places: Places, request: pytest.FixtureRequest) -> Way:
    source, _, target = request.param.partition("-")
    return getattr(places, source)(), getattr(places, target)()


def arguments(source: Place, target: Place, *words: str) -> list[str]:
    return ["copy", "--from", source.name, "--to", target.name, *words]


def copy(source: Place, target: Place, *words: str) -> subprocess.CompletedProcess[str]:
    return run_forked(arguments(source, target, *words), source.environment | target.environment, timeout=120)


def unclaimed(job: dict[str, Any]) -> dict[str, Any]:
    """A job as it is copied: no worker has it, so that it is due."""
    return job | {"token": None, "due_us": job["created_us"]} if job["token"] else job


def assert_same(source: Place, target: Place) -> None:
    """Every row is the same, and the bytes are those of the rows and no others."""
    here, there = source.rows(), target.rows()
    for table in TABLES:
        assert there[table] == ([unclaimed(row) for row in here[table]] if table == "jobs" else here[table]), table
    parts = {row["part_key"] for row in there["blob_parts"]}
    assert target.inside.stored() == {row["blob_key"] for row in there["files"] if row["parts"] is None} | parts
    assert target.inside.staged() == set()
    checked = target.run("verify", "--deep")
    assert checked.returncode == 0, checked.stdout


# --- the same installation ------------------------------------------------------------------------------------------


def test_a_copy_is_the_same_installation(way: Way) -> None:
    source, target = way
    contents = {"empty.bin": b"", "small.txt": b"a small one", "big.bin": secrets.token_bytes(20_000_000)}
    contents |= {f"{number}.txt": f"number {number}".encode() for number in range(5)}
    with source.serve(uploads_per_minute=1000) as server:
        files = [server.upload(content, name=name) for name, content in contents.items()]
        lasting = server.upload(b"x", **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"})
        repeated = {"data": {"purpose": "user_data"}, "files": {"file": ("r.txt", b"r")}}
        repeated["headers"] = {"Idempotency-Key": "once"}
        bound = server.client.post("/files", **repeated).json()
        deleted = server.upload(b"to be deleted")
        assert server.client.delete(f"/files/{deleted['id']}").status_code == 200
        behind_deleted = server.client.get("/files", params={"after": deleted["id"]}).json()
        other = source.run("keys", "create", "--project", "research", "--user", "ada").stdout.strip()
        made = source.run("keys", "create", "--project", "research")
        revoked, identity = made.stdout.strip(), made.stderr.split()[0]
        assert source.run("keys", "revoke", identity).returncode == 0
        assert server.client.get("/files", headers={"Authorization": f"Bearer {revoked}"}).status_code == 401
        listed = server.client.get("/files").json()
        store = searchable(server, [file["id"] for file in files if file["filename"].endswith(".txt")])
        stored = server.client.get(f"/vector_stores/{store}").json()
        found = server.client.post(f"/vector_stores/{store}/search", json={"query": "number small"}).json()
        assert len(found["data"]) == 6
    done = copy(source, target)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == f"{len(contents) + 2} files, {sum(map(len, contents.values())) + 2} bytes copied (0 were there)\n"
    )
    assert_same(source, target)
    assert any(row["upload_arrival_us"] > 0 for row in target.rows()["users"])

    with target.serve(key=None) as server:
        assert server.client.get("/files").json() == listed
        assert server.client.get("/files", params={"after": deleted["id"]}).json() == behind_deleted
        assert {file["id"] for file in listed["data"]} == {file["id"] for file in [*files, lasting, bound]}
        for file in files:
            content = server.client.get(f"/files/{file['id']}/content").content
            assert hashlib.sha256(content).digest() == hashlib.sha256(contents[file["filename"]]).digest()
            assert server.client.get(f"/files/{file['id']}").json() == file
        assert server.client.get("/files", headers={"Authorization": f"Bearer {revoked}"}).status_code == 401
        research = server.client.get("/files", headers={"Authorization": f"Bearer {other}"})
        assert (research.status_code, research.json()["data"]) == (200, [])
        assert server.client.post("/files", **repeated).json() == bound
        assert server.client.get(f"/vector_stores/{store}").json() == stored
        assert server.client.post(f"/vector_stores/{store}/search", json={"query": "number small"}).json() == found
        new = server.upload(b"after the copy")
        assert [file["id"] for file in server.client.get("/files").json()["data"]][:1] == [new["id"]]
        oldest_first = server.client.get("/files", params={"order": "asc", "limit": 1000}).json()["data"]
        assert oldest_first[-1]["id"] == new["id"]
    ranks = {row["id"]: row["seq"] for row in target.rows()["files"]}
    assert ranks.pop(new["id"]) > max(*ranks.values(), deleted_rank := len(contents) + 3), deleted_rank


def test_files_in_parts_are_copied_and_uploads_in_progress_are_not(way: Way) -> None:
    source, target = way
    contents = [secrets.token_bytes(3_000_000), b"middle", secrets.token_bytes(700_000)]
    with source.serve(sweep_seconds=0.2) as server:
        file = upload_in_parts(server.client, *contents)["file"]
        empty = upload_in_parts(server.client)["file"]
        pending = create_upload(server.client, 10)
        add_part(server.client, pending["id"], b"part")
        later = upload_in_parts(server.client, b"one ", b"two")["file"]
        server.kill()
    assert copy(source, target).returncode == 0
    # What the upload in progress has reserved is not copied either.
    assert {row["bytes_reserved"] for row in source.rows()["projects"]} == {10}
    source.inside.sql("UPDATE projects SET bytes_reserved = 0")
    assert_same(source, target)
    again = copy(source, target)
    assert (again.returncode, again.stdout.endswith("(3 were there)\n")) == (0, True), again.stdout
    with target.serve(key=None) as server:
        for each, content in ((file, b"".join(contents)), (empty, b""), (later, b"one two")):
            assert server.client.get(f"/files/{each['id']}/content").content == content
        assert server.client.post(f"/uploads/{pending['id']}/cancel").status_code == 404
        assert server.client.delete(f"/files/{file['id']}").status_code == 200
    assert target.run("verify", "--deep").returncode == 0


def test_copying_again_replaces_vector_stores(short_way: Way) -> None:
    """What was detached, deleted or added in the source since is so in the target; an unfinished job goes on there."""
    source, target = short_way
    with source.serve() as server:
        ids = [server.upload(f"text {number}".encode(), name=f"{number}.txt")["id"] for number in range(3)]
        first, gone = searchable(server, ids[:2]), searchable(server, ids)
    assert copy(source, target).returncode == 0
    with source.serve(role="api") as server:
        assert server.client.delete(f"/vector_stores/{gone}").status_code == 200
        assert server.client.delete(f"/vector_stores/{first}/files/{ids[0]}").status_code == 200
        assert server.client.post(f"/vector_stores/{first}/files", json={"file_id": ids[2]}).status_code == 200
    assert copy(source, target).returncode == 0
    assert_same(source, target)
    with target.serve(key=None) as server:
        deadline = time.monotonic() + 30
        while (store := server.client.get(f"/vector_stores/{first}").json())["status"] == "in_progress":
            assert time.monotonic() < deadline, "the job of the source was not done"
            time.sleep(0.1)
        assert store["file_counts"]["completed"] == 2
        found = server.client.post(f"/vector_stores/{first}/search", json={"query": "text"}).json()["data"]
        assert {result["filename"] for result in found} == {"1.txt", "2.txt"}
        assert server.client.get(f"/vector_stores/{gone}").status_code == 404


def test_the_index_of_a_detached_file_that_no_sweep_has_deleted_yet_is_copied(short_way: Way) -> None:
    source, target = short_way
    with source.serve() as server:
        ids = [server.upload(f"text {number}".encode(), name=f"{number}.txt")["id"] for number in range(3)]
        store = searchable(server, ids)
    (project,) = {row["project_id"] for row in source.rows()["vector_stores"]}
    with source.backends() as opened:
        asyncio.run(opened.vector_stores.detach(project, store, ids[0]))
        assert asyncio.run(opened.tables.rows("detached_files", None, 10))
    assert copy(source, target).returncode == 0
    assert_same(source, target)


@pytest.mark.skipif(importlib.util.find_spec("wordllama") is None, reason="wordllama is not installed")
def test_batches_are_copied(short_way: Way) -> None:
    """One that has ended, one that runs and whose input was deleted meanwhile, and one that waits; the last two go on."""
    source, target = short_way
    settings = {"role": "api", "upstream_url": "http://127.0.0.1:9"}
    with source.serve(**settings) as server:

        def create(*custom_ids: str) -> str:
            file = server.upload(input_of(*custom_ids), purpose="batch", name="in.jsonl")["id"]
            form = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            batch_id: str = server.client.post("/batches", json=form).json()["id"]
            return batch_id

        ended, running, waiting = create("a"), create("a", "b"), create("a")
        with source.opening() as found, BatchWorker(found.open_for_command()) as worker:
            job = worker.start(ended, 1)
            worker.append(job, result("a"))
            worker.finish(job)
            worker.append(worker.start(running, 2), result("a", text="x" * 300_000), rate=1.0)
        file = server.client.get(f"/batches/{running}").json()["input_file_id"]
        assert server.client.delete(f"/files/{file}").status_code == 200
        listed = server.client.get("/batches").json()
    for _ in range(2):
        assert copy(source, target).returncode == 0
        done = target.run("verify", "--deep")
        assert done.returncode == 0, done.stdout
    with target.serve(key=None, **settings) as server:
        assert server.client.get("/batches").json() == listed
        assert server.client.get(f"/batches/{running}/output").content == result("a", text="x" * 300_000)
        with target.opening() as found, BatchWorker(found.open_for_command()) as worker:
            job = worker.claim(running)
            assert worker.input(job) == input_of("a", "b")
            worker.skip(job, 1)
            worker.append(job, result("b"))
            worker.finish(job)
            worker.finish(worker.start(waiting, 0))
        output = server.client.get(f"/batches/{running}").json()["output_file_id"]
        content = server.client.get(f"/files/{output}/content").content
        assert content == result("a", text="x" * 300_000) + result("b")
    assert target.run("sweep").returncode == 0
    done = target.run("verify", "--deep")
    assert done.returncode == 0, done.stdout


def test_vectors_are_copied(short_way: Way) -> None:
    """The target finds by meaning what the source finds, also after a second copy, and without a worker."""
    source, target = short_way
    query = {"query": "medicine for a patient"}
    texts = [b"The doctor treats the sick in a hospital.", b"Interest rates of banks rise.", b"Wings lift a bird."]
    with source.serve(embeddings="local") as server:
        ids = [server.upload(text, name=f"{number}.txt")["id"] for number, text in enumerate(texts)]
        store = searchable(server, ids)
        found = server.client.post(f"/vector_stores/{store}/search", json=query).json()
        assert found["data"][0]["filename"] == "0.txt"
    for _ in range(2):
        done = copy(source, target)
        assert (done.returncode, done.stderr) == (0, "")
    with target.serve(key=None, embeddings="local", role="api") as server:
        assert server.client.post(f"/vector_stores/{store}/search", json=query).json() == found
        assert server.client.delete(f"/files/{ids[0]}").status_code == 200
    assert target.run("sweep").returncode == 0
    assert target.run("verify").stdout.count("I-25") == 0


@pytest.mark.timing
def test_many_small_files_take_bounded_time(short_way: Way) -> None:
    source, target = short_way
    fill(source, [100] * 500)
    begun = time.monotonic()
    done = copy(source, target)
    took = time.monotonic() - begun
    assert done.stdout.startswith("500 files, 50000 bytes copied"), done
    assert_same(source, target)
    assert took < 30, took
    begun = time.monotonic()
    assert "500 were there" in copy(source, target).stdout
    assert time.monotonic() - begun < 15


# --- again ------------------------------------------------------------------------------------------------------------


def cut_off(source: Place, target: Place, ready: Any) -> bool:
    """Begin a copy and kill it when the target is `ready`; whether there was still something to kill."""
    process = ForkedProcess(arguments(source, target), source.environment | target.environment, os.devnull)
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):  # the target has not been made yet
            if ready():
                break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -9


def test_a_killed_copy_resumes(way: Way) -> None:
    source, target = way
    sizes = [30_000_000, *random.choices((0, 1, 5_000, 300_000), k=260)]
    fill(source, sizes)
    assert cut_off(source, target, target.inside.staged), "a large file was on its way"
    for wanted in (*sorted(random.sample(range(5, 120), 2)), 140):
        assert cut_off(source, target, lambda wanted=wanted: len(target.inside.stored()) >= wanted), wanted
        found = target.run("verify", "--deep", "--json").stdout.splitlines()[:-1]
        broken = {json.loads(line)["invariant"] for line in found} - {"I-12", "I-16"}  # the sums and the log come last
        assert not broken, "what is visible is whole, and what is there is known"
    done = copy(source, target)
    assert (done.returncode, done.stderr) == (0, "")
    assert not done.stdout.endswith("(0 were there)\n"), done.stdout
    assert_same(source, target)


def test_copying_again_transfers_deletions_and_new_files(way: Way) -> None:
    source, target = way
    with source.serve() as server:
        kept, lost, last = server.upload(b"kept"), server.upload(b"lost" * 100), server.upload(b"the newest")
        expiring = server.upload(b"expiring")
    assert copy(source, target).returncode == 0
    with source.serve() as server:
        for file in (lost, last):
            assert server.client.delete(f"/files/{file['id']}").status_code == 200
    source.inside.sql(f"UPDATE files SET expires_at = 1 WHERE id = '{expiring['id']}'")
    target.inside.sql(f"UPDATE files SET expires_at = 1 WHERE id = '{expiring['id']}'")
    assert copy(source, target).stdout == "1 files, 4 bytes copied (1 were there)\n"
    assert [row["id"] for row in target.rows()["files"]] == [kept["id"]], "also the expired one, with its bytes"
    with source.serve() as server:  # which sweeps the expired one
        won = server.upload(b"won")
        source.run("sweep")
    assert copy(source, target).stdout == "2 files, 7 bytes copied (1 were there)\n"
    assert [row["id"] for row in target.rows()["files"]] == [kept["id"], won["id"]]
    assert_same(source, target)


def test_copying_again_restores_lost_blobs_of_the_target(short_way: Way) -> None:
    source, target = short_way
    fill(source, [10, 20, 30])
    assert copy(source, target).returncode == 0
    gone, changed, _ = (row["blob_key"] for row in target.rows()["files"])
    target.damage(gone, None)
    target.damage(changed, b"shorter")
    assert "(1 were there)" in copy(source, target).stdout
    assert_same(source, target)


# --- what stops it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, bytes(3_000_000)], ids=["gone", "zeros"])
def test_damaged_bytes_stop_the_copy(short_way: Way, content: bytes | None) -> None:
    source, target = short_way
    with source.serve() as server:
        server.upload(b"before")
        bad = server.upload(secrets.token_bytes(3_000_000))
    (key,) = (row["blob_key"] for row in source.rows()["files"] if row["id"] == bad["id"])
    source.damage(key, content)
    done = copy(source, target)
    assert done.returncode == 1
    assert done.stderr.startswith(f"filestead: the bytes of {bad['id']} in the source are not those that were uploaded")
    assert "Traceback" not in done.stderr
    assert bad["id"] not in {row["id"] for row in target.rows()["files"]}
    assert key not in target.inside.stored()
    with source.serve() as server:
        assert server.client.delete(f"/files/{bad['id']}").status_code == 200
    assert copy(source, target).returncode == 0
    assert_same(source, target)


def refused(source: Place, target: Place, sentence: str) -> None:
    done = copy(source, target)
    assert (done.returncode, done.stdout) == (78, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "secret-word" not in done.stderr


def test_copying_from_a_served_directory_is_refused(places: Places) -> None:
    source, target = places.embedded(), places.embedded()
    with source.serve() as server:
        server.upload(b"x")
        refused(source, target, f"serves {source.data_dir}: stop it first")
        assert not target.data_dir.exists()
    with target.serve():
        refused(source, target, f"serves {target.data_dir}: stop it first")
    refused(source, target, "already has an installation of its own")


def test_copying_to_another_installation_is_refused(short_way: Way) -> None:
    source, target = short_way
    fill(source, [1])
    fill(target, [2])
    before = target.rows()
    refused(source, target, "already has an installation of its own")
    assert target.rows() == before


def test_copying_to_a_target_with_files_of_its_own_is_refused(short_way: Way) -> None:
    source, target = short_way
    fill(source, [1, 2])
    assert copy(source, target).returncode == 0
    with target.serve() as server:
        own = server.upload(b"of its own")
    refused(source, target, "was served after it was copied")
    fill(source, [3])  # takes the same place in the order
    refused(source, target, "was served after it was copied")
    assert own["id"] in {row["id"] for row in target.rows()["files"]}
    with target.serve() as server:
        assert server.client.get(f"/files/{own['id']}/content").content == b"of its own"
        assert server.client.delete(f"/files/{own['id']}").status_code == 200
    assert target.run("keys", "create", "--project", "new").returncode == 0
    refused(source, target, "already has an installation of its own")


def test_unusable_sources_and_targets_are_refused(places: Places) -> None:
    source, nowhere, shared = places.embedded(), places.embedded(), places.shared()
    refused(nowhere, shared, "holds no installation")
    assert not nowhere.data_dir.exists()
    fill(source, [1])
    refused(source, Place(source.data_dir, f"{source.name}/../{source.data_dir.name}"), "the same installation")
    refused(shared, shared, "the same installation")
    refused(source, Place(nowhere.data_dir, "shared"), "`shared` is the installation of FILESTEAD_DATABASE_URL")
    shared_postgres().create("copy-empty")
    shared.variables["FILESTEAD_DATABASE_URL"] = shared_postgres().url_of("copy-empty")
    refused(source, shared, "run `filestead migrate`")
    shared_postgres().drop("copy-empty")
    refused(source, shared, "cannot be reached")


# --- the bar ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "drawn"), [((), True), (("--no-progress",), False)])
def test_progress_is_shown_on_a_terminal_only(places: Places, words: tuple[str, ...], drawn: bool) -> None:
    source, target = places.embedded(), places.embedded()
    fill(source, [3_000_000, 5])
    leader, follower = pty.openpty()
    environment = source.environment | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [*PROGRAM, *arguments(source, target, *words)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
    )
    os.close(follower)
    screen = b""
    with contextlib.suppress(OSError):  # the other side is closed
        while block := os.read(leader, 65536):
            screen += block
    os.close(leader)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "2 files, 3000005 bytes copied (0 were there)\n")
    assert (b"copying" in screen) is drawn
    assert drawn or screen == b""
