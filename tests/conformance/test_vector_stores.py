"""Each sentence of `VectorStoreRepository` and `IndexRepository`."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

import pytest

from filestead.domain.access import Principal
from filestead.domain.errors import (
    AttachedFileNotFound,
    AttachRateLimited,
    FileBatchNotFound,
    FileNotFound,
    FilesNotAttachable,
    ItemCursorNotFound,
    JobLost,
    SegmentsChanged,
    UnsupportedFileType,
    VectorStoreExpired,
    VectorStoreNotFound,
)
from filestead.domain.files.model import File
from filestead.domain.jobs import Job, JobKind
from filestead.domain.vector_stores.file_types import UNPARSABLE_FILE, UNSUPPORTED_FILE
from filestead.domain.vector_stores.model import (
    Chunking,
    FileCounts,
    IndexStatus,
    IndexTask,
    NewAttachment,
    NewStore,
    PageRequest,
    SegmentData,
    StoreChanges,
    StoredChunk,
)
from filestead.installation import new_id
from tests.conformance.test_file_repository import add
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

DAY = 86_400
SEGMENT = SegmentData(1, 2, 2, [b"postings"], [b"documents"])
CHUNK = StoredChunk("some text", 0, 2)


async def new_store(rows: Rows, who: Principal, files: Sequence[NewAttachment] = (), **members: Any) -> str:
    store = new_id("vs_")
    await rows.stores.create(who.project_id, who.organization_id, NewStore(store, **members), files, rate=0)
    return store


async def attach(rows: Rows, who: Principal, store: str, *files: File, rate: int = 0, **members: Any) -> None:
    new = [NewAttachment(file.id, **members) for file in files]
    await rows.stores.attach(who.project_id, who.organization_id, store, new, rate=rate)


async def claim(rows: Rows, limit: int = 1) -> list[Job]:
    return await rows.jobs.claim([JobKind.INDEX], token=new_id("t"), lease_seconds=60, limit=limit)


async def begin(rows: Rows) -> tuple[Job, IndexTask]:
    (job,) = await claim(rows)
    task = await rows.index.index_task(job)
    assert task is not None
    return job, task


async def index_all(rows: Rows) -> None:
    for job in await claim(rows, 100):
        task = await rows.index.index_task(job)
        assert task is not None
        await rows.index.complete_file(job, task, SEGMENT, usage_bytes=1_033, chunks=[CHUNK])


async def counts(rows: Rows, who: Principal, store: str) -> FileCounts:
    return (await rows.stores.get(who.project_id, store)).counts


async def listed(rows: Rows, who: Principal, store: str, **options: Any) -> list[str]:
    request = PageRequest(limit=100, newest_first=False)
    page = await rows.stores.page_files(who.project_id, store, request, **options)
    return [file.file_id for file in page.items]


# --- stores ---------------------------------------------------------------------------------------------------------


async def test_a_store_is_what_was_created(rows: Rows) -> None:
    who = await rows.principal()
    store = await new_store(rows, who, name="näme", description="d", metadata={"ключ": "😀", "a": ""})
    found = await rows.stores.get(who.project_id, store)
    assert (found.id, found.name, found.description) == (store, "näme", "d")
    assert found.metadata == {"ключ": "😀", "a": ""}
    assert found.created_at == found.last_active_at == int(rows.clock.now)
    assert (found.expires_at, found.expired, found.usage_bytes, found.counts) == (None, False, 0, FileCounts())


async def test_only_given_members_change(rows: Rows) -> None:
    who = await rows.principal()
    store = await new_store(rows, who, name="a", metadata={"k": "v"}, expires_after_days=2)
    changed = await rows.stores.update(who.project_id, store, StoreChanges(name=None, set_name=True))
    assert (changed.name, changed.metadata, changed.expires_after_days) == (None, {"k": "v"}, 2)
    changes = StoreChanges(set_expires_after=True, metadata={})
    changed = await rows.stores.update(who.project_id, store, changes)
    assert (changed.metadata, changed.expires_after_days) == ({}, None)


async def test_expiry_by_last_activity(rows: Rows) -> None:
    who = await rows.principal()
    store = await new_store(rows, who, expires_after_days=1)
    rows.clock.pass_(DAY - 1)
    await rows.stores.touch(who.project_id, store)
    rows.clock.pass_(DAY - 1)
    found = await rows.stores.get(who.project_id, store)
    assert not found.expired
    assert found.expires_at == int(rows.clock.now) + 1
    rows.clock.pass_(1)
    assert (await rows.stores.get(who.project_id, store)).expired
    file = await add(rows, who)
    for refused in (
        rows.stores.touch(who.project_id, store),
        attach(rows, who, store, file),
        rows.stores.update(who.project_id, store, StoreChanges(set_name=True, name="b")),
        rows.stores.update_file(who.project_id, store, file.id, {}),
    ):
        with pytest.raises(VectorStoreExpired):
            await refused
    await rows.stores.delete(who.project_id, store)


async def test_the_sweep_detaches_the_files_of_expired_stores(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store = await new_store(rows, who, [NewAttachment(file.id)], expires_after_days=1)
    await index_all(rows)
    rows.clock.pass_(DAY)
    while await rows.index.delete_detached(10):
        pass
    found = await rows.stores.get(who.project_id, store)
    assert (found.expired, found.counts) == (True, FileCounts())
    assert (await rows.files.get(who.project_id, file.id)).id == file.id


async def test_pages(rows: Rows) -> None:
    who = await rows.principal()
    stores = [await new_store(rows, who) for _ in range(5)]

    async def page(**request: Any) -> tuple[list[int], bool]:
        found = await rows.stores.page(who.project_id, PageRequest(**request))
        return [stores.index(store.id) for store in found.items], found.has_more

    assert await page() == ([4, 3, 2, 1, 0], False)
    assert await page(limit=2) == ([4, 3], True)
    assert await page(limit=2, after=stores[3]) == ([2, 1], True)
    assert await page(limit=2, after=stores[2]) == ([1, 0], False)
    assert await page(limit=2, newest_first=False, after=stores[1]) == ([2, 3], True)
    assert await page(limit=2, before=stores[1]) == ([3, 2], True)
    assert await page(limit=2, newest_first=False, before=stores[3]) == ([1, 2], True)
    assert await page(newest_first=False, after=stores[0], before=stores[3]) == ([1, 2], False)
    for param in ("after", "before"):
        with pytest.raises(ItemCursorNotFound) as caught:
            await page(**{param: "vs_nope"})
        assert (caught.value.param, caught.value.item_id) == (param, "vs_nope")


async def test_another_project_finds_nothing(rows: Rows) -> None:
    who, stranger = await rows.principal(), await rows.principal("two")
    file, own = await add(rows, who), await add(rows, stranger)
    store = await new_store(rows, who, [NewAttachment(file.id)])
    foreign = stranger.project_id
    for refused in (
        rows.stores.get(foreign, store),
        rows.stores.update(foreign, store, StoreChanges()),
        rows.stores.delete(foreign, store),
        rows.stores.touch(foreign, store),
        attach(rows, stranger, store, own),
        rows.stores.get_file(foreign, store, file.id),
        rows.stores.page_files(foreign, store, PageRequest()),
        rows.stores.update_file(foreign, store, file.id, {}),
        rows.stores.detach(foreign, store, file.id),
        rows.stores.get_batch(foreign, store, "vsfb_x"),
        rows.stores.cancel_batch(foreign, store, "vsfb_x"),
        rows.stores.text(foreign, store, file.id),
    ):
        with pytest.raises(VectorStoreNotFound):
            await refused
    assert (await rows.stores.page(foreign, PageRequest())).items == []
    with pytest.raises(ItemCursorNotFound):
        await rows.stores.page(foreign, PageRequest(after=store))
    with pytest.raises(FilesNotAttachable):
        await attach(rows, who, store, own)
    assert await counts(rows, who, store) == FileCounts(in_progress=1)


# --- attaching ------------------------------------------------------------------------------------------------------


async def test_an_attached_file(rows: Rows) -> None:
    who = await rows.principal()
    file, store = await add(rows, who), await new_store(rows, who)
    await attach(rows, who, store, file, chunking=Chunking(200, 50), attributes={"a": 1, "b": "x", "c": True, "d": 0.5})
    found = await rows.stores.get_file(who.project_id, store, file.id)
    assert (found.file_id, found.vector_store_id, found.status) == (file.id, store, IndexStatus.IN_PROGRESS)
    assert (found.chunking, found.attributes) == (Chunking(200, 50), {"a": 1, "b": "x", "c": True, "d": 0.5})
    assert (found.usage_bytes, found.last_error) == (0, None)
    with pytest.raises(AttachedFileNotFound):
        await rows.stores.get_file(who.project_id, store, "file-nope")
    changed = await rows.stores.update_file(who.project_id, store, file.id, {"b": "y"})
    assert changed.attributes == {"b": "y"}
    await rows.stores.detach(who.project_id, store, file.id)
    assert await counts(rows, who, store) == FileCounts()
    assert await claim(rows) == [], "its job is gone, too"
    with pytest.raises(AttachedFileNotFound):
        await rows.stores.detach(who.project_id, store, file.id)


async def test_attaching_is_all_or_nothing(rows: Rows) -> None:
    who = await rows.principal()
    good, expired, store = (
        await add(rows, who),
        await add(rows, who, expires_after_seconds=10),
        await new_store(rows, who),
    )
    rows.clock.pass_(11)
    new = [NewAttachment(good.id), NewAttachment("file-nope"), NewAttachment(expired.id)]
    with pytest.raises(FilesNotAttachable) as caught:
        await rows.stores.attach(who.project_id, who.organization_id, store, new, rate=0, batch_id="vsfb_1")
    assert caught.value.file_ids == ["file-nope", expired.id]
    assert await counts(rows, who, store) == FileCounts()
    with pytest.raises(FileBatchNotFound):
        await rows.stores.get_batch(who.project_id, store, "vsfb_1")
    with pytest.raises(FilesNotAttachable):
        await new_store(rows, who, new)
    assert len((await rows.stores.page(who.project_id, PageRequest())).items) == 1
    assert await claim(rows) == []


async def test_a_type_without_text(rows: Rows) -> None:
    who = await rows.principal()
    image, good, store = await add(rows, who, filename="a.PNG"), await add(rows, who), await new_store(rows, who)
    with pytest.raises(UnsupportedFileType) as caught:
        await attach(rows, who, store, image)
    assert caught.value.extension == ".png"
    new = [NewAttachment(image.id), NewAttachment(good.id)]
    await rows.stores.attach(who.project_id, who.organization_id, store, new, rate=0, batch_id="vsfb_1")
    batch = await rows.stores.get_batch(who.project_id, store, "vsfb_1")
    assert (batch.status, batch.counts) == (IndexStatus.IN_PROGRESS, FileCounts(in_progress=1, failed=1))
    assert (await rows.stores.get_file(who.project_id, store, image.id)).last_error == UNSUPPORTED_FILE


async def test_attaching_again(rows: Rows) -> None:
    who = await rows.principal()
    file, store = await add(rows, who), await new_store(rows, who)
    await attach(rows, who, store, file, attributes={"a": 1})
    await attach(rows, who, store, file, attributes={"a": 2})
    assert len(await claim(rows, 5)) == 1, "one job"
    rows.clock.pass_(61)
    await index_all(rows)
    await attach(rows, who, store, file, attributes={"a": 3})
    found = await rows.stores.get_file(who.project_id, store, file.id)
    assert (found.status, found.attributes) == (IndexStatus.COMPLETED, {"a": 3})
    await attach(rows, who, store, file, chunking=Chunking(100, 0))
    found = await rows.stores.get_file(who.project_id, store, file.id)
    assert (found.status, found.attributes) == (IndexStatus.IN_PROGRESS, {})
    job, task = await begin(rows)
    assert task.chunking == Chunking(100, 0)
    await rows.index.fail_file(job, task, UNPARSABLE_FILE)
    await attach(rows, who, store, file, chunking=Chunking(100, 0))
    assert await counts(rows, who, store) == FileCounts(in_progress=1), "a failed one is tried again"


async def test_files_by_status_and_batch(rows: Rows) -> None:
    who = await rows.principal()
    files, store = [await add(rows, who) for _ in range(4)], await new_store(rows, who)
    for number in range(2):
        new = [NewAttachment(file.id) for file in files[2 * number : 2 * number + 2]]
        await rows.stores.attach(who.project_id, who.organization_id, store, new, rate=0, batch_id=f"vsfb_{number}")
    job, task = await begin(rows)
    await rows.index.complete_file(job, task, SEGMENT, usage_bytes=5)
    ids = [file.id for file in files]
    assert await listed(rows, who, store) == ids
    assert await listed(rows, who, store, status=IndexStatus.COMPLETED) == [task.file.id]
    assert await listed(rows, who, store, batch_id="vsfb_1") == ids[2:]
    assert await listed(rows, who, store, batch_id="vsfb_1", status=IndexStatus.COMPLETED) == []
    with pytest.raises(FileBatchNotFound):
        await listed(rows, who, store, batch_id="vsfb_x")
    with pytest.raises(FileBatchNotFound):
        await rows.stores.get_batch(who.project_id, await new_store(rows, who), "vsfb_0")


async def test_cancelling_a_batch(rows: Rows) -> None:
    who = await rows.principal()
    files, store = [await add(rows, who) for _ in range(3)], await new_store(rows, who)
    new = [NewAttachment(file.id) for file in files]
    await rows.stores.attach(who.project_id, who.organization_id, store, new, rate=0, batch_id="vsfb_1")
    job, task = await begin(rows)
    await rows.index.complete_file(job, task, SEGMENT, usage_bytes=5)
    running, half_done = await begin(rows)
    batch = await rows.stores.cancel_batch(who.project_id, store, "vsfb_1")
    assert (batch.status, batch.counts) == (IndexStatus.CANCELLED, FileCounts(completed=1, cancelled=2))
    with pytest.raises(JobLost):
        await rows.index.complete_file(running, half_done, SEGMENT, usage_bytes=5)
    assert await claim(rows) == []
    assert await rows.stores.cancel_batch(who.project_id, store, "vsfb_1") == batch


async def test_cancelling_a_finished_batch_changes_nothing(rows: Rows) -> None:
    who = await rows.principal()
    file, store = await add(rows, who), await new_store(rows, who)
    new = [NewAttachment(file.id)]
    await rows.stores.attach(who.project_id, who.organization_id, store, new, rate=0, batch_id="vsfb_1")
    await index_all(rows)
    assert (await rows.stores.cancel_batch(who.project_id, store, "vsfb_1")).status is IndexStatus.COMPLETED


async def test_the_rate_of_an_organization(rows: Rows) -> None:
    who, colleague = await rows.principal(), await rows.principal("two")
    files, theirs = [await add(rows, who) for _ in range(9)], await add(rows, colleague)
    store, other = await new_store(rows, who), await new_store(rows, colleague)
    await attach(rows, who, store, *files[:6], rate=10)
    await attach(rows, colleague, other, theirs, rate=10)
    with pytest.raises(AttachRateLimited) as caught:
        await attach(rows, who, store, *files[5:], rate=10)
    assert caught.value.decision.retry_after == pytest.approx(6, abs=0.01), "one file of the four must become free"
    assert await counts(rows, who, store) == FileCounts(in_progress=6)
    rows.clock.pass_(6.01)
    await attach(rows, who, store, *files[5:], rate=10)


async def test_the_rate_is_exact_under_races(rows: Rows) -> None:
    who = await rows.principal()
    files, store = [await add(rows, who) for _ in range(30)], await new_store(rows, who)
    outcomes = await asyncio.gather(
        *(attach(rows, who, store, file, rate=20) for file in files), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 20
    assert all(outcome is None or isinstance(outcome, AttachRateLimited) for outcome in outcomes)
    assert (await counts(rows, who, store)).total == 20


# --- deleted and expired files --------------------------------------------------------------------------------------


async def test_a_deleted_file_leaves_every_store(rows: Rows) -> None:
    who = await rows.principal()
    file, kept = await add(rows, who), await add(rows, who)
    stores = [await new_store(rows, who, [NewAttachment(file.id), NewAttachment(kept.id)]) for _ in range(3)]
    await index_all(rows)
    late = await new_store(rows, who, [NewAttachment(file.id)])
    job, task = await begin(rows)
    await rows.index.add_chunks(job, task, 0, [CHUNK])
    await rows.files.delete(who.project_id, file.id)
    for store in stores:
        assert await counts(rows, who, store) == FileCounts(completed=1)
        assert await listed(rows, who, store) == [kept.id]
        attached = await rows.index.attached(store)
        found = await rows.index.searchable(store, [*attached, *range(20)])
        assert {each.file_id for each in found.values()} == {kept.id}
    assert await counts(rows, who, late) == FileCounts()
    assert await rows.index.index_task(job) is None
    await rows.index.complete_file(job, task, SEGMENT, usage_bytes=1)
    assert await rows.index.segments(late) == [], "nothing of it is published"


async def test_an_expired_file_is_gone_before_it_is_swept(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who, expires_after_seconds=100)
    store = await new_store(rows, who, [NewAttachment(file.id)])
    await index_all(rows)
    attached = await rows.index.attached(store)
    assert len(await rows.index.searchable(store, attached)) == 1
    rows.clock.pass_(101)
    found = await rows.stores.get(who.project_id, store)
    assert (found.counts, found.usage_bytes) == (FileCounts(), 0)
    assert await listed(rows, who, store) == []
    assert await rows.index.searchable(store, attached) == {}
    for missing in (rows.stores.get_file, rows.stores.text, rows.stores.detach):
        with pytest.raises(AttachedFileNotFound):
            await missing(who.project_id, store, file.id)  # type: ignore[operator]


async def test_a_deleted_store_keeps_its_files(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store = await new_store(rows, who, [NewAttachment(file.id)])
    await rows.stores.delete(who.project_id, store)
    with pytest.raises(VectorStoreNotFound):
        await rows.stores.get(who.project_id, store)
    assert (await rows.files.get(who.project_id, file.id)).id == file.id
    (job,) = await claim(rows)
    assert await rows.index.index_task(job) is None


async def test_ten_thousand_attachments_disappear_within_two_seconds(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    await new_store(rows, who, [NewAttachment(file.id)])
    (store,), (attached,) = [
        await rows.tables.rows(table, None, 2) for table in ("vector_stores", "vector_store_files")
    ]
    for first in range(100, 10_100, 200):
        numbers = range(first, first + 200)
        copies = [store | {"seq": number, "id": f"vs_{number}"} for number in numbers]
        await rows.tables.write("vector_stores", copies)
        copies = [attached | {"seq": number, "vector_store_id": f"vs_{number}"} for number in numbers]
        await rows.tables.write("vector_store_files", copies)
    assert await counts(rows, who, "vs_7000") == FileCounts(in_progress=1)
    began = time.monotonic()
    await rows.files.delete(who.project_id, file.id)
    assert time.monotonic() - began < 2
    assert all(
        store.counts == FileCounts() for store in (await rows.stores.page(who.project_id, PageRequest(100))).items
    )


async def test_files_are_attached_while_they_are_deleted(rows: Rows) -> None:
    """No attachment of a deleted file survives, and nobody gets an error of the database."""
    who = await rows.principal()
    files, stores = [await add(rows, who) for _ in range(16)], [await new_store(rows, who) for _ in range(4)]

    async def try_to_attach(store: str, file: File) -> None:
        with contextlib.suppress(FilesNotAttachable, VectorStoreNotFound):
            await attach(rows, who, store, file)

    async def delete(file: File) -> None:
        await rows.files.delete(who.project_id, file.id)

    work = [try_to_attach(store, file) for store in stores for file in files]
    for position, file in enumerate(files[::2]):
        work.insert(position * 5, delete(file))
    work.append(rows.stores.delete(who.project_id, stores[0]))
    await asyncio.gather(*work)
    kept = {file.id for file in files[1::2]}
    for store in stores[1:]:
        assert set(await listed(rows, who, store)) == kept
    for file in files[::2]:
        with pytest.raises(FileNotFound):
            await rows.files.get(who.project_id, file.id)


# --- the index ------------------------------------------------------------------------------------------------------


async def test_chunks_and_segment_of_a_file(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store = await new_store(rows, who, [NewAttachment(file.id)])
    job, task = await begin(rows)
    assert (task.file.id, task.vector_store_id, task.chunking) == (file.id, store, Chunking())
    await rows.index.add_chunks(job, task, 0, [StoredChunk(f"old {number}", 0, 1) for number in range(5)])
    await rows.index.add_chunks(job, task, 0, [StoredChunk("ab", 0, 1)])
    assert await rows.stores.text(who.project_id, store, file.id) == [], "not before it is completed"
    assert await rows.index.segments(store) == []
    await rows.index.complete_file(job, task, SEGMENT, usage_bytes=7, start=1, chunks=[StoredChunk("bc", 1, 1)])
    assert [chunk.text for chunk in await rows.stores.text(who.project_id, store, file.id)] == ["ab", "bc"]
    found = await rows.stores.get_file(who.project_id, store, file.id)
    assert (found.status, found.usage_bytes) == (IndexStatus.COMPLETED, 7)
    (segment,) = await rows.index.segments(store)
    assert (segment.level, segment.chunks, segment.length, segment.postings, segment.buckets) == (0, 1, 2, 2, 1)
    key = (segment.id, 0)
    assert await rows.index.read_postings([key]) == {key: b"postings"}
    assert await rows.index.read_documents([key]) == {key: b"documents"}
    with pytest.raises(SegmentsChanged):
        await rows.index.read_postings([key, (segment.id, 1)])
    texts = await rows.index.chunk_texts([(task.attachment, 1), (task.attachment, 2)])
    assert texts == {(task.attachment, 1): "bc"}
    with pytest.raises(JobLost):
        await rows.index.complete_file(job, task, SEGMENT, usage_bytes=7)


async def test_a_failed_file(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store = await new_store(rows, who, [NewAttachment(file.id)])
    job, task = await begin(rows)
    await rows.index.add_chunks(job, task, 0, [CHUNK])
    await rows.index.fail_file(job, task, UNPARSABLE_FILE, dead_letter="why")
    found = await rows.stores.get_file(who.project_id, store, file.id)
    assert (found.status, found.last_error, found.usage_bytes) == (IndexStatus.FAILED, UNPARSABLE_FILE, 0)
    assert await rows.index.chunk_texts([(task.attachment, 0)]) == {}
    assert [dead.error for dead in await rows.jobs.dead(5)] == ["why"]


async def test_a_large_segment_is_invisible_until_it_is_whole(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store = await new_store(rows, who, [NewAttachment(file.id)])
    job, task = await begin(rows)
    large = SegmentData(9, 9, 9, [bytes([number]) * 1_500_000 for number in range(6)], [b"d"])
    seen: list[int] = []

    async def watch() -> None:
        while True:
            seen.append(len(await rows.index.segments(store)))
            await asyncio.sleep(0.005)

    watcher = asyncio.create_task(watch())
    await rows.index.complete_file(job, task, large, usage_bytes=1)
    watcher.cancel()
    (segment,) = await rows.index.segments(store)
    assert 0 in seen
    blocks = await rows.index.read_postings([(segment.id, number) for number in range(6)])
    assert [blocks[segment.id, number][:1] for number in range(6)] == [bytes([number]) for number in range(6)]


async def test_segments_are_merged(rows: Rows) -> None:
    who = await rows.principal()
    files = [await add(rows, who) for _ in range(16)]
    store = await new_store(rows, who, [NewAttachment(file.id) for file in files[:15]])
    await index_all(rows)
    assert await rows.index.merge_candidates(store) == []
    await attach(rows, who, store, files[15])
    await index_all(rows)
    old = await rows.index.merge_candidates(store)
    assert len(old) == 16
    (job,) = await rows.jobs.claim([JobKind.MERGE], token="m", lease_seconds=60, limit=5)
    assert job.subject == store
    merged = SegmentData(16, 32, 32, [b"merged"], [b"d"])
    await rows.index.replace_segments(job, store, old, merged, level=1)
    (segment,) = await rows.index.segments(store)
    assert (segment.level, segment.chunks) == (1, 16)
    with pytest.raises((SegmentsChanged, JobLost)):
        await rows.index.replace_segments(job, store, old, merged, level=1)
    while await rows.index.delete_detached(10):
        pass
    with pytest.raises(SegmentsChanged):
        await rows.index.read_postings([(old[0].id, 0)])
    assert await rows.index.read_postings([(segment.id, 0)]) == {(segment.id, 0): b"merged"}


async def test_what_belongs_to_nothing_is_deleted_and_nothing_else(rows: Rows) -> None:
    who = await rows.principal()
    gone, kept = await add(rows, who), await add(rows, who)
    store = await new_store(rows, who, [NewAttachment(gone.id), NewAttachment(kept.id)])
    doomed = await new_store(rows, who, [NewAttachment(kept.id)])
    await index_all(rows)
    attached = await rows.index.attached(store)
    in_doomed = await rows.index.attached(doomed)
    await rows.files.delete(who.project_id, gone.id)
    segments = await rows.index.segments(doomed)
    await rows.stores.delete(who.project_id, doomed)
    while await rows.index.delete_detached(1):
        pass
    texts = await rows.index.chunk_texts([(number, 0) for number in (*attached, *in_doomed)])
    assert list(texts) == [(attached[1], 0)]
    with pytest.raises(SegmentsChanged):
        await rows.index.read_documents([(segments[0].id, 0)])
    assert len(await rows.index.segments(store)) == 2, "a merge drops detached files from segments"
    assert await rows.files.check() == []


async def test_a_segment_that_nobody_goes_on_building_is_deleted(rows: Rows) -> None:
    who = await rows.principal()
    store = await new_store(rows, who, [NewAttachment((await add(rows, who)).id)])
    job, task = await begin(rows)
    large = SegmentData(9, 9, 9, [b"x" * 5_000_000] * 3, [b"d"])
    building = asyncio.create_task(rows.index.complete_file(job, task, large, usage_bytes=1))
    await asyncio.sleep(0.03)
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)
    rows.clock.pass_(61)
    deadline = time.monotonic() + 10
    while not (claimed := await claim(rows)):  # a transaction that was under way still locks the job
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    await rows.index.complete_file(claimed[0], task, SEGMENT, usage_bytes=1)
    while await rows.index.delete_detached(10):
        pass
    (segment,) = await rows.index.segments(store)
    assert segment.chunks == 1
    assert await rows.files.check() == []
