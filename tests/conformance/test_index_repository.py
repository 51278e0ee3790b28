"""Each sentence of `IndexRepository`."""

import asyncio

import pytest

from filestead.database.repositories.vector_stores.segments import MAX_MERGED_CHUNKS, MERGE_FAN_IN, TRANSACTION_BYTES
from filestead.domain.errors import JobLost, QuotaExceeded, SegmentsChanged
from filestead.domain.jobs import JobKind
from filestead.domain.quota import Quota
from filestead.domain.vector_stores.file_types import SERVER_ERROR, UNPARSABLE_FILE
from filestead.domain.vector_stores.model import (
    Chunking,
    FileCounts,
    IndexStatus,
    SearchableFile,
    SegmentData,
    StoredChunk,
)
from tests.conformance.attachments import (
    CHUNKS,
    SEGMENT,
    add_files,
    attach,
    blocks_of,
    claim,
    claim_task,
    complete,
    count,
    make_store,
    merge_job,
)
from tests.conformance.test_file_repository import add
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

LARGE = SegmentData(9, 9, 9, tuple(bytes([n]) * (TRANSACTION_BYTES // 2) for n in range(5)), (b"d0", b"d1"))
EMPTY = SegmentData(0, 0, 0, (), ())


async def sweep(rows: Rows) -> None:
    while await rows.index.delete_detached(3):
        pass


async def sizes(rows: Rows) -> list[int]:
    names = ("vector_store_chunks", "index_segments", "index_postings", "index_documents", "detached_files")
    return [await count(rows, name) for name in names]


async def test_a_task_says_what_to_index(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who, filename="ä.md")
    store_id = await make_store(rows, who)
    await attach(rows, who, store_id, file.id, chunking=Chunking(200, 100))
    job, task = await claim_task(rows)
    assert (job.kind, job.project_id, int(job.subject)) == (JobKind.INDEX, who.project_id, task.attachment)
    assert (task.vector_store_id, task.file, task.chunking) == (store_id, file, Chunking(200, 100))
    await rows.index.complete_file(job, task, SEGMENT, usage_bytes=1, quota=Quota())
    assert await rows.index.index_task(job) is None


async def test_the_index_counts_in_the_quota_until_it_is_swept(rows: Rows) -> None:
    who = await rows.principal()
    kept, detached = [(await add(rows, who, size=100)).id for _ in range(2)]
    store_id = await make_store(rows, who, kept, detached)

    async def used() -> int:
        return (await rows.files.usage(who.project_id)).bytes_used

    await complete(rows, usage=1_000)
    job, task = await claim_task(rows)
    with pytest.raises(QuotaExceeded):
        await rows.index.complete_file(job, task, SEGMENT, usage_bytes=2_000, quota=Quota(project_bytes=3_199))
    with pytest.raises(QuotaExceeded):
        await rows.index.complete_file(job, task, SEGMENT, usage_bytes=2_000, quota=Quota(organization_bytes=3_199))
    assert (await used(), await count(rows, "index_segments")) == (1_200, 1), "all of it was rolled back"
    await rows.index.complete_file(job, task, SEGMENT, usage_bytes=2_000, quota=Quota(3_200, 3_200))
    assert await used() == 3_200

    await rows.vector_stores.detach(who.project_id, store_id, kept)
    await rows.files.delete(who.project_id, detached)
    assert await used() == 3_100, "the bytes are still there"
    assert await rows.files.check() == []
    await sweep(rows)
    assert await used() == 100
    assert await rows.files.check() == []


async def test_the_index_of_a_deleted_store_is_released(rows: Rows) -> None:
    who = await rows.principal()
    store_id = await make_store(rows, who, (await add(rows, who, size=100)).id)
    await complete(rows, usage=1_000)
    await rows.vector_stores.delete(who.project_id, store_id)
    await sweep(rows)
    assert (await rows.files.usage(who.project_id)).bytes_used == 100


async def test_chunks_replace_those_of_an_earlier_attempt(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store_id = await make_store(rows, who, file.id, (await add(rows, who)).id)
    (first, other) = await claim(rows)
    task, beside = await rows.index.index_task(first), await rows.index.index_task(other)
    assert task is not None and beside is not None
    await rows.index.add_chunks(other, beside, 0, CHUNKS)
    await rows.index.add_chunks(first, task, 0, [StoredChunk(f"old {n}", n, n) for n in range(5)])
    await rows.index.add_chunks(first, task, 5, [StoredChunk("old 5", 0, 1)])
    await rows.jobs.release([first])
    (second,) = await claim(rows)
    await rows.index.add_chunks(second, task, 0, CHUNKS)
    await rows.index.add_chunks(second, task, 2, [StoredChunk("ende \U0001f600", 1, 2)])
    with pytest.raises(JobLost):
        await rows.index.add_chunks(first, task, 0, [])
    await rows.index.complete_file(second, task, SEGMENT, usage_bytes=1, quota=Quota())
    text = await rows.vector_stores.text(who.project_id, store_id, file.id)
    assert text == [*CHUNKS, StoredChunk("ende \U0001f600", 1, 2)]
    refs = [(task.attachment, 2), (beside.attachment, 0), (task.attachment, 3), (99, 0)]
    assert await rows.index.chunk_texts(refs) == {refs[0]: text[2].text, refs[1]: CHUNKS[0].text}
    assert await rows.index.chunk_texts([]) == {}


async def test_a_completed_file_is_searchable_with_its_segment(rows: Rows) -> None:
    who = await rows.principal()
    file, failed = await add(rows, who, filename="ä.txt"), await add(rows, who)
    store_id = await make_store(rows, who)
    await attach(rows, who, store_id, file.id, größe=1)
    await attach(rows, who, store_id, failed.id)
    task = await complete(rows)
    job, waiting = await claim_task(rows)
    found = await rows.index.searchable(store_id, [task.attachment, waiting.attachment, 99])
    assert found == {task.attachment: SearchableFile(file.id, "ä.txt", {"größe": 1})}
    assert await rows.index.searchable(await make_store(rows, who), [task.attachment]) == {}
    assert sorted(await rows.index.attached(store_id)) == [task.attachment, waiting.attachment]
    (segment,) = await rows.index.segments(store_id)
    assert (segment.level, segment.chunks, segment.length, segment.postings, segment.buckets) == (0, 2, 5, 4, 2)
    assert await rows.index.read_postings(blocks_of(segment, 2)) == {(segment.id, 0): b"p0", (segment.id, 1): b"p1"}
    assert await rows.index.read_documents(blocks_of(segment, 1)) == {(segment.id, 0): b"d"}
    assert await rows.index.read_postings([]) == {}
    for read in (rows.index.read_postings, rows.index.read_documents):
        with pytest.raises(SegmentsChanged):
            await read([(segment.id, 0), (segment.id, 5)])
    await rows.index.fail_file(job, waiting, UNPARSABLE_FILE)
    got = await rows.vector_stores.get_file(who.project_id, store_id, failed.id)
    assert (got.status, got.last_error, got.usage_bytes) == (IndexStatus.FAILED, UNPARSABLE_FILE, 0)
    assert await rows.index.searchable(store_id, [waiting.attachment]) == {}


async def test_the_last_chunks_come_with_the_segment(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store = await make_store(rows, who, file.id)
    job, task = await claim_task(rows)
    await rows.index.add_chunks(job, task, 0, [StoredChunk("old", 0, 1)] * 5)
    await rows.index.add_chunks(job, task, 0, [StoredChunk("ab", 0, 1)])
    assert await rows.vector_stores.text(who.project_id, store, file.id) == [], "not before it is completed"
    await rows.index.complete_file(
        job, task, SEGMENT, usage_bytes=7, quota=Quota(), start=1, chunks=[StoredChunk("bc", 1, 1)]
    )
    chunks = await rows.vector_stores.text(who.project_id, store, file.id)
    assert [(chunk.text, chunk.overlap) for chunk in chunks] == [("ab", 0), ("bc", 1)]


async def test_a_file_ends_once(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store_id = await make_store(rows, who, file.id)
    late, task = await claim_task(rows)
    await rows.index.add_chunks(late, task, 0, CHUNKS)
    rows.clock.pass_(60)
    held, _ = await claim_task(rows)
    for lost in (
        rows.index.complete_file(late, task, SEGMENT, usage_bytes=1, quota=Quota()),
        rows.index.complete_file(late, task, LARGE, usage_bytes=1, quota=Quota()),
        rows.index.fail_file(late, task, SERVER_ERROR),
        rows.index.fail_file(late, task, SERVER_ERROR, dead_letter="x"),
    ):
        with pytest.raises(JobLost):
            await lost
    assert await sizes(rows) == [len(CHUNKS), 0, 0, 0, 0]
    await rows.index.complete_file(held, task, SEGMENT, usage_bytes=5, quota=Quota())
    for again in (
        rows.index.complete_file(held, task, SEGMENT, usage_bytes=1, quota=Quota()),
        rows.index.fail_file(held, task, SERVER_ERROR),
    ):
        with pytest.raises(JobLost):
            await again
    assert (await rows.vector_stores.get(who.project_id, store_id)).usage_bytes == 5
    assert len(await rows.index.segments(store_id)) == 1
    assert await sizes(rows) == [len(CHUNKS), 1, 2, 1, 0]


async def test_a_failed_file_has_no_chunks_and_may_leave_a_dead_letter(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store_id = await make_store(rows, who, file.id)
    job, task = await claim_task(rows)
    await rows.index.add_chunks(job, task, 0, CHUNKS)
    await rows.index.fail_file(job, task, SERVER_ERROR, dead_letter="it broke")
    assert await sizes(rows) == [0] * 5
    (dead,) = await rows.jobs.dead(9)
    assert (dead.subject, dead.error) == (str(task.attachment), "it broke")
    assert (await rows.vector_stores.get(who.project_id, store_id)).counts == FileCounts(failed=1)
    await rows.files.delete(who.project_id, file.id)
    assert await rows.jobs.dead(9) == []


async def test_a_file_without_text_adds_no_segment(rows: Rows) -> None:
    who = await rows.principal()
    store_id = await make_store(rows, who, (await add(rows, who)).id)
    job, task = await claim_task(rows)
    await rows.index.complete_file(job, task, EMPTY, usage_bytes=0, quota=Quota())
    assert (await rows.vector_stores.get(who.project_id, store_id)).counts == FileCounts(completed=1)
    assert await rows.index.segments(store_id) == []


async def test_a_file_that_is_cancelled_meanwhile_is_not_completed(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store_id = await make_store(rows, who)
    await attach(rows, who, store_id, file.id, batch_id="vsfb_a")
    job, task = await claim_task(rows)
    await rows.index.add_chunks(job, task, 0, CHUNKS)
    await rows.vector_stores.cancel_batch(who.project_id, store_id, "vsfb_a")
    assert await rows.index.index_task(job) is None
    for lost in (
        rows.index.complete_file(job, task, SEGMENT, usage_bytes=1, quota=Quota()),
        rows.index.fail_file(job, task, SERVER_ERROR),
    ):
        with pytest.raises(JobLost):
            await lost
    assert (await rows.vector_stores.get(who.project_id, store_id)).counts == FileCounts(cancelled=1)
    await sweep(rows)
    assert await sizes(rows) == [0] * 5


async def test_a_large_segment_is_visible_when_it_is_whole(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    who = await rows.principal()
    store_id = await make_store(rows, who, (await add(rows, who)).id)
    job, task = await claim_task(rows)
    seen: list[tuple[int, int]] = []
    write = rows.database.write

    async def watched(operation: object) -> object:
        seen.append((len(await rows.index.segments(store_id)), await count_blocks()))
        return await write(operation)  # type: ignore[arg-type]

    async def count_blocks() -> int:
        sql = "SELECT count(*) FROM index_postings"
        return int((await rows.database.read(lambda connection: connection.execute(sql).fetchall()))[0][0])

    monkeypatch.setattr(rows.database, "write", watched)
    await rows.index.complete_file(job, task, LARGE, usage_bytes=1, quota=Quota())
    monkeypatch.undo()
    assert seen == [(0, 0), (0, 0), (0, 2), (0, 4), (0, 5)]
    (segment,) = await rows.index.segments(store_id)
    assert await rows.index.read_postings(blocks_of(segment, 5)) == {
        (segment.id, number): data for number, data in enumerate(LARGE.buckets)
    }
    assert len(await rows.index.read_documents(blocks_of(segment, 2))) == 2


async def test_the_sweep_removes_a_segment_that_nobody_goes_on_building(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = await rows.principal()
    store_id = await make_store(rows, who, (await add(rows, who)).id)
    job, task = await claim_task(rows)
    write, writes = rows.database.write, 0

    async def interrupted(operation: object) -> object:
        nonlocal writes
        writes += 1
        if writes == 3:
            await sweep_meanwhile()
            raise ConnectionError
        return await write(operation)  # type: ignore[arg-type]

    async def sweep_meanwhile() -> None:
        monkeypatch.undo()
        await sweep(rows)

    monkeypatch.setattr(rows.database, "write", interrupted)
    with pytest.raises(ConnectionError):
        await rows.index.complete_file(job, task, LARGE, usage_bytes=1, quota=Quota())
    assert await sizes(rows) == [0, 1, 2, 0, 0]  # while the lease lasts
    assert await rows.index.segments(store_id) == []
    await rows.jobs.retry(job, "", delay_seconds=0)
    await sweep(rows)
    assert await sizes(rows) == [0] * 5
    await complete(rows, LARGE)
    await sweep(rows)
    assert await sizes(rows) == [2, 1, 5, 2, 0]


async def test_segments_of_one_level_are_merged(rows: Rows) -> None:
    who = await rows.principal()
    ids = await add_files(rows, who, MERGE_FAN_IN + 1)
    store_id = await make_store(rows, who, *ids)
    for _ in range(MERGE_FAN_IN - 1):
        await complete(rows)
    assert await rows.index.merge_candidates(store_id) == []
    assert await count(rows, "jobs", "kind = 'merge'") == 0
    await complete(rows)
    old = await rows.index.merge_candidates(store_id)
    assert len(old) == MERGE_FAN_IN
    await complete(rows)
    job = await merge_job(rows)
    assert (job.subject, job.project_id) == (store_id, who.project_id)
    latest = (await rows.index.segments(store_id))[-1]
    merged = SegmentData(32, 80, 64, (b"m",), (b"n",))
    await rows.index.replace_segments(job, store_id, old, merged, level=1)
    segments = await rows.index.segments(store_id)
    assert [(each.level, each.chunks) for each in segments] == [(0, 2), (1, 32)]
    assert segments[0] == latest
    # Whoever began before may read on until the sweep; then the blocks are gone, and nothing else is.
    assert len(await rows.index.read_postings(blocks_of(old[0], 2))) == 2
    await sweep(rows)
    with pytest.raises(SegmentsChanged):
        await rows.index.read_postings(blocks_of(old[0], 2))
    assert await rows.index.read_postings(blocks_of(segments[1], 1)) == {(segments[1].id, 0): b"m"}
    assert await sizes(rows) == [2 * len(ids), 2, 3, 2, 0]
    with pytest.raises(SegmentsChanged):
        await rows.index.replace_segments(job, store_id, old, merged, level=1)
    with pytest.raises(JobLost):
        await rows.index.replace_segments(job, store_id, segments, merged, level=1)
    assert await rows.index.segments(store_id) == segments


async def test_a_merge_of_detached_files_leaves_nothing_and_large_segments_are_left_alone(rows: Rows) -> None:
    who = await rows.principal()
    ids = await add_files(rows, who, 2 * MERGE_FAN_IN)
    store_id = await make_store(rows, who, *ids)
    huge = SegmentData(MAX_MERGED_CHUNKS // 2, 1, 1, (b"p",), (b"d",))
    for _ in range(MERGE_FAN_IN):
        await complete(rows, huge)
    assert await rows.index.merge_candidates(store_id) == []
    for _ in range(MERGE_FAN_IN):
        await complete(rows)
    old = await rows.index.merge_candidates(store_id)
    assert {segment.chunks for segment in old} == {2}
    await rows.index.replace_segments(await merge_job(rows), store_id, old, EMPTY, level=1)
    assert {segment.chunks for segment in await rows.index.segments(store_id)} == {huge.chunks}
    assert await claim(rows) == []


async def test_a_merge_of_a_store_that_is_deleted_leaves_nothing(rows: Rows) -> None:
    who = await rows.principal()
    ids = await add_files(rows, who, MERGE_FAN_IN)
    for large in (False, True):
        store_id = await make_store(rows, who, *ids)
        for _ in ids:
            await complete(rows)
        job, old = await merge_job(rows), await rows.index.merge_candidates(store_id)
        merge = rows.index.replace_segments(job, store_id, old, LARGE if large else SEGMENT, level=1)
        outcomes = await asyncio.gather(
            merge, rows.vector_stores.delete(who.project_id, store_id), return_exceptions=True
        )
        assert outcomes[0] is None or isinstance(outcomes[0], JobLost | SegmentsChanged)
        assert await rows.index.segments(store_id) == []
        await sweep(rows)
        assert await sizes(rows) == [0] * 5
        assert await count(rows, "jobs") == 0


async def test_the_sweep_stops_at_its_limit(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store_id = await make_store(rows, who, file.id)
    job, task = await claim_task(rows)
    await rows.index.add_chunks(job, task, 0, [StoredChunk(str(n), 0, 1) for n in range(30)])
    await rows.index.complete_file(
        job, task, SegmentData(30, 30, 30, (b"p",) * 20, (b"d",)), usage_bytes=1, quota=Quota()
    )
    await rows.vector_stores.delete(who.project_id, store_id)
    assert 1 <= await rows.index.delete_detached(10) <= 11
    assert await sizes(rows) == [20, 1, 20, 1, 1]
    await rows.index.delete_detached(21)
    assert await sizes(rows) == [0, 1, 20, 1, 0]
    await rows.index.delete_detached(5)
    assert await sizes(rows) == [0, 1, 15, 1, 0]
    await sweep(rows)
    assert await sizes(rows) == [0] * 5


async def test_sweeps_of_several_nodes_share_the_work(rows: Rows) -> None:
    who = await rows.principal()
    ids = await add_files(rows, who, 24)
    gone, kept = await make_store(rows, who, *ids[:12]), await make_store(rows, who, *ids[12:])
    for _ in ids:
        await complete(rows)
    await rows.vector_stores.delete(who.project_id, gone)
    await asyncio.gather(*(sweep(rows) for _ in range(6)))
    assert await sizes(rows) == [24, 12, 24, 12, 0]
    assert (await rows.vector_stores.get(who.project_id, kept)).counts == FileCounts(completed=12)
