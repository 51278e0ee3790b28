"""Each sentence of `JobRepository`."""

import asyncio
from collections import Counter

import pytest

from filestead.database.repositories.jobs import REVIVE_SECONDS, JobQueue
from filestead.domain.access import Principal
from filestead.domain.errors import JobLost
from filestead.domain.jobs import Job, JobKind
from filestead.installation import new_id
from filestead.worker.worker import Worker
from tests.conformance.attachments import claim, count
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio


async def add(rows: Rows, who: Principal, *subjects: str, kind: JobKind = JobKind.INDEX) -> None:
    queue = JobQueue(rows.database.dialect)
    for subject in subjects:
        await rows.database.write(lambda connection, s=subject: queue.add(connection, kind, s, who.project_id))


async def add_many(rows: Rows, who: Principal, number: int) -> None:
    await rows.run(
        "INSERT INTO jobs (kind, subject, project_id, due_us, created_us) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
        f"SELECT i + 1 FROM n WHERE i < {number}) SELECT 'index', '{who.project_id}' || i, '{who.project_id}', 1, 1 FROM n"
    )


async def subjects(rows: Rows, limit: int = 100) -> list[str]:
    return [job.subject for job in await claim(rows, limit)]


async def test_projects_take_turns_however_many_jobs_one_has(rows: Rows) -> None:
    many, few = await rows.principal("many"), await rows.principal("few")
    await add_many(rows, many, 1_000)
    await add(rows, few, "a", "b", "c", "d")
    singly = [(await claim(rows, 1))[0].project_id for _ in range(4)]
    assert sorted(singly[:2]) == sorted(singly[2:]) == sorted([many.project_id, few.project_id])
    # A call that gave one project more than the other is followed by the other's turn.
    together = [job.project_id for job in await claim(rows, 3)]
    assert Counter(together) in ({many.project_id: 2, few.project_id: 1}, {many.project_id: 1, few.project_id: 2})
    (following,) = await claim(rows, 1)
    assert following.project_id != together[-1]


async def test_jobs_of_a_project_are_claimed_in_the_order_in_which_they_were_due(rows: Rows) -> None:
    who = await rows.principal()
    assert await claim(rows) == []
    await add(rows, who, "first", "second")
    rows.clock.pass_(1)
    await add(rows, who, "third")
    await add(rows, who, "store", kind=JobKind.MERGE)
    only = await rows.jobs.claim([JobKind.MERGE], token="m", lease_seconds=60, limit=9)
    assert [(job.kind, job.subject, job.attempts) for job in only] == [(JobKind.MERGE, "store", 1)]
    assert [await subjects(rows, 1) for _ in range(4)] == [["first"], ["second"], ["third"], []]
    assert await rows.jobs.claim([], token="m", lease_seconds=60, limit=9) == []


async def test_a_merge_comes_before_the_files_that_wait(rows: Rows) -> None:
    who = await rows.principal()
    await add(rows, who, "first", "second")
    rows.clock.pass_(1)
    await add(rows, who, "store", kind=JobKind.MERGE)
    assert [await subjects(rows, 1) for _ in range(3)] == [["store"], ["first"], ["second"]]


async def test_a_job_goes_to_one_of_many_claimers(rows: Rows) -> None:
    people = [await rows.principal(name) for name in ("one", "two", "three")]
    for who in people:
        await add_many(rows, who, 70)
    claimed: list[Job] = []

    async def work() -> None:
        while jobs := await claim(rows, 4):
            claimed.extend(jobs)

    await asyncio.gather(*(work() for _ in range(24)))
    assert len(claimed) == 210
    assert len({job.id for job in claimed}) == len({job.token for job in claimed}) == 210


async def test_a_lease_ends_unless_it_is_renewed(rows: Rows) -> None:
    await add(rows, await rows.principal(), "kept", "left")
    kept, left = await claim(rows, lease=60)
    rows.clock.pass_(59)
    assert await rows.jobs.renew([kept], lease_seconds=60) == {kept.id}
    assert await claim(rows) == []
    rows.clock.pass_(1)
    (again,) = await claim(rows)
    assert (again.id, again.subject, again.attempts) == (left.id, "left", 2)
    assert again.token != left.token
    assert await rows.jobs.renew([kept, left], lease_seconds=60) == {kept.id}


@pytest.mark.promise("R-18")
async def test_a_worker_that_has_lost_its_lease_changes_nothing(rows: Rows) -> None:
    who = await rows.principal()
    await add(rows, who, "a")
    (lost,) = await claim(rows, lease=10)
    rows.clock.pass_(10)
    (held,) = await claim(rows, lease=60)
    await rows.jobs.retry(lost, "late", delay_seconds=0)
    await rows.jobs.bury(lost, "late")
    await rows.jobs.finish(lost)
    await rows.jobs.release([lost])
    assert await rows.jobs.dead(9) == []
    assert await claim(rows) == []
    assert await rows.jobs.renew([held], lease_seconds=60) == {held.id}
    queue = JobQueue(rows.database.dialect)
    for step in (queue.require_held, queue.finish, lambda connection, job: queue.bury(connection, job, "")):
        with pytest.raises(JobLost):
            await rows.database.write(lambda connection, step=step: step(connection, lost))


async def test_a_retry_waits_for_its_delay(rows: Rows) -> None:
    await add(rows, await rows.principal(), "a")
    (job,) = await claim(rows)
    await rows.jobs.retry(job, "x" * 9_000, delay_seconds=2.5)
    rows.clock.pass_(2)
    assert await claim(rows) == []
    rows.clock.pass_(0.5)
    (again,) = await claim(rows)
    assert (again.id, again.attempts) == (job.id, 2)
    await rows.jobs.finish(again)
    assert await count(rows, "jobs") == 0


async def test_dead_letters_are_kept_and_not_claimed(rows: Rows) -> None:
    who = await rows.principal()
    await add(rows, who, "a", "b")
    for job in await claim(rows):
        await rows.jobs.bury(job, f"ä{job.subject}")
        rows.clock.pass_(1)
    rows.clock.pass_(60)
    assert await claim(rows) == []
    latest, first = await rows.jobs.dead(9)
    assert (latest.subject, latest.error, latest.attempts, latest.project_id) == ("b", "äb", 1, who.project_id)
    assert (first.subject, first.died_at) == ("a", latest.died_at - 1)
    assert await rows.jobs.dead(1) == [latest]
    assert await rows.jobs.release_leases() == 0


async def test_a_dead_letter_does_not_stop_new_jobs_of_its_subject_for_ever(rows: Rows) -> None:
    who = await rows.principal()
    await add(rows, who, "store", kind=JobKind.MERGE)
    (job,) = await claim(rows)
    await rows.jobs.bury(job, "broken")
    rows.clock.pass_(REVIVE_SECONDS - 1)
    await add(rows, who, "store", kind=JobKind.MERGE)
    assert await claim(rows) == []
    rows.clock.pass_(1)
    await add(rows, who, "store", kind=JobKind.MERGE)
    (again,) = await claim(rows)
    assert (again.subject, again.attempts, await rows.jobs.dead(9)) == ("store", 1, [])


async def test_a_subject_has_one_job(rows: Rows) -> None:
    who = await rows.principal()
    await add(rows, who, "a", "a")
    (job,) = await claim(rows)
    await add(rows, who, "a")
    assert await claim(rows) == []
    assert await rows.jobs.renew([job], lease_seconds=60) == {job.id}
    await rows.jobs.finish(job)
    await add(rows, who, "a")
    assert len(await claim(rows)) == 1


async def test_released_jobs_are_due_at_once_and_their_attempts_are_not_counted(rows: Rows) -> None:
    await add(rows, await rows.principal(), "a", "b")
    await rows.jobs.release(await claim(rows))
    again = await claim(rows)
    assert [job.attempts for job in again] == [1, 1]
    assert await rows.jobs.release_leases() == 2
    assert await rows.jobs.renew(again, lease_seconds=60) == set()
    assert [job.attempts for job in await claim(rows)] == [2, 2]


@pytest.mark.promise("R-18")
async def test_a_job_is_finished_in_the_transaction_of_its_effect(rows: Rows) -> None:
    who = await rows.principal()
    await add(rows, who, "a")
    (job,) = await claim(rows)
    queue = JobQueue(rows.database.dialect)

    def fails(connection: object) -> None:
        queue.finish(connection, job)  # type: ignore[arg-type]
        queue.add(connection, JobKind.MERGE, "effect", who.project_id)  # type: ignore[arg-type]
        raise JobLost

    with pytest.raises(JobLost):
        await rows.database.write(fails)
    assert await rows.jobs.renew([job], lease_seconds=1) == {job.id}
    assert await count(rows, "jobs") == 1
    await rows.database.write(lambda connection: queue.remove(connection, JobKind.INDEX, ["a", "b"]))
    assert await count(rows, "jobs") == 0


async def test_heartbeats_and_effects_of_the_same_jobs_do_not_deadlock(rows: Rows) -> None:
    """An effect finishes one job and then adds another, which may be older and held, too."""
    who = await rows.principal()
    queue = JobQueue(rows.database.dialect)
    await add(rows, who, "store", kind=JobKind.MERGE)
    await add(rows, who, *(f"{n}" for n in range(20)))
    held = await claim(rows)

    async def effect(job: Job) -> None:
        def operation(connection: object) -> None:
            queue.finish(connection, job)  # type: ignore[arg-type]
            queue.add(connection, JobKind.MERGE, "store", who.project_id)  # type: ignore[arg-type]

        await rows.database.write(operation)

    beats = [rows.jobs.renew(held, lease_seconds=60) for _ in range(12)]
    await asyncio.gather(*beats, *(effect(job) for job in held if job.kind is JobKind.INDEX))
    assert await count(rows, "jobs") == 1


async def test_projects_that_have_their_share_are_left_out(rows: Rows) -> None:
    one, two = await rows.principal("one"), await rows.principal("two")
    await add(rows, one, "a", "b")
    await add(rows, two, "c")

    async def claim_without(*projects: Principal) -> list[str]:
        excluded = [project.project_id for project in projects]
        jobs = await rows.jobs.claim([JobKind.INDEX], token="t", lease_seconds=60, limit=9, exclude_projects=excluded)
        return [job.subject for job in jobs]

    assert await claim_without(one, two) == []
    assert await claim_without(one) == ["c"]
    assert await claim_without(two) == ["a", "b"]


async def test_a_worker_gives_no_project_more_than_its_share(rows: Rows) -> None:
    one, two = await rows.principal("one"), await rows.principal("two")
    await add(rows, one, "a", "b", "c", "d")
    await add(rows, two, "e")
    running: list[str] = []
    release = asyncio.Event()

    class Waiting:
        async def run(self, job: Job) -> None:
            running.append(job.subject)
            await release.wait()
            await rows.jobs.finish(job)

        async def give_up(self, job: Job, error: str) -> None:
            raise AssertionError(error)

    worker = Worker(
        rows.jobs,
        {JobKind.INDEX: Waiting()},
        slots=4,
        slots_per_project=2,
        lease_seconds=30,
        new_token=lambda: new_id("t-"),
    )
    task = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(30):
            while len(running) < 3:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            assert sorted(running) == ["a", "b", "e"]
            ((lease,),) = await rows.run("SELECT max(due_us) FROM jobs WHERE token IS NOT NULL")
            assert lease == int((rows.clock.now + 30) * 1e6)
            release.set()
            while len(running) < 5:
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert sorted(running) == ["a", "b", "c", "d", "e"]
