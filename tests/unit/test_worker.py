"""The claim loop: what becomes of jobs that succeed, fail, hang, or are interrupted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from filestead.domain import jobs
from filestead.domain.errors import BlobStoreUnavailable, DatabaseUnavailable, StorageFailed
from filestead.domain.jobs import MAX_ATTEMPTS, Job, JobKind
from filestead.installation import new_id
from filestead.worker import worker
from filestead.worker.worker import Worker
from tests.conformance.attachments import make_store
from tests.conformance.test_file_repository import add
from tests.support.databases import Rows, on_sqlite
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[Rows]:
    with on_sqlite(tmp_path) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)


class Recorder:
    """A handler that does what a test says, and notes the jobs."""

    def __init__(self, rows: Rows, act: Callable[[Job], object] | None = None) -> None:
        self.rows = rows
        self.act = act
        self.ran: list[Job] = []
        self.given_up: list[str] = []
        self.most = self.now = 0

    async def run(self, job: Job) -> None:
        self.ran.append(job)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.act is not None:
                result = self.act(job)
                if asyncio.iscoroutine(result):
                    await result
            await self.rows.jobs.finish(job)
        finally:
            self.now -= 1

    async def give_up(self, job: Job, error: str) -> None:
        self.given_up.append(error)
        await self.rows.jobs.bury(job, error)


@asynccontextmanager
async def working(rows: Rows, handler: Recorder, slots: int = 2, **options: Any) -> AsyncIterator[Worker]:
    made = Worker(rows.jobs, {JobKind.INDEX: handler}, slots=slots, new_token=lambda: new_id("t"), **options)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def enqueue(rows: Rows, count: int) -> None:
    who = await rows.principal()
    await make_store(rows, who, *[(await add(rows, who)).id for _ in range(count)])


async def due(rows: Rows) -> int:
    """The end of the lease of the only job."""
    ((due_us,),) = await rows.run("SELECT due_us FROM jobs")
    return int(due_us)


async def test_every_job_is_run_once_and_no_more_than_the_slots_at_a_time(rows: Rows) -> None:
    await enqueue(rows, 20)
    handler = Recorder(rows, lambda job: asyncio.sleep(0.005))
    async with working(rows, handler, slots=3):
        await until(lambda: len(handler.ran) == 20)
        await asyncio.sleep(0.05)
    assert len({job.id for job in handler.ran}) == len(handler.ran) == 20
    assert handler.most == 3


async def test_a_failure_is_retried_later_and_given_up_in_the_end(rows: Rows) -> None:
    await enqueue(rows, 1)

    def fail(job: Job) -> None:
        raise StorageFailed("the disk fails")

    handler = Recorder(rows, fail)
    async with working(rows, handler):
        for attempt in range(1, MAX_ATTEMPTS + 1):
            await until(lambda attempt=attempt: len(handler.ran) == attempt)  # type: ignore[misc]
            await asyncio.sleep(0.05)
            assert len(handler.ran) == attempt, "the next attempt waits"
            rows.clock.pass_(jobs.RETRY_SECONDS[-1] * 2)
        await until(lambda: bool(handler.given_up))
    assert handler.given_up == ["StorageFailed: the disk fails"]
    assert [dead.attempts for dead in await rows.jobs.dead(5)] == [MAX_ATTEMPTS]


async def test_a_claim_that_a_shutdown_interrupts_is_given_back(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the job would wait for the end of a lease that nobody holds."""
    await enqueue(rows, 1)
    claim, is_committed = rows.jobs.claim, asyncio.Event()

    async def claim_slowly(*arguments: Any, **options: Any) -> list[Job]:
        claimed = await claim(*arguments, **options)
        is_committed.set()
        await asyncio.sleep(0.05)
        return claimed

    monkeypatch.setattr(rows.jobs, "claim", claim_slowly)
    handler = Recorder(rows)
    async with working(rows, handler):
        await is_committed.wait()
    assert handler.ran == []
    assert await rows.run("SELECT token, attempts FROM jobs") == [(None, 0)]


@pytest.mark.parametrize("outage", [BlobStoreUnavailable, DatabaseUnavailable])
async def test_an_outage_is_no_attempt(rows: Rows, outage: type[Exception]) -> None:
    await enqueue(rows, 1)
    attempts = 2 * MAX_ATTEMPTS

    def fail(job: Job) -> None:
        if len(handler.ran) <= attempts:
            raise outage

    handler = Recorder(rows, fail)
    async with working(rows, handler):
        for attempt in range(1, attempts + 1):
            await until(lambda attempt=attempt: len(handler.ran) == attempt)  # type: ignore[misc]
            await asyncio.sleep(0.02)
            rows.clock.pass_(jobs.OUTAGE_SECONDS * 2)
        await until(lambda: len(handler.ran) == attempts + 1)
    assert {job.attempts for job in handler.ran} == {1}
    assert handler.given_up == [] and await rows.jobs.dead(5) == []


async def test_a_job_that_killed_its_workers_is_given_up_without_another_try(rows: Rows) -> None:
    await enqueue(rows, 1)
    for _ in range(MAX_ATTEMPTS):
        assert await rows.jobs.claim([JobKind.INDEX], token=new_id("t"), lease_seconds=60, limit=1)
        rows.clock.pass_(61)
    handler = Recorder(rows)
    async with working(rows, handler):
        await until(lambda: bool(handler.given_up))
    assert handler.ran == []


async def test_jobs_in_progress_are_given_back_at_the_shutdown(rows: Rows) -> None:
    await enqueue(rows, 1)
    handler = Recorder(rows, lambda job: asyncio.sleep(60))
    async with working(rows, handler):
        await until(lambda: len(handler.ran) == 1)
    (job,) = await rows.jobs.claim([JobKind.INDEX], token="t", lease_seconds=60, limit=1)
    assert job.attempts == 1, "the interrupted attempt does not count"


async def test_the_heartbeat_keeps_a_lease_and_a_lost_one_ends_the_task(
    rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await enqueue(rows, 1)
    cancelled = asyncio.Event()

    async def hang(job: Job) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    handler = Recorder(rows, hang)
    async with working(rows, handler, lease_seconds=0.2):
        await until(lambda: len(handler.ran) == 1)
        before = await due(rows)
        rows.clock.pass_(0.15)
        async with asyncio.timeout(30):
            while await due(rows) == before:  # until a heartbeat
                await asyncio.sleep(0.01)
        rows.clock.pass_(0.15)
        assert not cancelled.is_set()
        assert len(handler.ran) == 1, "the lease was renewed"
        await rows.run("UPDATE jobs SET token = 'of another worker', due_us = 9000000000000000")
        await asyncio.wait_for(cancelled.wait(), 30)
    assert "is not ours any more" in caplog.text
