"""Figures of an installation: sums, backlogs and jobs, each read by a bounded statement."""

import pytest

from filestead.database.repositories.figures import SqlFigures
from filestead.domain.batches.model import BatchStatus
from filestead.domain.figures import MAX_PROJECTS, Figures, ProjectUsage, UnfinishedBatches, Waiting
from filestead.domain.jobs import JobKind
from tests.conformance.attachments import add_files, make_store
from tests.conformance.batches import DAY, add_input, append, begin, block, create
from tests.conformance.test_plans import explain
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio


async def figures(rows: Rows) -> Figures:
    return await SqlFigures(rows.database).read()


async def test_an_empty_installation(rows: Rows) -> None:
    empty = [Waiting("blobs", "due", 0, 0.0), Waiting("files", "due", 0, 0.0)]
    assert await figures(rows) == Figures([ProjectUsage("other", 0, 0)], empty, [], [], 0)


async def test_the_largest_projects_are_named_and_the_others_are_one_sum(rows: Rows) -> None:
    await rows.run("INSERT INTO organizations (id, name, created_at) VALUES ('o', 'o', 0)")
    for number in range(MAX_PROJECTS + 20):
        await rows.run(
            "INSERT INTO projects (id, organization_id, name, created_at, bytes_used, bytes_reserved) "
            f"VALUES ('p{number:03d}', 'o', 'p{number}', 0, {1000 + 10 * number}, {number % 2})"
        )
    *named, other = (await figures(rows)).projects
    assert len(named) == MAX_PROJECTS
    assert named[0] == ProjectUsage("p119", 2190, 1)
    assert {each.project_id for each in named} == {f"p{number:03d}" for number in range(20, 120)}
    assert other == ProjectUsage("other", sum(range(1000, 1200, 10)), 10)


async def test_the_backlog_of_the_sweep(rows: Rows) -> None:
    who = await rows.principal()
    kept, deleted = await add_files(rows, who, 2)
    await rows.files.delete(who.project_id, deleted)
    rows.clock.pass_(30)
    blobs, files = (await figures(rows)).sweep
    assert (blobs.kind, blobs.count, files.count) == ("blobs", 1, 0)
    assert blobs.oldest_seconds == pytest.approx(30, abs=1)
    await rows.run(f"UPDATE files SET expires_at = 1 WHERE id = '{kept}'")
    _, files = (await figures(rows)).sweep
    assert files.count == 1
    assert files.oldest_seconds > 1e6
    await rows.files.release_leases()
    assert (await figures(rows)).sweep[0].oldest_seconds == 0, "a lease that a restart has ended has no age"


async def test_jobs_by_state(rows: Rows) -> None:
    who = await rows.principal()
    for file_id in await add_files(rows, who, 4):
        await make_store(rows, who, file_id)
    rows.clock.pass_(10)
    running, delayed, dead = await rows.jobs.claim([JobKind.INDEX], token="t", lease_seconds=60, limit=3)
    await rows.jobs.retry(delayed, "no", delay_seconds=100)
    await rows.jobs.bury(dead, "no")
    rows.clock.pass_(5)
    found = {each.state: each for each in (await figures(rows)).jobs}
    assert {state: each.count for state, each in found.items()} == {"due": 1, "delayed": 1, "running": 1, "dead": 1}
    assert {each.kind for each in found.values()} == {"index"}
    assert found["due"].oldest_seconds == pytest.approx(15, abs=1)
    assert found["dead"].oldest_seconds == pytest.approx(5, abs=1)
    rows.clock.pass_(60)
    assert {each.state: each.count for each in (await figures(rows)).jobs}["due"] == 2, "its lease has expired"
    assert running.attempts == 1


async def test_batches_by_status_with_their_pace(rows: Rows) -> None:
    who = await rows.principal()
    _, slow = await begin(rows, who, 1_000)
    await append(rows, slow, block(1, 2), lines_per_second=0.01)
    _, quick = await begin(rows, who, 100)
    await append(rows, quick, block(1, 2, 3), lines_per_second=10.0)
    await begin(rows, who, 50)  # without a pace so far
    _, ending = await begin(rows, who, 2)
    await append(rows, ending, block(1, 2), lines_per_second=10.0)
    rows.clock.pass_(10)
    await rows.batch_runs.start_finalizing(ending)
    waiting = await create(rows, who, (await add_input(rows, who)).id)
    cancelled = await create(rows, who, (await add_input(rows, who)).id)
    await rows.batches.cancel(who.project_id, cancelled.id)
    rows.clock.pass_(5)
    found = {each.status: each for each in (await figures(rows)).batches}
    assert {status: each.count for status, each in found.items()} == {
        "validating": 1, "in_progress": 3, "finalizing": 1, "cancelling": 1
    }  # fmt: skip
    running = found["in_progress"]
    assert running.oldest_seconds == pytest.approx(15, abs=1)
    assert running.lines_left == 998 + 97 + 50
    assert running.deadline_seconds == pytest.approx(DAY - 15, abs=1)
    assert running.remaining_seconds == pytest.approx(99_800)
    assert running.slack_seconds == pytest.approx(DAY - 15 - 99_800, abs=1), "the slow one will not be in time"
    assert found["validating"].oldest_seconds == pytest.approx(5, abs=1), waiting
    assert found["finalizing"].oldest_seconds == found["cancelling"].oldest_seconds == pytest.approx(5, abs=1)
    await rows.batch_runs.finish(ending, BatchStatus.COMPLETED, [])
    left = {each.status: each for each in (await figures(rows)).batches}
    assert "finalizing" not in left, "it has ended"
    assert isinstance(left["validating"], UnfinishedBatches)
    assert left["validating"].slack_seconds is None


async def test_batches_that_have_ended_are_not_read(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = explain(rows, monkeypatch)
    await figures(rows)
    (plan,) = [plan for sql, plan in plans.items() if "FROM batches" in sql]
    if rows.database.dialect.name == "sqlite":  # the planner of PostgreSQL looks at the size of the table
        assert "batches_by_pin" in plan, plan


async def test_pending_uploads(rows: Rows) -> None:
    who = await rows.principal()
    for number, status in enumerate(("pending", "pending", "completed", "cancelled")):
        await rows.run(
            "INSERT INTO uploads (id, project_id, filename, purpose, bytes, created_at, expires_at, status) "
            f"VALUES ('u{number}', '{who.project_id}', 'a', 'batch', 1, 0, 1, '{status}')"
        )
    assert (await figures(rows)).pending_uploads == 2
