"""Each sentence of `VectorStoreRepository` about attached files and file batches."""

import asyncio
from dataclasses import replace

import pytest

from filestead.domain.errors import (
    AttachedFileNotFound,
    AttachRateLimited,
    FileBatchNotFound,
    FilesNotAttachable,
    ItemCursorNotFound,
    JobLost,
    UnsupportedFileType,
    VectorStoreNotFound,
)
from filestead.domain.vector_stores.file_types import SERVER_ERROR, UNSUPPORTED_FILE
from filestead.domain.vector_stores.model import Chunking, FileCounts, IndexStatus, NewAttachment, PageRequest
from tests.conformance.attachments import (
    CHUNKS,
    add_files,
    attach,
    claim,
    claim_task,
    complete,
    count,
    make_store,
)
from tests.conformance.test_file_repository import add
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

SMALL = Chunking(100, 50)


async def test_an_attached_file_is_read_updated_and_detached(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store_id = await make_store(rows, who)
    stores, names = rows.vector_stores, (who.project_id, store_id, file.id)
    await attach(rows, who, store_id, file.id, chunking=SMALL, größe=1.5, ja=True, a="\0'")
    found = await stores.get_file(*names)
    assert (found.file_id, found.vector_store_id, found.created_at) == (file.id, store_id, int(rows.clock.now))
    assert (found.status, found.usage_bytes, found.last_error, found.chunking) == (
        IndexStatus.IN_PROGRESS,
        *(0, None, SMALL),
    )
    assert found.attributes == {"größe": 1.5, "ja": True, "a": "\0'"}
    assert await stores.text(*names) == []
    await complete(rows)
    assert await stores.text(*names) == list(CHUNKS)
    changed = await stores.update_file(*names, {"b": False})
    assert changed == replace(found, attributes={"b": False}, status=IndexStatus.COMPLETED, usage_bytes=7)
    assert (await stores.get(who.project_id, store_id)).usage_bytes == 7
    await stores.detach(*names)
    assert await rows.files.get(who.project_id, file.id) == file
    for refused in (
        stores.get_file(*names),
        stores.text(*names),
        stores.detach(*names),
        stores.update_file(*names, {}),
    ):
        with pytest.raises(AttachedFileNotFound):
            await refused
    with pytest.raises(VectorStoreNotFound):
        await stores.get_file(who.project_id, "vs_none", file.id)


async def test_files_that_cannot_be_attached_stop_all_of_them(rows: Rows) -> None:
    who, other = await rows.principal(), await rows.principal("two")
    good, foreign, deleted = await add(rows, who), await add(rows, other), await add(rows, who)
    expired = await add(rows, who, expires_after_seconds=10)
    await rows.files.delete(who.project_id, deleted.id)
    store_id = await make_store(rows, who)
    rows.clock.pass_(10)
    bad = [foreign.id, expired.id, "file-none", deleted.id]
    for batch_id in (None, "vsfb_a"):
        with pytest.raises(FilesNotAttachable) as caught:
            await attach(rows, who, store_id, bad[0], good.id, *bad[1:], batch_id=batch_id, rate=10)
        assert caught.value.file_ids == bad
    assert (await rows.vector_stores.get(who.project_id, store_id)).counts.total == 0
    assert [await count(rows, "file_batches"), await count(rows, "jobs")] == [0, 0]
    decision = await attach(rows, who, store_id, good.id, rate=10)
    assert (decision.allowed, decision.remaining) == (True, 9)  # what was refused did not count


async def test_an_unsupported_type_is_refused_alone_and_fails_in_a_batch(rows: Rows) -> None:
    who = await rows.principal()
    image, text = await add(rows, who, filename="a.PNG"), await add(rows, who, filename="a.TXT")
    store_id = await make_store(rows, who)
    with pytest.raises(UnsupportedFileType) as caught:
        await attach(rows, who, store_id, image.id)
    assert (caught.value.file_id, caught.value.extension) == (image.id, ".png")
    await attach(rows, who, store_id, image.id, text.id, batch_id="vsfb_a")
    failed = await rows.vector_stores.get_file(who.project_id, store_id, image.id)
    assert (failed.status, failed.last_error) == (IndexStatus.FAILED, UNSUPPORTED_FILE)
    batch = await rows.vector_stores.get_batch(who.project_id, store_id, "vsfb_a")
    assert batch.counts == FileCounts(in_progress=1, failed=1)
    assert len(await claim(rows)) == 1


async def test_a_file_is_attached_once_and_anew_for_another_index(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store_id = await make_store(rows, who)
    await attach(rows, who, store_id, file.id, file.id, a=1)
    await attach(rows, who, store_id, file.id, a=2)
    first = await complete(rows)
    assert await claim(rows) == []
    await attach(rows, who, store_id, file.id, a=3, batch_id="vsfb_a")
    kept = await rows.vector_stores.get_file(who.project_id, store_id, file.id)
    assert (kept.status, kept.attributes) == (IndexStatus.COMPLETED, {"a": 3})
    batch = await rows.vector_stores.get_batch(who.project_id, store_id, "vsfb_a")
    assert batch.counts == FileCounts(completed=1)
    await attach(rows, who, store_id, file.id, chunking=SMALL)
    anew = await rows.vector_stores.get_file(who.project_id, store_id, file.id)
    assert (anew.status, anew.attributes, anew.chunking) == (IndexStatus.IN_PROGRESS, {}, SMALL)
    job, task = await claim_task(rows)
    assert task.attachment != first.attachment
    await rows.index.fail_file(job, task, SERVER_ERROR)
    await attach(rows, who, store_id, file.id, chunking=SMALL)
    again = await complete(rows)
    assert again.attachment not in (first.attachment, task.attachment)
    # Another chunking while it is in progress: the worker's effect is not wanted any more.
    await attach(rows, who, store_id, file.id)
    job, task = await claim_task(rows)
    await attach(rows, who, store_id, file.id, chunking=SMALL)
    with pytest.raises(JobLost):
        await rows.index.add_chunks(job, task, 0, CHUNKS)
    await complete(rows)
    assert (await rows.vector_stores.get(who.project_id, store_id)).counts == FileCounts(completed=1)


async def test_attaching_returns_what_is_committed(rows: Rows) -> None:
    """A look afterwards might find the file detached or deleted by somebody else."""
    who = await rows.principal()
    one, two = await add_files(rows, who, 2)
    store_id = await make_store(rows, who)
    ids = (who.project_id, who.organization_id, store_id)
    attached, _ = await rows.vector_stores.attach(*ids, NewAttachment(one, attributes={"a": 1}), rate=0)
    assert (attached.file_id, attached.status, attached.attributes) == (one, IndexStatus.IN_PROGRESS, {"a": 1})
    batch, _ = await rows.vector_stores.attach_batch(*ids, "vsfb_a", [NewAttachment(one), NewAttachment(two)], rate=0)
    assert (batch.id, batch.counts) == ("vsfb_a", FileCounts(in_progress=2))


async def test_the_rate_of_attached_files_is_exact(rows: Rows) -> None:
    who, colleague = await rows.principal(), await rows.principal("two")
    foreign = await rows.principal("three", organization="other")
    ids, theirs = await add_files(rows, who, 500), await add_files(rows, colleague, 1, "colleague-")
    store_id, other_store = await make_store(rows, who), await make_store(rows, colleague)
    for number in range(4):
        decision = await attach(rows, who, store_id, *ids, rate=2_000)
        assert (decision.allowed, decision.limit, decision.remaining) == (True, 2_000, 1_500 - 500 * number)
    with pytest.raises(AttachRateLimited) as caught:
        await attach(rows, colleague, other_store, *theirs, rate=2_000)
    assert caught.value.decision.retry_after == pytest.approx(0.03, abs=0.001)
    with pytest.raises(AttachRateLimited) as caught:
        await attach(rows, who, store_id, *ids, batch_id="vsfb_a", rate=2_000)
    assert caught.value.decision.retry_after == pytest.approx(15, abs=0.01)
    assert await count(rows, "file_batches") == 4, "what is refused leaves no batch"
    assert (await rows.vector_stores.get(colleague.project_id, other_store)).counts.total == 0
    elsewhere = await make_store(rows, foreign)
    await attach(rows, foreign, elsewhere, (await add(rows, foreign)).id, rate=2_000)
    rows.clock.pass_(15)
    await attach(rows, who, store_id, *ids, rate=2_000)
    rows.clock.pass_(-86_400)  # a clock that is set back does not close the door for a day
    assert (await attach(rows, who, store_id, ids[0], rate=2_000)).remaining == 1_999


async def test_more_files_than_the_rate_take_a_whole_minute(rows: Rows) -> None:
    who = await rows.principal()
    ids = await add_files(rows, who, 20)
    store_id = await make_store(rows, who)
    assert (await attach(rows, who, store_id, *ids, rate=10)).remaining == 0
    rows.clock.pass_(59)
    with pytest.raises(AttachRateLimited):
        await attach(rows, who, store_id, *ids, rate=10)
    rows.clock.pass_(1)
    await attach(rows, who, store_id, *ids, rate=10)


async def test_the_rate_is_exact_with_many_attachers_at_once(rows: Rows) -> None:
    who = await rows.principal()
    ids = await add_files(rows, who, 40)
    stores = [await make_store(rows, who) for _ in range(4)]
    outcomes = await asyncio.gather(
        *(attach(rows, who, stores[number % 4], *ids[number : number + 3], rate=60) for number in range(30)),
        return_exceptions=True,
    )
    assert {type(outcome).__name__ for outcome in outcomes} == {"RateDecision", "AttachRateLimited"}
    assert sum(1 for outcome in outcomes if not isinstance(outcome, Exception)) == 20


async def test_attached_files_are_listed_in_both_directions_and_by_status_and_batch(rows: Rows) -> None:
    who = await rows.principal()
    ids = await add_files(rows, who, 8)
    store_id, other = await make_store(rows, who, *ids[:3]), await make_store(rows, who, ids[7])
    await attach(rows, who, store_id, *ids[3:6], batch_id="vsfb_a")
    await complete(rows)
    await attach(rows, who, store_id, ids[6])

    async def listed(request: PageRequest, **filters: object) -> tuple[list[str], bool]:
        page = await rows.vector_stores.page_files(who.project_id, store_id, request, **filters)  # type: ignore[arg-type]
        return [file.file_id for file in page.items], page.has_more

    oldest = PageRequest(newest_first=False)
    assert await listed(oldest) == (ids[:7], False)
    assert await listed(PageRequest(3)) == (ids[6:3:-1], True)
    assert await listed(PageRequest(3, after=ids[4])) == (ids[3:0:-1], True)
    assert await listed(PageRequest(4, after=ids[4])) == (ids[3::-1], False)
    assert await listed(PageRequest(2, before=ids[2])) == ([ids[4], ids[3]], True)
    assert await listed(replace(oldest, limit=2, before=ids[2])) == (ids[:2], False)
    assert await listed(oldest, status=IndexStatus.COMPLETED) == (ids[:1], False)
    assert await listed(oldest, status=IndexStatus.CANCELLED) == ([], False)
    assert await listed(oldest, batch_id="vsfb_a") == (ids[3:6], False)
    filters = {"batch_id": "vsfb_a", "status": IndexStatus.IN_PROGRESS}
    assert await listed(PageRequest(2, after=ids[5]), **filters) == ([ids[4], ids[3]], False)
    for cursor in (ids[7], "file-none"):
        for request in (PageRequest(after=cursor), PageRequest(before=cursor)):
            with pytest.raises(ItemCursorNotFound):
                await listed(request)
    for store, batch in ((store_id, "vsfb_none"), (other, "vsfb_a")):
        with pytest.raises(FileBatchNotFound):
            await rows.vector_stores.page_files(who.project_id, store, PageRequest(), batch_id=batch)
        with pytest.raises(FileBatchNotFound):
            await rows.vector_stores.get_batch(who.project_id, store, batch)


async def test_a_batch_is_cancelled_with_the_files_that_are_in_progress(rows: Rows) -> None:
    who = await rows.principal()
    ids = await add_files(rows, who, 4)
    store_id = await make_store(rows, who)
    await attach(rows, who, store_id, *ids[:3], batch_id="vsfb_a")
    await attach(rows, who, store_id, ids[3])
    done = await complete(rows)
    job, task = await claim_task(rows)
    await rows.index.add_chunks(job, task, 0, CHUNKS)
    batch = await rows.vector_stores.get_batch(who.project_id, store_id, "vsfb_a")
    assert (batch.status, batch.counts) == (IndexStatus.IN_PROGRESS, FileCounts(in_progress=2, completed=1))
    cancelled = await rows.vector_stores.cancel_batch(who.project_id, store_id, "vsfb_a")
    assert cancelled == replace(batch, cancelled=True, counts=FileCounts(completed=1, cancelled=2))
    assert cancelled.status is IndexStatus.CANCELLED
    with pytest.raises(JobLost):
        await rows.index.add_chunks(job, task, 2, CHUNKS)
    await rows.index.delete_detached(100)
    assert await count(rows, "vector_store_chunks") == len(CHUNKS)
    assert await rows.index.chunk_texts([(done.attachment, 1)]) == {(done.attachment, 1): CHUNKS[1].text}
    assert await rows.vector_stores.cancel_batch(who.project_id, store_id, "vsfb_a") == cancelled
    await attach(rows, who, store_id, *ids[:3])
    await complete(rows)
    await rows.vector_stores.detach(who.project_id, store_id, ids[2])  # a cancelled one, swept or not
    await rows.vector_stores.cancel_batch(who.project_id, store_id, "vsfb_a")
    await rows.vector_stores.delete(who.project_id, store_id)


async def test_a_batch_of_which_nothing_is_in_progress_is_not_cancelled(rows: Rows) -> None:
    who = await rows.principal()
    store_id = await make_store(rows, who)
    await attach(rows, who, store_id, (await add(rows, who)).id, batch_id="vsfb_a")
    await complete(rows)
    batch = await rows.vector_stores.cancel_batch(who.project_id, store_id, "vsfb_a")
    assert (batch.cancelled, batch.status, batch.counts) == (False, IndexStatus.COMPLETED, FileCounts(completed=1))


async def test_a_cancelled_file_that_is_not_swept_yet_can_be_deleted(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    store_id = await make_store(rows, who)
    await attach(rows, who, store_id, file.id, batch_id="vsfb_a")
    await rows.vector_stores.cancel_batch(who.project_id, store_id, "vsfb_a")
    await rows.files.delete(who.project_id, file.id)
    assert (await rows.vector_stores.get(who.project_id, store_id)).counts.total == 0
