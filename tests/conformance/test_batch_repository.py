"""Each sentence of `BatchRepository` and `BatchRunRepository`."""

import asyncio
from array import array
from dataclasses import replace
from random import Random

import pytest

from filestead.blobs.keys import new_key
from filestead.database.repositories.batches.runs import SqlBatchRunRepository
from filestead.database.repositories.jobs import JobQueue
from filestead.domain.batches.model import (
    BatchError,
    BatchStatus,
    Parallelism,
    Pause,
    RequestCounts,
    ResultKind,
    RunState,
    TokenUsage,
    Validated,
    WebhookEvent,
)
from filestead.domain.errors import (
    BatchCursorNotFound,
    BatchKeyReused,
    BatchNotCancellable,
    BatchNotFound,
    BatchRateLimited,
    FileNotFound,
    JobLost,
    QuotaExceeded,
    UploadLost,
)
from filestead.domain.files.model import Usage
from filestead.domain.jobs import Job, JobKind
from filestead.domain.quota import Quota
from filestead.installation import new_id
from tests.conformance.attachments import count
from tests.conformance.batches import DAY, add_input, append, begin, block, claim, create, output
from tests.conformance.test_file_repository import add
from tests.conformance.test_upload_repository import complete, put_all
from tests.conformance.test_upload_repository import create as create_upload
from tests.support.databases import Rows, deadlocks

pytestmark = pytest.mark.anyio

OUTPUT, ERROR = ResultKind.OUTPUT, ResultKind.ERROR
ODD = {"ключ \0": "'; -- %s :x", "": "\ufffd" * 512, "emoji": "👩‍🚀"}


async def test_a_batch_is_created_with_its_input_and_read(rows: Rows) -> None:
    who = await rows.principal()
    file = await add_input(rows, who, 7)
    made = await create(rows, who, file.id, metadata=ODD)
    now = int(rows.clock.now)
    assert made == await rows.batches.get(who.project_id, made.id)
    assert (made.status, made.created_at, made.expires_at) == (BatchStatus.VALIDATING, now, now + DAY)
    assert (made.input_file_id, made.endpoint, made.completion_window) == (file.id, "/v1/chat/completions", "24h")
    assert (made.metadata, made.counts, made.usage, made.errors) == (ODD, RequestCounts(), TokenUsage(), ())
    assert (made.model, made.output_file_id, made.error_file_id) == (None, None, None)
    job = await claim(rows)
    assert (job.kind, job.subject, job.project_id) == (JobKind.BATCH, made.id, who.project_id)
    task = await rows.batch_runs.begin(job)
    assert task is not None
    assert (task.batch, task.organization_id, task.user_id) == (made, who.organization_id, who.user_id)
    assert (task.input_blob_key, task.input_bytes, task.input_sha256) == (file.blob_key, 7, file.sha256)
    assert (task.output_expires_after_seconds, task.now) == (30 * DAY, now)


async def test_a_whole_run_from_validation_to_files(rows: Rows) -> None:
    who = await rows.principal()
    made, job = await begin(rows, who, total=3, output_expires_after_seconds=3_600)
    start = int(rows.clock.now)
    rows.clock.pass_(5)
    first, second, failed = block(2), block(1), block(3, kind=ERROR)
    state = await append(rows, job, first, failed, lines_per_second=2.5, parallelism=Parallelism(3, 8))
    assert state == RunState(BatchStatus.IN_PROGRESS, start + DAY, start + 5)
    running = await rows.batches.get(who.project_id, made.id)
    assert (running.status, running.in_progress_at, running.model) == (BatchStatus.IN_PROGRESS, start, "m")
    assert (running.counts, running.usage) == (RequestCounts(3, 1, 1), TokenUsage(10, 1, 20, 2, 30))
    assert (running.lines_per_second, running.parallelism) == (2.5, Parallelism(3, 8))
    await append(rows, job, second)
    assert await rows.batch_runs.done_lines(made.id) in (
        array("I", [3, 2, 1]).tobytes(),
        array("I", [2, 1, 3]).tobytes(),
    )
    content = first.data + second.data
    assert await rows.batch_runs.read_journal(made.id, OUTPUT, 0, 1_000) == content
    assert (await rows.batch_runs.start_finalizing(job)).status is BatchStatus.FINALIZING
    files = [await output(rows, job, OUTPUT, len(content)), await output(rows, job, ERROR, len(failed.data))]
    rows.clock.pass_(5)
    assert await rows.batch_runs.finish(job, BatchStatus.COMPLETED, files) is BatchStatus.COMPLETED
    ended = await rows.batches.get(who.project_id, made.id)
    assert (ended.status, ended.finalizing_at, ended.completed_at) == (BatchStatus.COMPLETED, start + 5, start + 10)
    assert (ended.failed_at, ended.expired_at, ended.cancelling_at, ended.cancelled_at) == (None,) * 4
    assert (ended.output_file_id, ended.error_file_id) == (files[0].file_id, files[1].file_id)
    assert (ended.counts, ended.lines_per_second, ended.parallelism) == (RequestCounts(3, 2, 1), None, None)
    for made_file, size in zip(files, (len(content), len(failed.data)), strict=True):
        file = await rows.files.get(who.project_id, made_file.file_id)
        assert (file.purpose, file.bytes, file.filename) == ("batch_output", size, made_file.filename)
        assert (file.created_at, file.expires_at) == (start + 10, start + 10 + 3_600)
    usage = await rows.files.usage(who.project_id)
    assert (usage.bytes_used, usage.bytes_reserved) == (5 + len(content) + len(failed.data), 0)
    assert await rows.files.check() == []


# --- creation, listing, cancelling ----------------------------------------------------------------------------------


async def test_what_is_no_batch_file_of_the_project_is_no_input(rows: Rows) -> None:
    who, other = await rows.principal(), await rows.principal("two")
    deleted, expired = await add_input(rows, who), await add_input(rows, who, expires_after_seconds=10)
    await rows.files.delete(who.project_id, deleted.id)
    rows.clock.pass_(10)
    theirs, user_data = await add_input(rows, other), await add(rows, who)
    for file_id in ("file-none", deleted.id, expired.id, theirs.id, user_data.id):
        batch = await create(rows, who, file_id)
        assert (batch.input_file_id, batch.status) == (file_id, BatchStatus.VALIDATING)
        task = await rows.batch_runs.begin(await claim(rows))
        assert task is not None
        assert (task.batch, task.input_blob_key, task.input_bytes, task.input_sha256) == (batch, None, 0, "")


async def test_another_project_sees_nothing(rows: Rows) -> None:
    who, other = await rows.principal(), await rows.principal("two")
    batch, job = await begin(rows, who)
    await append(rows, job, block(1))
    theirs = other.project_id
    for refused in (
        rows.batches.get(theirs, batch.id),
        rows.batches.cancel(theirs, batch.id),
        rows.batches.results_size(theirs, batch.id, OUTPUT),
        rows.batches.read_results(theirs, batch.id, OUTPUT, 0, 9),
        rows.batches.get(who.project_id, "batch_none"),
    ):
        with pytest.raises(BatchNotFound):
            await refused
    with pytest.raises(BatchCursorNotFound):
        await rows.batches.page(theirs, after=batch.id, limit=9)
    assert await rows.batches.page(theirs, after=None, limit=9) == ([], False)
    assert (await rows.batches.get(who.project_id, batch.id)).status is BatchStatus.IN_PROGRESS


async def test_case_37_batches_of_one_second_are_listed_once_each_newest_first(rows: Rows) -> None:
    who = await rows.principal()
    made = [(await create(rows, who)).id for _ in range(250)]
    await create(rows, await rows.principal("two"))
    for limit in (1, 100, 249, 250, 1_000):
        found: list[str] = []
        more = True
        while more:
            batches, more = await rows.batches.page(who.project_id, after=found[-1] if found else None, limit=limit)
            found += [batch.id for batch in batches]
        assert found == made[::-1]
    rows.clock.pass_(-5)
    older = await create(rows, who)
    batches, more = await rows.batches.page(who.project_id, after=made[0], limit=9)
    assert ([batch.id for batch in batches], more) == ([older.id], False), "by time, not by the order of creation alone"
    assert await rows.batches.page(who.project_id, after=older.id, limit=9) == ([], False)
    batches, _ = await rows.batches.page(who.project_id, after=None, limit=1_000)
    assert [batch.id for batch in batches] == [*made[::-1], older.id]


async def test_an_id_begins_with_the_time_of_the_database(rows: Rows) -> None:
    """So that it is in the order of `created_at`, whatever the clocks of the nodes say."""
    who = await rows.principal()
    for seconds in (0, 100_000, -300_000):
        rows.clock.pass_(seconds)
        batch = await create(rows, who)
        assert batch.id[:14] == f"batch_{batch.created_at:08x}"
        assert len(batch.id) == len("batch_") + 32


async def test_case_42_an_idempotency_key_makes_one_batch(rows: Rows) -> None:
    who, other = await rows.principal(), await rows.principal("two")
    values = {"idempotency_key": "k", "fingerprint": "f"}
    made = await asyncio.gather(*(create(rows, who, **values) for _ in range(8)))
    assert len({batch.id for batch in made}) == 1
    assert await count(rows, "batches") == await count(rows, "jobs") == 1
    with pytest.raises(BatchKeyReused) as caught:
        await create(rows, who, idempotency_key="k", fingerprint="another")
    assert caught.value.batch_id == made[0].id
    assert (await create(rows, other, **values)).id != made[0].id
    await rows.batches.cancel(who.project_id, made[0].id)
    assert (await create(rows, who, **values, rate=1)).status is BatchStatus.CANCELLING, "as it is now, and not counted"
    assert (await create(rows, who, rate=1)).id != made[0].id


async def test_so_many_batches_an_hour_and_no_more(rows: Rows) -> None:
    who, other = await rows.principal(), await rows.principal("two")
    for _ in range(4):
        await create(rows, who, rate=4)
    with pytest.raises(BatchRateLimited) as caught:
        await create(rows, who, rate=4)
    assert (caught.value.decision.limit, caught.value.decision.retry_after) == (4, 900.0)
    assert await count(rows, "batches") == await count(rows, "jobs") == 4
    await create(rows, other, rate=4)
    rows.clock.pass_(900)
    await create(rows, who, rate=4)
    with pytest.raises(BatchRateLimited):
        await create(rows, who, rate=4)
    rows.clock.pass_(-10_000_000)
    await create(rows, who, rate=4)


async def test_cancelling_makes_the_job_due_unless_it_is_held(rows: Rows) -> None:
    who = await rows.principal()
    batch = await create(rows, who)
    job = await claim(rows)
    await rows.jobs.retry(job, "paused", delay_seconds=1_000)
    assert await rows.jobs.claim([JobKind.BATCH], token="t", lease_seconds=30, limit=1) == []
    cancelled = await rows.batches.cancel(who.project_id, batch.id)
    assert (cancelled.status, cancelled.cancelling_at) == (BatchStatus.CANCELLING, int(rows.clock.now))
    job = await claim(rows)
    rows.clock.pass_(10)
    assert await rows.batches.cancel(who.project_id, batch.id) == cancelled, "again, without effect"
    assert await rows.jobs.claim([JobKind.BATCH], token="t", lease_seconds=30, limit=1) == [], "still held"
    task = await rows.batch_runs.begin(job)
    assert task is not None
    assert task.batch == cancelled
    await rows.batch_runs.finish(job, BatchStatus.COMPLETED, [])
    ended = await rows.batches.get(who.project_id, batch.id)
    assert (ended.status, ended.cancelled_at, ended.completed_at) == (BatchStatus.CANCELLED, int(rows.clock.now), None)
    assert (ended.counts, ended.finalizing_at, ended.output_file_id) == (RequestCounts(), None, None)
    assert await rows.batches.cancel(who.project_id, batch.id) == ended
    assert await count(rows, "jobs", "kind = 'batch'") == 0


async def test_case_24_a_batch_past_its_end_is_not_cancelled(rows: Rows) -> None:
    who = await rows.principal()
    for status in (BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.FAILED, BatchStatus.FINALIZING):
        batch, job = await begin(rows, who)
        if status is BatchStatus.FAILED:
            await rows.batch_runs.fail(job, [BatchError("c", "m")])
        elif status is BatchStatus.FINALIZING:
            await rows.batch_runs.start_finalizing(job)
        else:
            await rows.batch_runs.finish(job, status, [])
        before = await rows.batches.get(who.project_id, batch.id)
        with pytest.raises(BatchNotCancellable) as caught:
            await rows.batches.cancel(who.project_id, batch.id)
        assert caught.value.status == status.value
        assert await rows.batches.get(who.project_id, batch.id) == before


async def test_a_cancel_beside_the_end_is_either_first_or_refused(rows: Rows) -> None:
    who, before = await rows.principal(), deadlocks(rows)
    for number in range(20):
        batch, job = await begin(rows, who)

        async def end(job: Job = job) -> BatchStatus:
            await rows.batch_runs.start_finalizing(job)
            return await rows.batch_runs.finish(job, BatchStatus.COMPLETED, [])

        async def cancel(batch_id: str = batch.id, number: int = number) -> bool:
            await asyncio.sleep(number * 0.0005)
            try:
                await rows.batches.cancel(who.project_id, batch_id)
            except BatchNotCancellable:
                return False
            return True

        ended, was_cancelled = await asyncio.gather(end(), cancel())
        found = await rows.batches.get(who.project_id, batch.id)
        assert found.status == ended == (BatchStatus.CANCELLED if was_cancelled else BatchStatus.COMPLETED)
        assert (found.cancelled_at is not None, found.completed_at is None) == (was_cancelled, was_cancelled)
    assert deadlocks(rows) == before


# --- validation and state -------------------------------------------------------------------------------------------


async def test_a_failed_validation_ends_the_batch(rows: Rows) -> None:
    who = await rows.principal()
    file = await add_input(rows, who)
    batch = await create(rows, who, file.id)
    job = await claim(rows)
    errors = (BatchError("invalid_json_line", "не JSON \0", 2), BatchError("x", "y", None, "file_id"))
    await rows.batch_runs.fail(job, errors)
    ended = await rows.batches.get(who.project_id, batch.id)
    expected = replace(batch, status=BatchStatus.FAILED, failed_at=int(rows.clock.now), errors=errors)
    assert ended == expected
    assert await count(rows, "batches", "input_blob_key IS NOT NULL") == 0
    assert await count(rows, "jobs", "kind = 'batch'") == 0
    with pytest.raises(JobLost):
        await rows.batch_runs.fail(job, errors)


async def test_case_22_a_batch_that_is_cancelled_while_validating_has_no_lines(rows: Rows) -> None:
    who = await rows.principal()
    for fails in (True, False):
        batch = await create(rows, who)
        job = await claim(rows)
        await rows.batches.cancel(who.project_id, batch.id)
        if fails:
            await rows.batch_runs.fail(job, [BatchError("c", "m")])
        else:
            assert (await rows.batch_runs.start(job, Validated(8, "m"))).status is BatchStatus.CANCELLING
            await rows.batch_runs.finish(job, BatchStatus.COMPLETED, [])
        ended = await rows.batches.get(who.project_id, batch.id)
        assert (ended.status, ended.counts, ended.errors) == (BatchStatus.CANCELLED, RequestCounts(), ())
        assert (ended.in_progress_at, ended.failed_at, ended.model) == (None, None, None)


async def test_steps_that_are_repeated_change_nothing(rows: Rows) -> None:
    who = await rows.principal()
    batch, job = await begin(rows, who, total=3)
    started = await rows.batches.get(who.project_id, batch.id)
    rows.clock.pass_(10)
    assert (await rows.batch_runs.start(job, Validated(9, None))).status is BatchStatus.IN_PROGRESS
    assert await rows.batches.get(who.project_id, batch.id) == started
    assert (await rows.batch_runs.start_finalizing(job)).status is BatchStatus.FINALIZING
    finalizing = await rows.batches.get(who.project_id, batch.id)
    rows.clock.pass_(10)
    for again in (rows.batch_runs.start_finalizing(job), rows.batch_runs.start(job, Validated(9, None))):
        assert (await again).status is BatchStatus.FINALIZING
    assert await rows.batches.get(who.project_id, batch.id) == finalizing
    await rows.batch_runs.finish(job, BatchStatus.EXPIRED, [])
    ended = await rows.batches.get(who.project_id, batch.id)
    assert (ended.expired_at, ended.completed_at, ended.finalizing_at) == (
        int(rows.clock.now),
        None,
        int(rows.clock.now) - 10,
    )


async def test_a_job_of_a_batch_that_has_ended_is_removed(rows: Rows) -> None:
    who = await rows.principal()
    queue = JobQueue(rows.database.dialect)
    batch, job = await begin(rows, who)
    await rows.batch_runs.finish(job, BatchStatus.COMPLETED, [])
    for subject in (batch.id, "batch_none"):
        await rows.database.write(
            lambda connection, subject=subject: queue.add(connection, JobKind.BATCH, subject, who.project_id)
        )
        assert await rows.batch_runs.begin(await claim(rows)) is None
    assert await count(rows, "jobs", "kind = 'batch'") == 0


# --- the journal ----------------------------------------------------------------------------------------------------


@pytest.mark.promise("R-18")
async def test_case_26_the_journal_is_what_was_appended_in_any_order_after_any_loss(rows: Rows) -> None:
    """Random groups, appended once or again, by workers that lose their lease in between."""
    random = Random(7)
    who = await rows.principal()
    total = 300
    batch, job = await begin(rows, who, total=total)
    left = list(range(1, total + 1))
    random.shuffle(left)
    content = {OUTPUT: b"", ERROR: b""}
    done: list[int] = []
    usage = TokenUsage()
    counts = [0, 0]
    while left:
        group = []
        for _ in range(random.randint(1, 3)):
            lines = left[: random.randint(0, 9)]
            left = left[len(lines) :]
            group.append(
                block(
                    *lines,
                    kind=random.choice((OUTPUT, ERROR)),
                    ran=random.random() < 0.7,
                    size=random.choice((0, 40, 5_000)),
                )
            )
        for each in group:
            content[each.kind] += each.data
            done += each.lines
            usage = TokenUsage(*map(sum, zip(usage, each.usage, strict=True)))
            counts = [counts[0] + each.completed, counts[1] + each.failed]
        match random.randint(0, 3):
            case 0:  # the outcome was unknown
                await append(rows, job, *group)
            case 1:  # another worker takes over
                rows.clock.pass_(31)
                late, job = job, await claim(rows)
                with pytest.raises(JobLost):
                    await append(rows, late, *group)
        await append(rows, job, *group)
    found = await rows.batches.get(who.project_id, batch.id)
    assert (found.counts, found.usage) == (RequestCounts(total, *counts), usage)
    packed = array("I")
    packed.frombytes(await rows.batch_runs.done_lines(batch.id))
    assert sorted(packed) == sorted(done) == list(range(1, total + 1))
    for kind, expected in content.items():
        size = await rows.batches.results_size(who.project_id, batch.id, kind)
        assert size == len(expected)
        for _ in range(40):
            start, limit = random.randint(0, size + 10), random.choice((1, 7, 100, 6_000, 10**7))
            part = expected[start : start + limit]
            assert await rows.batch_runs.read_journal(batch.id, kind, start, limit) == part
            assert await rows.batches.read_results(who.project_id, batch.id, kind, start, limit) == part
    assert await rows.files.check() == []


@pytest.mark.promise("R-18")
async def test_a_worker_that_has_lost_its_lease_commits_nothing(rows: Rows) -> None:
    who = await rows.principal()
    batch, late = await begin(rows, who)
    await append(rows, late, block(1))
    file = await output(rows, late, OUTPUT, 2)
    before = await rows.batches.get(who.project_id, batch.id)
    rows.clock.pass_(31)
    job = await claim(rows)
    runs = rows.batch_runs
    for refused in (
        append(rows, late, block(2)),
        append(rows, late),
        runs.start(late, Validated(9, None)),
        runs.fail(late, [BatchError("c", "m")]),
        runs.start_finalizing(late),
        runs.set_pauses(late, [Pause("gpu", None, "it is away")]),
        runs.begin_output(late, new_key(), lease_seconds=60),
        runs.finish(late, BatchStatus.COMPLETED, [file]),
    ):
        with pytest.raises(JobLost):
            await refused
    assert await rows.batches.get(who.project_id, batch.id) == before
    assert await runs.done_lines(batch.id) == array("I", [1]).tobytes()
    with pytest.raises(FileNotFound):
        await rows.files.get(who.project_id, file.file_id)
    assert await runs.finish(job, BatchStatus.EXPIRED, [await output(rows, job, OUTPUT, 2)]) is BatchStatus.EXPIRED


async def test_progress_counts_the_attempts_anew(rows: Rows) -> None:
    who = await rows.principal()
    _, job = await begin(rows, who)
    for _ in range(3):
        rows.clock.pass_(31)
        job = await claim(rows)
    assert job.attempts == 4
    await append(rows, job, block(1))
    rows.clock.pass_(31)
    assert (await claim(rows)).attempts == 2


async def test_pauses_are_seen_by_all_until_the_end(rows: Rows) -> None:
    who, other = await rows.principal(), await rows.principal("two")
    first, job = await begin(rows, who)
    _, second = await begin(rows, other)
    assert await rows.batches.pauses() == []
    busy, full = Pause("gpu", "m", "it is busy ü"), Pause(None, None, "its results cannot be stored")
    await rows.batch_runs.set_pauses(job, [busy])
    await rows.batch_runs.set_pauses(second, [full, busy], Parallelism(0, 4))
    assert (await rows.batches.get(who.project_id, first.id)).pauses == (busy,)
    assert sorted(await rows.batches.pauses(), key=str) == sorted([busy, full], key=str), "each once"
    await rows.batch_runs.set_pauses(second, [])
    assert (await rows.batches.get(other.project_id, second.subject)).parallelism == Parallelism(0, 4)
    assert await rows.batches.pauses() == [busy]
    task = await rows.batch_runs.begin(job)
    assert task is not None
    assert task.batch.pauses == (busy,), "the next worker knows them"
    await rows.batch_runs.finish(job, BatchStatus.EXPIRED, [])
    assert await rows.batches.pauses() == []
    assert (await rows.batches.get(who.project_id, first.id)).pauses == ()


async def test_the_state_is_read_without_blocks(rows: Rows) -> None:
    who = await rows.principal()
    batch, job = await begin(rows, who)
    await append(rows, job, block(1), lines_per_second=1.5)
    await rows.batches.cancel(who.project_id, batch.id)
    now = int(rows.clock.now)
    assert await append(rows, job) == RunState(BatchStatus.CANCELLING, now + DAY, now)
    state = await append(rows, job, block(2))
    assert state.status is BatchStatus.CANCELLING, "lines in flight are still recorded"
    assert (await rows.batches.get(who.project_id, batch.id)).lines_per_second == 1.5


# --- quota ----------------------------------------------------------------------------------------------------------


async def test_case_40_results_that_exceed_the_quota_are_not_recorded(rows: Rows) -> None:
    who = await rows.principal()
    batch, job = await begin(rows, who)
    other = await add(rows, who, 100)
    quota = Quota(205, None)
    await append(rows, job, block(1, size=60), quota=quota)
    before = await rows.batches.get(who.project_id, batch.id)
    for limits in (quota, Quota(None, 205)):
        with pytest.raises(QuotaExceeded):
            await append(rows, job, block(2, size=60), block(3, kind=ERROR), quota=limits)
        assert await rows.batches.get(who.project_id, batch.id) == before
        assert (await rows.files.usage(who.project_id)).bytes_reserved == 60
    assert await rows.files.check() == []
    await rows.files.delete(who.project_id, other.id)
    await append(rows, job, block(2, size=60), block(3, kind=ERROR), quota=quota)
    assert await rows.batch_runs.done_lines(batch.id) in (
        array("I", [3, 1, 2]).tobytes(),
        array("I", [1, 2, 3]).tobytes(),
    )
    reserved = (await rows.files.usage(who.project_id)).bytes_reserved
    assert 122 <= reserved <= 200
    assert await rows.files.check() == []


async def test_the_reservation_becomes_the_usage_of_the_files(rows: Rows) -> None:
    who = await rows.principal()
    _, job = await begin(rows, who, 2)
    await append(rows, job, block(1, size=50), block(2, size=30, kind=ERROR))
    quota = Quota(2_000_000, None)
    usage = await rows.files.usage(who.project_id)
    assert (usage.bytes_used, usage.bytes_reserved) == (5, 80 + 1024 * 1024), "some ahead"
    with pytest.raises(QuotaExceeded):
        await add(rows, who, 1_000_000, quota=quota)
    files = [await output(rows, job, OUTPUT, 50), await output(rows, job, ERROR, 30)]
    await rows.batch_runs.finish(job, BatchStatus.COMPLETED, files)
    usage = await rows.files.usage(who.project_id)
    assert (usage.bytes_used, usage.bytes_reserved, usage.files) == (85, 0, 3)
    await add(rows, who, 1_000_000, quota=quota)
    assert await rows.files.check() == []


async def test_files_are_published_together_or_not_at_all(rows: Rows) -> None:
    who = await rows.principal()
    batch, job = await begin(rows, who, 2)
    await append(rows, job, block(1, size=50), block(2, size=30, kind=ERROR))
    files = [await output(rows, job, OUTPUT, 50), await output(rows, job, ERROR, 30)]
    assert await rows.files.abandon(files[1].blob_key)
    with pytest.raises(UploadLost):
        await rows.batch_runs.finish(job, BatchStatus.COMPLETED, files)
    found = await rows.batches.get(who.project_id, batch.id)
    assert (found.status, found.output_file_id) == (BatchStatus.IN_PROGRESS, None)
    assert (await rows.files.usage(who.project_id)).files == 1
    files[1] = await output(rows, job, ERROR, 30)
    assert await rows.batch_runs.finish(job, BatchStatus.COMPLETED, files) is BatchStatus.COMPLETED
    assert await rows.files.check() == []


# --- the input ------------------------------------------------------------------------------------------------------


async def garbage(rows: Rows) -> list[str]:
    return await rows.files.claim_garbage(lease_seconds=60, limit=100)


@pytest.mark.parametrize("way", ["deleted", "expired"])
async def test_case_38_the_input_stays_as_long_as_it_is_needed(rows: Rows, way: str) -> None:
    who = await rows.principal()
    await rows.files.observe_clock()
    file = await add_input(rows, who, expires_after_seconds=3_600)
    first, second = await create(rows, who, file.id), await create(rows, who, file.id)
    if way == "deleted":
        await rows.files.delete(who.project_id, file.id)
        assert await rows.files.is_pinned(file.blob_key)
    else:
        rows.clock.pass_(3_600)
        await rows.run("UPDATE clock SET seen_us = NULL, proven_us = NULL, jumped_us = NULL")
    with pytest.raises(FileNotFound):
        await rows.files.get(who.project_id, file.id)
    assert (await create(rows, who, file.id)).status is BatchStatus.VALIDATING
    for _ in range(2):
        rows.clock.pass_(1_000)
        await rows.run("UPDATE clock SET seen_us = NULL, proven_us = NULL, jumped_us = NULL")
        assert await garbage(rows) == []
        assert await rows.files.check() == []
    assert await rows.files.usage(who.project_id) == Usage(0, 0, 0), "its owner is not charged any more"
    keys = []
    for _ in range(3):
        job = await claim(rows)
        task = await rows.batch_runs.begin(job)
        assert task is not None
        keys.append(task.input_blob_key)
        if task.input_blob_key is not None:
            assert await garbage(rows) == []
        if job.subject == first.id:
            await rows.batch_runs.finish(job, BatchStatus.COMPLETED, [])
        else:
            await rows.batch_runs.fail(job, [BatchError("c", "m")])
    assert keys == [file.blob_key, file.blob_key, None]
    assert second.id != first.id
    assert not await rows.files.is_pinned(file.blob_key)
    assert await rows.files.check() == [], "the sweep gets its time"
    assert await garbage(rows) == [file.blob_key]


async def test_a_batch_beside_the_deletion_of_its_input_has_it_or_not(rows: Rows) -> None:
    who, before = await rows.principal(), deadlocks(rows)
    for number in range(20):
        file = await add_input(rows, who)

        async def delete(file_id: str = file.id, number: int = number) -> None:
            await asyncio.sleep((number - 10) * 0.0005)
            await rows.files.delete(who.project_id, file_id)

        batch, _ = await asyncio.gather(create(rows, who, file.id), delete())
        pinned = await rows.files.is_pinned(file.blob_key)
        assert (file.blob_key in await garbage(rows)) != pinned
        job = await claim(rows)
        task = await rows.batch_runs.begin(job)
        assert task is not None
        assert (task.batch.id, task.input_blob_key) == (batch.id, file.blob_key if pinned else None)
        await rows.batch_runs.finish(job, BatchStatus.COMPLETED, [])
    assert deadlocks(rows) == before


# --- the sweep and the webhook --------------------------------------------------------------------------------------


async def test_journals_are_deleted_after_the_end(rows: Rows) -> None:
    who = await rows.principal()
    running, running_job = await begin(rows, who)
    await append(rows, running_job, block(1))
    for _ in range(2):
        _, job = await begin(rows, who)
        for line in range(5):
            await append(rows, job, block(line))
        await rows.batch_runs.finish(job, BatchStatus.COMPLETED, [await output(rows, job, OUTPUT, 10)])
    deleted = []
    while number := await rows.batch_runs.delete_finished_journals(3):
        deleted.append(number)
    assert sum(deleted) == 10 and max(deleted) <= 3
    assert await count(rows, "batches", "to_sweep = 1") == 0
    assert await rows.batch_runs.done_lines(running.id) == array("I", [1]).tobytes()
    assert await rows.batches.read_results(who.project_id, running.id, OUTPUT, 0, 9) == block(1).data


async def test_an_event_is_recorded_with_the_end_and_deleted_with_its_delivery(rows: Rows) -> None:
    who = await rows.principal()
    events = rows.webhook_events
    for status in (BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.FAILED, BatchStatus.CANCELLED):
        batch, job = await begin(rows, who)
        if status is BatchStatus.CANCELLED:
            await rows.batches.cancel(who.project_id, batch.id)
        if status is BatchStatus.FAILED:
            await rows.batch_runs.fail(job, [BatchError("c", "m")])
        else:
            await rows.batch_runs.finish(
                job, BatchStatus.EXPIRED if status is BatchStatus.EXPIRED else BatchStatus.COMPLETED, []
            )
        delivery = await claim(rows, JobKind.WEBHOOK)
        event = await events.get(delivery)
        assert event == WebhookEvent(delivery.subject, f"batch.{status.value}", batch.id, int(rows.clock.now))
        assert event.id.startswith("evt_")
        if status is BatchStatus.FAILED:
            await events.give_up(delivery, "no")
            assert [dead.subject for dead in await rows.jobs.dead(9)] == [event.id]
        else:
            await events.finish(delivery)
        assert await events.get(delivery) is None
        with pytest.raises(JobLost):
            await events.finish(delivery)


async def test_without_a_webhook_no_event_is_recorded(rows: Rows) -> None:
    who = await rows.principal()
    _, job = await begin(rows, who)
    await SqlBatchRunRepository(rows.database, new_id).finish(job, BatchStatus.COMPLETED, [])
    assert await count(rows, "webhook_events") == await count(rows, "jobs") == 0


async def test_an_input_in_parts_stays_until_its_batch_ends(rows: Rows) -> None:
    who = await rows.principal()
    upload = await create_upload(rows, who, 6, purpose="batch", filename="in.jsonl")
    parts = await put_all(rows, who, upload.id, b"one", b"two")
    file = (await complete(rows, who, upload.id, parts)).file
    keys = {part.blob_key for part in await rows.files.content_parts(file.blob_key)}
    assert len(keys) == 2
    batch = await create(rows, who, file.id)
    await rows.files.delete(who.project_id, file.id)
    assert await garbage(rows) == []
    assert {part.blob_key for part in await rows.files.content_parts(file.blob_key)} == keys
    job = await claim(rows)
    await rows.batch_runs.fail(job, [BatchError("empty_file", "x")])
    assert (await rows.batches.get(who.project_id, batch.id)).status is BatchStatus.FAILED
    assert set(await garbage(rows)) == keys | {file.blob_key}
