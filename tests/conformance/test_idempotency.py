"""Each sentence of `FileRepository` on bindings and idempotency keys."""

import asyncio
from typing import Any

import pytest

from filestead.blobs.keys import new_key
from filestead.domain.access import Principal
from filestead.domain.attempts import IdempotencyRecord
from filestead.domain.errors import (
    FileNotFound,
    IdempotencyKeyReused,
    IdempotencyKeySpent,
    QuotaExceeded,
    RateLimited,
    UploadLost,
)
from filestead.domain.files.model import CompletedUpload, File, FileStatus, PendingUpload
from filestead.domain.quota import Quota
from filestead.installation import new_id
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

NO_QUOTA = Quota(None, None)
DAY = 86_400


def completed(
    who: Principal, blob_key: str, form: str, *, key: str = "k", size: int = 5, **changes: Any
) -> CompletedUpload:
    values: dict[str, Any] = {
        "id": new_id("file-"),
        "blob_key": blob_key,
        "project_id": who.project_id,
        "organization_id": who.organization_id,
        "filename": "a.txt",
        "purpose": "user_data",
        "bytes": size,
        "sha256": "0" * 64,
        "expires_after_seconds": None,
        "status": FileStatus.PROCESSED,
        "status_details": None,
        "idempotency": IdempotencyRecord(key, form, DAY),
    }
    return CompletedUpload(**{**values, **changes})


async def begin(
    rows: Rows, who: Principal, *, key: str | None = "k", at_least: int = 0, quota: Quota = NO_QUOTA, rate: int = 0
) -> str:
    blob_key = new_key()
    upload = PendingUpload(
        blob_key, who.project_id, who.organization_id, who.user_id, at_least, key, reserve_bytes=at_least
    )
    await rows.files.begin_upload(upload, rate=rate, quota=quota, lease_seconds=120)
    return blob_key


async def add(
    rows: Rows, who: Principal, form: str = "form", *, key: str = "k", quota: Quota = NO_QUOTA, at_least: int = 0, **changes: Any
) -> File:  # fmt: skip
    """An upload with an idempotency key, taken back if it makes no file, as the domain does."""
    blob_key = await begin(rows, who, key=key, at_least=at_least, quota=quota)
    file = None
    try:
        file = await rows.files.publish(completed(who, blob_key, form, key=key, **changes), quota=quota)
    finally:
        if file is None or file.blob_key != blob_key:
            assert await rows.files.abandon(blob_key), "the blob is still pending"
    return file


async def ids(rows: Rows, who: Principal) -> list[str]:
    page = await rows.files.page(who.project_id, purpose=None, after=None, limit=100, newest_first=False)
    return [file.id for file in page.files]


@pytest.mark.promise("R-16")
async def test_the_same_form_returns_the_earlier_file(rows: Rows) -> None:
    who = await rows.principal()
    first = await add(rows, who)
    rows.clock.pass_(DAY - 1)
    assert await add(rows, who) == first
    assert await ids(rows, who) == [first.id]
    assert await rows.files.usage(who.project_id) == await usage_of(rows, who, 5, 1)
    assert await rows.files.check() == []


async def usage_of(rows: Rows, who: Principal, size: int, files: int) -> Any:
    found = await rows.files.usage(who.project_id)
    return type(found)(bytes_used=size, bytes_reserved=0, files=files)


async def test_another_form_with_the_same_key_is_rejected_without_effect(rows: Rows) -> None:
    who = await rows.principal()
    first = await add(rows, who)
    with pytest.raises(IdempotencyKeyReused) as refused:
        await add(rows, who, "another form")
    assert refused.value.file_id == first.id
    assert await add(rows, who) == first == await rows.files.get(who.project_id, first.id)
    assert await rows.files.usage(who.project_id) == await usage_of(rows, who, 5, 1)


async def test_another_key_and_another_project_are_independent(rows: Rows) -> None:
    one, two = await rows.principal("one"), await rows.principal("two")
    first = await add(rows, one)
    others = [await add(rows, one, key="K"), await add(rows, two, "another form")]
    assert len({first.id, *(file.id for file in others)}) == 3
    assert await ids(rows, two) == [others[1].id]
    assert await add(rows, one) == first
    assert await add(rows, two, "another form") == others[1]


async def test_the_key_belongs_to_the_project_and_not_to_the_user(rows: Rows) -> None:
    ada, bob = await rows.principal(user="ada"), await rows.principal(user="bob")
    assert await add(rows, ada) == await add(rows, bob)


@pytest.mark.parametrize("swept", [False, True])
async def test_an_expired_key_can_be_used_again(rows: Rows, swept: bool) -> None:
    who = await rows.principal()
    rows.clock.pass_(0.75)  # a lifetime is exact, not cut to whole seconds
    first = await add(rows, who)
    rows.clock.pass_(DAY - 0.25)
    assert await add(rows, who) == first
    rows.clock.pass_(0.25)
    if swept:
        await rows.files.claim_garbage(lease_seconds=60, limit=100)
    second = await add(rows, who, "another form")
    assert second.id != first.id
    assert await add(rows, who, "another form") == second, "the lifetime has begun anew"
    assert await ids(rows, who) == [first.id, second.id]


async def test_a_sweep_keeps_unexpired_idempotency_records(rows: Rows) -> None:
    who = await rows.principal()
    first = await add(rows, who)
    rows.clock.pass_(DAY - 1)
    await rows.files.claim_garbage(lease_seconds=60, limit=100)
    assert await add(rows, who) == first


@pytest.mark.parametrize("gone", ["deleted", "expired", "swept"])
async def test_the_key_of_a_deleted_or_expired_file_is_spent(rows: Rows, gone: str) -> None:
    who = await rows.principal()
    first = await add(rows, who, expires_after_seconds=3600)
    if gone == "deleted":
        await rows.files.delete(who.project_id, first.id)
    else:
        rows.clock.pass_(3600)
    if gone == "swept":
        assert await rows.files.claim_garbage(lease_seconds=60, limit=100) == [first.blob_key]
    with pytest.raises(IdempotencyKeySpent) as refused:
        await add(rows, who, expires_after_seconds=3600)
    assert refused.value.file_id == first.id
    with pytest.raises(IdempotencyKeyReused):
        await add(rows, who, "another form")
    assert await ids(rows, who) == []
    with pytest.raises(FileNotFound):
        await rows.files.get(who.project_id, first.id)
    rows.clock.pass_(DAY)
    second = await add(rows, who)
    assert await ids(rows, who) == [second.id]


async def test_an_unpublished_upload_saves_no_idempotency_record(rows: Rows) -> None:
    who = await rows.principal()
    await rows.files.abandon(await begin(rows, who))
    with pytest.raises(QuotaExceeded):
        await add(rows, who, "too large", quota=Quota(4, None))
    lost = await begin(rows, who)
    await rows.files.abandon(lost)
    with pytest.raises(UploadLost):
        await rows.files.publish(completed(who, lost, "lost"), quota=NO_QUOTA)
    file = await add(rows, who)
    assert await ids(rows, who) == [file.id]


@pytest.mark.promise("R-16")
async def test_concurrent_uploads_with_one_key_create_one_file(rows: Rows) -> None:
    who = await rows.principal()
    blob_keys = [await begin(rows, who) for _ in range(20)]  # all before the first of them is published
    published = await asyncio.gather(
        *(rows.files.publish(completed(who, blob_key, "form"), quota=NO_QUOTA) for blob_key in blob_keys)
    )
    assert len({file.id for file in published}) == 1
    assert await ids(rows, who) == [published[0].id]
    kept = [blob_key for blob_key in blob_keys if not await rows.files.abandon(blob_key)]
    assert kept == [published[0].blob_key]
    assert await rows.files.usage(who.project_id) == await usage_of(rows, who, 5, 1)


@pytest.mark.promise("R-16")
async def test_concurrent_uploads_of_different_forms_with_one_key_create_one_file(rows: Rows) -> None:
    who = await rows.principal()
    outcomes = await asyncio.gather(*(add(rows, who, f"form {n}") for n in range(20)), return_exceptions=True)
    made = [outcome for outcome in outcomes if isinstance(outcome, File)]
    assert await ids(rows, who) == [file.id for file in made]
    assert len(made) == 1
    assert sum(isinstance(outcome, IdempotencyKeyReused) for outcome in outcomes) == 19


@pytest.mark.parametrize("quota", [Quota(100, None), Quota(None, 100)], ids=["project", "organization"])
async def test_a_retry_needs_no_quota(rows: Rows, quota: Quota) -> None:
    who = await rows.principal()
    first = await add(rows, who, size=100, quota=quota, at_least=90)
    with pytest.raises(QuotaExceeded):
        await begin(rows, who, key=None, at_least=1, quota=quota)
    with pytest.raises(QuotaExceeded):
        await begin(rows, who, key="unbound", at_least=1, quota=quota)
    assert await add(rows, who, size=100, quota=quota, at_least=90) == first
    with pytest.raises(IdempotencyKeyReused):
        await add(rows, who, "another form", size=50, quota=quota, at_least=40)
    assert await rows.files.usage(who.project_id) == await usage_of(rows, who, 100, 1)


async def test_a_retry_that_began_before_the_first_publication_needs_no_quota(rows: Rows) -> None:
    """Both have begun before either is published, and there is room for one of them only."""
    who = await rows.principal()
    quota = Quota(100, None)
    blob_keys = [await begin(rows, who, at_least=40, quota=quota) for _ in range(2)]
    one, two = [
        await rows.files.publish(completed(who, blob_key, "form", size=60), quota=quota) for blob_key in blob_keys
    ]
    assert one == two
    assert (await rows.files.usage(who.project_id)).bytes_reserved == 40
    assert await rows.files.abandon(blob_keys[1])
    assert await rows.files.usage(who.project_id) == await usage_of(rows, who, 60, 1)


async def test_a_retry_whose_key_has_expired_in_the_meantime_creates_no_file(rows: Rows) -> None:
    """Its bytes were not stored, and so it has to be sent once more."""
    who = await rows.principal()
    quota = Quota(100, None)
    await add(rows, who, size=100, quota=quota)
    rows.clock.pass_(DAY - 1)
    blob_key = await begin(rows, who, at_least=90, quota=quota)
    rows.clock.pass_(1)
    with pytest.raises(UploadLost):
        await rows.files.publish(completed(who, blob_key, "form", size=100), quota=quota)
    assert await rows.files.blob_states([blob_key]) == {}


async def test_a_retry_has_no_blob_and_no_reservation(rows: Rows) -> None:
    who = await rows.principal()
    first = await add(rows, who)
    repeated = PendingUpload(new_key(), who.project_id, who.organization_id, who.user_id, 50, "k", reserve_bytes=50)
    admission = await rows.files.begin_upload(repeated, rate=0, quota=Quota(10, None), lease_seconds=120)
    assert (admission.repeats, admission.reserved_bytes) == (True, 0)
    assert await rows.files.blob_states([repeated.blob_key]) == {}
    with pytest.raises(UploadLost):
        await rows.files.reserve(repeated, 1, quota=NO_QUOTA)
    assert await rows.files.publish(completed(who, repeated.blob_key, "form"), quota=NO_QUOTA) == first


async def test_a_retry_counts_against_the_rate(rows: Rows) -> None:
    who = await rows.principal()
    await add(rows, who)
    await begin(rows, who, rate=1)
    with pytest.raises(RateLimited):
        await begin(rows, who, rate=1)


async def test_a_retry_whose_lease_has_expired_still_returns_the_file(rows: Rows) -> None:
    who = await rows.principal()
    slow = await begin(rows, who)
    rows.clock.pass_(120)
    assert await rows.files.claim_garbage(lease_seconds=60, limit=100) == [slow]
    first = await add(rows, who)
    assert await rows.files.publish(completed(who, slow, "form"), quota=NO_QUOTA) == first
