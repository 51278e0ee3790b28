"""A page of files costs the same however many there are: one range of an index in its order, and no sort."""

import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.test_plans import explain
from tests.support import many_files
from tests.support.databases import BACKENDS, Rows

pytestmark = pytest.mark.anyio

LIMIT = 50
MAX_SECONDS = 0.25
SORT = {"sqlite": "TEMP B-TREE", "postgresql": "Sort"}
BEHIND_CURSOR = {"sqlite": r"created_at<\?", "postgresql": r"Index Cond: .*ROW\(created_at, seq\) <"}


@pytest.fixture(params=["sqlite", "postgres"])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rows]:
    with BACKENDS[request.param](tmp_path) as opened:
        yield opened


async def fill(rows: Rows, count: int) -> str:
    """Files without content, four in each second; returns the id of their project."""
    project = (await rows.principal()).project_id
    for statement in many_files.statements(project, count):
        await rows.run(statement, long=True)
    if rows.database.dialect.name == "postgresql":
        await rows.database.read(lambda connection: connection.execute("VACUUM ANALYZE"), long=True)
    return project


def expected(count: int, purpose: str | None, after: int | None, *, newest_first: bool) -> list[int]:
    """The numbers of the files on a page."""
    every = range(0, count, many_files.RARE_EVERY) if purpose else range(count)
    behind = [number for number in every if after is None or (number < after if newest_first else number > after)]
    return behind[::-1][:LIMIT] if newest_first else behind[:LIMIT]


@pytest.mark.parametrize("count", [30_000, pytest.param(1_000_000, marks=pytest.mark.torture)])
@pytest.mark.timing
async def test_a_page_is_one_range_of_an_index(rows: Rows, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    project = await fill(rows, count)
    dialect = rows.database.dialect.name
    middle = count // 2 + 1
    plans = explain(rows, monkeypatch)
    for purpose, after, newest_first in itertools.product((None, "batch"), (None, middle), (True, False)):
        plans.clear()
        cursor = None if after is None else f"file-{after}"
        took = []
        for _ in range(5):
            began = time.perf_counter()
            page = await rows.files.page(project, purpose=purpose, after=cursor, limit=LIMIT, newest_first=newest_first)
            took.append(time.perf_counter() - began)
        found = [int(file.id.removeprefix("file-")) for file in page.files]
        assert found == expected(count, purpose, after, newest_first=newest_first)
        assert min(took) < MAX_SECONDS, (purpose, after, newest_first)
        assert len(plans) <= (1 if after is None else 3), list(plans)
        plan = next(plan for sql, plan in plans.items() if "LIMIT" in sql)
        assert ("files_by_purpose" if purpose else "files_by_time") in plan, plan
        assert SORT[dialect] not in plan, plan
        if after is not None and newest_first:
            assert re.search(BEHIND_CURSOR[dialect], plan), plan
