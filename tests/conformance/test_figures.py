"""Figures of an installation: sums, backlogs and jobs, each read by a bounded statement."""

import pytest

from filestead.database.repositories.figures import SqlFigures
from filestead.domain.figures import MAX_PROJECTS, Figures, ProjectUsage, Waiting
from filestead.domain.jobs import JobKind
from tests.conformance.attachments import add_files, make_store
from tests.support.databases import Rows

pytestmark = pytest.mark.anyio


async def figures(rows: Rows) -> Figures:
    return await SqlFigures(rows.database).read()


async def test_an_empty_installation(rows: Rows) -> None:
    empty = [Waiting("blobs", "due", 0, 0.0), Waiting("files", "due", 0, 0.0)]
    assert await figures(rows) == Figures([ProjectUsage("other", 0, 0)], empty, [])


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
