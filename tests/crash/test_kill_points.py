"""kill -9 before and after every step of an upload, a delete, a sweep and a first start: every promise given holds."""

from pathlib import Path

import httpx2
import pytest

from tests.crash.harness import (
    Victim,
    end_claims,
    expire,
    findings,
    send_form,
    sha256,
    wait_until_quiet,
    write_plan,
)
from tests.crash.steps import (
    ANSWERED,
    KILLED,
    LARGE,
    PUT,
    REMOVE,
    SMALL,
    Installation,
    Step,
    durable,
    is_behind,
    numbered,
    passed,
    points,
)
from tests.support.attempts import attempt
from tests.support.servers import Server
from tests.support.waiting import wait_until

UPLOAD: list[Step] = [durable("records.begin_upload"), PUT, durable("records.publish"), "answer head", "answer body"]
DELETE: list[Step] = [
    durable("records.delete"),
    "answer head",
    "answer body",
    REMOVE,
    durable("records.delete_blob_rows"),
]
TAKE_BACK: list[Step] = [
    *(durable("records.abandon"), REMOVE, durable("records.delete_blob_rows"), "answer head", "answer body"),
]
RESERVE: list[Step] = [durable("records.reserve")]  # beside the put of an upload of more than a megabyte
REPEATED: list[Step] = [step for step in UPLOAD if step is not PUT]
SWEEP: list[Step] = [
    durable("records.observe_clock"),
    durable("records.claim_garbage"),
    REMOVE,
    durable("records.delete_blob_rows"),
    durable("index.delete_detached"),
]
SWEEP_ENDS = "after index.delete_detached|"
START: list[Step] = [
    *("mkdir data folder", "open lock", "ftruncate lock", "pwrite lock", "open filestead.db", "close filestead.db"),
    "CREATE TABLE alembic_version",
    *(f"CREATE TABLE {name}" for name in ("installation", "organizations", "projects", "users", "keys")),
    *("CREATE TABLE blobs", "CREATE TABLE files", "CREATE INDEX blobs_by_lease", "CREATE INDEX files_by_time"),
    *("CREATE INDEX files_by_purpose", "CREATE INDEX files_by_expiry"),
    *("INSERT INTO alembic_version", "commit of start"),
    *("CREATE TABLE idempotency_keys", "CREATE INDEX idempotency_keys_by_end"),
    *("UPDATE alembic_version SET", "commit of start"),
    *("CREATE TABLE file_tombstones", "CREATE INDEX file_tombstones_by_end"),
    *("UPDATE alembic_version SET", "commit of start"),
    *("CREATE TABLE clock", "INSERT INTO clock", "UPDATE alembic_version SET", "commit of start"),
    *("CREATE TABLE jobs", "CREATE INDEX jobs_by_turn", "CREATE INDEX jobs_by_token", "CREATE INDEX jobs_dead"),
    *("CREATE TABLE job_turns", "CREATE TABLE vector_stores", "CREATE INDEX vector_stores_by_expiry"),
    *("CREATE INDEX vector_stores_by_project", "CREATE TABLE file_batches"),
    *("CREATE INDEX ix_file_batches_vector_store_id", "CREATE TABLE vector_store_files"),
    *("CREATE INDEX ix_vector_store_files_file_id", "CREATE INDEX vector_store_files_by_store"),
    *("CREATE INDEX vector_store_files_by_status", "CREATE INDEX vector_store_files_by_batch"),
    *("CREATE TABLE detached_files", "CREATE TRIGGER vector_store_files_detached"),
    *("CREATE TABLE vector_store_chunks", "CREATE TABLE index_segments"),
    *("CREATE INDEX ix_index_segments_vector_store_id", "CREATE INDEX index_segments_not_ready"),
    *("CREATE TABLE index_postings", "CREATE TABLE index_documents"),
    *("UPDATE alembic_version SET", "commit of start"),
    *("CREATE TABLE embedding_models", "CREATE TABLE vector_blocks", "CREATE INDEX vector_blocks_by_store"),
    *("CREATE INDEX vector_blocks_by_attachment", "CREATE TABLE vector_values"),
    *("UPDATE alembic_version SET", "commit of start"),
    *("CREATE TABLE batches", "CREATE TABLE batch_results", "CREATE TABLE webhook_events"),
    *("CREATE INDEX batches_by_time", "CREATE INDEX batches_by_pin", "CREATE INDEX batches_to_sweep"),
    *("CREATE INDEX batches_reserving", "UPDATE alembic_version SET", "commit of start"),
    *("CREATE TABLE blob_parts", "CREATE INDEX ix_blob_parts_part_key", "CREATE TABLE uploads"),
    *("CREATE INDEX uploads_pending", "CREATE INDEX uploads_by_end", "CREATE TABLE upload_parts"),
    *("CREATE INDEX ix_upload_parts_blob_key", "CREATE INDEX upload_parts_by_upload"),
    *("UPDATE alembic_version SET", "commit of start"),
    *("UPDATE keys SET", "UPDATE alembic_version SET", "commit of start"),
    *("CREATE INDEX batches_paused", "UPDATE alembic_version SET", "commit of start"),
    *("CREATE TABLE inline_blobs", "UPDATE alembic_version SET", "commit of start"),
    *("UPDATE alembic_version SET", "commit of start"),
    *("CREATE UNIQUE INDEX", "UPDATE alembic_version SET", "commit of start"),
    *("CREATE TABLE audit_events", "CREATE INDEX audit_events_unsealed", "CREATE UNIQUE INDEX"),
    *("CREATE INDEX audit_events_by_organization", "CREATE TABLE audit_chain", "INSERT INTO audit_chain"),
    *("UPDATE alembic_version SET", "commit of start"),
    *("mkdir staging folder", "mkdir blobs folder", "mkdir shard"),
    *("open blobs folder", "fsync blobs folder", "close blobs folder"),
    *("open VOLUME", "write VOLUME", "fsync VOLUME", "close VOLUME"),
    *("open data folder", "fsync data folder", "close data folder", "INSERT INTO installation"),
    *("open ballast", "posix_fallocate ballast", durable("records.release_leases")),
    *(durable("jobs.release_leases"), durable("keys.create"), "close ballast", "open ballast"),
    *(durable("records.observe_clock"), durable("records.claim_garbage"), durable("index.delete_detached")),
]
UNTIL_SERVING = START[:-4]


# --- the order of the steps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
def test_the_steps_of_an_upload(installation: Installation, content: bytes) -> None:
    with installation.victim.traced() as trace:
        installation.upload("traced", content)
    reserving = [line for line in trace if "records.reserve|" in line]
    assert bool(reserving) == (content is LARGE)
    assert passed([line for line in trace if line not in reserving]) == points(UPLOAD)
    assert not [line for line in trace if line.startswith("before answer") and "|4" in line]
    at = [trace.index(line) for line in milestones(trace, *DURABLE_UPLOAD)]
    assert at == sorted(at)


DURABLE_UPLOAD = (
    *("after commit of records.begin_upload", "before open staging", "after write staging", "before fsync staging"),
    *("after fsync staging", "before rename staging", "after rename staging", "before fsync shard"),
    *("after fsync shard", "before commit of records.publish", "after commit of records.publish", "before answer head"),
)
DURABLE_DELETE = (
    *("after commit of records.delete", "before answer head", "after answer body", "before unlink blob"),
    *("after unlink blob", "before fsync shard", "after fsync shard", "before commit of records.delete_blob_rows"),
)


def milestones(trace: list[str], *steps: str) -> list[str]:
    """The last line of each step: what must have ended before the next may begin."""
    return [[line for line in trace if line.startswith(f"{step}|")][-1] for step in steps]


def test_the_steps_of_a_delete(installation: Installation) -> None:
    file_id = installation.upload("traced", SMALL)
    with installation.victim.traced() as trace:
        assert installation.victim.client.delete(f"/files/{file_id}").status_code == 200
        installation.gone.add(file_id)
        wait_until(
            lambda: "after records.delete_blob_rows|" in installation.victim.trace()[-1], "the blob is not forgotten"
        )
    assert passed(trace) == points(DELETE)
    at = [trace.index(line) for line in milestones(trace, *DURABLE_DELETE)]
    assert at == sorted(at)


def test_the_steps_of_a_refused_upload(installation: Installation) -> None:
    with installation.victim.traced() as trace:
        assert refused_upload(installation.victim.client).status_code == 400
        wait_until(lambda: installation.victim.trace()[-1] == ANSWERED, "the answer is not noted")
    assert passed(trace) == points([*UPLOAD[:2], *TAKE_BACK])


def test_the_steps_of_a_first_start(tmp_path: Path) -> None:
    with Victim(tmp_path / "data") as victim:
        # Each connection tries to make the database, and only the first one does.
        made = [line for line in victim.trace() if "open filestead.db" not in line]
        assert passed(made) == [point for point in points(START) if "open filestead.db" not in point]


# --- kills ----------------------------------------------------------------------------------------------------------


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(UPLOAD))
@pytest.mark.promise("R-01")
def test_killed_in_a_small_upload(installation: Installation, step: str) -> None:
    upload_and_die(installation, step, 1, SMALL)


@pytest.mark.rotating(3)
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("step", ["before write staging", "after write staging"])
@pytest.mark.promise("R-01")
def test_killed_between_two_blocks(installation: Installation, step: str, nth: int) -> None:
    upload_and_die(installation, step, nth, LARGE)


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", [step for step in points(UPLOAD) if "write" not in step])
@pytest.mark.promise("R-01")
def test_killed_in_a_large_upload(installation: Installation, step: str) -> None:
    upload_and_die(installation, step, 1, LARGE)


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(RESERVE))
@pytest.mark.promise("R-01")
def test_killed_while_a_large_upload_reserves_its_quota(installation: Installation, step: str) -> None:
    assert installation.die_at(step, 1, lambda client: send_form(client, step, LARGE)) is None
    installation.settle(step, LARGE)
    assert step not in installation.listed().values()


def upload_and_die(installation: Installation, step: str, nth: int, content: bytes) -> None:
    name = f"{step} {nth} of {len(content)}"
    response = installation.die_at(step, nth, lambda client: send_form(client, name, content))
    if response is not None:
        assert response.status_code == 200
        installation.contents[response.json()["id"]] = sha256(content)
    installation.settle(name, content)
    # Up to the commit there is nothing to see; from then on it is a file, whether or not the client heard of it.
    committed = is_behind(step, "after commit of records.publish", UPLOAD)
    assert (name in installation.listed().values()) == committed
    assert response is None or committed


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(DELETE))
@pytest.mark.promise("R-01")
def test_killed_in_a_delete(installation: Installation, step: str) -> None:
    file_id = installation.upload(step, SMALL)
    response = installation.die_at(step, 1, lambda client: client.delete(f"/files/{file_id}"))
    assert response is None or response.status_code == 200
    committed = is_behind(step, "after commit of records.delete", DELETE)
    if committed:
        installation.gone.add(file_id)
    assert (file_id in installation.listed()) == (not committed)


# --- idempotency keys -----------------------------------------------------------------------------------------------


def send_named(client: httpx2.Client, key: str) -> httpx2.Response:
    form = {"data": {"purpose": "user_data"}, "files": {"file": (key, SMALL)}}
    return client.post("/files", headers={"Idempotency-Key": key}, **form)


def send_attempt(client: httpx2.Client, name: str, number: int) -> httpx2.Response:
    """As an official client, which counts its attempts from 0 and has no key."""
    form = {"data": {"purpose": "user_data"}, "files": {"file": (name, SMALL)}}
    return client.post("/files", headers=attempt(number), **form)


def slug(what: str) -> str:
    return what.replace(" ", "-")


def test_the_steps_of_a_repeated_upload(installation: Installation) -> None:
    first = send_named(installation.victim.client, "traced-twice").json()
    installation.contents[first["id"]] = sha256(SMALL)
    with installation.victim.traced() as trace:
        assert send_named(installation.victim.client, "traced-twice").json() == first
        wait_until(lambda: installation.victim.trace()[-1] == ANSWERED, "the answer is not noted")
    assert passed(trace) == points(REPEATED)


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(UPLOAD))
@pytest.mark.promise("R-01", "R-16")
def test_killed_and_sent_again_with_its_key(installation: Installation, step: str) -> None:
    key = slug(f"first {step}")
    response = installation.die_at(step, 1, lambda client: send_named(client, key))
    committed = is_behind(step, "after commit of records.publish", UPLOAD)
    again = send_named(installation.victim.client, key)
    assert again.status_code == 200
    assert again.headers.get("idempotent-replayed") == ("true" if committed else None)
    assert response is None or response.json() == again.json()
    installation.contents[again.json()["id"]] = sha256(SMALL)
    assert [name for name in installation.listed().values() if name == key] == [key]


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(UPLOAD))
@pytest.mark.promise("R-01", "R-16")
def test_killed_and_sent_again_by_an_official_client(installation: Installation, step: str) -> None:
    name = f"attempt {step}"
    response = installation.die_at(step, 1, lambda client: send_attempt(client, name, 0))
    again = send_attempt(installation.victim.client, name, 1)
    assert again.status_code == 200
    assert response is None or response.json() == again.json()
    installation.contents[again.json()["id"]] = sha256(SMALL)
    assert [found for found in installation.listed().values() if found == name] == [name]


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(REPEATED))
@pytest.mark.promise("R-01", "R-16")
def test_killed_while_an_upload_is_repeated(installation: Installation, step: str) -> None:
    key = slug(f"repeated {step}")
    first = send_named(installation.victim.client, key).json()
    installation.contents[first["id"]] = sha256(SMALL)
    response = installation.die_at(step, 1, lambda client: send_named(client, key))
    assert response is None or response.json() == first
    assert send_named(installation.victim.client, key).json() == first
    assert [name for name in installation.listed().values() if name == key] == [key]


# --- taking back, sweeping, starting --------------------------------------------------------------------------------


def refused_upload(client: httpx2.Client) -> httpx2.Response:
    return client.post("/files", data={"purpose": "batch"}, files={"file": ("refused.jsonl", b"[]\n")})


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(TAKE_BACK))
@pytest.mark.promise("R-01")
def test_killed_while_an_upload_is_taken_back(installation: Installation, step: str) -> None:
    response = installation.die_at(step, 1, refused_upload)
    assert response is None or response.status_code == 400
    assert "refused.jsonl" not in installation.listed().values()


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", ["after open staging", "after rename staging", "after fsync shard"])
@pytest.mark.promise("R-01")
def test_killed_in_a_probe(installation: Installation, step: str) -> None:
    with installation.victim.failing("EIO", "before fsync staging"):
        assert send_form(installation.victim.client, "refused", SMALL).status_code == 500
    installation.die_at(step, 1, lambda client: client.get(installation.victim.origin + "/health/ready"))


@pytest.mark.rotating(3)
@pytest.mark.parametrize("step", points(SWEEP))
@pytest.mark.promise("R-01", "R-18")
def test_killed_in_a_sweep(sweeping: Installation, step: str) -> None:
    expired = {sweeping.upload(f"{step} {n}", SMALL) for n in range(3)}
    nth = 1 if "records." in step or "index." in step else 2  # the second of three blobs

    def expire_now(client: httpx2.Client) -> httpx2.Response:
        expire(sweeping.data_dir, *expired)
        sweeping.gone |= expired
        raise httpx2.TransportError("nobody waits for a sweep")

    sweeping.die_at(step, nth, expire_now)
    assert not expired & set(sweeping.listed())
    end_claims(sweeping.data_dir)


def deleting_sweep(trace: list[str]) -> list[str]:
    """The steps of the first sweep in a trace that deleted a blob, from its beginning to its end; none if it goes on."""
    deleted = "after records.delete_blob_rows|"
    if deleted not in trace or SWEEP_ENDS not in trace[trace.index(deleted) :]:
        return []
    at = trace.index(deleted)
    begin = at - trace[at::-1].index("before records.observe_clock|")
    return trace[begin : trace.index(SWEEP_ENDS, at) + 1]


def test_the_steps_of_a_sweep(sweeping: Installation) -> None:
    file_id = sweeping.upload("traced", SMALL)
    with sweeping.victim.traced():  # the response to the upload has been noted; the next sweep begins after that
        ended = sweeping.victim.trace().count(SWEEP_ENDS)
        wait_until(lambda: sweeping.victim.trace().count(SWEEP_ENDS) > ended, "no sweep ends")
    trace = sweeping.victim.trace()
    before = len(trace) - trace[::-1].index(SWEEP_ENDS)
    expire(sweeping.data_dir, file_id)
    sweeping.gone.add(file_id)
    wait_until(lambda: deleting_sweep(sweeping.victim.trace()[before:]), "nothing was swept")
    trace = deleting_sweep(sweeping.victim.trace()[before:])
    assert set(passed(trace)) == set(points(SWEEP))
    blob = [line for line in trace if "records.claim_garbage" not in line]
    wanted = (
        "after unlink blob",
        "before fsync shard",
        "after fsync shard",
        "before commit of records.delete_blob_rows",
    )
    at = [blob.index(line) for line in milestones(blob, *wanted)]
    assert at == sorted(at)


# What is after one step is before the next: nothing else happens in between.
@pytest.mark.rotating(3)
@pytest.mark.parametrize(
    ("step", "nth"),
    [
        *((step, nth) for step, nth in numbered(points(UNTIL_SERVING)) if step.startswith("after")),
        ("after mkdir shard", 128),
        ("after mkdir shard", 256),
    ],
)
@pytest.mark.promise("R-25")
def test_killed_in_a_first_start(tmp_path: Path, step: str, nth: int) -> None:
    data_dir = tmp_path / "data"
    write_plan(data_dir, "kill", step, nth)
    with pytest.raises(RuntimeError, match=f"ended with {KILLED}"):
        Victim(data_dir)
    with Server(data_dir) as server:
        file = server.upload(SMALL)
        assert server.client.get(f"/files/{file['id']}/content").content == SMALL
        wait_until_quiet(data_dir)
        assert findings(data_dir) == []
