"""Each sentence of `FileRepository.create_inline`, of `InlineBlobs`, and of `BlobStore` where a key is inline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from filestead.blobs.keys import KEY, new_inline_key, new_key
from filestead.blobs.local.store import LocalBlobs
from filestead.blobs.routed import RoutedBlobs
from filestead.database.repositories.files.inline import SqlInlineBlobs
from filestead.domain.access import Principal
from filestead.domain.attempts import IdempotencyRecord
from filestead.domain.blobs import is_inline
from filestead.domain.errors import BlobNotFound, IdempotencyKeyReused, IdempotencyKeySpent, QuotaExceeded, RateLimited
from filestead.domain.files.model import CompletedUpload, Created, FileStatus, InlineUpload
from filestead.domain.quota import Quota
from filestead.installation import new_id
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

NO_QUOTA = Quota(None, None)
DAY = 86_400


def upload(who: Principal, content: bytes = b"hello", *, key: str | None = None, form: str = "form") -> InlineUpload:
    completed = CompletedUpload(
        id=new_id("file-"),
        blob_key=new_inline_key(1_700_000_000_000),
        project_id=who.project_id,
        organization_id=who.organization_id,
        filename="a.txt",
        purpose="user_data",
        bytes=len(content),
        sha256="0" * 64,
        expires_after_seconds=None,
        status=FileStatus.PROCESSED,
        status_details=None,
        idempotency=None if key is None else IdempotencyRecord(key, form, DAY),
    )
    return InlineUpload(completed, content, who.user_id)


async def create(rows: Rows, new: InlineUpload, *, rate: int = 0, quota: Quota = NO_QUOTA) -> Created:
    return await rows.files.create_inline(new, rate=rate, quota=quota)


async def sound(rows: Rows, *files: Created) -> None:
    """These files and their bytes are there, and nothing else is."""
    assert await rows.files.check() == []
    keys = sorted({created.file.blob_key for created in files})
    assert await SqlInlineBlobs(rows.database).keys("", 1_000) == keys
    assert await rows.run("SELECT key, state FROM blobs ORDER BY key") == [(key, "live") for key in keys]


def test_keys_of_inline_blobs_are_keys_in_order_of_time_and_no_others() -> None:
    keys = [new_inline_key(now) for now in (0, 1_700_000_000_000, 1_700_000_000_001, 2**48 - 1)]
    assert keys == sorted(keys)
    assert all(KEY.fullmatch(key) and is_inline(key) for key in keys)
    assert not is_inline(new_key())
    assert len({new_inline_key(0) for _ in range(1_000)}) == 1_000


def counted_statements(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The statements of each transaction from now on; an operation that reads outside of them fails."""
    statements: list[list[str]] = []
    write = rows.database.write

    async def counted(operation: Any) -> Any:
        transaction: list[str] = []
        statements.append(transaction)
        return await write(lambda connection: operation(Counting(connection, transaction)))

    monkeypatch.setattr(rows.database, "write", counted)
    monkeypatch.setattr(rows.database, "read", None)
    return statements


async def test_uploads_that_wait_share_a_transaction_and_its_statements(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, other = await rows.principal(user="ada"), await rows.principal(user="bob")
    with monkeypatch.context() as patch:
        statements = counted_statements(rows, patch)
        created = await asyncio.gather(
            *(create(rows, upload([who, other][n % 2], b"x" * n), rate=100) for n in range(16))
        )
    # Blobs, contents, files and events in statements of 8, 4, 2 and 1 rows; two users, one project.
    assert [len(transaction) for transaction in statements] == [4 + 2 + 1]
    assert sorted(new.rate.remaining for new in created) == sorted([*range(92, 100)] * 2)
    contents = SqlInlineBlobs(rows.database)
    assert [await contents.read(new.file.blob_key) for new in created] == [b"x" * n for n in range(16)]
    assert [new.file.bytes for new in created] == list(range(16))
    assert (await rows.files.usage(who.project_id)).bytes_used == sum(range(16))
    await sound(rows, *created)


async def test_an_upload_that_fails_or_is_cancelled_leaves_the_others_alone(rows: Rows) -> None:
    who = await rows.principal()
    tasks = [asyncio.create_task(create(rows, upload(who))) for _ in range(3)]
    twice = upload(who)
    tasks += [asyncio.create_task(create(rows, each)) for each in (twice, twice)]
    gone = asyncio.create_task(create(rows, upload(who, b"gone")))
    await asyncio.sleep(0)
    gone.cancel()
    created = await asyncio.gather(*tasks)
    assert created[3].file == created[4].file
    listed = await rows.files.page(who.project_id, purpose=None, after=None, limit=10, newest_first=False)
    assert {new.file.id for new in created} <= {file.id for file in listed.files}
    assert await rows.files.check() == []


async def test_one_transaction_makes_a_file_with_its_bytes(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    who = await rows.principal()
    with monkeypatch.context() as patch:
        statements = counted_statements(rows, patch)
        created = await create(rows, upload(who), rate=10)
    assert [len(transaction) for transaction in statements] == [6], statements
    assert (created.file.bytes, created.replayed, created.rate.remaining) == (5, False, 9)
    assert await rows.files.get(who.project_id, created.file.id) == created.file
    assert await SqlInlineBlobs(rows.database).read(created.file.blob_key) == b"hello"
    assert (await rows.files.usage(who.project_id)).bytes_used == 5
    await sound(rows, created)


class Counting:
    def __init__(self, connection: Any, statements: list[str]) -> None:
        self._connection = connection
        self._statements = statements

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        self._statements.append(sql)
        return self._connection.execute(sql, parameters)


async def test_the_same_upload_again_returns_its_file_and_counts_once(rows: Rows) -> None:
    who = await rows.principal()
    for key in (None, "k"):
        new = upload(who, key=key)
        first = await create(rows, new, rate=10)
        again = await create(rows, new, rate=10)
        assert (again.file, again.replayed) == (first.file, False)
        assert again.rate.remaining == first.rate.remaining
    assert (await rows.files.usage(who.project_id)).bytes_used == 10


async def test_the_rate_is_exact_and_a_refused_upload_has_no_effect(rows: Rows) -> None:
    who = await rows.principal()
    outcomes = await asyncio.gather(*(create(rows, upload(who), rate=10) for _ in range(30)), return_exceptions=True)
    created = [outcome for outcome in outcomes if isinstance(outcome, Created)]
    assert (len(created), sum(isinstance(outcome, RateLimited) for outcome in outcomes)) == (10, 20)
    await sound(rows, *created)
    with pytest.raises(RateLimited):
        await rows.files.count_upload(who.user_id, rate=10)
    rows.clock.pass_(6)
    await rows.files.count_upload(who.user_id, rate=10)
    with pytest.raises(RateLimited):
        await create(rows, upload(who), rate=10)


@pytest.mark.parametrize("quota", [Quota(500, None), Quota(None, 500)])
@pytest.mark.promise("I-12")
async def test_of_sixty_four_at_once_only_those_within_the_quota_are_created(rows: Rows, quota: Quota) -> None:
    who = await rows.principal()
    outcomes = await asyncio.gather(
        *(create(rows, upload(who, b"x" * 50), quota=quota, rate=100) for _ in range(64)), return_exceptions=True
    )
    created = [outcome for outcome in outcomes if isinstance(outcome, Created)]
    assert (len(created), sum(isinstance(outcome, QuotaExceeded) for outcome in outcomes)) == (10, 54)
    assert (await rows.files.usage(who.project_id)).bytes_used == 500
    await sound(rows, *created)
    assert (await create(rows, upload(who, b""), rate=100, quota=quota)).rate.remaining == 89, "10 were counted"


@pytest.mark.promise("R-16")
async def test_an_idempotency_key_makes_one_file_under_any_race(rows: Rows) -> None:
    who = await rows.principal()
    many = await asyncio.gather(*(create(rows, upload(who, key="k"), rate=100) for _ in range(16)))
    assert len({created.file.id for created in many}) == 1
    assert [created.replayed for created in many].count(False) == 1
    with pytest.raises(IdempotencyKeyReused):
        await create(rows, upload(who, key="k", form="another"))
    await sound(rows, many[0])
    await rows.files.delete(who.project_id, many[0].file.id)
    with pytest.raises(IdempotencyKeySpent):
        await create(rows, upload(who, key="k"))


async def test_the_bytes_go_with_the_blob(rows: Rows) -> None:
    who = await rows.principal()
    kept, gone = await create(rows, upload(who)), await create(rows, upload(who))
    await rows.files.delete(who.project_id, gone.file.id)
    assert await rows.files.claim_garbage(lease_seconds=60, limit=10) == [gone.file.blob_key]
    await rows.files.delete_blob_rows([gone.file.blob_key, kept.file.blob_key])
    await sound(rows, kept)


async def chunked(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def content(blobs: RoutedBlobs, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([block async for block in blobs.read(key, start, end)])


async def test_a_blob_store_reads_and_writes_inline_blobs_as_others(rows: Rows, tmp_path: Path) -> None:
    who = await rows.principal()
    with closing(LocalBlobs(tmp_path, reserve_bytes=0)) as inner:
        inner.open("inst-test", fresh=True)
        blobs = RoutedBlobs(inner, SqlInlineBlobs(rows.database))
        other = new_key()
        await blobs.put(other, chunked(b"on the ", b"disk"))
        key = (await create(rows, upload(who, b"0123456789"))).file.blob_key
        assert [await content(blobs, each) for each in (other, key)] == [b"on the disk", b"0123456789"]
        assert (await content(blobs, key, 2, 5), await content(blobs, key, 7), await content(blobs, key, 5, 5)) == (
            b"234",
            b"789",
            b"",
        )
        assert {found async for found in blobs.stored_keys()} == {key, other}
        assert (await blobs.size(key), await blobs.exists(key)) == (10, True)
        for _ in range(2):
            assert await blobs.put(key, chunked(b"a", b"b")) == 2  # a copy that is repeated
        assert await content(blobs, key) == b"ab"
        with pytest.raises(BlobNotFound):
            await content(blobs, key, 0, 3)
        for _ in range(2):
            await blobs.delete(key)
        assert (await blobs.size(key), await blobs.exists(key)) == (None, False)
        with pytest.raises(BlobNotFound):
            await content(blobs, key)
        assert [found async for found in blobs.stored_keys()] == [other]
