"""Each sentence of `FileRepository`."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filestead.blobs.keys import new_key
from filestead.domain.access import Principal
from filestead.domain.errors import CursorNotFound, FileNotFound, QuotaExceeded, RateLimited, UploadLost
from filestead.domain.files.model import CompletedUpload, File, FileStatus, PendingUpload
from filestead.domain.quota import Quota
from filestead.installation import new_id
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

NO_QUOTA = Quota(None, None)
LEASE = 120


def upload(who: Principal, key: str, at_least: int = 0) -> PendingUpload:
    return PendingUpload(key, who.project_id, who.organization_id, who.user_id, at_least, reserve_bytes=at_least)


def completed(who: Principal, key: str, size: int = 5, **changes: Any) -> CompletedUpload:
    values: dict[str, Any] = {
        "id": new_id("file-"),
        "blob_key": key,
        "project_id": who.project_id,
        "organization_id": who.organization_id,
        "filename": "a.txt",
        "purpose": "user_data",
        "bytes": size,
        "sha256": "0" * 64,
        "expires_after_seconds": None,
        "status": FileStatus.PROCESSED,
        "status_details": None,
    }
    return CompletedUpload(**{**values, **changes})


async def add(
    rows: Rows, who: Principal, size: int = 5, *, quota: Quota = NO_QUOTA, at_least: int = 0, **changes: Any
) -> File:
    key = new_key()
    await rows.files.begin_upload(upload(who, key, at_least), rate=0, quota=quota, lease_seconds=LEASE)
    try:
        return await rows.files.publish(completed(who, key, size, **changes), quota=quota)
    except QuotaExceeded:
        assert await rows.files.abandon(key)
        raise


async def walk(rows: Rows, who: Principal, *, limit: int, newest_first: bool, purpose: str | None = None) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = await rows.files.page(
            who.project_id, purpose=purpose, after=after, limit=limit, newest_first=newest_first
        )
        found += [file.id for file in page.files]
        if not page.has_more:
            return found
        after = page.files[-1].id


# --- visibility -----------------------------------------------------------------------------------------------------


async def test_a_file_keeps_the_status_that_an_earlier_version_gave_it(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who, status=FileStatus.ERROR, status_details="Line 1: bad.")
    found = await rows.files.get(who.project_id, file.id)
    assert (found.status, found.status_details) == (FileStatus.ERROR, "Line 1: bad.")


async def test_a_file_is_visible_from_publish_to_delete(rows: Rows) -> None:
    who = await rows.principal()
    key = new_key()
    await rows.files.begin_upload(upload(who, key), rate=0, quota=NO_QUOTA, lease_seconds=LEASE)
    assert (await rows.files.usage(who.project_id)).files == 0
    file = await rows.files.publish(completed(who, key, 7, filename="ä.txt", status_details="x"), quota=NO_QUOTA)
    assert file == await rows.files.get(who.project_id, file.id)
    assert (file.created_at, file.bytes, file.filename, file.blob_key) == (int(rows.clock.now), 7, "ä.txt", key)
    assert await rows.files.delete(who.project_id, file.id) == file
    for operation in (rows.files.get, rows.files.delete):
        with pytest.raises(FileNotFound):
            await operation(who.project_id, file.id)


@pytest.mark.promise("S-02")
async def test_another_project_sees_nothing(rows: Rows) -> None:
    mine, theirs = await rows.principal("one"), await rows.principal("two")
    file = await add(rows, mine)
    for operation in (rows.files.get, rows.files.delete):
        with pytest.raises(FileNotFound):
            await operation(theirs.project_id, file.id)
    page = await rows.files.page(theirs.project_id, purpose=None, after=None, limit=10, newest_first=True)
    assert page.files == []
    with pytest.raises(CursorNotFound):
        await rows.files.page(theirs.project_id, purpose=None, after=file.id, limit=10, newest_first=True)
    assert (await rows.files.get(mine.project_id, file.id)) == file


@pytest.mark.parametrize(
    "odd", ["", "\0", "file-\0", "%s %(id)s", "'; --", "ü" * 5_000, "\ufffd"], ids=lambda odd: ascii(odd[:9])
)
async def test_an_id_may_be_any_text(rows: Rows, odd: str) -> None:
    who = await rows.principal()
    await add(rows, who)
    for operation in (rows.files.get, rows.files.delete):
        with pytest.raises(FileNotFound):
            await operation(who.project_id, odd)
    with pytest.raises(CursorNotFound):
        await rows.files.page(who.project_id, purpose=odd, after=odd, limit=10, newest_first=True)


@pytest.mark.promise("R-07")
async def test_nothing_is_visible_after_its_expiry_swept_or_not(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who, expires_after_seconds=3600)
    assert file.expires_at == file.created_at + 3600
    rows.clock.now = float(file.expires_at - 1)
    assert await rows.files.get(who.project_id, file.id) == file
    rows.clock.pass_(1)
    for operation in (rows.files.get, rows.files.delete):
        with pytest.raises(FileNotFound):
            await operation(who.project_id, file.id)
    page = await rows.files.page(who.project_id, purpose=None, after=None, limit=10, newest_first=True)
    assert page.files == []
    assert (await rows.files.usage(who.project_id)).files == 0


# --- paging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newest_first", [True, False])
async def test_files_of_one_second_come_each_exactly_once(rows: Rows, newest_first: bool) -> None:
    who = await rows.principal()
    ids = [(await add(rows, who)).id for _ in range(57)]
    for limit in (1, 10, 56, 57, 58):
        found = await walk(rows, who, limit=limit, newest_first=newest_first)
        assert found == (ids[::-1] if newest_first else ids)


async def test_paging_over_ten_thousand_and_one_files_of_one_second(rows: Rows) -> None:
    who = await rows.principal()
    few = asyncio.Semaphore(200)

    async def add_one() -> File:
        async with few:
            return await add(rows, who)

    made = await asyncio.gather(*(add_one() for _ in range(501)))
    assert len({file.created_at for file in made}) == 1
    newest = max(await rows.tables.rows("files", None, 10_000), key=lambda row: row["seq"])
    for _ in range(19):  # as a copied installation has them: one by one, 10,000 take half a minute
        more = [
            newest | {"id": new_id("file-"), "blob_key": new_key(), "seq": newest["seq"] + number}
            for number in range(1, 501)
        ]
        await rows.tables.publish(more)
        newest = more[-1]
    forward = await walk(rows, who, limit=10_000, newest_first=False)
    backward = await walk(rows, who, limit=10_000, newest_first=True)
    assert forward == backward[::-1]
    assert len(set(forward)) == len(forward) == 10_001


async def test_has_more_is_exact(rows: Rows) -> None:
    who = await rows.principal()
    for _ in range(3):
        await add(rows, who)
    for limit, more in ((2, True), (3, False), (4, False)):
        page = await rows.files.page(who.project_id, purpose=None, after=None, limit=limit, newest_first=True)
        assert page.has_more is more
    last = (await walk(rows, who, limit=3, newest_first=True))[-1]
    page = await rows.files.page(who.project_id, purpose=None, after=last, limit=3, newest_first=True)
    assert (page.files, page.has_more) == ([], False)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from("add tick delete turn".split()), st.integers(0, 5)), max_size=40),
    limit=st.integers(1, 4),
    newest_first=st.booleans(),
    purpose=st.sampled_from([None, "batch"]),
)
async def test_paging_among_inserts_and_deletes_neither_skips_nor_repeats_files(
    rows: Rows, steps: list[tuple[str, int]], limit: int, newest_first: bool, purpose: str | None
) -> None:
    """Model: rows that exist throughout a walk come exactly once and in order, others at most once.

    So also if the file that is the cursor is deleted meanwhile.
    """
    who = await rows.principal(new_id("project-"))
    alive: list[File] = []
    seen: list[str] = []
    throughout: set[str] | None = None
    after: str | None = None
    for step, number in [*steps, *[("turn", 0)] * 50]:
        if step == "add":
            alive.append(await add(rows, who, purpose=["batch", "vision"][number % 2]))
        elif step == "tick":
            rows.clock.pass_(number)
        elif step == "delete" and alive:
            gone = alive.pop(number % len(alive))
            await rows.files.delete(who.project_id, gone.id)
            if throughout:
                throughout.discard(gone.id)
        elif step == "turn":
            if throughout is None:
                throughout = {file.id for file in alive if purpose in (None, file.purpose)}
            page = await rows.files.page(
                who.project_id, purpose=purpose, after=after, limit=limit, newest_first=newest_first
            )
            seen += [file.id for file in page.files]
            if not page.has_more:
                break
            after = page.files[-1].id
    assert len(seen) == len(set(seen))
    assert (throughout or set()) <= set(seen)
    order = {file.id: place for place, file in enumerate(alive)}
    places = [order[file_id] for file_id in seen if file_id in order]
    assert places == sorted(places, reverse=newest_first)


async def test_the_cursor_may_be_a_file_of_another_purpose(rows: Rows) -> None:
    who = await rows.principal()
    made = [await add(rows, who, purpose=purpose) for purpose in ("batch", "vision", "batch")]
    page = await rows.files.page(who.project_id, purpose="batch", after=made[1].id, limit=9, newest_first=False)
    assert [file.id for file in page.files] == [made[2].id]


# --- quota ----------------------------------------------------------------------------------------------------------


async def test_the_project_quota_is_exact_to_the_byte(rows: Rows) -> None:
    who = await rows.principal()
    quota = Quota(100, None)
    await add(rows, who, 60, quota=quota)
    with pytest.raises(QuotaExceeded):
        await add(rows, who, 41, quota=quota)
    await add(rows, who, 40, quota=quota)
    assert (await rows.files.usage(who.project_id)).bytes_used == 100
    await add(rows, who, 0, quota=quota)
    with pytest.raises(QuotaExceeded):
        await add(rows, who, 1, quota=quota)


async def test_a_reservation_counts_until_it_is_settled(rows: Rows) -> None:
    who = await rows.principal()
    quota = Quota(100, None)
    key = new_key()
    await rows.files.begin_upload(upload(who, key, 80), rate=0, quota=quota, lease_seconds=LEASE)
    assert (await rows.files.usage(who.project_id)).bytes_reserved == 80
    with pytest.raises(QuotaExceeded):
        await rows.files.begin_upload(upload(who, new_key(), 21), rate=0, quota=quota, lease_seconds=LEASE)
    with pytest.raises(QuotaExceeded):
        await add(rows, who, 21, quota=quota)
    await rows.files.publish(completed(who, key, 85), quota=quota)
    usage = await rows.files.usage(who.project_id)
    assert (usage.bytes_used, usage.bytes_reserved) == (85, 0)


async def test_a_reservation_grows_in_steps_within_the_quota(rows: Rows) -> None:
    who = await rows.principal()
    quota = Quota(100, None)
    pending = upload(who, new_key())
    admission = await rows.files.begin_upload(pending, rate=0, quota=quota, lease_seconds=LEASE)
    assert (admission.reserved_bytes, admission.repeats) == (0, False)
    await rows.files.reserve(pending, 60, quota=quota)
    with pytest.raises(QuotaExceeded):
        await rows.files.reserve(pending, 41, quota=quota)
    await rows.files.reserve(pending, 40, quota=quota)
    assert (await rows.files.usage(who.project_id)).bytes_reserved == 100
    with pytest.raises(QuotaExceeded):
        await add(rows, who, 1, quota=quota)
    await rows.files.publish(completed(who, pending.blob_key, 30), quota=quota)
    usage = await rows.files.usage(who.project_id)
    assert (usage.bytes_used, usage.bytes_reserved) == (30, 0)
    with pytest.raises(UploadLost):
        await rows.files.reserve(pending, 1, quota=quota)
    assert (await rows.files.usage(who.project_id)).bytes_reserved == 0


async def test_a_reservation_spans_the_projects_of_an_organization(rows: Rows) -> None:
    one, two = await rows.principal("one"), await rows.principal("two")
    quota = Quota(None, 100)
    pending = upload(one, new_key(), 10)
    await rows.files.begin_upload(pending, rate=0, quota=quota, lease_seconds=LEASE)
    await add(rows, two, 50, quota=quota)
    with pytest.raises(QuotaExceeded, match="organization"):
        await rows.files.reserve(pending, 41, quota=quota)
    await rows.files.reserve(pending, 40, quota=quota)


async def test_reserve_bytes_are_reserved_completely_or_not_at_all(rows: Rows) -> None:
    """What must fit decides over the upload, what is asked for does not."""
    who = await rows.principal()
    quota = Quota(100, None)
    for at_least, asked, reserved in ((0, 100, 100), (0, 101, 0), (100, 1, 1), (50, 101, 0), (100, 100, 100)):
        pending = replace(upload(who, new_key()), min_size=at_least, reserve_bytes=asked)
        admission = await rows.files.begin_upload(pending, rate=0, quota=quota, lease_seconds=LEASE)
        assert admission.reserved_bytes == reserved, (at_least, asked)
        assert (await rows.files.usage(who.project_id)).bytes_reserved == reserved
        assert await rows.files.abandon(pending.blob_key)
    pending = replace(upload(who, new_key()), min_size=101, reserve_bytes=1)
    with pytest.raises(QuotaExceeded):
        await rows.files.begin_upload(pending, rate=0, quota=quota, lease_seconds=LEASE)
    assert (await rows.files.usage(who.project_id)).bytes_reserved == 0


async def test_abandon_and_delete_release_the_quota(rows: Rows) -> None:
    who = await rows.principal()
    quota = Quota(100, None)
    key = new_key()
    await rows.files.begin_upload(upload(who, key, 80), rate=0, quota=quota, lease_seconds=LEASE)
    assert await rows.files.abandon(key) is True
    assert (await rows.files.usage(who.project_id)).bytes_reserved == 0
    with pytest.raises(UploadLost):
        await rows.files.publish(completed(who, key, 1), quota=quota)
    file = await add(rows, who, 100, quota=quota)
    assert await rows.files.abandon(file.blob_key) is False
    await rows.files.delete(who.project_id, file.id)
    await add(rows, who, 100, quota=quota)


async def test_quota_of_expired_files_is_released_before_the_sweep(rows: Rows) -> None:
    who = await rows.principal()
    quota = Quota(100, None)
    await add(rows, who, 100, quota=quota, expires_after_seconds=3600)
    with pytest.raises(QuotaExceeded):
        await add(rows, who, 1, quota=quota)
    rows.clock.pass_(3600)
    await add(rows, who, 100, quota=quota)
    assert (await rows.files.usage(who.project_id)).bytes_used == 100


@pytest.mark.promise("I-12")
async def test_of_sixty_four_concurrent_uploads_only_those_within_the_quota_are_published(rows: Rows) -> None:
    who = await rows.principal()
    quota = Quota(1000, None)
    outcomes = await asyncio.gather(
        *(add(rows, who, 37, quota=quota, at_least=number % 30) for number in range(64)), return_exceptions=True
    )
    stored = [outcome for outcome in outcomes if isinstance(outcome, File)]
    assert all(isinstance(outcome, File | QuotaExceeded) for outcome in outcomes)
    assert 0 < len(stored) <= 1000 // 37
    assert (await rows.files.usage(who.project_id)).bytes_used == 37 * len(stored)
    for _ in range(1000 // 37 - len(stored)):  # reservations of those that were refused are back
        await add(rows, who, 37, quota=quota)
    with pytest.raises(QuotaExceeded):
        await add(rows, who, 37, quota=quota)


@pytest.mark.promise("I-12")
async def test_uploads_that_end_at_once_without_a_reservation_fill_the_quota_exactly(rows: Rows) -> None:
    who = await rows.principal()
    quota = Quota(1000, None)
    keys = [new_key() for _ in range(64)]
    for key in keys:
        await rows.files.begin_upload(upload(who, key), rate=0, quota=quota, lease_seconds=LEASE)
    publications = (rows.files.publish(completed(who, key, 100), quota=quota) for key in keys)
    outcomes = await asyncio.gather(*publications, return_exceptions=True)
    assert [sum(isinstance(each, kind) for each in outcomes) for kind in (File, QuotaExceeded)] == [10, 54]
    assert (await rows.files.usage(who.project_id)).bytes_used == 1000


async def test_the_organization_quota_spans_its_projects(rows: Rows) -> None:
    one, two = await rows.principal("one"), await rows.principal("two")
    other = await rows.principal("one", organization="other")
    quota = Quota(80, 100)
    await add(rows, one, 60, quota=quota)
    with pytest.raises(QuotaExceeded, match="organization"):
        await add(rows, two, 41, quota=quota)
    await add(rows, two, 40, quota=quota)
    await add(rows, other, 80, quota=quota)


async def test_a_rejected_upload_charges_no_quota(rows: Rows) -> None:
    who = await rows.principal()
    key = new_key()
    await rows.files.begin_upload(upload(who, key), rate=0, quota=Quota(10, None), lease_seconds=LEASE)
    with pytest.raises(QuotaExceeded):
        await rows.files.publish(completed(who, key, 11), quota=Quota(10, None))
    usage = await rows.files.usage(who.project_id)
    assert (usage.bytes_used, usage.bytes_reserved, usage.files) == (0, 0, 0)
    assert await rows.files.blob_states([key]) == {key: "pending"}


# --- rate -----------------------------------------------------------------------------------------------------------


async def begin(rows: Rows, who: Principal, rate: int, quota: Quota = NO_QUOTA) -> Any:
    admission = await rows.files.begin_upload(upload(who, new_key(), 1), rate=rate, quota=quota, lease_seconds=LEASE)
    return admission.rate


async def test_the_rate_is_exact_and_refills(rows: Rows) -> None:
    who = await rows.principal()
    decisions = [await begin(rows, who, 10) for _ in range(10)]
    assert [decision.remaining for decision in decisions] == list(range(9, -1, -1))
    with pytest.raises(RateLimited) as refused:
        await begin(rows, who, 10)
    assert refused.value.decision.retry_after == pytest.approx(6)
    rows.clock.pass_(5.9)
    with pytest.raises(RateLimited):
        await begin(rows, who, 10)
    rows.clock.pass_(0.1)
    await begin(rows, who, 10)
    rows.clock.pass_(3600)
    assert [(await begin(rows, who, 10)).remaining for _ in range(10)] == list(range(9, -1, -1))


async def test_the_rate_is_per_user_and_exact_under_concurrency(rows: Rows) -> None:
    ada, bob = await rows.principal(user="ada"), await rows.principal(user="bob")
    outcomes = await asyncio.gather(
        *(begin(rows, who, 20) for who in (ada, bob) for _ in range(50)), return_exceptions=True
    )
    refused = [isinstance(outcome, RateLimited) for outcome in outcomes]
    assert (refused[:50].count(False), refused[50:].count(False)) == (20, 20)


async def test_an_upload_over_quota_counts_against_the_rate_but_one_over_rate_does_not(rows: Rows) -> None:
    who = await rows.principal()
    with pytest.raises(QuotaExceeded):
        await begin(rows, who, 2, quota=Quota(0, None))
    await begin(rows, who, 2)
    for _ in range(3):
        with pytest.raises(RateLimited) as refused:
            await begin(rows, who, 2)
        assert refused.value.decision.retry_after == pytest.approx(30)


# --- leases and sweeping --------------------------------------------------------------------------------------------


async def claim_garbage(rows: Rows, limit: int = 100) -> list[str]:
    return await rows.files.claim_garbage(lease_seconds=60, limit=limit)


@pytest.mark.promise("R-08")
async def test_a_lease_protects_a_pending_upload_and_can_be_renewed(rows: Rows) -> None:
    who = await rows.principal()
    key = new_key()
    await rows.files.begin_upload(upload(who, key, 9), rate=0, quota=NO_QUOTA, lease_seconds=LEASE)
    rows.clock.pass_(LEASE - 1)
    assert await claim_garbage(rows) == []
    await rows.files.renew([key, new_key()], lease_seconds=LEASE)
    rows.clock.pass_(LEASE - 1)
    assert await claim_garbage(rows) == []
    rows.clock.pass_(1)
    assert await claim_garbage(rows) == [key]
    assert (await rows.files.usage(who.project_id)).bytes_reserved == 0
    with pytest.raises(UploadLost):
        await rows.files.publish(completed(who, key), quota=NO_QUOTA)


async def test_a_claimed_blob_is_not_claimed_again_until_its_lease_expires(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    await rows.files.delete(who.project_id, file.id)
    assert await claim_garbage(rows) == [file.blob_key]
    assert await claim_garbage(rows) == []
    rows.clock.pass_(60)
    assert await claim_garbage(rows) == [file.blob_key]
    await rows.files.delete_blob_rows([file.blob_key])
    rows.clock.pass_(60)
    assert await claim_garbage(rows) == []
    assert await rows.files.blob_states([file.blob_key]) == {}


async def test_two_sweeps_claim_different_blobs(rows: Rows) -> None:
    who = await rows.principal()
    made = [await add(rows, who, expires_after_seconds=3600) for _ in range(30)]
    kept = await add(rows, who)
    rows.clock.pass_(3600)
    claimed: list[str] = []
    while any(claims := await asyncio.gather(*(claim_garbage(rows, limit=7) for _ in range(4)))):
        assert max(map(len, claims)) <= 7
        claimed += [key for claim in claims for key in claim]
    assert sorted(claimed) == sorted(file.blob_key for file in made)
    usage = await rows.files.usage(who.project_id)
    assert (usage.bytes_used, usage.files) == (5, 1)
    assert await rows.files.blob_states([kept.blob_key]) == {kept.blob_key: "live"}


async def test_delete_blob_rows_keeps_blobs_of_visible_files(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who)
    await rows.files.delete_blob_rows([file.blob_key, new_key()])
    assert await rows.files.get(who.project_id, file.id) == file
    assert await rows.files.blob_states([file.blob_key]) == {file.blob_key: "live"}


async def test_delete_blob_rows_releases_the_reservation_of_a_pending_upload(rows: Rows) -> None:
    who = await rows.principal()
    key = new_key()
    await rows.files.begin_upload(upload(who, key, 9), rate=0, quota=NO_QUOTA, lease_seconds=LEASE)
    await rows.files.delete_blob_rows([key])
    assert (await rows.files.usage(who.project_id)).bytes_reserved == 0


async def test_release_leases_ends_every_lease(rows: Rows) -> None:
    who = await rows.principal()
    key = new_key()
    await rows.files.begin_upload(upload(who, key), rate=0, quota=NO_QUOTA, lease_seconds=LEASE)
    kept, deleted = await add(rows, who), await add(rows, who)
    await rows.files.delete(who.project_id, deleted.id)
    assert await claim_garbage(rows) == [deleted.blob_key], "claimed by a sweep that never ends"
    assert await rows.files.release_leases() == 2
    assert sorted(await claim_garbage(rows)) == sorted([key, deleted.blob_key])
    assert await rows.files.get(who.project_id, kept.id) == kept


# --- looking --------------------------------------------------------------------------------------------------------


async def test_scan_files_includes_every_project_and_expired_files(rows: Rows) -> None:
    made = [await add(rows, await rows.principal(name), expires_after_seconds=3600) for name in ("one", "two", "one")]
    rows.clock.pass_(4000)
    found: list[str] = []
    after = ""
    while page := await rows.files.scan_files(after, 2):
        found += [file.id for file in page]
        after = page[-1].id
    assert found == sorted(file.id for file in made)


async def test_check_reports_nothing_on_consistent_rows_and_each_violation(rows: Rows) -> None:
    who = await rows.principal()
    file = await add(rows, who, expires_after_seconds=3600)
    key = new_key()
    await rows.files.begin_upload(upload(who, key, 9), rate=0, quota=NO_QUOTA, lease_seconds=LEASE)
    assert await rows.files.check() == []
    rows.clock.pass_(3600 + 901)
    found = {(finding.invariant, finding.subject) for finding in await rows.files.check()}
    assert found == {("I-10", file.id), ("I-05", key)}
