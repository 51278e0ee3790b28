"""With 60,000 uploads in parts, no statement on them reads a whole table."""

import re

import pytest

from filestead.domain.uploads.model import Checked, FileStatus
from tests.conformance.test_plans import explain, full  # noqa: F401 - a fixture
from tests.conformance.test_upload_repository import (
    HOUR,
    begin,
    complete,
    create,
    jobs_of,
    put,
    put_all,
    received,
)
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

MANY = 60_000
TABLES = "uploads|upload_parts|blob_parts|blobs|files"
WHOLE_TABLE = {
    "sqlite": re.compile(rf"SCAN (?:{TABLES})\b(?! USING INDEX (?:uploads_pending|uploads_by_end))"),
    "postgresql": re.compile(rf"Seq Scan on (?:{TABLES})\b"),
}


async def fill(rows: Rows) -> None:
    """Uploads in every state, of which the pending ones have parts, and files of three parts."""
    who = await rows.principal()
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY - 1}) "
    status = "CASE i / 4 * 4 WHEN i THEN 'pending' ELSE 'completed' END"
    project, now = who.project_id, int(rows.clock.now)
    for statement in (
        f"INSERT INTO blobs (key, project_id, state) {numbers} SELECT 'part-' || i, '{project}', 'live' FROM n",
        f"INSERT INTO blobs (key, project_id, state) {numbers} SELECT 'whole-' || i, '{project}', 'live' FROM n",
        "INSERT INTO files (id, project_id, filename, purpose, bytes, created_at, status, sha256, blob_key, parts) "
        f"{numbers} SELECT 'file-' || i, '{project}', 'a', 'batch', 1, 1, 'processed', '', 'whole-' || i, 1 FROM n",
        "INSERT INTO blob_parts (blob_key, number, part_key, bytes, sha256) "
        f"{numbers} SELECT 'whole-' || i, 0, 'part-' || i, 1, '' FROM n",
        "INSERT INTO uploads (id, project_id, filename, purpose, bytes, created_at, expires_at, status) "
        f"{numbers} SELECT 'upload_' || i, '{project}', 'a', 'batch', 9, 1, {now + HOUR} + i, {status} FROM n",
        "INSERT INTO upload_parts (id, upload_id, blob_key, bytes, sha256, created_at) "
        f"{numbers} SELECT 'part_' || i, 'upload_' || i, 'part-' || i, 1, '', 1 FROM n",
        "UPDATE projects SET bytes_reserved = 1000000, bytes_used = 1000000",
    ):
        await rows.run(statement)
    if rows.database.dialect.name == "postgresql":
        await rows.database.read(lambda connection: connection.execute("VACUUM ANALYZE"))


async def use_everything(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 6)
    parts = await put_all(rows, who, upload.id, b"a", b"bc")
    parts.append((await put(rows, who, upload.id, b"def", name="key"))[0].part.id)
    await put(rows, who, upload.id, b"a", repeated=True)
    await rows.uploads.arrange(who.project_id, upload.id, parts)
    done = await complete(rows, who, upload.id, parts)
    (job,) = await jobs_of(rows)
    assert await rows.uploads.check_task(job) == done.file
    await rows.uploads.record_check(job, done.file, Checked("", FileStatus.PROCESSED, None))
    other = await create(rows, who, 1)
    key = await begin(rows, who, other.id)
    await rows.uploads.accept_part(received(who, other.id, key, b"x"))
    await rows.uploads.cancel(who.project_id, other.id)
    await rows.uploads.scan_parts(5, 5)
    assert len(await rows.files.content_parts(done.file.blob_key)) == 3
    await rows.files.delete(who.project_id, done.file.id)
    rows.clock.now += HOUR + 10
    claimed = await rows.files.claim_garbage(lease_seconds=60, limit=10)
    await rows.files.delete_blob_rows(claimed)


async def test_no_statement_reads_a_whole_table(full: Rows, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    await fill(full)
    plans = explain(full, monkeypatch)
    await use_everything(full)
    assert len(plans) > 30
    whole = WHOLE_TABLE[full.database.dialect.name]
    found = [f"{plan}\n    of {sql}" for sql, plan in plans.items() if whole.search(plan)]
    assert not found, "\n".join(found)
