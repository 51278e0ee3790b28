"""With 100,000 attached files in one store and as many jobs, no statement reads a whole table."""

import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from filestead.database.repositories.jobs import JobQueue
from filestead.domain.jobs import JobKind
from filestead.domain.quota import Quota
from filestead.domain.vector_stores.model import IndexStatus, NewAttachment, NewStore, PageRequest, StoreChanges
from tests.conformance.attachments import CHUNKS, SEGMENT, add_files, attach, claim, make_store
from tests.support.databases import BACKENDS, Rows

pytestmark = pytest.mark.anyio

MANY = 100_000
TABLES = "files|jobs|waiting|vector_stores|vector_store_files|vector_store_chunks|file_batches|index_\\w+|blobs"
WHOLE_TABLE = {
    "sqlite": re.compile(rf"SCAN (?:{TABLES})\b(?! USING INDEX index_segments_not_ready)"),
    "postgresql": re.compile(rf"Seq Scan on (?:{TABLES})\b"),
}
EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}
# What the cascades and the trigger run, which no plan shows.
CASCADES = (
    "DELETE FROM vector_store_files WHERE file_id = 'file-7'",
    "DELETE FROM vector_store_files WHERE vector_store_id = 'vs_7'",
    "DELETE FROM file_batches WHERE vector_store_id = 'vs_7'",
    "DELETE FROM jobs WHERE kind = 'index' AND subject = CAST(7 AS TEXT)",
)


class Explaining:
    """A connection that keeps the plan of each statement before its first run."""

    def __init__(self, connection: Any, dialect: str, plans: dict[str, str]) -> None:
        self._connection = connection
        self._explain = EXPLAIN[dialect]
        self._plans = plans

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        if sql not in self._plans:
            rows = self._connection.execute(self._explain + sql, parameters).fetchall()
            self._plans[sql] = "\n".join(str(row[-1]) for row in rows)
        return self._connection.execute(sql, parameters)


def explain(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The plans of all that is run from now on."""
    plans: dict[str, str] = {}
    for name in ("read", "write"):
        run = getattr(rows.database, name)

        def explained(operation: Any, *, run: Any = run, **options: Any) -> Any:
            return run(
                lambda connection: operation(Explaining(connection, rows.database.dialect.name, plans)), **options
            )

        monkeypatch.setattr(rows.database, name, explained)
    return plans


async def fill(rows: Rows) -> str:
    """The large store's id; beside it there are small ones."""
    who = await rows.principal()
    await add_files(rows, who, MANY)
    large = await make_store(rows, who)
    project = who.project_id
    data = "CAST('' AS BLOB)" if rows.database.dialect.name == "sqlite" else "''"
    numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {0}) "
    for statement in (
        "INSERT INTO vector_stores (id, project_id, created_at, last_active_at, expires_after_days, expires_at) "
        f"{numbers.format(4_999)} SELECT 'vs_' || i, '{project}', 1, 1, 1, 4000000000 + i FROM n",
        f"INSERT INTO file_batches {numbers.format(4_999)} SELECT 'vsfb_' || i, 'vs_' || i, 1, 0 FROM n",
        "INSERT INTO vector_store_files (vector_store_id, file_id, project_id, file_batch_id, created_at, expires_at, status, "
        f"chunk_tokens, chunk_overlap_tokens) SELECT '{large}', id, '{project}', CASE WHEN seq / 10 * 10 = seq THEN 'vsfb_' || (seq / 2000) END, 1, 5000000000, "
        "CASE WHEN seq / 100 * 100 = seq THEN 'in_progress' ELSE 'completed' END, 800, 400 FROM files",
        "INSERT INTO vector_store_files (vector_store_id, file_id, project_id, created_at, status, chunk_tokens, "
        f"chunk_overlap_tokens) {numbers.format(4_999)} SELECT 'vs_' || i, 'file-' || i, '{project}', 1, 'completed', 1, 1 FROM n",
        f"INSERT INTO jobs (kind, subject, project_id, due_us, created_us) {numbers.format(MANY - 1)} "
        f"SELECT 'index', CAST(i AS TEXT), '{project}', 1, 1 FROM n",
        f"INSERT INTO vector_store_chunks {numbers.format(MANY - 1)} SELECT CAST(i AS BIGINT) * 1048576, 'text', 0, 1 FROM n",
        "INSERT INTO index_segments (vector_store_id, state, level, chunks, length, postings, buckets) "
        f"{numbers.format(MANY - 1)} SELECT 'vs_' || (i / 2), 'ready', 0, 1, 1, 1, 1 FROM n",
        f"INSERT INTO index_postings {numbers.format(MANY - 1)} SELECT i, {data} FROM n",
        f"INSERT INTO index_documents {numbers.format(MANY - 1)} SELECT i, {data} FROM n",
    ):
        await rows.run(statement, long=True)
    if rows.database.dialect.name == "postgresql":
        await rows.database.read(lambda connection: connection.execute("VACUUM ANALYZE"))
    return large


@pytest.fixture(params=["sqlite", "postgres"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rows]:
    with BACKENDS[request.param](tmp_path) as opened:
        yield opened


async def use_everything(rows: Rows, large: str) -> None:
    """Each method once, on what there is."""
    who, stores, index = await rows.principal(), rows.vector_stores, rows.index
    project = who.project_id
    for store in ("vs_8", large):  # the plan of the first one counts: of a store with most rows, a scan is right
        await stores.get(project, store)
    for request in (PageRequest(), PageRequest(after="vs_9"), PageRequest(before="vs_9", newest_first=False)):
        await stores.page(project, request)
    for request in (PageRequest(), PageRequest(after="file-9"), PageRequest(before="file-9", newest_first=False)):
        await stores.page_files(project, large, request)
        await stores.page_files(project, large, request, status=IndexStatus.IN_PROGRESS)
    await stores.update(project, large, StoreChanges(name="x", set_name=True))
    await stores.create(project, who.organization_id, NewStore("vs_new"), [NewAttachment("file-1")], rate=10)
    await attach(rows, who, "vs_3", "file-8", "file-9", batch_id="vsfb_new", rate=10)
    await stores.page_files(project, "vs_3", PageRequest(), batch_id="vsfb_new", status=IndexStatus.COMPLETED)
    await stores.cancel_batch(project, "vs_3", "vsfb_new")
    await stores.text(project, "vs_3", "file-3")
    await stores.update_file(project, "vs_3", "file-3", {})
    await stores.detach(project, "vs_3", "file-3")
    (job,) = await claim(rows, 1)
    await rows.jobs.renew([job], lease_seconds=60)
    task = await index.index_task(job)
    await rows.jobs.release([job])
    await rows.jobs.retry(job, "", delay_seconds=1)
    await rows.jobs.dead(10)
    assert task is None
    await index.searchable(large, [1, 2, 3])
    await index.chunk_texts([(1, 0), (2, 0)])
    assert len(await index.segments("vs_7")) == 2
    await index.read_postings([(0, 1), (0, 2)])
    await index.read_documents([(0, 1)])
    await index.merge_candidates("vs_7")
    await stores.delete(project, "vs_3")
    await rows.files.delete(project, "file-3")
    queue = JobQueue(rows.database.dialect)
    await rows.database.write(lambda connection: queue.add(connection, JobKind.MERGE, "vs_new", project))
    rows.clock.now = 1_700_000_100
    await claim(rows, 2)
    await attach(rows, who, "vs_4", "file-9")
    numbers = "SELECT max(seq) FROM vector_store_files WHERE vector_store_id = 'vs_4'"
    await rows.run(
        f"UPDATE jobs SET due_us = 0 WHERE kind = 'merge' OR kind = 'index' AND subject = CAST(({numbers}) AS TEXT)"
    )
    done = 0
    for job in await claim(rows, 2):
        if job.kind is JobKind.MERGE:
            await index.replace_segments(job, "vs_new", [], SEGMENT, level=1)
        elif (task := await index.index_task(job)) is not None:
            await index.add_chunks(job, task, 0, CHUNKS)
            await index.complete_file(job, task, SEGMENT, usage_bytes=1, quota=Quota())
        done += 1
    assert done == 2
    rows.clock.now = 4_000_000_005
    await index.delete_detached(500)


async def quickest(operation: Callable[[], Awaitable[object]]) -> float:
    """Seconds of the quickest of several runs: the machine may be busy during some of them."""
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        await operation()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


@pytest.mark.timing
async def test_no_statement_reads_a_whole_table(full: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    large = await fill(full)
    project = (await full.principal()).project_id
    assert await quickest(lambda: claim(full, 8)) < 0.1
    assert (await full.vector_stores.get(project, large)).counts.total == MANY
    counted = await quickest(lambda: full.vector_stores.get(project, large))
    assert counted < 0.25, "the clock is not read for each file"
    plans = explain(full, monkeypatch)
    for statement in CASCADES:
        await full.run(statement)
    await use_everything(full, large)
    assert len(plans) > 60
    whole = WHOLE_TABLE[full.database.dialect.name]
    found = [f"{plan}\n    of {sql}" for sql, plan in plans.items() if whole.search(plan)]
    assert not found, "\n".join(found)
    counts = next(plan for sql, plan in plans.items() if "count(" in sql and "vector_store_id = " in sql)
    assert re.search("(COVERING INDEX|Index Only Scan using) vector_store_files_by_status", counts), counts
