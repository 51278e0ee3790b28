"""A full disk under the database: the group fails as a whole, the ballast makes room once, and is taken in again."""

import asyncio
import os
import sqlite3
import time
from pathlib import Path

import pytest

from filestead.database.engines.ballast import BALLAST_BYTES, Ballast
from filestead.database.engines.sqlite import SqliteDatabase
from filestead.database.engines.statements import Connection
from filestead.domain.errors import FileNotFound, StorageFull

pytestmark = pytest.mark.anyio


def test_ballast_occupies_disk_space_and_is_allocated_again(tmp_path: Path) -> None:
    path = tmp_path / "ballast"
    ballast = Ballast(path)
    assert path.stat().st_blocks * 512 >= BALLAST_BYTES, "a sparse file would be no ballast"
    assert path.stat().st_mode & 0o777 == 0o600
    assert ballast.release() is True
    assert path.stat().st_blocks == 0
    assert ballast.release() is False
    ballast.allocate()
    assert path.stat().st_size == 0, "not at once, as the disk is still full"
    ballast.allocate(clock=lambda: time.monotonic() + 60)
    assert path.stat().st_size == BALLAST_BYTES
    ballast.close()


async def test_a_group_that_fails_on_a_full_disk_is_run_again_completely(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "a.db")
    await database.write(lambda connection: connection.execute("CREATE TABLE t (x)"))
    failures = [True]

    def insert(number: int, *, full: bool = False) -> object:
        def operation(connection: Connection) -> int:
            connection.execute("INSERT INTO t VALUES (?)", (number,))
            if full and failures:
                failures.pop()
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return number

        return operation

    def refuse(connection: Connection) -> None:
        raise FileNotFound("x")

    operations = [insert(1), refuse, insert(2, full=True), insert(3)]
    outcomes = await asyncio.gather(*(database.write(one) for one in operations), return_exceptions=True)  # type: ignore[arg-type]
    assert [outcomes[0], *outcomes[2:]] == [1, 2, 3]
    assert isinstance(outcomes[1], FileNotFound)
    rows = await database.read(lambda connection: connection.execute("SELECT x FROM t ORDER BY x").fetchall())
    assert rows == [(1,), (2,), (3,)], "each once"
    assert os.stat(tmp_path / "ballast").st_size == 0
    failures.append(True)
    with pytest.raises(StorageFull):
        await database.write(insert(4, full=True))  # type: ignore[arg-type]
    assert await database.write(insert(5)) == 5  # type: ignore[arg-type]
    database.close()
