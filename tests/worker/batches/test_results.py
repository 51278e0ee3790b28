"""Results on their way to the journal of a real database: in groups, and without loss while nothing can be stored."""

import asyncio
import time
from array import array
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from filestead.domain.batches.model import BatchStatus, RequestCounts, ResultBlock, ResultKind, RunState, TokenUsage
from filestead.domain.errors import DatabaseUnavailable, JobLost, OutcomeUnknown
from filestead.domain.jobs import Job
from filestead.domain.quota import Quota
from filestead.worker.batches import results
from filestead.worker.batches.results import MAX_GROUP_BYTES, Result, Results
from tests.conformance.batches import begin
from tests.support.databases import Rows, on_sqlite
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

UNLIMITED = Quota(None, None)


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[Rows]:
    with on_sqlite(tmp_path) as opened:
        yield opened


class Journal:
    """The journal of a job; a test may let commits fail before or after their effect."""

    def __init__(self, rows: Rows, job: Job) -> None:
        self.rows = rows
        self.job = job
        self.quota = UNLIMITED
        self.groups: list[list[int]] = []
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None

    async def append(self, blocks: Sequence[ResultBlock], lines_per_second: float | None) -> RunState:
        if blocks:
            self.groups.append([line for block in blocks for line in block.lines])
            self.before()
        state = await self.rows.batch_runs.append(self.job, blocks, quota=self.quota, lines_per_second=lines_per_second)
        if blocks:
            self.after()
        return state

    def numbers(self) -> list[int]:
        return [line for group in self.groups for line in group]


def output(line: int, size: int = 10) -> Result:
    text = b"x" * (size - 1) + b"\n"
    return Result(ResultKind.OUTPUT, line, text, completed=True, usage=TokenUsage(1, 0, 2, 0, 3))


def made(journal: Journal) -> Results:
    state = RunState(BatchStatus.IN_PROGRESS, 86_400, 0)
    return Results("batch_x", journal, time.monotonic, state=state, state_at=time.monotonic())


@asynccontextmanager
async def storing(journal: Journal) -> AsyncIterator[Results]:
    one = made(journal)
    task = asyncio.create_task(one.run())
    try:
        yield one
    finally:
        one.close()
        await asyncio.wait({task}, timeout=5)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def stored(rows: Rows, job: Job) -> list[int]:
    return sorted(array("I", await rows.batch_runs.done_lines(job.subject)))


async def test_results_are_stored_in_groups_with_counts_and_usage(rows: Rows) -> None:
    who = await rows.principal()
    batch, job = await begin(rows, who, 1_000)
    journal = Journal(rows, job)
    async with storing(journal) as one:
        for line in range(1, 901):
            one.add(output(line))
        for line in range(901, 951):
            one.add(Result(ResultKind.ERROR, line, b"failed\n", failed=True))
        for line in range(951, 1_001):
            one.add(Result(ResultKind.ERROR, line, b"never ran\n"))
        await one.drained()
    assert len(journal.groups) == 1, "one commit for what came within 50 ms"
    found = await rows.batches.get(who.project_id, batch.id)
    assert found.counts == RequestCounts(1_000, 900, 50)
    assert found.usage == TokenUsage(900, 0, 1_800, 0, 2_700)
    assert await rows.batch_runs.read_journal(batch.id, ResultKind.OUTPUT, 0, 100_000) == (b"x" * 9 + b"\n") * 900
    assert await stored(rows, job) == list(range(1, 1_001))


@pytest.mark.timing
async def test_a_result_is_stored_soon_and_large_groups_at_once(rows: Rows) -> None:
    who = await rows.principal()
    _, job = await begin(rows, who, 1_000)
    journal = Journal(rows, job)
    async with storing(journal) as one:
        begun = time.monotonic()
        one.add(output(1))
        await one.drained()
        assert time.monotonic() - begun < 1.0
        for line in range(2, 10):
            one.add(output(line, MAX_GROUP_BYTES // 2))
        await one.drained()
    assert [len(group) for group in journal.groups] == [1, 2, 2, 2, 2], "a commit is bounded"


async def test_commits_are_rarer_while_requests_are_served(rows: Rows) -> None:
    who = await rows.principal()
    _, job = await begin(rows, who, 10)
    journal = Journal(rows, job)
    async with storing(journal) as one:
        one.is_busy = lambda: True
        begun = time.monotonic()
        one.add(output(1))
        await until(lambda: bool(journal.groups))
        assert time.monotonic() - begun >= 0.9 * results.BUSY_GROUP_SECONDS


async def test_the_last_results_are_stored_at_once(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "BUSY_GROUP_SECONDS", 60.0)
    who = await rows.principal()
    _, job = await begin(rows, who, 10)
    journal = Journal(rows, job)
    async with storing(journal) as one:
        one.is_busy = lambda: True
        for line in (1, 2):
            one.add(output(line))
            async with asyncio.timeout(30):
                await one.drained()
    assert journal.groups == [[1], [2]]


async def test_case_40_a_full_quota_is_waited_for(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RETRY_SECONDS", (0.01,))
    who = await rows.principal()
    batch, job = await begin(rows, who, 100)
    journal = Journal(rows, job)
    journal.quota = Quota(1_000, None)
    changes: list[bool] = []
    async with storing(journal) as one:
        one.on_change = lambda: changes.append(one.full)
        for line in range(1, 101):
            one.add(output(line, 100))
        await until(lambda: one.full)
        assert "quota" in (one.waiting_for or "")
        await rows.batches.cancel(who.project_id, batch.id)
        await until(lambda: one.state.status is BatchStatus.CANCELLING)
        assert await stored(rows, job) == [], "all or nothing"
        journal.quota = UNLIMITED
        await one.drained()
        assert not one.full
    assert await stored(rows, job) == list(range(1, 101))
    assert changes[0] is True
    assert changes[-1] is False


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_commit_of_unknown_outcome_is_repeated_with_the_same_lines(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr(results, "RETRY_SECONDS", (0.01,))
    who = await rows.principal()
    batch, job = await begin(rows, who, 100)
    journal = Journal(rows, job)
    failures = iter([OutcomeUnknown(), DatabaseUnavailable("it restarts"), OutcomeUnknown()])

    def fail() -> None:
        one.add(output(len(journal.groups) + 10))
        if (failure := next(failures, None)) is not None:
            raise failure
        setattr(journal, moment, lambda: None)

    setattr(journal, moment, fail)
    async with storing(journal) as one:
        one.add(output(1))
        one.add(output(2))
        await one.drained()
    assert journal.groups[:4] == [[1, 2]] * 4
    assert await stored(rows, job) == [1, 2, 11, 12, 13, 14]
    assert (await rows.batches.get(who.project_id, batch.id)).counts.completed == 6


async def test_another_worker_has_the_job(rows: Rows) -> None:
    who = await rows.principal()
    _, job = await begin(rows, who, 100)
    await rows.jobs.release([job])
    one = made(Journal(rows, job))
    one.add(output(1))
    with pytest.raises(JobLost):
        async with asyncio.timeout(30):
            await one.run()
    assert await stored(rows, job) == []


async def test_what_is_finished_is_stored_at_the_end(rows: Rows) -> None:
    who = await rows.principal()
    _, job = await begin(rows, who, 100)
    async with storing(Journal(rows, job)) as one:
        for line in range(1, 51):
            one.add(output(line))
    assert await stored(rows, job) == list(range(1, 51))
