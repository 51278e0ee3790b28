"""Each sentence of repositories on creations and deletions that are sent again without an idempotency key."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from filestead.domain.access import Principal
from filestead.domain.attempts import DELETION_SECONDS, Attempt, RetryRecord, creation, fingerprint_of
from filestead.domain.errors import BatchRateLimited, FileNotFound, FilesNotAttachable, QuotaExceeded
from filestead.domain.files.model import File
from filestead.domain.quota import Quota
from filestead.domain.vector_stores.model import NewAttachment, NewStore
from filestead.installation import new_id
from tests.conformance import test_idempotency as streamed
from tests.conformance import test_inline_blobs as small
from tests.conformance.attachments import count as number_of
from tests.conformance.attachments import make_store
from tests.conformance.batches import add_input
from tests.conformance.batches import create as create_batch
from tests.conformance.test_batch_repository import garbage
from tests.conformance.test_idempotency import NO_QUOTA, ids, usage_of
from tests.support.databases import Rows, deadlocks

pytestmark = [pytest.mark.anyio, pytest.mark.promise("R-16")]

MINUTE = 60
Send = Callable[..., Awaitable[File]]
Create = Callable[..., Awaitable[str]]


def sent(who: Principal, form: str, count: int) -> RetryRecord:
    """The record of a request that was sent `count` times before."""
    record = creation(Attempt(retry_count=count), who.key_id, form)
    assert record is not None
    return record


async def send_streamed(
    rows: Rows, who: Principal, form: str = "form", *, count: int, expires: int | None = None, quota: Quota = NO_QUOTA
) -> File:
    """An upload of 5 bytes that was sent `count` times before, taken back if it makes no file, as the domain does."""
    blob_key = await streamed.begin(rows, who, key=None, at_least=5, quota=quota)
    retry = sent(who, form, count)
    new = streamed.completed(who, blob_key, form, idempotency=None, retry=retry, expires_after_seconds=expires)
    file = await rows.files.publish(new, quota=quota)
    if file.id != new.id:
        assert await rows.files.abandon(blob_key), "the blob is still pending"
    return file


async def send_small(
    rows: Rows, who: Principal, form: str = "form", *, count: int, expires: int | None = None, quota: Quota = NO_QUOTA
) -> File:
    new = small.upload(who)
    completed = replace(new.completed, retry=sent(who, form, count), expires_after_seconds=expires)
    made = await small.create(rows, replace(new, completed=completed), quota=quota)
    assert made.replayed == (made.file.id != completed.id)
    return made.file


@pytest.fixture(params=[send_streamed, send_small], ids=["streamed", "small"])
def send(request: pytest.FixtureRequest) -> Send:
    found: Send = request.param
    return found


async def test_a_retry_gets_the_file_of_the_first_attempt(rows: Rows, send: Send) -> None:
    who = await rows.principal()
    first = await send(rows, who, count=0)
    rows.clock.pass_(15 * MINUTE - 1)
    for count in (1, 2):
        assert await send(rows, who, count=count) == first
    assert await ids(rows, who) == [first.id]
    assert await rows.files.usage(who.project_id) == await usage_of(rows, who, 5, 1)
    assert await rows.files.check() == []


async def test_a_first_attempt_makes_a_file_however_equal_it_is(rows: Rows, send: Send) -> None:
    who = await rows.principal()
    made = [await send(rows, who, count=0) for _ in range(3)]
    assert len({file.id for file in made}) == 3
    assert await send(rows, who, count=1) == made[-1], "the latest"


async def test_a_retry_whose_first_attempt_did_not_arrive_makes_a_file_once(rows: Rows, send: Send) -> None:
    who = await rows.principal()
    file = await send(rows, who, count=1)
    assert await send(rows, who, count=2) == file


async def test_another_form_key_or_project_and_a_later_retry_make_files(rows: Rows, send: Send) -> None:
    who, elsewhere = await rows.principal(), await rows.principal("two")
    first = await send(rows, who, count=0)
    others = [
        await send(rows, who, "another form", count=1),
        await send(rows, replace(who, key_id="another key"), count=1),
        await send(rows, replace(elsewhere, key_id=who.key_id), count=1),
    ]
    rows.clock.pass_(15 * MINUTE)
    others.append(await send(rows, who, count=1))
    assert len({first.id, *(file.id for file in others)}) == 5
    assert await ids(rows, elsewhere) == [others[2].id]


@pytest.mark.parametrize("how", ["deleted", "expired"])
async def test_a_retry_does_not_get_a_file_that_is_gone(rows: Rows, send: Send, how: str) -> None:
    who = await rows.principal()
    first = await send(rows, who, count=0, expires=MINUTE)
    if how == "deleted":
        await rows.files.delete(who.project_id, first.id)
    else:
        rows.clock.pass_(MINUTE)
    again = await send(rows, who, count=1)
    assert again.id != first.id
    assert await send(rows, who, count=2) == again


async def test_a_small_retry_takes_no_quota_and_a_first_attempt_does(rows: Rows) -> None:
    who, full = await rows.principal(), Quota(5, None)
    first = await send_small(rows, who, count=0, quota=full)
    assert await send_small(rows, who, count=1, quota=full) == first
    with pytest.raises(QuotaExceeded):
        await send_small(rows, who, count=0, quota=full)
    assert await rows.files.usage(who.project_id) == await usage_of(rows, who, 5, 1)


async def test_small_first_attempts_in_one_transaction_are_each_found_again(rows: Rows) -> None:
    who = await rows.principal()
    forms = [f"form {number % 9}" for number in range(20)]
    made = await asyncio.gather(*(send_small(rows, who, form, count=0) for form in forms))
    again = await asyncio.gather(*(send_small(rows, who, form, count=1) for form in forms))
    assert len({file.id for file in made}) == 20
    for form, file in zip(forms, again, strict=True):
        assert file in [each for each, its in zip(made, forms, strict=True) if its == form]
    assert len(await ids(rows, who)) == 20


async def test_a_first_attempt_beside_its_retries_is_one_whole_file_or_two(rows: Rows, send: Send) -> None:
    """The retries agree; the first attempt, which nobody waits for any more, may be a file of its own."""
    who = await rows.principal()
    for number in range(10):
        first, *later = await asyncio.gather(*(send(rows, who, f"form {number}", count=n) for n in range(4)))
        assert len({file.id for file in later if file.id != first.id}) <= 1
    found = await ids(rows, who)
    assert 10 <= len(found) <= 20
    assert await rows.files.usage(who.project_id) == await usage_of(rows, who, 5 * len(found), len(found))
    assert await rows.files.check() == []


async def test_records_are_swept_after_fifteen_minutes(rows: Rows) -> None:
    who = await rows.principal()
    await send_small(rows, who, count=0)
    for seconds, left in ((15 * MINUTE - 1, 1), (1, 0)):
        rows.clock.pass_(seconds)
        assert await garbage(rows) == []
        assert await rows.run("SELECT count(*) FROM idempotency_keys") == [(left,)]


async def test_a_deleted_file_is_known_for_ten_minutes_in_its_project(rows: Rows) -> None:
    who, other = await rows.principal(), await rows.principal("two")
    file, kept = [await send_small(rows, who, form, count=0) for form in ("one", "two")]
    await rows.files.delete(who.project_id, file.id)

    async def was_deleted(project: str, file_id: str) -> bool:
        return await rows.files.was_deleted(project, file_id, within_seconds=DELETION_SECONDS)

    for seconds in (0, 10 * MINUTE - 1):
        rows.clock.pass_(seconds)
        assert await was_deleted(who.project_id, file.id)
    assert not await was_deleted(other.project_id, file.id)
    assert not await was_deleted(who.project_id, kept.id)
    assert not await was_deleted(who.project_id, "file-never")
    rows.clock.pass_(1)
    assert not await was_deleted(who.project_id, file.id)


async def test_a_deleted_store_and_a_detached_file_are_known_for_ten_minutes_in_their_project(rows: Rows) -> None:
    who, other = await rows.principal(), await rows.principal("two")
    file = await send_small(rows, who, count=0)
    store = await make_store(rows, who, file.id)
    known = rows.vector_stores.was_deleted
    ids_of: list[tuple[str, ...]] = [(store, file.id), (store,)]
    assert [await known(who.project_id, *each) for each in ids_of] == [False, False]
    await rows.vector_stores.detach(who.project_id, store, file.id)
    assert [await known(who.project_id, *each) for each in ids_of] == [True, False]
    await rows.vector_stores.delete(who.project_id, store)
    rows.clock.pass_(10 * MINUTE - 1)
    assert [await known(who.project_id, *each) for each in ids_of] == [True, True]
    assert [await known(other.project_id, *each) for each in ids_of] == [False, False]
    assert not await known(who.project_id, file.id)
    rows.clock.pass_(1)
    assert [await known(who.project_id, *each) for each in ids_of] == [False, False]


# --- batches and vector stores --------------------------------------------------------------------------------------


async def send_batch(rows: Rows, who: Principal, body: str = "body", *, count: int, rate: int = 0) -> str:
    """A batch whose creation was sent `count` times before."""
    retry = sent(who, fingerprint_of("batch", body), count)
    return (await create_batch(rows, who, retry=retry, rate=rate)).id


async def send_store(rows: Rows, who: Principal, body: str = "body", *file_ids: str, count: int, rate: int = 0) -> str:
    """A vector store whose creation was sent `count` times before."""
    new = NewStore(new_id("vs_"), retry=sent(who, fingerprint_of("vector_store", body), count))
    files = [NewAttachment(file_id) for file_id in file_ids]
    return (await rows.vector_stores.create(who.project_id, who.organization_id, new, files, rate=rate)).id


@pytest.fixture(params=[send_batch, send_store], ids=["batch", "store"])
def create(request: pytest.FixtureRequest) -> Create:
    found: Create = request.param
    return found


async def made(rows: Rows) -> int:
    return await number_of(rows, "batches") + await number_of(rows, "vector_stores")


async def test_a_creation_that_is_sent_again_creates_nothing(rows: Rows, create: Create) -> None:
    who = await rows.principal()
    first = await create(rows, who, count=0)
    rows.clock.pass_(15 * MINUTE - 1)
    assert [await create(rows, who, count=count) for count in (1, 2)] == [first] * 2
    assert await made(rows) == 1
    assert await number_of(rows, "jobs") == await number_of(rows, "batches")
    assert await rows.files.check() == []


async def test_a_first_attempt_creates_however_equal_it_is(rows: Rows, create: Create) -> None:
    who = await rows.principal()
    found = [await create(rows, who, count=0) for _ in range(3)]
    assert len(set(found)) == 3
    assert await create(rows, who, count=1) == found[-1], "the latest"


async def test_a_creation_whose_first_attempt_did_not_arrive_creates_once(rows: Rows, create: Create) -> None:
    who = await rows.principal()
    assert await create(rows, who, count=1) == await create(rows, who, count=2)
    assert await made(rows) == 1


async def test_another_body_key_or_project_and_a_later_attempt_create(rows: Rows, create: Create) -> None:
    who, elsewhere = await rows.principal(), await rows.principal("two")
    found = [
        await create(rows, who, count=0),
        await create(rows, who, "another body", count=1),
        await create(rows, replace(who, key_id="another key"), count=1),
        await create(rows, replace(elsewhere, key_id=who.key_id), count=1),
    ]
    rows.clock.pass_(15 * MINUTE)
    found.append(await create(rows, who, count=1))
    assert len(set(found)) == 5
    assert await create(rows, who, count=2) == found[-1]


async def test_a_batch_and_a_store_are_not_taken_for_each_other(rows: Rows) -> None:
    who = await rows.principal()
    batch = await send_batch(rows, who, count=0)
    store = await send_store(rows, who, count=1)
    assert await send_batch(rows, who, count=1) == batch
    assert await send_store(rows, who, count=2) == store


async def test_attempts_that_come_together_agree(rows: Rows, create: Create) -> None:
    """A first attempt that comes later than its repetitions creates another one: nobody waits for it any more."""
    who = await rows.principal()
    before = deadlocks(rows)
    for number in range(10):
        first, *later = await asyncio.gather(*(create(rows, who, f"body {number}", count=n) for n in range(4)))
        assert len({found for found in later if found != first}) <= 1
        alone = await asyncio.gather(*(create(rows, who, f"alone {number}", count=n) for n in (1, 2, 3)))
        assert len(set(alone)) == 1
    assert 20 <= await made(rows) <= 30
    assert deadlocks(rows) == before
    assert await rows.files.check() == []


async def test_a_batch_that_is_sent_again_is_as_it_is_now_and_not_counted(rows: Rows) -> None:
    who = await rows.principal()
    file = await add_input(rows, who)
    retry = sent(who, "body", 0)
    first = await create_batch(rows, who, file.id, retry=retry, rate=1)
    await rows.batches.cancel(who.project_id, first.id)
    await rows.files.delete(who.project_id, file.id)
    again = await create_batch(rows, who, file.id, retry=replace(retry, is_retry=True), rate=1)
    assert again == await rows.batches.get(who.project_id, first.id)
    with pytest.raises(BatchRateLimited):
        await create_batch(
            rows, who, file.id, retry=replace(retry, is_retry=True, record=sent(who, "b", 1).record), rate=1
        )


async def test_a_store_that_is_sent_again_attaches_and_counts_nothing(rows: Rows) -> None:
    who = await rows.principal()
    kept, gone = [(await send_small(rows, who, form, count=0)).id for form in ("one", "two")]
    first = await send_store(rows, who, "body", kept, gone, count=0, rate=2)
    await rows.files.delete(who.project_id, gone)
    assert await send_store(rows, who, "body", kept, gone, count=1, rate=2) == first
    assert await number_of(rows, "vector_store_files") == await number_of(rows, "jobs") == 1


async def test_a_store_that_was_deleted_is_created_anew_once(rows: Rows) -> None:
    who = await rows.principal()
    first = await send_store(rows, who, count=0)
    await rows.vector_stores.delete(who.project_id, first)
    again = await send_store(rows, who, count=1)
    assert again != first
    assert await send_store(rows, who, count=2) == again
    await rows.vector_stores.delete(who.project_id, again)
    assert len(set(await asyncio.gather(*(send_store(rows, who, count=n) for n in (1, 2, 3))))) == 1


async def test_a_store_that_fails_leaves_no_record(rows: Rows) -> None:
    who = await rows.principal()
    for count in (0, 1):
        with pytest.raises(FilesNotAttachable):
            await send_store(rows, who, "body", "file-none", count=count)
    assert await number_of(rows, "idempotency_keys") == 0


async def test_stores_that_are_sent_again_meet_deletions_of_their_files_without_deadlock(rows: Rows) -> None:
    who, before = await rows.principal(), deadlocks(rows)
    for number in range(10):
        files = [(await send_small(rows, who, f"{number} {n}", count=0)).id for n in range(3)]
        outcomes = await asyncio.gather(
            *(send_store(rows, who, f"body {number}", *files, count=count) for count in (0, 1, 2)),
            *(rows.files.delete(who.project_id, file) for file in reversed(files)),
            *(send_batch(rows, who, f"body {number}", count=count) for count in (0, 1)),
            *(send_small(rows, who, f"{number} {n}", count=1) for n in range(3)),
            return_exceptions=True,
        )
        failed = {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)}
        assert failed <= {FilesNotAttachable, FileNotFound}
    assert deadlocks(rows) == before
    assert await rows.files.check() == []
