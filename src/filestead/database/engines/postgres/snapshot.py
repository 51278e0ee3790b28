"""A database as it is at one moment, however long it is read. For backups."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

from sqlalchemy import Dialect

from filestead.database.engines.postgres.database import PostgresDatabase, translate_postgres_errors
from filestead.database.engines.postgres.server import maintenance_connection
from filestead.database.engines.statements import Connection, T
from filestead.domain.errors import StorageFailed

BEGIN = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; "
    "SET LOCAL idle_in_transaction_session_timeout = 0"
)


class PostgresSnapshot:
    """A `Database` that only reads, in one transaction."""

    dialect: Dialect = PostgresDatabase.dialect

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._in_use = threading.Lock()

    async def read(self, operation: Callable[[Connection], T], *, long: bool = False) -> T:
        """Run a read-only operation. All of them see the same rows."""

        def run() -> T:
            with self._in_use, translate_postgres_errors():
                return operation(self._connection)

        return await asyncio.to_thread(run)

    async def write(self, operation: Callable[[Connection], T]) -> T:
        """Raise `StorageFailed`."""
        raise StorageFailed("a snapshot cannot be written")

    def close(self) -> None:
        """Do nothing: `open_snapshot` closes the connection."""


@contextlib.contextmanager
def open_snapshot(url: str) -> Iterator[PostgresSnapshot]:
    """The rows as of now, until the end of the block."""
    with maintenance_connection(url) as connection:
        connection.execute(BEGIN)
        yield PostgresSnapshot(connection)
        connection.execute("ROLLBACK")
