"""Each finding of `verify`: sound rows and blobs have none, and each damage is named, and nothing else."""

import asyncio
import contextlib
import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import filestead
from filestead.blobs.keys import new_key
from filestead.blobs.local.store import LocalBlobs
from filestead.blobs.s3.store import S3Blobs
from filestead.database.engines.statements import Connection
from filestead.database.repositories.checks.run import RowChecks
from filestead.domain.attempts import IdempotencyRecord
from filestead.domain.batches.model import BatchStatus, ResultKind
from filestead.domain.blobs import BlobStore
from filestead.domain.files.verify import verify
from filestead.domain.quota import Quota
from tests.conformance import batches, test_upload_repository
from tests.conformance.attachments import attach, complete, make_store
from tests.conformance.test_file_repository import add, completed, upload
from tests.support.databases import BACKENDS, Rows
from tests.support.seaweedfs import shared_server

pytestmark = pytest.mark.anyio

PART = 1 << 20
OTHER = "(SELECT id FROM projects WHERE name = 'two')"
PLAIN = "(SELECT min(id) FROM files WHERE filename = 'plain.txt')"
NOW = "(SELECT filestead_now())"


class Damage(NamedTuple):
    """Statements that break one invariant of sound rows."""

    invariant: str
    name: str
    statements: tuple[str, ...]
    database: str | None = None
    """The only one that it is about."""


def damage(invariant: str, name: str, *statements: str, database: str | None = None) -> Damage:
    return Damage(invariant, name, statements, database)


def event(kind: str, resource: str) -> str:
    return f"INSERT INTO audit_events (type, effective_at, resource_id) SELECT '{kind}', 1800000000, {resource}"


def of(table: str, condition: str) -> str:
    return f"(SELECT min(id) FROM {table} WHERE {condition})"


RUNNING, DONE = "status = 'in_progress'", "status = 'completed'"
BLOB = "INSERT INTO blobs (key, project_id, state, lease_until_us) SELECT '{}', id, '{}', {} FROM projects"

# fmt: off
ROWS = [
    damage("I-05", "an abandoned upload", BLOB.format("3" * 32, "pending", 1) + " WHERE name = 'two'"),
    damage("I-05", "a deleted blob", BLOB.format("3" * 32, "doomed", f"{NOW} - 301000000") + " WHERE name = 'two'"),
    damage("I-08", "an old tombstone", "UPDATE file_tombstones SET kept_until_us = 1"),
    damage("I-08", "an old idempotency key", "UPDATE idempotency_keys SET bound_until_us = 1"),
    damage("I-08", "an old upload", f"UPDATE uploads SET expires_at = 1 WHERE {DONE}"),
    damage("I-10", "long ago", f"UPDATE files SET expires_at = 1 WHERE id = {PLAIN}"),
    damage("I-10", "just", f"UPDATE files SET expires_at = {NOW} / 1000000 - 901 WHERE id = {PLAIN}"),
    damage("I-11", "no file", f"UPDATE uploads SET file_id = NULL WHERE {DONE}"),
    damage("I-11", "other bytes", f"UPDATE uploads SET bytes = bytes + 1 WHERE {DONE}"),
    damage("I-11", "too early", "UPDATE uploads SET file_id = 'file-x' WHERE status = 'pending'"),
    damage("I-12", "usage", "UPDATE projects SET bytes_used = bytes_used + 1 WHERE name = 'one'"),
    damage("I-12", "reservation", "UPDATE projects SET bytes_reserved = bytes_reserved + 1 WHERE name = 'two'"),
    damage("I-12", "an index", f"UPDATE vector_store_files SET usage_bytes = usage_bytes + 1 WHERE {DONE}"),
    damage("I-14", "a file", f"UPDATE blobs SET project_id = {OTHER} WHERE key = (SELECT blob_key FROM files WHERE id = {PLAIN})"),
    damage("I-14", "a stored part", f"UPDATE blobs SET project_id = {OTHER} WHERE key IN (SELECT blob_key FROM upload_parts)"),
    damage("I-14", "a part of a file", f"UPDATE blobs SET project_id = {OTHER} WHERE key IN (SELECT part_key FROM blob_parts)"),
    damage("I-14", "a job of a batch", f"UPDATE jobs SET project_id = {OTHER} WHERE kind = 'batch'"),
    damage("I-14", "a job of a store", f"UPDATE jobs SET project_id = {OTHER} WHERE kind = 'index'"),
    damage("I-14", "an event", f"UPDATE webhook_events SET project_id = {OTHER}"),
    damage("I-14", "a batch", "UPDATE batches SET organization_id = 'org-x'"),
    damage("I-14", "a repeated batch", f"UPDATE batches SET retry_of = {of('batches', DONE)} WHERE status = 'validating'", f"UPDATE batches SET project_id = {OTHER} WHERE status = 'validating'", f"UPDATE jobs SET project_id = {OTHER} WHERE subject = {of('batches', 'retry_of IS NOT NULL')}"),
    damage("I-14", "a key", "UPDATE keys SET user_id = (SELECT users.id FROM users JOIN organizations o ON o.id = organization_id WHERE o.name = 'another') WHERE revoked_at IS NOT NULL"),
    damage("I-14", "an audit event", "UPDATE audit_events SET organization_id = 'org-x' WHERE type = 'file.created'"),
    damage("I-15", "an id of a part", "UPDATE upload_parts SET id = 'part_/../x'"),
    damage("I-15", "an empty id", "UPDATE upload_parts SET id = 'part_'"),
    damage("I-15", "a prefix", "UPDATE upload_parts SET id = 'PART_0123'"),
    damage("I-15", "a path", BLOB.format("../../x", "pending", 9 * 10**15) + " WHERE name = 'two'"),
    damage("I-15", "a secret", "UPDATE keys SET digest = 'sk-secret' WHERE id = (SELECT min(id) FROM keys)"),
    damage("I-15", "a file is back", f"INSERT INTO file_tombstones SELECT project_id, id, 1, 1, {9 * 10**15} FROM files WHERE id = {PLAIN}"),
    damage("I-16", "a file", f"DELETE FROM audit_events WHERE resource_id = {PLAIN}"),
    damage("I-16", "a file twice", event("file.created", PLAIN)),
    damage("I-16", "a file that is there", event("file.deleted", PLAIN)),
    damage("I-16", "an upload", "DELETE FROM audit_events WHERE type = 'upload.created'"),
    damage("I-16", "the end of an upload", "DELETE FROM audit_events WHERE type = 'upload.completed'"),
    damage("I-16", "another end of an upload", "UPDATE audit_events SET type = 'upload.expired' WHERE type = 'upload.completed'"),
    damage("I-16", "an upload that is pending", event("upload.cancelled", of("uploads", "status = 'pending'"))),
    damage("I-16", "a batch", "DELETE FROM audit_events WHERE type = 'batch.created'"),
    damage("I-16", "the end of a batch", "DELETE FROM audit_events WHERE type = 'batch.completed'"),
    damage("I-16", "another end of a batch", "UPDATE audit_events SET type = 'batch.failed' WHERE type = 'batch.completed'"),
    damage("I-16", "a batch that runs", event("batch.completed", of("batches", RUNNING))),
    damage("I-16", "a store", "DELETE FROM audit_events WHERE type = 'vector_store.created'"),
    damage("I-16", "a store that is there", event("vector_store.deleted", "id FROM vector_stores")),
    damage("I-16", "a store that is gone", event("vector_store.created", "'vs_gone'")),
    damage("I-16", "a key", "DELETE FROM audit_events WHERE type = 'api_key.created'"),
    damage("I-16", "a key that is valid", event("api_key.deleted", of("keys", "revoked_at IS NULL"))),
    damage("I-16", "a revoked key", "DELETE FROM audit_events WHERE type = 'api_key.deleted'"),
    damage("I-16", "a project", "DELETE FROM audit_events WHERE type = 'project.created'"),
    damage("I-18", "a row without its project", "INSERT INTO job_turns VALUES ('proj_x', 1)", database="sqlite"),
    damage("I-18", "a violated condition", "UPDATE jobs SET died_us = 5 WHERE kind = 'batch'", database="sqlite"),
    damage("I-18", "commits", "SET LOCAL synchronous_commit = off", database="postgresql"),
    damage("I-18", "a constraint", "ALTER TABLE jobs ADD CONSTRAINT later CHECK (id > 0) NOT VALID", database="postgresql"),
    damage("I-18", "an index", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'keys_digest_key'::regclass", database="postgresql"),
    damage("I-21", "live without a file", f"INSERT INTO blobs (key, project_id, state) SELECT '{'2' * 32}', {OTHER}, 'live'"),
    damage("I-21", "deleted with a file", f"UPDATE blobs SET state = 'doomed', lease_until_us = {9 * 10**15} WHERE key = (SELECT blob_key FROM files WHERE id = {PLAIN})"),
    damage("I-22", "no job", "DELETE FROM jobs WHERE kind = 'index'"),
    damage("I-22", "a job of another", "UPDATE jobs SET subject = '999999' WHERE kind = 'index'"),
    damage("I-23", "chunks of nothing", f"INSERT INTO vector_store_chunks VALUES ({999 * PART}, 'x', 0, 1)"),
    damage("I-23", "chunks of another", f"UPDATE vector_store_chunks SET id = id + {500 * PART}"),
    damage("I-24", "postings", f"INSERT INTO index_postings SELECT {999 * PART}, data FROM index_postings WHERE id = (SELECT min(id) FROM index_postings)"),
    damage("I-24", "documents", f"INSERT INTO index_documents SELECT {999 * PART}, data FROM index_documents WHERE id = (SELECT min(id) FROM index_documents)"),
    damage("I-25", "codes", "INSERT INTO vector_blocks (store, model, attachment, first, chunks, codes) SELECT 1, 1, 999, 0, 1, data FROM index_documents"),
    damage("I-25", "values", "INSERT INTO vector_values SELECT 99999999, data FROM index_documents"),
    damage("I-25", "of pgvector", "INSERT INTO embedding_models (id, name, dimensions) VALUES (77, 'm', 4)", f"CREATE TABLE chunk_vectors_77 AS SELECT {999 * PART}::bigint AS id", database="postgresql"),
    damage("I-26", "a file", "DELETE FROM jobs WHERE kind = 'index'", f"UPDATE vector_store_files SET status = 'failed', project_id = {OTHER} WHERE {RUNNING}"),
    damage("I-26", "a store", f"UPDATE vector_stores SET project_id = {OTHER}"),
    damage("I-27", "no job", f"DELETE FROM jobs WHERE subject = {of('batches', RUNNING)}"),
    damage("I-27", "a job of another kind", f"UPDATE jobs SET kind = 'check' WHERE subject = {of('batches', RUNNING)}"),
    damage("I-28", "gone", f"UPDATE batches SET input_blob_key = '{'f' * 32}' WHERE {RUNNING}"),
    damage("I-28", "kept", f"UPDATE batches SET input_blob_key = (SELECT blob_key FROM files WHERE id = {PLAIN}) WHERE {DONE}"),
    damage("I-29", "too many", f"UPDATE batches SET failed = failed + 1 WHERE {DONE}"),
    damage("I-29", "too few", f"UPDATE batches SET completed = completed - 1 WHERE {DONE}"),
    damage("I-30", "results", f"UPDATE batches SET output_size = output_size + 1 WHERE {DONE}"),
    damage("I-30", "errors", f"UPDATE batches SET error_file_id = output_file_id, error_size = 1 WHERE {DONE}"),
    damage("I-31", "a size", f"UPDATE batches SET output_size = output_size + 1 WHERE {RUNNING}"),
    damage("I-31", "lines", f"UPDATE batches SET completed = completed + 1 WHERE {RUNNING}"),
    damage("I-31", "no journal", "DELETE FROM batch_results"),
    damage("I-31", "a reservation", f"UPDATE projects SET bytes_reserved = bytes_reserved + 1 - (SELECT bytes_reserved FROM batches WHERE {RUNNING}) WHERE id = (SELECT project_id FROM batches WHERE {RUNNING})", f"UPDATE batches SET bytes_reserved = 1 WHERE {RUNNING}"),
    damage("I-32", "no job", "DELETE FROM jobs WHERE kind = 'webhook'"),
    damage("I-32", "a job of another kind", "UPDATE jobs SET kind = 'check' WHERE kind = 'webhook'"),
    damage("I-33", "a number", "UPDATE files SET parts = parts + 1"),
    damage("I-33", "bytes", "UPDATE blob_parts SET bytes = bytes + 1"),
    damage("I-34", "nothing received", "UPDATE uploads SET bytes_received = 0 WHERE status = 'pending'"),
    damage("I-34", "more parts than fit", "UPDATE upload_parts SET bytes = 1000"),
    damage("I-34", "parts of an ended one", f"UPDATE upload_parts SET upload_id = {of('uploads', DONE)}"),
    damage("I-35", "long ago", "UPDATE uploads SET expires_at = 1 WHERE status = 'pending'"),
    damage("I-35", "just", f"UPDATE uploads SET expires_at = {NOW} / 1000000 - 901 WHERE status = 'pending'"),
]
# fmt: on


async def fill(rows: Rows) -> None:
    """Something of everything, of two projects and two organizations."""
    who = await rows.principal()
    revoked = await rows.principal(user="bob")
    await rows.keys.revoke(revoked.key_id)
    await rows.principal(organization="another")
    await add(rows, await rows.principal("two"), 3)
    file = await add(rows, who, 5, filename="plain.txt")
    await rows.files.delete(who.project_id, (await add(rows, who)).id)
    await add(rows, who, idempotency=IdempotencyRecord("key", "fingerprint", 3600))
    parts = test_upload_repository
    whole = await parts.create(rows, who, 2)
    await parts.complete(rows, who, whole.id, await parts.put_all(rows, who, whole.id, b"a", b"b"))
    await parts.put_all(rows, who, (await parts.create(rows, who, 9)).id, b"part")
    store = await make_store(rows, who, file.id)
    await complete(rows)
    await attach(rows, who, store, (await add(rows, who)).id)
    _, job = await batches.begin(rows, who, 2)
    await batches.append(rows, job, batches.block(1, size=50), batches.block(2, size=30))
    results = [await batches.output(rows, job, ResultKind.OUTPUT, 80)]
    await rows.batch_runs.finish(job, BatchStatus.COMPLETED, results)
    _, job = await batches.begin(rows, who)
    await batches.append(rows, job, batches.block(1, 2))
    await batches.create(rows, who)
    await rows.files.observe_clock()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
async def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rows]:
    """Sound rows, which each test leaves as they are."""
    with BACKENDS[request.param](tmp_path_factory.mktemp("checks")) as rows:
        await fill(rows)
        yield rows


async def found_after(rows: Rows, statements: tuple[str, ...]) -> set[str]:
    """The invariants that are violated after the statements, which are taken back."""
    dialect = rows.database.dialect
    if dialect.name == "sqlite":
        before, constraints = "PRAGMA defer_foreign_keys = ON", ("PRAGMA ignore_check_constraints = {}",)
    else:
        before, constraints = "SET LOCAL session_replication_role = replica", ()

    def operation(connection: Connection) -> set[str]:
        def run(*sql: str) -> None:
            for statement in sql:
                connection.execute(statement, {})

        run("SAVEPOINT damage", before, *(each.format("ON") for each in constraints), *statements)
        run(*(each.format("OFF") for each in constraints))
        found = RowChecks.of(dialect).find(connection)
        run("ROLLBACK TO SAVEPOINT damage")
        assert all(finding.evidence and finding.remedy for finding in found)
        return {finding.invariant for finding in found}

    return await rows.database.write(operation)


async def test_sound_rows_have_no_finding(sound: Rows) -> None:
    assert await found_after(sound, ()) == set()


@pytest.mark.parametrize("broken", ROWS, ids=lambda broken: f"{broken.invariant} {broken.name}")
async def test_each_damage_of_rows_is_named_and_nothing_else(sound: Rows, broken: Damage) -> None:
    if broken.database not in (None, sound.database.dialect.name):
        pytest.skip(f"about {broken.database} alone")
    assert await found_after(sound, broken.statements) == {broken.invariant}


@pytest.mark.parametrize("pragma", ["journal_mode = DELETE", "synchronous = NORMAL"])
def test_a_connection_that_could_lose_commits_is_named(tmp_path: Path, pragma: str) -> None:
    with BACKENDS["sqlite"](tmp_path) as rows:
        dialect = rows.database.dialect
    with contextlib.closing(sqlite3.connect(tmp_path / "rows.db", isolation_level=None)) as connection:
        connection.create_function("filestead_now", 0, lambda: 0)
        assert RowChecks.of(dialect).find(connection) == []
        connection.execute(f"PRAGMA {pragma}")
        assert [finding.invariant for finding in RowChecks.of(dialect).find(connection)] == ["I-18"]


# --- contents, and the stores that hold them -------------------------------------------------------------------------


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


@pytest.fixture(scope="module")
async def rows_of_files(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rows]:
    with BACKENDS["sqlite"](tmp_path_factory.mktemp("rows")) as rows:
        await rows.principal()
        yield rows


@pytest.fixture
async def files(rows_of_files: Rows) -> AsyncIterator[Rows]:
    """Rows without files; those of the test are deleted."""
    yield rows_of_files
    for change in ("DELETE FROM files", "DELETE FROM blobs", "DELETE FROM audit_events WHERE type = 'file.created'"):
        await rows_of_files.run(change)
    await rows_of_files.run("UPDATE projects SET bytes_used = 0, bytes_reserved = 0")


async def store(rows: Rows, blobs: BlobStore, content: bytes) -> str:
    """A file; returns the key of its blob."""
    who = await rows.principal()
    key = new_key()
    await rows.files.begin_upload(upload(who, key), rate=0, quota=Quota(None, None), lease_seconds=120)
    await blobs.put(key, chunks(content))
    digest = hashlib.sha256(content).hexdigest()
    await rows.files.publish(completed(who, key, len(content), sha256=digest), quota=Quota(None, None))
    return key


async def write_again(blobs: BlobStore, key: str, content: bytes) -> None:
    await blobs.delete(key)
    await blobs.put(key, chunks(content))


def place_foreign(blobs: BlobStore, folder: Path, name: str) -> None:
    """Something else among the blobs."""
    if isinstance(blobs, S3Blobs):
        status, body = shared_server().send("PUT", f"{blobs._bucket.name('blobs/00')}/{name}", body=b"x")
        assert status == 200, body
        return
    (folder / "blobs/00" / name).write_bytes(b"x")


def begin_put(blobs: BlobStore, folder: Path, key: str) -> None:
    """What a `put` leaves that was killed."""
    if isinstance(blobs, S3Blobs):
        name = blobs._bucket.name(f"blobs/{key[:2]}/{key}")
        status, body = shared_server().send("POST", name, {"uploads": ""})
        assert status == 200, body
        return
    (folder / "staging" / key).write_bytes(b"x")
    (folder / "staging" / key).chmod(0o600)


async def gone(rows: Rows, blobs: BlobStore, folder: Path, key: str) -> None:
    await blobs.delete(key)


async def shorter(rows: Rows, blobs: BlobStore, folder: Path, key: str) -> None:
    await write_again(blobs, key, b"cont")


async def flipped(rows: Rows, blobs: BlobStore, folder: Path, key: str) -> None:
    await write_again(blobs, key, b"cOntent")


async def swapped(rows: Rows, blobs: BlobStore, folder: Path, key: str) -> None:
    await write_again(blobs, key, b"another")


async def unknown(rows: Rows, blobs: BlobStore, folder: Path, key: str) -> None:
    await blobs.put(new_key(), chunks(b"x"))


async def forgotten(rows: Rows, blobs: BlobStore, folder: Path, key: str) -> None:
    other = await store(rows, blobs, b"forgotten")
    for table, column in (("files", "blob_key"), ("blobs", "key")):
        await rows.run(f"DELETE FROM {table} WHERE {column} = '{other}'")
    await rows.run("DELETE FROM audit_events WHERE type = 'file.created' AND resource_id NOT IN (SELECT id FROM files)")
    await rows.run("UPDATE projects SET bytes_used = 7")


async def foreign(rows: Rows, blobs: BlobStore, folder: Path, key: str) -> None:
    place_foreign(blobs, folder, "README")


async def foreign_key(rows: Rows, blobs: BlobStore, folder: Path, key: str) -> None:
    place_foreign(blobs, folder, "0" * 33)


async def begun_again(rows: Rows, blobs: BlobStore, folder: Path, key: str) -> None:
    begin_put(blobs, folder, key)


async def begun_twice(rows: Rows, blobs: BlobStore, folder: Path, key: str) -> None:
    begin_put(blobs, folder, await store(rows, blobs, b"second"))
    begin_put(blobs, folder, key)


async def begun_for_nothing(rows: Rows, blobs: BlobStore, folder: Path, key: str) -> None:
    begin_put(blobs, folder, new_key())


CONTENTS: list[tuple[str, Callable[[Rows, BlobStore, Path, str], Awaitable[None]]]] = [
    ("I-02", gone),
    ("I-02", shorter),
    ("I-03", flipped),
    ("I-03", swapped),
    ("I-04", unknown),
    ("I-04", forgotten),
    ("I-06", foreign),
    ("I-06", foreign_key),
    ("I-07", begun_again),
    ("I-07", begun_twice),
    ("I-07", begun_for_nothing),
]


async def findings(rows: Rows, blobs: BlobStore) -> set[str]:
    def check() -> list[str]:  # on a thread of its own, as a store may run an event loop to inspect itself
        return [finding.invariant for finding in asyncio.run(verify(rows.files, blobs, deep=True)).violations]

    return set(await asyncio.to_thread(check))


async def test_sound_contents_have_no_finding(files: Rows, blobs: BlobStore, tmp_path: Path) -> None:
    """Neither have uploads in progress, nor what waits for its deletion, nor a probe of a server."""
    await store(files, blobs, b"content")
    if isinstance(blobs, LocalBlobs):  # in a bucket, probes are elsewhere
        begin_put(blobs, tmp_path, "0" * 24 + "a" * 8)
    who = await files.principal()
    for key in (new_key(), new_key()):
        await files.files.begin_upload(upload(who, key), rate=0, quota=Quota(None, None), lease_seconds=120)
        begin_put(blobs, tmp_path, key)
    await files.files.abandon(key)
    assert await findings(files, blobs) == set()


@pytest.mark.parametrize(("invariant", "break_it"), CONTENTS, ids=lambda value: getattr(value, "__name__", value))
async def test_each_damage_of_contents_is_named_and_nothing_else(
    files: Rows,
    blobs: BlobStore,
    tmp_path: Path,
    invariant: str,
    break_it: Callable[[Rows, BlobStore, Path, str], Awaitable[None]],
) -> None:
    key = await store(files, blobs, b"content")
    await break_it(files, blobs, tmp_path, key)
    if isinstance(blobs, LocalBlobs) and break_it is begun_for_nothing:
        invariant = "I-04"  # on a disk, it is in the list of blobs
    assert await findings(files, blobs) == {invariant}


def test_each_invariant_has_two_damages() -> None:
    source = Path(filestead.__file__).parent
    named = {name for path in source.rglob("*.py") for name in re.findall(r'"(I-\d\d)"', path.read_text())}
    tested = Counter([each.invariant for each in ROWS] + [invariant for invariant, _ in CONTENTS])
    assert len(named) > 25
    assert {name: tested[name] for name in named if tested[name] < 2} == {}
    assert tested.keys() <= named
    manual = (source.parents[1] / "docs/operate.md").read_text()
    assert set(re.findall(r"I-\d\d", manual)) == named
