"""Each sentence of `VectorStoreRepository` about stores; attached files are tested in `test_attached_files`."""

import asyncio
from dataclasses import replace

import pytest

from filestead.domain.access import Principal
from filestead.domain.errors import (
    AttachedFileNotFound,
    FileBatchNotFound,
    FilesNotAttachable,
    ItemCursorNotFound,
    UnsupportedFileType,
    VectorStoreExpired,
    VectorStoreNotFound,
)
from filestead.domain.vector_stores.model import (
    FileCounts,
    NewAttachment,
    NewStore,
    PageRequest,
    StoreChanges,
    StoreStatus,
)
from tests.conformance.attachments import CHUNKS, attach, claim_task, complete, count, make_store
from tests.conformance.test_file_repository import add
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

DAY = 86_400
ODD = {"ключ \0": "'; -- %s :x", "": "\ufffd" * 512, "emoji": "👩‍🚀"}


async def walk(rows: Rows, who: Principal, request: PageRequest, *, backwards: bool = False) -> list[str]:
    """All pages one after the other; backwards from the item `before`."""
    found: list[str] = []
    while True:
        page = await rows.vector_stores.page(who.project_id, request)
        items = [store.id for store in page.items]
        found = items + found if backwards else found + items
        if not page.has_more:
            return found
        request = replace(request, before=items[0]) if backwards else replace(request, after=items[-1])


async def test_a_store_is_created_read_and_updated(rows: Rows) -> None:
    who = await rows.principal()
    new = NewStore("vs_a", "имя", "'%s", 7, ODD)
    made = await rows.vector_stores.create(who.project_id, who.organization_id, new, [], rate=1)
    now = int(rows.clock.now)
    assert made == await rows.vector_stores.get(who.project_id, "vs_a")
    assert (made.name, made.description, made.metadata, made.expires_after_days) == ("имя", "'%s", ODD, 7)
    assert (made.created_at, made.last_active_at, made.expires_at) == (now, now, now + 7 * DAY)
    assert (made.usage_bytes, made.counts, made.status) == (0, FileCounts(), StoreStatus.COMPLETED)
    rows.clock.pass_(90)
    changes = StoreChanges(name="b", set_name=True)
    assert await rows.vector_stores.update(who.project_id, "vs_a", changes) == replace(made, name="b")
    changes = StoreChanges(set_name=True, set_expires_after=True, metadata={"k": "ä"})
    changed = await rows.vector_stores.update(who.project_id, "vs_a", changes)
    assert changed == replace(made, name=None, expires_after_days=None, metadata={"k": "ä"})
    rows.clock.pass_(100 * DAY)
    assert not (await rows.vector_stores.get(who.project_id, "vs_a")).expired
    assert await rows.vector_stores.update(who.project_id, "vs_a", StoreChanges(metadata={})) == replace(
        changed, metadata={}
    )
    assert await rows.vector_stores.update(who.project_id, "vs_a", StoreChanges()) == replace(changed, metadata={})


async def test_a_store_is_created_with_its_files_or_not_at_all(rows: Rows) -> None:
    who, other = await rows.principal(), await rows.principal("two")
    file, theirs, image = await add(rows, who), await add(rows, other), await add(rows, who, filename="a.png")

    async def create(*file_ids: str) -> None:
        files = [NewAttachment(file_id) for file_id in file_ids]
        await rows.vector_stores.create(who.project_id, who.organization_id, NewStore("vs_a"), files, rate=0)

    for missing in ("file-none", theirs.id):
        with pytest.raises(FilesNotAttachable) as caught:
            await create(file.id, missing)
        assert caught.value.file_ids == [missing]
    with pytest.raises(UnsupportedFileType):
        await create(file.id, image.id)
    assert (await rows.vector_stores.page(who.project_id, PageRequest())).items == []
    assert await count(rows, "jobs") == 0
    await create(file.id)
    made = await rows.vector_stores.get(who.project_id, "vs_a")
    assert (made.counts, made.status) == (FileCounts(in_progress=1), StoreStatus.IN_PROGRESS)


async def test_stores_are_listed_in_the_order_of_creation(rows: Rows) -> None:
    who, other = await rows.principal(), await rows.principal("two")
    made = [await make_store(rows, who) for _ in range(7)]
    theirs = await make_store(rows, other)
    for limit in (1, 3, 7, 20):
        assert await walk(rows, who, PageRequest(limit)) == made[::-1]
        assert await walk(rows, who, PageRequest(limit, newest_first=False)) == made
        before = PageRequest(limit, newest_first=False, before=made[-1])
        assert await walk(rows, who, before, backwards=True) == made[:-1]
        before = PageRequest(limit, before=made[0])
        assert await walk(rows, who, before, backwards=True) == made[:0:-1]
    between = PageRequest(20, newest_first=False, after=made[1], before=made[5])
    assert await walk(rows, who, between) == made[2:5]
    for cursor in ("vs_none", "", theirs):
        for request in (PageRequest(after=cursor), PageRequest(before=cursor)):
            with pytest.raises(ItemCursorNotFound) as caught:
                await rows.vector_stores.page(who.project_id, request)
            assert (caught.value.param, caught.value.item_id) == ("before" if request.before else "after", cursor) or (
                not cursor
            )


async def test_a_store_expires_after_its_last_activity(rows: Rows) -> None:
    who = await rows.principal()
    store_id = await make_store(rows, who, expires_after_days=1)
    file = await add(rows, who)
    stores = rows.vector_stores
    rows.clock.pass_(59)
    await stores.touch(who.project_id, store_id)
    begun = (await stores.get(who.project_id, store_id)).created_at
    assert (await stores.get(who.project_id, store_id)).last_active_at == begun  # to the minute
    rows.clock.pass_(1)
    await stores.touch(who.project_id, store_id)
    assert (await stores.get(who.project_id, store_id)).last_active_at == begun + 60
    rows.clock.pass_(DAY - 1)
    await attach(rows, who, store_id, file.id)
    assert (await stores.get(who.project_id, store_id)).expires_at == int(rows.clock.now) + DAY
    rows.clock.pass_(DAY)
    expired = await stores.get(who.project_id, store_id)
    assert (expired.expired, expired.status) == (True, StoreStatus.EXPIRED)
    assert (await stores.page(who.project_id, PageRequest())).items == [expired]
    for refused in (
        stores.touch(who.project_id, store_id),
        stores.update(who.project_id, store_id, StoreChanges(set_expires_after=True)),
        attach(rows, who, store_id, file.id),
        stores.update_file(who.project_id, store_id, file.id, {}),
    ):
        with pytest.raises(VectorStoreExpired):
            await refused
    await stores.delete(who.project_id, store_id)
    with pytest.raises(VectorStoreNotFound):
        await stores.get(who.project_id, store_id)


async def test_the_sweep_empties_expired_stores_and_keeps_them(rows: Rows) -> None:
    who = await rows.principal()
    first, second = await add(rows, who), await add(rows, who)
    expired = await make_store(rows, who, first.id, second.id, expires_after_days=1)
    lasting = await make_store(rows, who, first.id, expires_after_days=2)
    for _ in range(2):
        await complete(rows)
    assert await rows.index.delete_detached(100) == 0
    rows.clock.pass_(DAY)
    while await rows.index.delete_detached(1):
        pass
    empty = await rows.vector_stores.get(who.project_id, expired)
    assert (empty.status, empty.counts, empty.usage_bytes) == (StoreStatus.EXPIRED, FileCounts(), 0)
    assert await rows.index.segments(expired) == []
    assert (await rows.vector_stores.get(who.project_id, lasting)).counts.total == 1
    assert (await rows.files.get(who.project_id, first.id)) == first
    assert [
        await count(rows, name) for name in ("index_segments", "index_postings", "vector_store_chunks", "jobs")
    ] == [
        *(0, 0, 0),
        1,
    ]
    await complete(rows)


async def test_a_store_that_seems_expired_by_a_jump_of_the_clock_is_not_emptied(rows: Rows) -> None:
    who = await rows.principal()
    store_id = await make_store(rows, who, (await add(rows, who)).id, expires_after_days=1)
    await rows.files.observe_clock()
    rows.clock.pass_(3 * DAY)  # by more than a pause without sweeps
    assert (await rows.vector_stores.get(who.project_id, store_id)).expired
    assert await rows.index.delete_detached(100) == 0
    rows.clock.pass_(-3 * DAY)
    assert (await rows.vector_stores.get(who.project_id, store_id)).counts.total == 1


async def test_a_deleted_store_is_gone_with_everything_and_its_files_stay(rows: Rows) -> None:
    who = await rows.principal()
    file, other = await add(rows, who), await add(rows, who)
    store_id, kept = await make_store(rows, who, file.id), await make_store(rows, who, other.id)
    await complete(rows)
    await attach(rows, who, store_id, other.id, batch_id="vsfb_a")
    await complete(rows)
    await rows.vector_stores.delete(who.project_id, store_id)
    assert (await rows.vector_stores.get(who.project_id, kept)).counts == FileCounts(completed=1)
    assert await rows.files.get(who.project_id, file.id) == file
    assert await rows.index.segments(store_id) == []
    assert [await count(rows, name) for name in ("jobs", "file_batches", "vector_store_files")] == [0, 0, 1]
    while await rows.index.delete_detached(1):
        pass
    assert await count(rows, "index_segments") == 1
    assert await count(rows, "vector_store_chunks") == len(CHUNKS)
    with pytest.raises(VectorStoreNotFound):
        await rows.vector_stores.delete(who.project_id, store_id)


async def test_another_project_finds_nothing(rows: Rows) -> None:
    who, other = await rows.principal(), await rows.principal("two")
    file = await add(rows, who)
    store_id, theirs = await make_store(rows, who), await make_store(rows, other)
    await attach(rows, who, store_id, file.id, batch_id="vsfb_a")
    await complete(rows)
    stores, project = rows.vector_stores, other.project_id
    for refused in (
        stores.get(project, store_id),
        stores.update(project, store_id, StoreChanges(name="x", set_name=True)),
        stores.delete(project, store_id),
        stores.touch(project, store_id),
        attach(rows, other, store_id, file.id),
        stores.get_file(project, store_id, file.id),
        stores.page_files(project, store_id, PageRequest()),
        stores.update_file(project, store_id, file.id, {"a": 1}),
        stores.detach(project, store_id, file.id),
        stores.get_batch(project, store_id, "vsfb_a"),
        stores.cancel_batch(project, store_id, "vsfb_a"),
        stores.text(project, store_id, file.id),
    ):
        with pytest.raises(VectorStoreNotFound):
            await refused
    for refused in (stores.get_batch(project, theirs, "vsfb_a"), stores.cancel_batch(project, theirs, "vsfb_a")):
        with pytest.raises(FileBatchNotFound):
            await refused
    with pytest.raises(FileBatchNotFound):
        await stores.page_files(project, theirs, PageRequest(), batch_id="vsfb_a")
    with pytest.raises(FilesNotAttachable):
        await attach(rows, other, theirs, file.id)
    for refused in (stores.get_file(project, theirs, file.id), stores.text(project, theirs, file.id)):
        with pytest.raises(AttachedFileNotFound):
            await refused
    assert (await stores.get(who.project_id, store_id)).counts == FileCounts(completed=1)


async def test_searches_of_one_store_at_once_do_not_wait_for_one_another_for_ever(rows: Rows) -> None:
    who = await rows.principal()
    store_id = await make_store(rows, who, (await add(rows, who)).id)
    rows.clock.pass_(60)
    touches = [rows.vector_stores.touch(who.project_id, store_id) for _ in range(20)]
    _, task = (await asyncio.gather(claim_task(rows), *touches))[0]
    assert task.vector_store_id == store_id
