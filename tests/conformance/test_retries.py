"""Each sentence of `FileRepository` on uploads and deletions that are sent again without an idempotency key."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from filestead.domain.access import Principal
from filestead.domain.errors import QuotaExceeded
from filestead.domain.files import retries
from filestead.domain.files.model import File
from filestead.domain.quota import Quota
from tests.conformance import test_idempotency as streamed
from tests.conformance import test_inline_blobs as small
from tests.conformance.attachments import make_store
from tests.conformance.test_batch_repository import garbage
from tests.conformance.test_idempotency import NO_QUOTA, ids, usage_of
from tests.support.databases import Rows

pytestmark = [pytest.mark.anyio, pytest.mark.promise("R-16")]

MINUTE = 60
Send = Callable[..., Awaitable[File]]


async def send_streamed(
    rows: Rows, who: Principal, form: str = "form", *, count: int, expires: int | None = None, quota: Quota = NO_QUOTA
) -> File:
    """An upload of 5 bytes that was sent `count` times before, taken back if it makes no file, as the domain does."""
    blob_key = await streamed.begin(rows, who, key=None, at_least=5, quota=quota)
    retry = retries.record(count, who.key_id, form)
    new = streamed.completed(who, blob_key, form, idempotency=None, retry=retry, expires_after_seconds=expires)
    file = await rows.files.publish(new, quota=quota)
    if file.id != new.id:
        assert await rows.files.abandon(blob_key), "the blob is still pending"
    return file


async def send_small(
    rows: Rows, who: Principal, form: str = "form", *, count: int, expires: int | None = None, quota: Quota = NO_QUOTA
) -> File:
    new = small.upload(who)
    completed = replace(new.completed, retry=retries.record(count, who.key_id, form), expires_after_seconds=expires)
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
        return await rows.files.was_deleted(project, file_id, within_seconds=retries.DELETION_SECONDS)

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
