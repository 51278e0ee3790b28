"""Each sentence of `JobRepository`. Jobs are added by attaching files, as in production."""

import asyncio

import pytest

from filestead.domain.errors import JobLost
from filestead.domain.jobs import Job, JobKind
from filestead.domain.vector_stores.model import NewAttachment, NewStore, SegmentData
from filestead.installation import new_id
from tests.conformance.test_file_repository import add
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio

LEASE = 60
KINDS = [JobKind.INDEX]
EMPTY = SegmentData(0, 0, 0, [], [])


async def enqueue(rows: Rows, count: int, project: str = "one") -> str:
    """A store with so many files to index."""
    who = await rows.principal(project)
    files = [await add(rows, who, filename="a.txt") for _ in range(count)]
    store = new_id("vs_")
    new = [NewAttachment(file.id) for file in files]
    await rows.stores.create(who.project_id, who.organization_id, NewStore(store), new, rate=0)
    return store


async def claim(rows: Rows, limit: int = 10, token: str | None = None) -> list[Job]:
    return await rows.jobs.claim(KINDS, token=token or new_id("t"), lease_seconds=LEASE, limit=limit)


async def test_each_job_goes_to_one_caller(rows: Rows) -> None:
    await enqueue(rows, 20)
    claimed = await asyncio.gather(*(claim(rows, 3) for _ in range(10)))
    ids = [job.id for jobs in claimed for job in jobs]
    assert sorted(ids) == sorted(set(ids))
    rest = await claim(rows, 20)
    assert len(ids) + len(rest) == 20
    assert all(job.attempts == 1 and job.kind is JobKind.INDEX for jobs in claimed for job in jobs)
    assert await claim(rows) == []


async def test_only_the_kinds_that_are_asked_for(rows: Rows) -> None:
    await enqueue(rows, 1)
    assert await rows.jobs.claim([JobKind.MERGE], token="t", lease_seconds=LEASE, limit=5) == []
    assert len(await claim(rows)) == 1


async def test_projects_take_turns(rows: Rows) -> None:
    await enqueue(rows, 30, "greedy")
    await enqueue(rows, 2, "modest")
    modest = (await rows.principal("modest")).project_id
    first = await claim(rows, 4)
    assert [job.project_id for job in first].count(modest) == 2, "both of the modest project are among the first four"
    assert len(await claim(rows, 40)) == 28


async def test_the_turn_is_remembered(rows: Rows) -> None:
    await enqueue(rows, 3, "one")
    rows.clock.pass_(1)
    await enqueue(rows, 3, "two")
    order = []
    for _ in range(6):
        (job,) = await claim(rows, 1)
        order.append(job.project_id)
        rows.clock.pass_(0.001)
    assert order[0] != order[1]
    assert order[:2] * 3 == order


async def test_a_lease_that_ran_out_is_claimed_again(rows: Rows) -> None:
    await enqueue(rows, 1)
    (first,) = await claim(rows)
    rows.clock.pass_(LEASE - 1)
    assert await claim(rows) == []
    assert await rows.jobs.renew([first], lease_seconds=LEASE) == {first.id}
    rows.clock.pass_(LEASE - 1)
    assert await claim(rows) == [], "the lease was renewed"
    rows.clock.pass_(2)
    (second,) = await claim(rows)
    assert (second.id, second.attempts) == (first.id, 2)
    assert await rows.jobs.renew([first], lease_seconds=LEASE) == set()


async def test_a_worker_that_lost_its_lease_changes_nothing(rows: Rows) -> None:
    store = await enqueue(rows, 1)
    who = await rows.principal()
    (first,) = await claim(rows)
    task = await rows.index.index_task(first)
    assert task is not None
    rows.clock.pass_(LEASE + 1)
    (second,) = await claim(rows)
    with pytest.raises(JobLost):
        await rows.index.complete_file(first, task, EMPTY, usage_bytes=1)
    with pytest.raises(JobLost):
        await rows.index.add_chunks(first, task, 0, [])
    await rows.jobs.retry(first, "late", delay_seconds=0)
    await rows.jobs.bury(first, "late")
    await rows.jobs.finish(first)
    await rows.jobs.release([first])
    assert (await rows.stores.get(who.project_id, store)).counts.in_progress == 1
    assert await claim(rows) == [], "the second claim holds"
    await rows.index.complete_file(second, task, EMPTY, usage_bytes=1)
    assert (await rows.stores.get(who.project_id, store)).counts.completed == 1


async def test_a_retry_waits(rows: Rows) -> None:
    await enqueue(rows, 1)
    (job,) = await claim(rows)
    await rows.jobs.retry(job, "the store hangs", delay_seconds=30)
    rows.clock.pass_(29)
    assert await claim(rows) == []
    rows.clock.pass_(2)
    (again,) = await claim(rows)
    assert again.attempts == 2


async def test_dead_letters(rows: Rows) -> None:
    await enqueue(rows, 1)
    (job,) = await claim(rows)
    await rows.jobs.bury(job, "x" * 5_000)
    rows.clock.pass_(10 * LEASE)
    assert await claim(rows) == []
    (dead,) = await rows.jobs.dead(10)
    assert (dead.id, dead.kind, dead.subject, dead.attempts) == (job.id, "index", job.subject, 1)
    assert dead.error == "x" * 2_000
    assert dead.died_at == int(rows.clock.now) - 10 * LEASE


async def test_a_released_job_is_due_and_the_attempt_does_not_count(rows: Rows) -> None:
    await enqueue(rows, 1)
    (job,) = await claim(rows)
    await rows.jobs.release([job])
    (again,) = await claim(rows)
    assert (again.id, again.attempts) == (job.id, 1)


async def test_every_lease_can_be_ended(rows: Rows) -> None:
    await enqueue(rows, 3)
    await claim(rows, 2)
    assert await rows.jobs.release_leases() == 2
    assert len(await claim(rows)) == 3


async def test_a_finished_job_is_gone(rows: Rows) -> None:
    await enqueue(rows, 1)
    (job,) = await claim(rows)
    await rows.jobs.finish(job)
    rows.clock.pass_(2 * LEASE)
    assert await claim(rows) == []
    assert await rows.jobs.dead(1) == []
