"""Deleting or expiring a file detaches it from every vector store at once, however many there are and whatever goes on."""

import asyncio
import time
from collections.abc import Awaitable

import pytest

from filestead.domain.access import Principal
from filestead.domain.errors import (
    AttachedFileNotFound,
    FileBatchNotFound,
    FileNotFound,
    FilesNotAttachable,
    JobLost,
    VectorStoreNotFound,
)
from filestead.domain.quota import Quota
from filestead.domain.vector_stores.model import FileCounts, IndexStatus, PageRequest
from tests.conformance.attachments import (
    CHUNKS,
    SEGMENT,
    add_files,
    attach,
    claim,
    claim_task,
    complete,
    count,
    make_store,
)
from tests.conformance.test_file_repository import add
from tests.support.databases import Rows, deadlocks, slow_detaching

pytestmark = pytest.mark.anyio

MANY = 10_000
SECONDS = 2.0


async def expect_gone(rows: Rows, who: Principal, store_id: str, file_id: str, attachment: int) -> None:
    """The file is not in the store, whichever way one looks."""
    stores = rows.vector_stores
    assert (await stores.get(who.project_id, store_id)).counts == FileCounts()
    assert (await stores.get(who.project_id, store_id)).usage_bytes == 0
    assert (await stores.page_files(who.project_id, store_id, PageRequest())).items == []
    for status in IndexStatus:
        assert (await stores.page_files(who.project_id, store_id, PageRequest(), status=status)).items == []
    assert await rows.index.searchable(store_id, [attachment]) == {}
    for refused in (
        stores.get_file(who.project_id, store_id, file_id),
        stores.text(who.project_id, store_id, file_id),
        stores.update_file(who.project_id, store_id, file_id, {}),
        stores.detach(who.project_id, store_id, file_id),
    ):
        with pytest.raises(AttachedFileNotFound):
            await refused


@pytest.mark.promise("R-06")
async def test_a_deleted_file_is_in_no_store(rows: Rows) -> None:
    who = await rows.principal()
    file, other = await add(rows, who), await add(rows, who)
    indexed, waiting = await make_store(rows, who, file.id), await make_store(rows, who, file.id)
    beside = await make_store(rows, who, other.id)
    task = await complete(rows)
    assert list(await rows.index.searchable(indexed, [task.attachment])) == [task.attachment]
    await rows.files.delete(who.project_id, file.id)
    await expect_gone(rows, who, indexed, file.id, task.attachment)
    await expect_gone(rows, who, waiting, file.id, task.attachment + 1)
    assert (await rows.vector_stores.get(who.project_id, beside)).counts == FileCounts(in_progress=1)
    (job,) = await claim(rows)
    assert int(job.subject) == task.attachment + 2


@pytest.mark.promise("R-07")
async def test_an_expired_file_is_in_no_store_before_and_after_the_sweep(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who, expires_after_seconds=10)
    indexed, waiting = await make_store(rows, who, file.id), await make_store(rows, who)
    await attach(rows, who, waiting, file.id, batch_id="vsfb_a")
    task = await complete(rows)
    rows.clock.pass_(9)
    assert (await rows.vector_stores.get(who.project_id, indexed)).counts == FileCounts(completed=1)
    rows.clock.pass_(1)
    for _ in range(2):
        await expect_gone(rows, who, indexed, file.id, task.attachment)
        await expect_gone(rows, who, waiting, file.id, task.attachment + 1)
        assert (await rows.vector_stores.get_batch(who.project_id, waiting, "vsfb_a")).counts == FileCounts()
        await rows.files.claim_garbage(lease_seconds=60, limit=9)
    assert await count(rows, "vector_store_files") == 0
    assert await claim(rows) == []


async def test_a_file_that_only_seemed_expired_is_indexed_all_the_same(rows: Rows) -> None:
    """Its job must not end while the clock is wrong: nothing would index the file afterwards."""
    who = await rows.principal()
    file = await add(rows, who, expires_after_seconds=3_600)
    store_id = await make_store(rows, who, file.id)
    rows.clock.pass_(7_200)
    await complete(rows)
    rows.clock.pass_(-7_200)
    assert (await rows.vector_stores.get_file(who.project_id, store_id, file.id)).status is IndexStatus.COMPLETED


async def test_a_file_that_is_deleted_while_it_is_indexed_leaves_nothing(rows: Rows) -> None:
    who = await rows.principal()
    files = [await add(rows, who) for _ in range(3)]
    store_id = await make_store(rows, who, *(file.id for file in files))
    held = [await claim_task(rows) for _ in files]
    for job, task in held:
        await rows.index.add_chunks(job, task, 0, CHUNKS)
    await rows.files.delete(who.project_id, files[0].id)
    await rows.vector_stores.detach(who.project_id, store_id, files[1].id)
    await rows.vector_stores.delete(who.project_id, store_id)
    await rows.index.delete_detached(100)
    assert await count(rows, "vector_store_chunks") == 0
    for job, task in held:
        with pytest.raises(JobLost):
            await rows.index.add_chunks(job, task, 2, CHUNKS)
        with pytest.raises(JobLost):
            await rows.index.complete_file(job, task, SEGMENT, usage_bytes=1, quota=Quota())
        assert await rows.index.index_task(job) is None
    assert [await count(rows, name) for name in ("vector_store_chunks", "index_segments", "index_postings")] == [0] * 3


async def seconds(step: Awaitable[object]) -> float:
    begun = time.perf_counter()
    await step
    return time.perf_counter() - begun


async def attach_many(rows: Rows, stores: str, files: str) -> None:
    """Every file to every store: queries that give the ids."""
    await rows.run(
        "INSERT INTO vector_store_files (vector_store_id, file_id, project_id, created_at, status, chunk_tokens, "
        f"chunk_overlap_tokens) SELECT s.id, f.id, p.project_id, 1, 'in_progress', 800, 400 FROM ({stores}) s, ({files}) f "
        "JOIN files p ON p.id = f.id",
        long=True,
    )
    await rows.run(
        "INSERT INTO jobs (kind, subject, project_id, due_us, created_us) SELECT 'index', CAST(v.seq AS TEXT), "
        "f.project_id, 1, 1 FROM vector_store_files v JOIN files f ON f.id = v.file_id",
        long=True,
    )


@pytest.mark.timing
async def test_a_file_of_ten_thousand_stores_is_deleted_quickly(rows: Rows) -> None:
    who = await rows.principal()
    first, second = await add(rows, who), await add(rows, who, expires_after_seconds=10)
    await rows.run(
        f"INSERT INTO vector_stores (id, project_id, created_at, last_active_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION "
        f"ALL SELECT i + 1 FROM n WHERE i < {MANY}) SELECT 'vs_' || i, '{who.project_id}', 1, 1 FROM n",
        long=True,
    )
    await attach_many(rows, "SELECT id FROM vector_stores", "SELECT id FROM files")
    assert await seconds(rows.files.delete(who.project_id, first.id)) < SECONDS
    assert await count(rows, "vector_store_files") == await count(rows, "jobs") == MANY
    rows.clock.pass_(10)
    assert await seconds(rows.files.claim_garbage(lease_seconds=60, limit=9)) < SECONDS
    assert await count(rows, "vector_store_files") == await count(rows, "jobs") == 0
    assert (await rows.vector_stores.get(who.project_id, "vs_77")).counts == FileCounts()
    assert second.id != first.id


@pytest.mark.timing
async def test_a_store_of_ten_thousand_files_is_deleted_quickly(rows: Rows) -> None:
    who = await rows.principal()
    ids = await add_files(rows, who, MANY)
    store_id = await make_store(rows, who)
    await attach_many(rows, f"SELECT '{store_id}' AS id", "SELECT id FROM files")
    assert (await rows.vector_stores.get(who.project_id, store_id)).counts == FileCounts(in_progress=MANY)
    assert await seconds(rows.vector_stores.delete(who.project_id, store_id)) < SECONDS
    assert await count(rows, "vector_store_files") == await count(rows, "jobs") == 0
    assert await count(rows, "files") == len(ids)
    assert await seconds(rows.index.delete_detached(2 * MANY)) < 2 * SECONDS
    assert await rows.index.delete_detached(1) == 0


async def race(rows: Rows, *steps: Awaitable[object]) -> None:
    """Run all at once; they end without a deadlock, or fail by what has gone meanwhile."""
    before = deadlocks(rows)
    outcomes = await asyncio.gather(*steps, return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    expected = (FilesNotAttachable, FileNotFound, VectorStoreNotFound, AttachedFileNotFound, FileBatchNotFound)
    assert [error for error in failed if not isinstance(error, expected)] == []
    assert deadlocks(rows) == before


async def expect_consistent(rows: Rows) -> None:
    """Attachments have files, stores and jobs; jobs have attachments; what is gone is recorded."""
    gone = "SELECT 1 FROM vector_store_files v WHERE v.seq = d.attachment"
    orphan = "NOT EXISTS (SELECT 1 FROM {0} WHERE {0}.id = vector_store_files.{1}_id)"
    assert await count(rows, "vector_store_files", orphan.format("files", "file")) == 0
    assert await count(rows, "vector_store_files", orphan.format("vector_stores", "vector_store")) == 0
    jobs = "SELECT 1 FROM jobs j WHERE j.subject = CAST(vector_store_files.seq AS TEXT)"
    assert await count(rows, "vector_store_files", f"NOT EXISTS ({jobs})") == 0
    assert await count(rows, "jobs") == await count(rows, "vector_store_files")
    assert await count(rows, "detached_files d", f"EXISTS ({gone})") == 0


@pytest.mark.promise("R-06")
async def test_attaching_races_with_deleting_the_files(rows: Rows) -> None:
    who = await rows.principal()
    ids = await add_files(rows, who, 64)
    stores = [await make_store(rows, who) for _ in range(64)]
    await race(
        rows,
        *(
            step
            for number in range(64)
            for step in (
                attach(rows, who, stores[number], *(ids[(number + offset) % 64] for offset in range(0, 64, 9))),
                rows.files.delete(who.project_id, ids[-number]),
            )
        ),
    )
    await expect_consistent(rows)
    assert await count(rows, "vector_store_files") == 0


@pytest.mark.promise("R-06")
async def test_attaching_races_with_deleting_the_store_and_with_the_cascades_of_files(rows: Rows) -> None:
    who = await rows.principal()
    ids = await add_files(rows, who, 64)
    stores = [await make_store(rows, who) for _ in range(32)]
    await attach_many(rows, "SELECT id FROM vector_stores", "SELECT id FROM files")
    steps: list[Awaitable[object]] = []
    for number in range(64):
        store_id = stores[number % 32]
        steps.append(attach(rows, who, store_id, *ids[::-7], batch_id=f"vsfb_{number}"))
        if number % 2:
            steps.append(rows.vector_stores.delete(who.project_id, store_id))
            steps.append(rows.files.delete(who.project_id, ids[number]))
        else:
            steps.append(rows.vector_stores.cancel_batch(who.project_id, store_id, f"vsfb_{number}"))
            steps.append(rows.vector_stores.detach(who.project_id, store_id, ids[number]))
    await race(rows, *steps)
    assert await count(rows, "vector_stores") == 16
    assert await count(rows, "files") == 32
    assert await count(rows, "jobs") == await count(rows, "vector_store_files", "status = 'in_progress'")


async def test_files_that_expire_together_race_with_deleting_their_stores_and_cancelling_batches(rows: Rows) -> None:
    who = await rows.principal()
    ids = await add_files(rows, who, 40)
    await rows.run("UPDATE files SET expires_at = 1700000010 - seq / 10")
    stores = [await make_store(rows, who) for _ in range(8)]
    for number, store_id in enumerate(stores):  # so that no two orders agree by chance
        await attach(rows, who, store_id, *ids[:: 1 if number % 2 else -1], batch_id=f"vsfb_{number}")
    await rows.run("UPDATE vector_store_files SET expires_at = 1700000010")
    rows.clock.pass_(20)
    await slow_detaching(rows)
    await race(
        rows,
        *(rows.files.claim_garbage(lease_seconds=60, limit=9) for _ in range(2)),
        *(rows.vector_stores.delete(who.project_id, store_id) for store_id in stores[:4]),
        *(rows.vector_stores.cancel_batch(who.project_id, stores[n], f"vsfb_{n}") for n in range(4, 8)),
    )
    assert [await count(rows, name) for name in ("files", "vector_store_files", "jobs")] == [0, 0, 0]
