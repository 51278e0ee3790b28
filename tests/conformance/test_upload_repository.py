"""Each sentence of `UploadRepository`."""

import asyncio
import hashlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from filestead.blobs.keys import new_key
from filestead.database.repositories.uploads.repository import SqlUploadRepository
from filestead.domain.access import Principal
from filestead.domain.blobs import BlobState
from filestead.domain.errors import (
    FileNotFound,
    JobLost,
    PartKeyReused,
    PartNotFound,
    PartRepeated,
    PartsDoNotAddUp,
    QuotaExceeded,
    RateLimited,
    TooManyParts,
    UploadLost,
    UploadNotFound,
    UploadNotPending,
    UploadOverflow,
)
from filestead.domain.files.model import ContentPart, FileStatus
from filestead.domain.jobs import Job, JobKind
from filestead.domain.quota import Quota
from filestead.domain.uploads import model
from filestead.domain.uploads.completion import EMPTY_SHA256
from filestead.domain.uploads.model import (
    AcceptedPart,
    Checked,
    CompletedUpload,
    Completion,
    NewUpload,
    PendingPart,
    ReceivedPart,
    Room,
    Upload,
    UploadStatus,
)
from filestead.installation import new_id
from tests.conformance.test_file_repository import add, walk
from tests.support.databases import Rows, on_postgres

pytestmark = pytest.mark.anyio

NO_QUOTA = Quota(None, None)
LEASE = 120
HOUR = 3600


def random_end() -> str:
    return (new_key() + new_key())[:24]


def new_upload(who: Principal, size: int, **changes: Any) -> NewUpload:
    made = NewUpload(
        random_end(), who.project_id, who.organization_id, who.user_id, "a.bin", "user_data", size, file_lifetime=None
    )
    return replace(made, **changes)


async def create(rows: Rows, who: Principal, size: int, *, quota: Quota = NO_QUOTA, **changes: Any) -> Upload:
    upload, _ = await rows.uploads.create(new_upload(who, size, **changes), rate=0, quota=quota)
    return upload


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def begin(rows: Rows, who: Principal, upload_id: str, name: str | None = None) -> str:
    key = new_key()
    await rows.uploads.begin_part(PendingPart(who.project_id, upload_id, key, name), lease_seconds=LEASE)
    return key


def received(
    who: Principal, upload_id: str, key: str, content: bytes, *, repeated: bool = False, name: str | None = None
) -> ReceivedPart:
    """`name` is the idempotency key of the part."""
    return ReceivedPart(random_end(), who.project_id, upload_id, key, len(content), sha256(content), repeated, name)


async def put(
    rows: Rows, who: Principal, upload_id: str, content: bytes, *, repeated: bool = False, name: str | None = None
) -> tuple[AcceptedPart, str]:
    """Add a part; returns it with the key of the blob that was written for it."""
    key = await begin(rows, who, upload_id, name)
    return await rows.uploads.accept_part(received(who, upload_id, key, content, repeated=repeated, name=name)), key


async def put_all(rows: Rows, who: Principal, upload_id: str, *contents: bytes) -> list[str]:
    return [(await put(rows, who, upload_id, content))[0].part.id for content in contents]


def completion(who: Principal, upload_id: str, part_ids: list[str], **changes: Any) -> Completion:
    return replace(Completion(who.project_id, upload_id, part_ids, new_id("file-"), new_key()), **changes)


async def complete(rows: Rows, who: Principal, upload_id: str, part_ids: list[str], **changes: Any) -> CompletedUpload:
    return await rows.uploads.complete(completion(who, upload_id, part_ids, **changes))


async def states(rows: Rows, *keys: str) -> list[BlobState | None]:
    found = await rows.files.blob_states(keys)
    return [found.get(key) for key in keys]


async def usage(rows: Rows, who: Principal) -> tuple[int, int, int]:
    found = await rows.files.usage(who.project_id)
    return found.bytes_used, found.bytes_reserved, found.files


async def jobs_of(rows: Rows) -> list[Job]:
    return await rows.jobs.claim([JobKind.CHECK], token=random_end(), lease_seconds=LEASE, limit=10)


async def assert_sound(rows: Rows) -> None:
    assert await rows.files.check() == []


# --- create ---------------------------------------------------------------------------------------------------------


async def test_an_upload_begins_pending_with_its_time_in_its_id(rows: Rows) -> None:
    who = await rows.principal()
    new = new_upload(who, 7)
    upload, rate = await rows.uploads.create(new, rate=0, quota=NO_QUOTA)
    now = int(rows.clock.now)
    assert upload == Upload(
        f"upload_{now:08x}{new.random}", 7, now, "a.bin", "user_data", UploadStatus.PENDING, now + HOUR
    )
    assert rate.allowed
    assert await usage(rows, who) == (0, 7, 0)
    await assert_sound(rows)


async def test_an_upload_counts_against_the_rate_and_its_parts_do_not(rows: Rows) -> None:
    who = await rows.principal()
    upload, _ = await rows.uploads.create(new_upload(who, 6), rate=1, quota=NO_QUOTA)
    await put_all(rows, who, upload.id, b"one", b"two")
    with pytest.raises(RateLimited):
        await rows.uploads.create(new_upload(who, 6), rate=1, quota=NO_QUOTA)
    assert await usage(rows, who) == (0, 6, 0)


async def test_an_upload_reserves_its_quota_or_is_refused_and_counted(rows: Rows) -> None:
    who = await rows.principal()
    quota = Quota(10, None)
    await create(rows, who, 6, quota=quota)
    with pytest.raises(QuotaExceeded):
        await rows.uploads.create(new_upload(who, 5), rate=1, quota=quota)
    with pytest.raises(RateLimited):
        await rows.uploads.create(new_upload(who, 1), rate=1, quota=quota)
    assert await usage(rows, who) == (0, 6, 0)


@pytest.mark.parametrize("quota", [Quota(10, None), Quota(None, 10)], ids=["project", "organization"])
async def test_the_quota_holds_under_a_race_of_uploads(rows: Rows, quota: Quota) -> None:
    who = await rows.principal()
    outcomes = await asyncio.gather(*(create(rows, who, 3, quota=quota) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(each, Upload) for each in outcomes) == 3
    assert all(isinstance(each, Upload | QuotaExceeded) for each in outcomes)
    assert await usage(rows, who) == (0, 9, 0)


async def test_the_bytes_of_an_expired_upload_are_free_for_the_next_without_a_sweep(rows: Rows) -> None:
    who = await rows.principal()
    quota = Quota(10, None)
    await rows.files.observe_clock()
    await create(rows, who, 10, quota=quota)
    for _ in range(HOUR // 5):  # steadily, so that the clock is believed
        rows.clock.pass_(5)
    await create(rows, who, 10, quota=quota)
    assert await usage(rows, who) == (0, 10, 0)
    await assert_sound(rows)


async def test_an_empty_upload_reserves_nothing_and_fits_a_full_project(rows: Rows) -> None:
    who = await rows.principal()
    await create(rows, who, 10, quota=Quota(10, None))
    assert (await create(rows, who, 0, quota=Quota(10, None))).bytes == 0


# --- parts ----------------------------------------------------------------------------------------------------------


async def test_a_part_has_its_time_in_its_id_and_its_blob_is_live(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 8)
    key = await begin(rows, who, upload.id)
    assert await states(rows, key) == [BlobState.PENDING]
    rows.clock.pass_(10)
    part = received(who, upload.id, key, b"four")
    accepted = await rows.uploads.accept_part(part)
    now = int(rows.clock.now)
    assert (accepted.part.id, accepted.part.upload_id) == (f"part_{now:08x}{part.random}", upload.id)
    assert (accepted.part.created_at, accepted.stored) == (now, True)
    assert await states(rows, key) == [BlobState.LIVE]
    assert await rows.uploads.accept_part(part) == accepted, "after an unknown outcome"
    assert await rows.uploads.begin_part(
        PendingPart(who.project_id, upload.id, new_key()), lease_seconds=LEASE
    ) == Room(8, 4)
    await assert_sound(rows)


async def test_stored_parts_survive_a_restart_and_sweeps(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 8)
    (_, stored), key = await put(rows, who, upload.id, b"part"), await begin(rows, who, upload.id)
    await rows.files.release_leases()
    assert await rows.files.claim_garbage(lease_seconds=60, limit=10) == [key]
    assert await states(rows, stored) == [BlobState.LIVE]


@pytest.mark.promise("I-11")
async def test_parts_never_exceed_the_declared_bytes_under_any_race(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 10)
    keys = [await begin(rows, who, upload.id) for _ in range(8)]
    parts = [received(who, upload.id, key, b"%03d" % number) for number, key in enumerate(keys)]
    outcomes = await asyncio.gather(*map(rows.uploads.accept_part, parts), return_exceptions=True)
    assert sum(isinstance(each, AcceptedPart) for each in outcomes) == 3
    refused = [each for each in outcomes if isinstance(each, UploadOverflow)]
    assert len(refused) == 5
    assert {(each.declared, each.received) for each in refused} == {(10, 9)}
    assert (await states(rows, *keys)).count(BlobState.PENDING) == 5
    await assert_sound(rows)


async def test_a_part_whose_lease_is_over_is_lost(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 10)
    key = await begin(rows, who, upload.id)
    assert await rows.files.abandon(key)
    with pytest.raises(UploadLost):
        await rows.uploads.accept_part(received(who, upload.id, key, b"late"))
    await put(rows, who, upload.id, b"ten bytes!")


async def test_a_part_that_was_added_cannot_be_abandoned(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 4)
    _, key = await put(rows, who, upload.id, b"part")
    assert not await rows.files.abandon(key)
    assert await states(rows, key) == [BlobState.LIVE]


async def test_there_is_a_limit_on_the_number_of_parts(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filestead.database.repositories.uploads.repository.MAX_PARTS", 2)
    who = await rows.principal()
    upload = await create(rows, who, 4)
    late = await begin(rows, who, upload.id)
    await put_all(rows, who, upload.id, b"a", b"b")
    with pytest.raises(TooManyParts):
        await begin(rows, who, upload.id)
    with pytest.raises(TooManyParts):
        await rows.uploads.accept_part(received(who, upload.id, late, b"c"))
    await assert_sound(rows)


async def test_a_part_sent_again_without_room_is_the_stored_part(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 8)
    parts = {content: (await put(rows, who, upload.id, content))[0].part for content in (b"head", b"tail")}
    for content, part in parts.items():  # several are sent in parallel: it need not be the newest one
        again, key = await put(rows, who, upload.id, content, repeated=True)
        assert again == AcceptedPart(part, stored=False)
        assert await states(rows, key) == [BlobState.PENDING]
    for content in (b"tai1", b"tails"):
        with pytest.raises(UploadOverflow):
            await put(rows, who, upload.id, content, repeated=True)
    with pytest.raises(UploadOverflow):
        await put(rows, who, upload.id, b"tail")  # does not say that it is a repetition
    await assert_sound(rows)


async def test_a_part_sent_again_while_there_is_room_shares_the_stored_bytes(rows: Rows) -> None:
    """The first copy was stored and its response lost, or it was not stored and equals another part: either is right."""
    who = await rows.principal()
    upload = await create(rows, who, 8)
    first, one = await put(rows, who, upload.id, b"same")
    again, key = await put(rows, who, upload.id, b"same", repeated=True)
    last, two = await put(rows, who, upload.id, b"last")
    assert again.part.id not in (first.part.id, last.part.id)
    assert not again.stored
    await assert_sound(rows)
    done = await complete(rows, who, upload.id, [last.part.id, again.part.id])
    assert done.unused == []
    assert await rows.files.content_parts(done.file.blob_key) == [
        ContentPart(two, 4, sha256(b"last")),
        ContentPart(one, 4, sha256(b"same")),
    ]
    assert await states(rows, one, two, key) == [BlobState.LIVE, BlobState.LIVE, BlobState.PENDING]
    await assert_sound(rows)


async def test_a_file_may_have_the_same_blob_twice(rows: Rows) -> None:
    """An image of zeros: a part failed before it was stored, and equals an earlier one."""
    who = await rows.principal()
    upload = await create(rows, who, 12)
    first, one = await put(rows, who, upload.id, b"zero")
    other, _ = await put(rows, who, upload.id, b"else")
    again, _ = await put(rows, who, upload.id, b"zero", repeated=True)
    done = await complete(rows, who, upload.id, [first.part.id, other.part.id, again.part.id])
    assert [part.blob_key for part in await rows.files.content_parts(done.file.blob_key)].count(one) == 2
    await rows.files.delete(who.project_id, done.file.id)
    claimed = await rows.files.claim_garbage(lease_seconds=60, limit=10)
    assert one in claimed
    await rows.files.delete_blob_rows(claimed)
    assert await rows.files.content_parts(done.file.blob_key) == []
    await assert_sound(rows)


async def test_a_part_that_others_share_is_returned_again(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 8)
    part = received(who, upload.id, await begin(rows, who, upload.id), b"same")
    first = await rows.uploads.accept_part(part)
    for _ in range(3):
        await put(rows, who, upload.id, b"same", repeated=True)
    assert await rows.uploads.accept_part(part) == first, "after an unknown outcome"


async def test_several_equal_parts_sent_again_have_ids_of_their_own(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 8)
    first = [(await put(rows, who, upload.id, b"zero"))[0] for _ in range(2)]
    outcomes = await asyncio.gather(*(put(rows, who, upload.id, b"zero", repeated=True) for _ in range(4)))
    again = [accepted for accepted, _ in outcomes]
    assert len({each.part.id for each in (*first, *again)}) == 6
    assert not any(each.stored for each in again)
    assert await states(rows, *(key for _, key in outcomes)) == [BlobState.PENDING] * 4
    with pytest.raises(UploadOverflow):
        await put(rows, who, upload.id, b"zero")
    await assert_sound(rows)
    done = await complete(rows, who, upload.id, [again[3].part.id, first[0].part.id])
    assert done.file.bytes == 8
    await assert_sound(rows)


async def test_a_part_and_its_repetition_at_once_count_once(rows: Rows) -> None:
    """Whichever is added first: what has been sent again may still be in progress."""
    who = await rows.principal()
    for order in (1, -1):
        upload = await create(rows, who, 8)
        copies = [
            received(who, upload.id, await begin(rows, who, upload.id), b"slow", repeated=each)
            for each in (True, False)
        ]
        for copy in copies[::order]:
            await rows.uploads.accept_part(copy)
        await put(rows, who, upload.id, b"next")
        with pytest.raises(UploadOverflow):
            await put(rows, who, upload.id, b"slow")  # the first copy has come
    await assert_sound(rows)


@pytest.mark.parametrize("repeated", [False, True])
async def test_a_key_names_one_part_of_its_upload(rows: Rows, repeated: bool) -> None:
    who = await rows.principal()
    upload, other = await create(rows, who, 12), await create(rows, who, 4)
    outcomes = await asyncio.gather(
        *(put(rows, who, upload.id, b"zero", name=f"k{number % 3}", repeated=repeated) for number in range(9))
    )
    ids = [accepted.part.id for accepted, _ in outcomes]
    assert ids == ids[:3] * 3
    assert len(set(ids)) == 3
    assert (await states(rows, *(key for _, key in outcomes))).count(BlobState.LIVE) == 3
    again = PendingPart(who.project_id, upload.id, new_key(), "k1")
    assert await rows.uploads.begin_part(again, lease_seconds=LEASE) == Room(12, 12, is_known=True)
    with pytest.raises(PartKeyReused) as refused:
        await put(rows, who, upload.id, b"else", name="k1", repeated=repeated)
    assert refused.value.part_id == ids[1]
    with pytest.raises(UploadOverflow):
        await put(rows, who, upload.id, b"zero", name="k4", repeated=repeated)
    assert (await put(rows, who, other.id, b"else", name="k1"))[0].stored, "another upload has keys of its own"
    await assert_sound(rows)


async def test_a_known_part_is_received_again_although_there_are_as_many_as_allowed(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("filestead.database.repositories.uploads.repository.MAX_PARTS", 1)
    who = await rows.principal()
    upload = await create(rows, who, 4)
    first, _ = await put(rows, who, upload.id, b"a", name="k")
    assert (await put(rows, who, upload.id, b"a", name="k"))[0].part == first.part
    with pytest.raises(TooManyParts):
        await put(rows, who, upload.id, b"a", name="other")


async def test_a_part_is_refused_for_the_end_of_its_upload_if_that_comes_between_two_statements(tmp_path: Path) -> None:
    """On a node of several. A part that has come was there until then, and is not to be counted as one more."""
    with on_postgres(tmp_path) as rows:
        who = await rows.principal()
        upload = await create(rows, who, 4)
        part = (await put(rows, who, upload.id, b"zero", name="k"))[0].part
        assert isinstance(rows.uploads, SqlUploadRepository)
        slow = SlowLook(rows.uploads)
        again = PendingPart(who.project_id, upload.id, new_key(), "k")
        beginning = asyncio.create_task(rows.uploads.begin_part(again, lease_seconds=LEASE))
        assert await asyncio.to_thread(slow.came.wait, 20)
        await complete(rows, who, upload.id, [part.id])
        slow.go_on.set()
        with pytest.raises(UploadNotPending):
            await beginning


class SlowLook:
    """The repository looks for a part with a key only when it may go on."""

    def __init__(self, uploads: SqlUploadRepository) -> None:
        self.came, self.go_on = threading.Event(), threading.Event()
        self._look = uploads._part_of_key
        uploads._part_of_key = self  # type: ignore[method-assign]

    def __call__(self, connection: Any, part: PendingPart | ReceivedPart) -> Any:
        self.came.set()
        assert self.go_on.wait(20)
        return self._look(connection, part)


# --- complete -------------------------------------------------------------------------------------------------------


async def test_a_completed_upload_is_a_file_of_its_parts_in_the_listed_order(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 9, filename="ä.bin", purpose="vision", file_lifetime=HOUR * 2)
    (a, one), (b, two) = await put(rows, who, upload.id, b"first"), await put(rows, who, upload.id, b"last")
    rows.clock.pass_(100)
    made = completion(who, upload.id, [b.part.id, a.part.id])
    done = await rows.uploads.complete(made)
    file = done.file
    assert done.upload == replace(upload, status=UploadStatus.COMPLETED)
    assert (file.id, file.filename, file.purpose, file.bytes) == (made.file_id, "ä.bin", "vision", 9)
    assert (file.created_at, file.expires_at) == (upload.created_at, upload.created_at + HOUR * 2)
    assert (file.status, file.status_details, file.sha256) == (FileStatus.PROCESSED, None, "")
    assert (file.blob_key, file.parts) == (made.blob_key, 2)
    assert await rows.files.get(who.project_id, file.id) == file
    assert await rows.files.content_parts(file.blob_key) == [
        ContentPart(two, 4, sha256(b"last")),
        ContentPart(one, 5, sha256(b"first")),
    ]
    assert await states(rows, one, two, made.blob_key) == [BlobState.LIVE] * 3
    assert await usage(rows, who) == (9, 0, 1)
    await assert_sound(rows)


async def test_a_file_may_have_a_thousand_parts(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 1_001)
    contents = [b"%d" % (number % 10) for number in range(1_001)]
    made = [await put(rows, who, upload.id, content) for content in contents]
    file = (await complete(rows, who, upload.id, [accepted.part.id for accepted, _ in made[::-1]])).file
    assert file.parts == 1_001
    found = await rows.files.content_parts(file.blob_key)
    assert [part.blob_key for part in found] == [key for _, key in made[::-1]]
    assert [part.sha256 for part in found] == [sha256(content) for content in contents[::-1]]
    await assert_sound(rows)


async def test_a_file_of_one_part_is_as_any_other(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 4)
    part, key = await put(rows, who, upload.id, b"only")
    file = (await complete(rows, who, upload.id, [part.part.id])).file
    assert (file.blob_key, file.parts, file.sha256) == (key, None, sha256(b"only"))
    assert await rows.files.content_parts(key) == []
    assert await jobs_of(rows) == []
    await assert_sound(rows)


async def test_an_empty_upload_is_completed_without_parts(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 0)
    file = (await complete(rows, who, upload.id, [])).file
    assert (file.bytes, file.parts, file.sha256) == (0, 0, EMPTY_SHA256)
    assert await jobs_of(rows) == []
    await assert_sound(rows)


async def test_a_refused_completion_leaves_the_upload_as_it_is(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 10)
    (a, one), (_, two) = await put(rows, who, upload.id, b"12345"), await put(rows, who, upload.id, b"xx")
    c, three = await put(rows, who, upload.id, b"6")
    for refused in ([a.part.id], []):
        with pytest.raises(PartsDoNotAddUp) as raised:
            await complete(rows, who, upload.id, refused)
        assert (raised.value.size, raised.value.declared) == (5 if refused else 0, 10)
    small = await create(rows, who, 6)
    with pytest.raises(PartNotFound):
        await complete(rows, who, small.id, [a.part.id, c.part.id])  # parts of another upload
    with pytest.raises(PartRepeated):
        await complete(rows, who, upload.id, [a.part.id, a.part.id])
    assert await states(rows, one, two, three) == [BlobState.LIVE] * 3
    await put(rows, who, small.id, b"dropped"[:2])
    (d, four) = await put(rows, who, small.id, b"rest")
    with pytest.raises(PartsDoNotAddUp):
        await complete(rows, who, small.id, [d.part.id])
    assert await states(rows, four) == [BlobState.LIVE]
    await assert_sound(rows)


async def test_copies_that_do_not_say_so_are_parts_of_their_own(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 8)
    (a, one), (b, two) = await put(rows, who, upload.id, b"copy"), await put(rows, who, upload.id, b"copy")
    done = await complete(rows, who, upload.id, [b.part.id, a.part.id])
    assert done.unused == []
    assert await states(rows, one, two) == [BlobState.LIVE] * 2
    await assert_sound(rows)


async def test_parts_that_are_not_listed_are_marked_for_deletion(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 4)
    zero, one = await put(rows, who, upload.id, b"")  # the service refuses such a part; it is the one that can be spare
    full, two = await put(rows, who, upload.id, b"full")
    done = await complete(rows, who, upload.id, [full.part.id])
    assert zero.part.id != full.part.id
    assert list(done.unused) == [one]
    assert await states(rows, one, two) == [BlobState.DELETED, BlobState.LIVE]
    assert await rows.files.claim_garbage(lease_seconds=60, limit=10) == [one]
    await assert_sound(rows)


@pytest.mark.promise("R-16")
async def test_completing_again_gives_the_same_file_and_other_parts_are_refused(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 2)
    a, b = await put_all(rows, who, upload.id, b"a", b"b")
    first = await complete(rows, who, upload.id, [a, b])
    rows.clock.pass_(2 * HOUR)
    assert await complete(rows, who, upload.id, [a, b]) == replace(first, unused=[])
    assert await rows.uploads.arrange(who.project_id, upload.id, [a, b]) is None
    for call in (complete(rows, who, upload.id, [b, a]), rows.uploads.arrange(who.project_id, upload.id, [b, a])):
        with pytest.raises(UploadNotPending) as raised:
            await call
        assert raised.value.status == "completed"
    assert await usage(rows, who) == (2, 0, 1)
    await rows.files.delete(who.project_id, first.file.id)
    with pytest.raises(UploadNotPending):
        await complete(rows, who, upload.id, [a, b])
    await assert_sound(rows)


@pytest.mark.promise("R-16")
async def test_completions_at_once_make_one_file(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 2)
    parts = await put_all(rows, who, upload.id, b"a", b"b")
    done = await asyncio.gather(*(complete(rows, who, upload.id, parts) for _ in range(6)))
    assert len({each.file.id for each in done}) == 1
    assert await usage(rows, who) == (2, 0, 1)
    await assert_sound(rows)


@pytest.mark.promise("I-11")
async def test_complete_and_cancel_at_once_have_one_outcome(rows: Rows) -> None:
    who = await rows.principal()
    for _ in range(5):
        upload = await create(rows, who, 2)
        parts = await put_all(rows, who, upload.id, b"a", b"b")
        outcomes = await asyncio.gather(
            complete(rows, who, upload.id, parts),
            rows.uploads.cancel(who.project_id, upload.id),
            return_exceptions=True,
        )
        assert sum(isinstance(each, UploadNotPending) for each in outcomes) == 1
    await assert_sound(rows)


async def test_the_quota_was_reserved_so_completing_does_not_ask_for_it(rows: Rows) -> None:
    who = await rows.principal()
    quota = Quota(4, None)
    upload = await create(rows, who, 4, quota=quota)
    with pytest.raises(QuotaExceeded):
        await add(rows, who, 1, quota=quota)
    parts = await put_all(rows, who, upload.id, b"ab", b"cd")
    await complete(rows, who, upload.id, parts)
    assert await usage(rows, who) == (4, 0, 1)


async def test_a_completed_upload_takes_its_place_in_the_listing_by_its_creation(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 1)
    rows.clock.pass_(5)
    later = await add(rows, who)
    parts = await put_all(rows, who, upload.id, b"a")
    file = (await complete(rows, who, upload.id, parts)).file
    assert await walk(rows, who, limit=1, newest_first=True) == [later.id, file.id]


async def test_arrange_shows_what_complete_would_make(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 2)
    (a, one), (b, two) = await put(rows, who, upload.id, b"a"), await put(rows, who, upload.id, b"b")
    parts = await rows.uploads.arrange(who.project_id, upload.id, [b.part.id, a.part.id])
    assert parts == [ContentPart(two, 1, sha256(b"b")), ContentPart(one, 1, sha256(b"a"))]
    with pytest.raises(PartNotFound):
        await rows.uploads.arrange(who.project_id, upload.id, ["part_x"])


# --- the end --------------------------------------------------------------------------------------------------------


async def test_a_cancelled_upload_takes_nothing_and_keeps_nothing(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 10)
    (a, one), (_, two) = await put(rows, who, upload.id, b"1"), await put(rows, who, upload.id, b"2")
    late = await begin(rows, who, upload.id)
    ended = await rows.uploads.cancel(who.project_id, upload.id)
    assert ended.upload == replace(upload, status=UploadStatus.CANCELLED)
    assert sorted(ended.unused) == sorted([one, two])
    assert await usage(rows, who) == (0, 0, 0)
    assert await rows.uploads.cancel(who.project_id, upload.id) == replace(ended, unused=[])
    for call in (
        begin(rows, who, upload.id),
        rows.uploads.accept_part(received(who, upload.id, late, b"3")),
        complete(rows, who, upload.id, [a.part.id]),
    ):
        with pytest.raises(UploadNotPending) as raised:
            await call
        assert raised.value.status == "cancelled"
    assert await states(rows, one, two, late) == [BlobState.DELETED, BlobState.DELETED, BlobState.PENDING]
    await assert_sound(rows)


async def test_a_completed_upload_cannot_be_cancelled(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 0)
    await complete(rows, who, upload.id, [])
    with pytest.raises(UploadNotPending) as raised:
        await rows.uploads.cancel(who.project_id, upload.id)
    assert raised.value.status == "completed"


async def test_an_upload_expires_after_an_hour_swept_or_not(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 10)
    a, one = await put(rows, who, upload.id, b"0123456789")
    rows.clock.now = float(upload.expires_at - 1)
    late = await begin(rows, who, upload.id)
    rows.clock.pass_(1)
    for call in (
        begin(rows, who, upload.id),
        rows.uploads.accept_part(received(who, upload.id, late, b"x")),
        complete(rows, who, upload.id, [a.part.id]),
    ):
        with pytest.raises(UploadNotPending) as raised:
            await call
        assert raised.value.status == "expired"
    expired = replace(upload, status=UploadStatus.EXPIRED)
    assert (await rows.uploads.cancel(who.project_id, upload.id)).upload == expired
    assert await usage(rows, who) == (0, 10, 0)
    assert sorted(await rows.files.claim_garbage(lease_seconds=60, limit=10)) == [one]
    assert await usage(rows, who) == (0, 0, 0)
    assert (await rows.uploads.cancel(who.project_id, upload.id)).upload == expired
    await assert_sound(rows)


async def test_rows_of_uploads_are_kept_for_a_day_after_their_hour(rows: Rows) -> None:
    who = await rows.principal()
    pending, done = await create(rows, who, 1), await create(rows, who, 0)
    file = (await complete(rows, who, done.id, [])).file
    rows.clock.now = float(done.expires_at + model.KEPT_SECONDS - 1)
    await rows.files.claim_garbage(lease_seconds=60, limit=10)
    assert (await complete(rows, who, done.id, [])).file == file
    rows.clock.pass_(1)
    await rows.files.claim_garbage(lease_seconds=60, limit=10)
    for upload in (pending, done):
        with pytest.raises(UploadNotFound):
            await rows.uploads.cancel(who.project_id, upload.id)
    assert await rows.files.get(who.project_id, file.id) == file


async def test_sweeps_at_once_release_an_upload_once(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 100)
    keys = [(await put(rows, who, upload.id, b"%d" % number))[1] for number in range(10)]
    rows.clock.now = float(upload.expires_at)
    claims = await asyncio.gather(*(rows.files.claim_garbage(lease_seconds=60, limit=100) for _ in range(4)))
    assert sorted(key for claim in claims for key in claim) == sorted(keys)
    assert await usage(rows, who) == (0, 0, 0)
    await assert_sound(rows)


# --- files of parts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "expired"])
async def test_the_parts_go_with_their_file(rows: Rows, how: str) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 2, file_lifetime=HOUR)
    (a, one), (b, two) = await put(rows, who, upload.id, b"a"), await put(rows, who, upload.id, b"b")
    file = (await complete(rows, who, upload.id, [a.part.id, b.part.id])).file
    if how == "deleted":
        assert await rows.files.delete(who.project_id, file.id) == file
        assert len(await rows.files.content_parts(file.blob_key)) == 2, "for the one who deletes the bytes"
    else:
        rows.clock.now = float(upload.created_at + HOUR)
    with pytest.raises(FileNotFound):
        await rows.files.get(who.project_id, file.id)
    claimed = await rows.files.claim_garbage(lease_seconds=60, limit=10)
    assert sorted(claimed) == sorted([one, two, file.blob_key])
    assert await usage(rows, who) == (0, 0, 0)
    await rows.files.delete_blob_rows([one])
    await rows.files.delete_blob_rows([file.blob_key])
    await rows.files.delete_blob_rows([two])
    assert await states(rows, one, two, file.blob_key) == [None] * 3
    assert await rows.files.content_parts(file.blob_key) == []
    await assert_sound(rows)


async def test_what_another_project_sees(rows: Rows) -> None:
    mine, theirs = await rows.principal("one"), await rows.principal("two")
    upload = await create(rows, mine, 1)
    parts = await put_all(rows, mine, upload.id, b"a")
    key = await begin(rows, mine, upload.id)
    own = await create(rows, theirs, 1)
    for call in (
        begin(rows, theirs, upload.id),
        rows.uploads.accept_part(received(theirs, upload.id, key, b"")),
        complete(rows, theirs, upload.id, parts),
        rows.uploads.arrange(theirs.project_id, upload.id, parts),
        rows.uploads.cancel(theirs.project_id, upload.id),
        begin(rows, mine, "upload_x"),
    ):
        with pytest.raises(UploadNotFound):
            await call
    with pytest.raises(PartNotFound):
        await complete(rows, theirs, own.id, parts)
    assert (await complete(rows, mine, upload.id, parts)).upload.status is UploadStatus.COMPLETED


# --- checks ---------------------------------------------------------------------------------------------------------


async def test_a_job_checks_a_file_of_several_parts(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 2)
    parts = await put_all(rows, who, upload.id, b"a", b"b")
    file = (await complete(rows, who, upload.id, parts)).file
    (job,) = await jobs_of(rows)
    assert (job.kind, job.subject, job.project_id) == (JobKind.CHECK, file.id, who.project_id)
    assert await rows.uploads.check_task(job) == file
    checked = Checked(sha256(b"ab"), FileStatus.ERROR, "Line 1: bad.")
    await rows.uploads.record_check(job, file, checked)
    found = await rows.files.get(who.project_id, file.id)
    assert found == file._replace(sha256=sha256(b"ab"), status="error", status_details="Line 1: bad.")
    with pytest.raises(JobLost):
        await rows.uploads.record_check(job, file, Checked("x", FileStatus.PROCESSED, None))
    assert await rows.files.get(who.project_id, file.id) == found


async def test_a_job_checks_the_lines_of_some_purposes(rows: Rows) -> None:
    who = await rows.principal()
    for purpose, size in (("batch", 1), ("user_data", 1), ("batch", 0)):
        upload = await create(rows, who, size, purpose=purpose)
        parts = await put_all(rows, who, upload.id, *[b"a"] * size)
        await complete(rows, who, upload.id, parts, check_purposes=frozenset({"batch"}))
    assert len(await jobs_of(rows)) == 2


async def test_nothing_is_checked_if_all_is_known(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 2)
    parts = await put_all(rows, who, upload.id, b"a", b"b")
    done = await complete(rows, who, upload.id, parts, sha256=sha256(b"ab"))
    assert done.file.sha256 == sha256(b"ab")
    assert await jobs_of(rows) == []


async def test_a_file_that_is_gone_is_not_checked(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 2)
    file = (await complete(rows, who, upload.id, await put_all(rows, who, upload.id, b"a", b"b"))).file
    (job,) = await jobs_of(rows)
    await rows.files.delete(who.project_id, file.id)
    assert await rows.uploads.check_task(job) is None
    await rows.uploads.record_check(job, file, Checked(sha256(b"ab"), FileStatus.PROCESSED, None))
    assert await jobs_of(rows) == []


async def test_verify_sees_stored_parts(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 5)
    made = [await put(rows, who, upload.id, b"%d" % number) for number in range(5)]
    found = []
    after = 0
    while page := await rows.uploads.scan_parts(after, 2):
        found += page
        after = page[-1].seq
    assert [(each.id, each.content.blob_key) for each in found] == [(each.part.id, key) for each, key in made]


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("UPDATE uploads SET bytes_received = 1", "I-34"),
        ("UPDATE projects SET bytes_reserved = bytes_reserved + 1", "I-12"),
        ("DELETE FROM blob_parts WHERE number = 0", "I-33"),
        ("UPDATE files SET parts = 3", "I-33"),
        ("DELETE FROM upload_parts", "I-21"),
        ("UPDATE uploads SET expires_at = 1", "I-35"),
    ],
)
async def test_damaged_rows_are_found(rows: Rows, damage: str, finding: str) -> None:
    who = await rows.principal()
    upload = await create(rows, who, 2)
    await complete(rows, who, upload.id, await put_all(rows, who, upload.id, b"a", b"b"))
    pending = await create(rows, who, 4)
    await put_all(rows, who, pending.id, b"part")
    await assert_sound(rows)
    await rows.run(damage)
    assert finding in {each.invariant for each in await rows.files.check()}
