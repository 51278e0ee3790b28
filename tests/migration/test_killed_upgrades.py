"""An upgrade of an older database that is killed at any statement is completed by the next one, on both databases."""

import contextlib
import math
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, Protocol

import pytest

from filestead.database import schema
from filestead.database.engines.postgres.database import connect, connection_parameters
from filestead.database.engines.postgres.server import maintenance_connection
from filestead.database.engines.sqlite import connect as connect_sqlite
from filestead.domain.errors import CannotStart, DatabaseUnavailable
from tests.migration.older import OLDER, REVISIONS, Marks, fill, fill_later, migrate_to, names, rows_until
from tests.support import rotation
from tests.support.databases import shared_postgres
from tests.support.postgres import Proxy
from tests.support.promises import Trials

TORTURE = os.environ.get("TORTURE") == "1"
KILLS = 60 if TORTURE else 5
"""Of each upgrade at most, and others each day: all statements in six days of `make torture`."""
NONE = 0
"""The statements are counted from one."""
FILES = {"file-a": ("blob-a", b"a", "0" * 64), "file-b": ("blob-b", b"bb", "1" * 64)}

pytestmark = pytest.mark.embedded("chooses the database itself")


class Databases(Protocol):
    """Older databases of one kind."""

    def copy(self, revision: str) -> AbstractContextManager[Any]:
        """The database of this revision with files, and nobody else's; a new one each time."""

    def upgrade(self, database: Any, statement: int) -> int:
        """Upgrade it, and be killed at this statement; returns the number of statements until then."""

    def open(self, database: Any) -> AbstractContextManager[Any]:
        """A connection."""

    def names(self, connection: Any) -> set[str]:
        """Tables and indexes."""


class SqliteDatabases:
    """Files; a process that upgrades one is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def copy(self, revision: str) -> Iterator[Path]:
        template = self._folder / f"{revision}.db"
        if not template.exists():
            with self.open(template) as connection:
                migrate_to(connection, revision)
                fill(connection, "sk-a", FILES)
                fill_later(connection, revision)
        folder = self._folder / "copy"
        folder.mkdir()
        try:
            yield Path(shutil.copy(template, folder))
        finally:
            shutil.rmtree(folder)

    def upgrade(self, database: Path, statement: int) -> int:
        context = multiprocessing.get_context("fork")
        count = context.Value("i", 0)

        def run() -> None:
            connection = connect_sqlite(database, time.time)

            def trace(_: str) -> None:
                count.value += 1
                if count.value == statement:
                    os.kill(os.getpid(), signal.SIGKILL)

            connection.set_trace_callback(trace)
            schema.upgrade(connection)

        process = context.Process(target=run)
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        return int(count.value)

    @contextlib.contextmanager
    def open(self, database: Path) -> Iterator[Any]:
        with closing(connect_sqlite(database, time.time)) as connection:
            yield connection

    def names(self, connection: Any) -> set[str]:
        return names(connection)


class PostgresDatabases:
    """Copies of templates; the connection of a process that was killed ends before or after a statement."""

    def __init__(self) -> None:
        self._server = shared_postgres()
        self._made: set[str] = set()

    @contextlib.contextmanager
    def copy(self, revision: str) -> Iterator[str]:
        template = f"killed_{revision}"
        if template not in self._made:
            with closing(connect(connection_parameters(self._server.create(template)))) as connection:
                migrate_to(connection, revision)
                fill(Marks(connection), "sk-a", FILES)
                fill_later(Marks(connection), revision)
            self._made.add(template)
        self._server.create("killed", template)
        try:
            yield "killed"
        finally:
            self._server.drop("killed")

    def upgrade(self, database: str, statement: int) -> int:
        count = 0

        def judge(_: bytes) -> str:
            nonlocal count
            count += 1
            if count < statement or statement == NONE:
                return "pass"
            return ("drop before", "drop after")[statement % 2]

        proxy = Proxy(self._server.port, judge)
        try:
            with (
                contextlib.suppress(CannotStart, DatabaseUnavailable),
                maintenance_connection(self._server.url_of(database, proxy.port)) as connection,
            ):
                schema.upgrade(connection)
        finally:
            proxy.close()
        # The session of the process that was killed ends when the server notices: until then its names are taken.
        self._server.wait_for_sessions_to_end(database)
        return count

    @contextlib.contextmanager
    def open(self, database: str) -> Iterator[Any]:
        with maintenance_connection(self._server.url_of(database)) as connection:
            yield connection

    def names(self, connection: Any) -> set[str]:
        sql = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        return {name for (name,) in connection.execute(sql)}

    def close(self) -> None:
        for name in self._made:
            self._server.drop(name)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    if request.param == "sqlite":
        yield SqliteDatabases(tmp_path_factory.mktemp("killed"))
        return
    made = PostgresDatabases()
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(databases: Databases) -> dict[str, set[str]]:
    """What each migration leaves."""
    found = {}
    with databases.copy(OLDER[0]) as database, databases.open(database) as connection:
        for revision in REVISIONS:
            migrate_to(connection, revision)
            found[revision] = databases.names(connection)
    return found


@pytest.mark.rotating(4)
@pytest.mark.promise("R-25")
@pytest.mark.parametrize("revision", OLDER)
def test_an_upgrade_that_is_killed_is_completed_by_the_next(
    databases: Databases, whole: dict[str, set[str]], revision: str, trials: Trials
) -> None:
    with databases.copy(revision) as database:
        statements = databases.upgrade(database, NONE)
    assert statements > 3
    step = math.ceil(statements / KILLS)
    for statement in range(1 + rotation.today() % step, statements + 1, step):
        with databases.copy(revision) as database:
            assert databases.upgrade(database, statement) >= statement
            with databases.open(database) as connection:
                version = schema.current_version(connection)
                assert version is not None
                assert revision <= version <= schema.HEAD
                assert databases.names(connection) == whole[version], f"killed at {statement}: half of a migration"
                schema.upgrade(connection)
                assert schema.current_version(connection) == schema.HEAD
                assert databases.names(connection) == whole[schema.HEAD]
                assert {file_id for (file_id,) in connection.execute("SELECT id FROM files")} == FILES.keys()
                for table, values in rows_until(revision):
                    query = f"SELECT {', '.join(values)} FROM {table}"
                    assert tuple(values.values()) in connection.execute(query).fetchall(), f"{table} at {statement}"
        trials()
