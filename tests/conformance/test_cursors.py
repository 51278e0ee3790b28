"""What `FileRepository.page` promises of a cursor whose file is gone."""

import itertools
from collections.abc import Awaitable, Callable

import pytest

from filestead.database.repositories.files import garbage
from filestead.domain.access import Principal
from filestead.domain.errors import CursorNotFound
from filestead.domain.files.interfaces import CURSOR_SECONDS
from filestead.domain.files.model import File, Page
from filestead.domain.quota import Quota
from tests.conformance.test_file_repository import add
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

LIFETIME = 3_600


async def delete(rows: Rows, who: Principal, file: File) -> None:
    await rows.files.delete(who.project_id, file.id)


async def let_expire(rows: Rows, who: Principal, file: File) -> None:
    assert file.expires_at is not None
    rows.clock.now = float(file.expires_at)


async def expire_and_sweep(rows: Rows, who: Principal, file: File) -> None:
    await let_expire(rows, who, file)
    assert file.blob_key in await rows.files.claim_garbage(lease_seconds=60, limit=100)


ENDS: dict[str, Callable[[Rows, Principal, File], Awaitable[None]]] = {
    "deleted": delete,
    "expired": let_expire,
    "swept": expire_and_sweep,
}


@pytest.fixture(params=list(ENDS))
def end(request: pytest.FixtureRequest) -> Callable[[Rows, Principal, File], Awaitable[None]]:
    return ENDS[request.param]


async def page(
    rows: Rows, who: Principal, after: str | None, *, purpose: str | None = None, limit: int = 10, newest: bool = True
) -> Page:
    return await rows.files.page(who.project_id, purpose=purpose, after=after, limit=limit, newest_first=newest)


async def remembered(rows: Rows) -> list[dict[str, object]]:
    return await rows.tables.rows("file_tombstones", None, 100)


@pytest.mark.parametrize("purpose", [None, "batch"])
@pytest.mark.parametrize("newest", [True, False])
async def test_a_deleted_or_expired_file_keeps_its_position(
    rows: Rows, end: Callable[[Rows, Principal, File], Awaitable[None]], newest: bool, purpose: str | None
) -> None:
    who = await rows.principal()
    before, after = [], []
    for number in range(3):  # of one second, so that only the order of publication tells them apart
        before.append(await add(rows, who, purpose=("batch", "vision")[number % 2]))
    gone = await add(rows, who, purpose="vision", expires_after_seconds=LIFETIME)
    for number in range(3):
        after.append(await add(rows, who, purpose=("batch", "vision")[number % 2]))
    await end(rows, who, gone)
    found = await page(rows, who, gone.id, purpose=purpose, newest=newest)
    expected = [file for file in (before[::-1] if newest else after) if purpose in (None, file.purpose)]
    assert [file.id for file in found.files] == [file.id for file in expected]


async def test_the_position_is_kept_for_a_day(
    rows: Rows, end: Callable[[Rows, Principal, File], Awaitable[None]]
) -> None:
    who = await rows.principal()
    kept = await add(rows, who)
    gone = await add(rows, who, expires_after_seconds=LIFETIME)
    await end(rows, who, gone)
    rows.clock.pass_(CURSOR_SECONDS - 1)
    await rows.files.claim_garbage(lease_seconds=60, limit=100)
    assert [file.id for file in (await page(rows, who, gone.id)).files] == [kept.id]
    rows.clock.pass_(1)
    for _ in range(2):  # not swept yet, and swept
        with pytest.raises(CursorNotFound):
            await page(rows, who, gone.id)
        await rows.files.claim_garbage(lease_seconds=60, limit=100)
    assert await remembered(rows) == []


async def test_a_file_swept_a_day_after_its_expiry_leaves_no_tombstone(rows: Rows) -> None:
    who = await rows.principal()
    gone = await add(rows, who, expires_after_seconds=LIFETIME)
    rows.clock.pass_(LIFETIME + CURSOR_SECONDS)
    for _ in range(2):
        with pytest.raises(CursorNotFound):
            await page(rows, who, gone.id)
        await rows.files.claim_garbage(lease_seconds=60, limit=100)
        assert await remembered(rows) == []


async def test_another_project_cannot_use_a_deleted_file_as_cursor(
    rows: Rows, end: Callable[[Rows, Principal, File], Awaitable[None]]
) -> None:
    mine, theirs = await rows.principal("one"), await rows.principal("two")
    gone = await add(rows, mine, expires_after_seconds=LIFETIME)
    await add(rows, theirs)
    await end(rows, mine, gone)
    assert (await page(rows, mine, gone.id)).files == []
    with pytest.raises(CursorNotFound):
        await page(rows, theirs, gone.id)


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_all_files_can_be_deleted_while_paging(rows: Rows, limit: int, newest: bool) -> None:
    who = await rows.principal()
    made = [(await add(rows, who)).id for _ in range(7)]
    seen: list[str] = []
    after = None
    for _ in itertools.count():
        found = await page(rows, who, after, limit=limit, newest=newest)
        for file in found.files:
            seen.append(file.id)
            await rows.files.delete(who.project_id, file.id)
        if not found.has_more:
            break
        after = found.files[-1].id
    assert sorted(seen) == sorted(made)
    assert len(seen) == len(made)
    assert (await rows.files.usage(who.project_id)).files == 0


async def test_a_tombstone_holds_only_the_position(rows: Rows) -> None:
    who = await rows.principal()
    gone = await add(rows, who, filename="secret.txt")
    await rows.files.delete(who.project_id, gone.id)
    [row] = await remembered(rows)
    until = (rows.clock.now + CURSOR_SECONDS) * 1_000_000
    assert row == {
        "project_id": who.project_id,
        "file_id": gone.id,
        "created_at": gone.created_at,
        "seq": row["seq"],
        "kept_until_us": until,
    }


async def test_releasing_quota_of_expired_files_keeps_their_positions(rows: Rows) -> None:
    """An upload over the quota deletes what has expired without waiting for the sweep."""
    who = await rows.principal()
    quota = Quota(100, None)
    kept = await add(rows, who, 1, quota=quota)
    gone = await add(rows, who, 99, quota=quota, expires_after_seconds=LIFETIME)
    rows.clock.pass_(LIFETIME)
    await add(rows, who, 99, quota=quota)
    assert [row["file_id"] for row in await remembered(rows)] == [gone.id]
    assert [file.id for file in (await page(rows, who, gone.id)).files] == [kept.id]


async def test_a_sweep_deletes_a_bounded_number_of_tombstones(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "TOMBSTONES_PER_SWEEP", 2)
    who = await rows.principal()
    for _ in range(5):
        await rows.files.delete(who.project_id, (await add(rows, who)).id)
    rows.clock.pass_(CURSOR_SECONDS)
    left = []
    for _ in range(4):
        await rows.files.claim_garbage(lease_seconds=60, limit=100)
        left.append(len(await remembered(rows)))
    assert left == [3, 1, 0, 0]


async def test_a_sweep_accepts_tombstones_that_a_copy_has_written(rows: Rows) -> None:
    """The source may have swept a file that an earlier copy brought and that has expired in the target only since."""
    who = await rows.principal()
    gone = await add(rows, who, expires_after_seconds=LIFETIME)
    rows.clock.pass_(LIFETIME)
    place = {"project_id": who.project_id, "file_id": gone.id, "created_at": gone.created_at, "seq": 1}
    await rows.tables.write("file_tombstones", [{**place, "kept_until_us": int(rows.clock.now + 9) * 1_000_000}])
    assert await rows.files.claim_garbage(lease_seconds=60, limit=100) == [gone.blob_key]
    assert len(await remembered(rows)) == 1
