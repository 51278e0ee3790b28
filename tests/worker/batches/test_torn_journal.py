"""The journal on SQLite, torn at any byte of the write-ahead log: what is left is the state after some commit."""

import shutil
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from filestead.domain.batches.model import ResultBlock, ResultKind, TokenUsage
from filestead.domain.quota import Quota
from tests.conformance.batches import begin
from tests.support.databases import on_sqlite

pytestmark = pytest.mark.anyio

LINES = 120
TEARS = 30


def groups(random: Random) -> Iterator[list[ResultBlock]]:
    """Commits of random blocks, whose lines come in any order."""
    left = list(range(1, LINES + 1))
    random.shuffle(left)
    while left:
        blocks = []
        for kind in random.sample(list(ResultKind), random.randint(1, 2)):
            lines, left = left[: (size := random.randint(1, 9))], left[size:]
            if lines:
                data = b"".join(b"%d %b\n" % (line, b"x" * random.choice((0, 40, 3_000))) for line in lines)
                usage = TokenUsage(len(lines), 0, 0, 0, len(lines))
                failed = len(lines) if kind is ResultKind.ERROR else 0
                blocks.append(ResultBlock(kind, lines, data, len(lines) - failed, failed, usage))
        yield blocks


def state(folder: Path) -> tuple[Any, ...]:
    """The row, the journal and the lines that have a result, once SQLite has recovered the database."""
    with closing(sqlite3.connect(folder / "rows.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        columns = "completed, failed, input_tokens, output_size, error_size"
        row = connection.execute(f"SELECT {columns} FROM batches").fetchone()
        blocks = connection.execute(
            "SELECT kind, lines, data FROM batch_results ORDER BY kind, offset_start"
        ).fetchall()
    content = {kind.value: b"".join(data for name, _, data in blocks if name == kind.value) for kind in ResultKind}
    return row, content, sorted(array("I", b"".join(lines for _, lines, _ in blocks)))


@pytest.mark.parametrize("seed", range(2))
async def test_case_26_what_is_left_of_a_torn_journal_is_whole(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    whole.mkdir()
    expected: list[tuple[Any, ...]] = []
    content = {kind.value: b"" for kind in ResultKind}
    done: list[int] = []
    counts = [0, 0]
    with on_sqlite(whole) as rows:
        _, job = await begin(rows, await rows.principal(), LINES)
        expected.append(((0, 0, 0, 0, 0), dict(content), []))
        for blocks in groups(random):
            await rows.batch_runs.append(job, blocks, quota=Quota(None, None))
            for block in blocks:
                content[block.kind.value] += block.data
                done += block.lines
                counts = [counts[0] + block.completed, counts[1] + block.failed]
            sizes = (len(content[ResultKind.OUTPUT.value]), len(content[ResultKind.ERROR.value]))
            expected.append(((*counts, len(done), *sizes), dict(content), sorted(done)))
        copies = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    log = copies.pop("rows.db-wal")
    copies.pop("rows.db-shm", None)
    seen = set()
    for length in [*(random.randrange(len(log)) for _ in range(TEARS)), len(log)]:
        shutil.rmtree(torn, ignore_errors=True)
        torn.mkdir()
        for name, data in copies.items():
            (torn / name).write_bytes(data)
        (torn / "rows.db-wal").write_bytes(log[:length])
        found = state(torn)
        if found[0] is None:
            continue  # torn before the batch was created
        assert found in expected
        seen.add(expected.index(found))
    assert len(expected) - 1 in seen, "the whole log has it all"
    assert len(seen) > 5
