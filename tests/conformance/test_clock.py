"""The database's clock jumps, and nothing that could not be undone has happened by the time it is right again.

The clock that only runs forward is in the test's hand, too: `pass_` lets time pass for both, `jump` sets one.
"""

from dataclasses import dataclass, replace

import pytest

from filestead.blobs.keys import new_key
from filestead.database.repositories.audit_log import SqlAuditLog
from filestead.database.repositories.batches.runs import SqlBatchRunRepository
from filestead.database.repositories.files.repository import SqlFileRepository
from filestead.database.repositories.table_copier import TableCopier
from filestead.domain.access import Principal
from filestead.domain.batches.model import BatchStatus, RunState
from filestead.domain.clock import ClockWatch
from filestead.domain.errors import (
    CursorNotFound,
    FileNotFound,
    IdempotencyKeyReused,
    QuotaExceeded,
    RateLimited,
    UploadLost,
    UploadNotPending,
)
from filestead.domain.files.model import File
from filestead.domain.jobs import JobKind, longest_wait
from filestead.domain.quota import Quota
from filestead.domain.uploads.model import UploadStatus
from filestead.installation import new_id
from tests.conformance import batches
from tests.conformance import test_idempotency as with_key
from tests.conformance import test_upload_repository as in_parts
from tests.conformance.test_audit_log import seal
from tests.conformance.test_file_repository import LEASE, NO_QUOTA, add, begin, completed, upload
from tests.conformance.test_job_repository import REVIVE_SECONDS
from tests.conformance.test_job_repository import add as add_job
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

HOUR, DAY = 3_600, 86_400
JUMP = 31 * DAY


@dataclass
class Times:
    """An installation, its clocks, and the nodes that sweep it."""

    rows: Rows
    passed: float = 1_000.0

    def watch(self, quarantine: float = DAY) -> ClockWatch:
        """That of a process that has just begun."""
        return ClockWatch(quarantine, lambda: self.passed)

    def node(self, quarantine: float = DAY) -> SqlFileRepository:
        """A process that has just begun."""
        return SqlFileRepository(self.rows.database, self.watch(quarantine))

    def jump(self, seconds: float) -> None:
        self.rows.clock.pass_(seconds)

    def pass_(self, seconds: float) -> None:
        self.passed += seconds
        self.rows.clock.pass_(seconds)


@pytest.fixture
def times(rows: Rows) -> Times:
    return Times(rows)


async def sweep(node: SqlFileRepository, said: list[str] | None = None) -> list[str]:
    """What the sweeper does, but for the bytes: the keys that it would remove."""
    if (news := await node.observe_clock()) is not None and said is not None:
        said.append(news)
    keys: list[str] = []
    while found := await node.claim_garbage(lease_seconds=60, limit=100):
        await node.delete_blob_rows(found)
        keys += found
    return keys


async def start(times: Times, who: Principal) -> str:
    """An upload under way."""
    key = new_key()
    await times.rows.files.begin_upload(upload(who, key), rate=0, quota=NO_QUOTA, lease_seconds=LEASE)
    return key


async def is_there(times: Times, file: File, project: str) -> bool:
    try:
        return await times.rows.files.get(project, file.id) == file
    except FileNotFound:
        return False


async def test_files_that_expire_without_a_clock_jump_are_swept_immediately(times: Times) -> None:
    who, node = await times.rows.principal(), times.node()
    file = await add(times.rows, who, expires_after_seconds=HOUR)
    assert await sweep(node) == []
    for _ in range(59):
        times.pass_(60)
        assert await sweep(node) == []
    times.pass_(60)
    assert await sweep(node) == [file.blob_key]


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted in between"])
@pytest.mark.promise("R-14")
async def test_a_clock_jump_hides_files_and_setting_the_clock_back_shows_them_again(
    times: Times, restart: bool
) -> None:
    who, node, said = await times.rows.principal(), times.node(), []
    file = await add(times.rows, who, expires_after_seconds=30 * DAY)
    await sweep(node)
    for _ in range(2):  # it may happen again
        times.pass_(60)
        times.jump(JUMP)
        node = times.node() if restart else node
        assert not await is_there(times, file, who.project_id), "expiry is what the clock says"
        said.clear()
        assert await sweep(node, said) == []
        assert "ahead" in said[0]
        assert await node.check() == [], "it is not late for its sweep"
        # Nor does an upload that needs the room take it.
        assert (await times.rows.files.usage(who.project_id)).bytes_used == file.bytes
        for _ in range(10):
            times.pass_(HOUR)
            assert await sweep(node) == []
        node = times.node() if restart else node
        assert await sweep(node) == []
        times.jump(-JUMP)
        assert await is_there(times, file, who.project_id)
        said.clear()
        assert await sweep(node, said) == []
        assert "back" in said[0]
    assert await node.blob_states([file.blob_key]) == {file.blob_key: "live"}
    assert await node.check() == []


async def test_the_proven_time_advances_in_quarantine(times: Times) -> None:
    """What would have expired without the jump is swept as ever."""
    who, node = await times.rows.principal(), times.node()
    soon = await add(times.rows, who, expires_after_seconds=HOUR)
    late = await add(times.rows, who, expires_after_seconds=3 * HOUR)
    deleted = await add(times.rows, who)
    await sweep(node)
    times.jump(JUMP)
    await times.rows.files.delete(who.project_id, deleted.id)
    assert await sweep(node) == [deleted.blob_key], "what its owner has deleted has nothing to do with the clock"
    times.pass_(HOUR)
    assert await sweep(node) == [soon.blob_key]
    times.pass_(2 * HOUR - 1)
    assert await sweep(node) == []
    times.pass_(1)
    assert await sweep(node) == [late.blob_key]


async def test_a_jumped_clock_is_trusted_after_the_quarantine(times: Times) -> None:
    who, node, said = await times.rows.principal(), times.node(), []
    file = await add(times.rows, who, expires_after_seconds=30 * DAY)
    await sweep(node)
    times.jump(JUMP)
    await sweep(node)
    times.pass_(12 * HOUR)
    await sweep(node)
    times.jump(-DAY)  # not steady: from here on it counts anew
    for _ in range(24):
        assert await sweep(node, said) == []
        times.pass_(HOUR)
    assert await sweep(node, said) == [file.blob_key]
    assert len(said) == 2 and "trusted again" in said[1]


async def test_without_a_quarantine_a_jumped_clock_is_trusted_immediately(times: Times) -> None:
    who, node = await times.rows.principal(), times.node(quarantine=0)
    file = await add(times.rows, who, expires_after_seconds=30 * DAY)
    await sweep(node)
    times.jump(JUMP)
    assert await sweep(node) == [file.blob_key]


@pytest.mark.parametrize(("pause", "lifetime", "kept"), [(DAY, 23 * HOUR, False), (2 * DAY, 25 * HOUR, True)])
async def test_a_pause_between_sweeps_counts_as_elapsed_time_up_to_a_day(
    times: Times, pause: int, lifetime: int, kept: bool
) -> None:
    """Nobody can tell a machine that was off from a clock that jumped meanwhile."""
    who = await times.rows.principal()
    file = await add(times.rows, who, expires_after_seconds=lifetime)
    await sweep(times.node())
    times.pass_(pause)
    node = times.node()
    assert await sweep(node) == ([] if kept else [file.blob_key])
    for _ in range(24):
        times.pass_(HOUR)
        swept = await sweep(node)
    assert swept == ([file.blob_key] if kept else [])


async def test_two_nodes_report_a_jump_once(times: Times) -> None:
    who, one, two = await times.rows.principal(), times.node(), times.node()
    file = await add(times.rows, who, expires_after_seconds=30 * DAY)
    said: list[str] = []
    for node in (one, two):
        await sweep(node, said)
    times.pass_(60)
    times.jump(JUMP)
    for turn in range(24 * 6):
        for node in (one, two):
            if turn % 7:  # they do not take turns exactly
                assert await sweep(node, said) == []
            times.pass_(300)
    times.pass_(HOUR)
    swept = [*await sweep(two, said), *await sweep(one, said)]
    assert swept == [file.blob_key]
    assert len(said) == 2
    for _ in range(3):
        for node in (one, two, times.node()):
            times.pass_(100)
            await sweep(node, said)
    assert len(said) == 2


@pytest.mark.promise("R-14")
async def test_a_clock_jump_aborts_no_upload(times: Times) -> None:
    who, node = await times.rows.principal(), times.node()
    blob = await start(times, who)
    lost = await start(times, who)
    await sweep(node)
    times.jump(HOUR)
    assert await sweep(node) == []
    times.pass_(30)
    await node.renew([blob], lease_seconds=LEASE)
    times.pass_(LEASE - 31)
    assert await sweep(node) == []
    times.pass_(1)
    assert await sweep(node) == [lost], "that nobody renews"
    await node.publish(completed(who, blob), quota=NO_QUOTA)
    with pytest.raises(UploadLost):
        await node.publish(completed(who, lost), quota=NO_QUOTA)


async def test_a_lease_from_before_the_clock_was_set_back_expires_within_a_day(times: Times) -> None:
    who, node = await times.rows.principal(), times.node()
    await sweep(node)
    times.jump(JUMP)
    lost = await start(times, who)
    times.jump(-JUMP)
    assert await sweep(node) == []
    times.pass_(DAY)
    assert await sweep(node) == [lost]


@pytest.mark.promise("R-14")
async def test_a_clock_jump_frees_no_idempotency_key(times: Times) -> None:
    who, node = await times.rows.principal(), times.node()

    async def upload(form: str) -> File:
        return await with_key.add(replace(times.rows, files=node), who, form)

    file = await upload("one")
    await sweep(node)
    times.jump(JUMP)
    assert (await upload("one")).id == file.id
    await sweep(node)
    with pytest.raises(IdempotencyKeyReused):
        await upload("two")
    times.jump(-JUMP)
    await sweep(node)
    times.pass_(DAY - 1)
    assert (await upload("one")).id == file.id
    times.pass_(1)
    assert (await upload("two")).id != file.id


@pytest.mark.promise("R-14")
async def test_quota_of_files_that_expired_only_by_a_jump_is_not_released(times: Times) -> None:
    who, node = await times.rows.principal(), times.node()
    quota = Quota(100, None)
    file = await add(times.rows, who, 100, expires_after_seconds=DAY)
    await sweep(node)
    times.jump(JUMP)
    with pytest.raises(QuotaExceeded):
        await add(replace(times.rows, files=node), who, 1, quota=quota)
    times.jump(-JUMP)
    assert await is_there(times, file, who.project_id)


@pytest.mark.parametrize("back", [61, HOUR, JUMP], ids=str)
@pytest.mark.promise("R-14")
async def test_setting_the_clock_back_blocks_no_user_by_the_rate_limit(times: Times, back: int) -> None:
    who = await times.rows.principal()
    times.jump(back)
    for _ in range(20):
        await begin(times.rows, who, 20)
    times.jump(-back)
    for _ in range(20):
        await begin(times.rows, who, 20)
    with pytest.raises(RateLimited) as refused:
        await begin(times.rows, who, 20)
    assert refused.value.decision.retry_after <= 60
    times.pass_(60)
    await begin(times.rows, who, 20)


@pytest.mark.parametrize("how", ["deleted", "expired", "swept"])
@pytest.mark.promise("R-14")
async def test_a_clock_jump_drops_no_position_in_the_listing(times: Times, how: str) -> None:
    """The cursor of a file that is gone is known for a day, and the day does not end by a jump."""
    who, node = await times.rows.principal(), times.node()
    kept = await add(times.rows, who)
    gone = await add(times.rows, who, expires_after_seconds=HOUR)

    async def after_gone() -> list[str]:
        page = await node.page(who.project_id, purpose=None, after=gone.id, limit=10, newest_first=True)
        return [file.id for file in page.files]

    await sweep(node)
    if how == "deleted":
        await node.delete(who.project_id, gone.id)
    else:
        times.pass_(HOUR)
    if how == "swept":
        assert await sweep(node) == [gone.blob_key]
    times.jump(JUMP)
    for left in ([] if how == "swept" else [gone.blob_key], []):
        assert await sweep(node) == left
        assert await after_gone() == [kept.id]
        times.pass_(HOUR)
    times.jump(-JUMP)
    await sweep(node)
    assert await after_gone() == [kept.id]
    times.pass_(DAY)
    await sweep(node)
    with pytest.raises(CursorNotFound):
        await after_gone()


@pytest.mark.parametrize("delete", [True, False], ids=["deleted", "expired"])
async def test_a_position_recorded_in_quarantine_is_kept_for_a_day_of_elapsed_time(times: Times, delete: bool) -> None:
    who, node = await times.rows.principal(), times.node()
    gone = await add(times.rows, who, expires_after_seconds=None if delete else 2 * HOUR)
    await sweep(node)
    times.jump(JUMP)
    await sweep(node)
    if delete:
        await node.delete(who.project_id, gone.id)
    times.pass_(2 * HOUR)
    assert await sweep(node) == [gone.blob_key]
    times.jump(-JUMP)
    await sweep(node)
    for seconds, known in ((21 * HOUR, True), (4 * HOUR, False)):
        times.pass_(seconds)
        await sweep(node)
        assert len(await times.rows.tables.rows("file_tombstones", None, 10)) == known


# --- what runs in the background ------------------------------------------------------------------------------------


@pytest.mark.parametrize("observed", [True, False], ids=["swept", "before the sweep"])
@pytest.mark.promise("R-14")
async def test_a_clock_jump_ends_no_window_of_a_batch(times: Times, observed: bool) -> None:
    """Whoever runs the batch compares `expires_at` with the time that it is told."""
    who, watch = await times.rows.principal(), times.watch()
    node = SqlFileRepository(times.rows.database, watch)
    runs = SqlBatchRunRepository(times.rows.database, new_id, watch=watch)
    batch, job = await batches.begin(times.rows, who)

    async def states() -> list[RunState]:
        task = await runs.begin(job)
        assert task is not None
        read = await runs.append(job, (), quota=NO_QUOTA)
        line = task.batch.counts.completed + 1
        written = await runs.append(job, [batches.block(line)], quota=NO_QUOTA)
        return [RunState(task.batch.status, task.batch.expires_at, task.now), read, written]

    await sweep(node)
    times.pass_(HOUR)
    times.jump(JUMP)
    if observed:
        await sweep(node)
    assert await states() == 3 * [RunState(BatchStatus.IN_PROGRESS, batch.expires_at, batch.created_at + HOUR)]
    times.jump(-JUMP)
    await sweep(node)
    times.pass_(23 * HOUR)
    assert await states() == 3 * [RunState(BatchStatus.IN_PROGRESS, batch.expires_at, batch.expires_at)], "it ends"


@pytest.mark.promise("R-14")
async def test_uploads_in_parts_that_expired_by_a_clock_jump_continue_when_it_is_set_back(times: Times) -> None:
    rows, who, node = times.rows, await times.rows.principal(), times.node()
    upload = await in_parts.create(rows, who, 2)
    first, key = await in_parts.put(rows, who, upload.id, b"a")
    await sweep(node)
    times.jump(HOUR)
    for attempt in range(2):
        assert await sweep(node) == []
        with pytest.raises(UploadNotPending) as refused:
            await in_parts.begin(rows, who, upload.id)
        assert refused.value.status is UploadStatus.EXPIRED
        with pytest.raises(UploadNotPending):
            await in_parts.complete(rows, who, upload.id, [first.part.id])
        ended = await rows.uploads.cancel(who.project_id, upload.id)
        assert (ended.upload.status, list(ended.unused)) == (UploadStatus.EXPIRED, []), attempt
        times.pass_(60)
    assert (await rows.files.usage(who.project_id)).bytes_reserved == 2
    times.jump(-HOUR)
    assert await sweep(node) == []
    second, _ = await in_parts.put(rows, who, upload.id, b"b")
    done = await in_parts.complete(rows, who, upload.id, [first.part.id, second.part.id])
    assert (done.file.bytes, await is_there(times, done.file, who.project_id)) == (2, True)
    assert await node.blob_states([key]) == {key: "live"}
    assert await node.check() == []


@pytest.mark.promise("R-14")
async def test_a_file_that_is_hidden_by_a_clock_jump_is_checked_all_the_same(times: Times) -> None:
    """The job of the check is removed with its effect, so that it would never be done."""
    rows, who, node = times.rows, await times.rows.principal(), times.node()
    upload = await in_parts.create(rows, who, 2, file_lifetime=DAY)
    parts = await in_parts.put_all(rows, who, upload.id, b"a", b"b")
    done = await in_parts.complete(rows, who, upload.id, parts)
    await sweep(node)
    times.jump(JUMP)
    assert not await is_there(times, done.file, who.project_id)
    (job,) = await in_parts.jobs_of(rows)
    assert await rows.uploads.check_task(job) == done.file


@pytest.mark.promise("R-14")
async def test_a_clock_jump_prunes_no_event_before_the_next_sweep_either(times: Times) -> None:
    who, watch = await times.rows.principal(), times.watch()
    node, log = SqlFileRepository(times.rows.database, watch), SqlAuditLog(times.rows.database, watch)
    await add(times.rows, who)
    await seal(times.rows)
    await sweep(node)
    times.jump(JUMP)
    assert await log.prune(DAY) == 0
    times.jump(-JUMP)
    times.pass_(DAY)
    await sweep(node)
    assert await log.prune(DAY) > 0


@pytest.mark.promise("R-14")
async def test_files_that_expired_by_a_clock_jump_are_copied_to_another_installation(times: Times) -> None:
    """The installation is not served meanwhile, so that no sweep has seen the jump."""
    who = await times.rows.principal()
    file = await add(times.rows, who, expires_after_seconds=30 * DAY)
    await sweep(times.node())
    times.jump(JUMP)
    tables = TableCopier(times.rows.database, times.watch())
    assert [row["id"] for row in await tables.files(None, 10)] == [file.id]
    assert await tables.expired_files(None, 10) == []


@pytest.mark.parametrize(
    ("state", "kind"),
    [*((state, JobKind.INDEX) for state in ("new", "held", "delayed", "dead")), ("delayed", JobKind.WEBHOOK)],
)
@pytest.mark.promise("R-14")
async def test_a_job_of_a_clock_that_was_ahead_is_not_delayed_by_the_jump(
    times: Times, kind: JobKind, state: str
) -> None:
    rows, who, node = times.rows, await times.rows.principal(), times.node()
    await sweep(node)
    times.jump(JUMP)
    await add_job(rows, who, "a", kind=kind)
    if state != "new":
        (job,) = await rows.jobs.claim([kind], token="t", lease_seconds=60, limit=1)
        if state == "delayed":
            await rows.jobs.retry(job, "failed", delay_seconds=1)
        elif state == "dead":
            await rows.jobs.bury(job, "failed")
    times.jump(-JUMP)
    await sweep(node)
    times.pass_({"new": 0.0, "dead": REVIVE_SECONDS}.get(state, longest_wait(kind)))
    if state == "dead":
        await add_job(rows, who, "a", kind=kind)
    (again,) = await rows.jobs.claim([kind], token="u", lease_seconds=60, limit=1)
    assert again.subject == "a"
