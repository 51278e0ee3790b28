"""One row is read on the event loop, and left to a thread whenever that could wait or fails."""

import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest
import sqlalchemy as sa

from filestead.database.engines.sqlite import SqliteDatabase
from filestead.database.engines.statements import Connection, Cursor, Statement
from filestead.domain.errors import StorageFailed

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    with closing(SqliteDatabase(tmp_path / "database")) as database:
        await database.write(lambda connection: connection.execute("CREATE TABLE t (n INTEGER)").rowcount)
        yield database


def reading(sql: str) -> tuple[Statement, list[int]]:
    """A statement that says which threads have run it."""
    threads: list[int] = []

    class Recorded(Statement):
        def __call__(self, connection: Connection, **values: object) -> Cursor:
            threads.append(threading.get_ident())
            return super().__call__(connection, **values)

    return Recorded(sa.text(sql), SqliteDatabase.dialect), threads


async def test_a_row_is_read_without_a_thread_and_right_after_it_is_written(database: SqliteDatabase) -> None:
    count, threads = reading("SELECT count(*) FROM t WHERE n < :n")
    for written in range(3):
        assert await database.read_row(count, n=2) == (written,)
        await database.write(lambda connection: connection.execute("INSERT INTO t VALUES (1)").rowcount)
    assert set(threads) == {threading.get_ident()}


async def test_no_row_is_none(database: SqliteDatabase) -> None:
    assert await database.read_row(reading("SELECT n FROM t")[0]) is None


async def test_a_read_that_would_wait_for_a_lock_runs_on_a_thread(database: SqliteDatabase) -> None:
    class LockedAtFirst(Statement):
        threads: ClassVar[list[int]] = []

        def __call__(self, connection: Connection, **values: object) -> Cursor:
            self.threads.append(threading.get_ident())
            if len(self.threads) == 1:
                raise sqlite3.OperationalError("database is locked")
            return super().__call__(connection, **values)

    statement = LockedAtFirst(sa.text("SELECT count(*) FROM t"), database.dialect)
    assert await database.read_row(statement) == (0,)
    assert statement.threads[0] == threading.get_ident() != statement.threads[1]


async def test_the_event_loop_waits_for_no_lock(database: SqliteDatabase) -> None:
    assert await database.read_row(reading("PRAGMA busy_timeout")[0]) == (0,)


async def test_a_failure_is_that_of_any_read(database: SqliteDatabase) -> None:
    with pytest.raises(StorageFailed):
        await database.read_row(reading("SELECT 1 FROM missing")[0])
