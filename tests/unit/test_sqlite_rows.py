"""One row is read on the event loop, and left to a thread whenever that could wait or fails."""

import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from filestead.database.engines.sqlite import SqliteDatabase
from filestead.domain.errors import StorageFailed

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    with closing(SqliteDatabase(tmp_path / "database")) as database:
        await database.write(lambda connection: connection.execute("CREATE TABLE t (n INTEGER)").rowcount)
        yield database


async def test_a_row_is_read_without_a_thread_and_right_after_it_is_written(database: SqliteDatabase) -> None:
    def operation(connection: Any) -> tuple[int, int]:
        return threading.get_ident(), connection.execute("SELECT count(*) FROM t").fetchall()[0][0]

    for written in range(3):
        assert await database.read_row(operation) == (threading.get_ident(), written)
        await database.write(lambda connection: connection.execute("INSERT INTO t VALUES (1)").rowcount)


async def test_a_read_that_would_wait_for_a_lock_runs_on_a_thread(database: SqliteDatabase) -> None:
    threads: list[int] = []

    def operation(connection: Any) -> str:
        threads.append(threading.get_ident())
        if len(threads) == 1:
            raise sqlite3.OperationalError("database is locked")
        return "read"

    assert await database.read_row(operation) == "read"
    assert threads[0] == threading.get_ident() != threads[1]


async def test_the_event_loop_waits_for_no_lock(database: SqliteDatabase) -> None:
    waits = await database.read_row(lambda connection: connection.execute("PRAGMA busy_timeout").fetchall())
    assert waits == [(0,)]


async def test_a_failure_is_that_of_any_read(database: SqliteDatabase) -> None:
    with pytest.raises(StorageFailed):
        await database.read_row(lambda connection: connection.execute("SELECT 1 FROM missing").fetchall())
