"""SQLite: the file, its connections, and the threads that run operations on them.

Layout: one database file in WAL mode beside its -wal and -shm files, mode 0600.
Guarantee: `synchronous=FULL`, so a committed transaction survives a power failure (NORMAL was measured to lose them).
One thread writes. It commits the waiting operations as one group, so that a group costs one sync. A failing operation
rolls back only itself: the group then runs again, with savepoints. A few threads read, and another one runs long reads.
A single row is read on the event loop itself: in WAL mode readers wait for no writer, and two switches of threads take
longer than such a read. Several processes may use the same file; a writer waits up to `BUSY_SECONDS` for the lock of
another one.
"""

import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect

from filestead.database.engines.ballast import Ballast
from filestead.database.engines.operations import QueuedOperation, deliver_outcomes, failure_of
from filestead.database.engines.statements import Connection, Statement, T
from filestead.domain.errors import DatabaseDamaged, DatabaseUnavailable, DomainError, StorageFailed, StorageFull
from filestead.domain.observation import UNOBSERVED, Observer

BUSY_SECONDS = 10.0
GROUP_SIZE = 64
READERS = 2
UNDECODABLE = "Could not decode to UTF-8"
"""How an error begins that has no code: a text in the database is none."""
ROW_BUSY_SECONDS = 0.0
"""The event loop waits for no lock: the rare read that would have to wait runs on a thread."""

Clock = Callable[[], float]


@contextlib.contextmanager
def translate_sqlite_errors() -> Iterator[None]:
    """Turn the driver's exceptions into the domain's."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull(f"the database's disk is full: {error}") from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise DatabaseUnavailable(f"the database is busy: {error}") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or str(error).startswith(UNDECODABLE):
            raise DatabaseDamaged(
                f"the database is damaged: {error}; stop the server and restore the last backup"
            ) from error
        raise StorageFailed(f"the database failed: {error}") from error


def connect(path: Path, clock: Clock) -> sqlite3.Connection:
    """A connection in autocommit mode with this project's settings."""
    with contextlib.suppress(FileExistsError):
        # SQLite creates -wal and -shm with the mode of the database, which must not be readable by others at first.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    # Constant within a statement, which is all that `deterministic` requires of a function without arguments.
    connection.create_function("filestead_now", 0, lambda: int(clock() * 1e6), deterministic=True)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextlib.contextmanager
def maintenance_connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for migrations and checks. Within the block, driver exceptions are translated."""
    with translate_sqlite_errors(), contextlib.closing(connect(path, time.time)) as connection:
        yield connection


def snapshot(source: Path, target: Path) -> None:
    """Write the database as it is at one moment to a new file, durably. Writers go on meanwhile."""
    with maintenance_connection(source) as connection, maintenance_connection(target) as copy:
        connection.backup(copy)  # all pages in one step, which reads one state of the log
    make_single_file(target)


def make_single_file(path: Path) -> None:
    """Write what is in the log beside a database that is not in use to its file, durably, and delete the log."""
    with maintenance_connection(path) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def _run_operation(queued: QueuedOperation, connection: Connection) -> None:
    try:
        with translate_sqlite_errors():
            queued.result = queued.run(connection)
    except Exception as error:
        queued.error = error


class _SqliteWorker:
    """A thread with a connection that runs operations in groups."""

    def __init__(self, name: str, connection: Callable[[], sqlite3.Connection]) -> None:
        self._open = connection
        self._connection = connection()
        self._thread = threading.Thread(target=self._process_operations, name=name, daemon=True)

    def start(self, target: "queue.SimpleQueue[QueuedOperation | None]", *, group: int) -> None:
        self._queue = target
        self._group = group
        self._thread.start()

    def join(self) -> None:
        self._thread.join()
        self._connection.close()

    def _process_operations(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            with contextlib.suppress(queue.Empty):
                while len(group) < self._group:
                    queued = self._queue.get_nowait()
                    if queued is None:
                        self._queue.put(None)
                        break
                    group.append(queued)
            self.run(group)
            deliver_outcomes(group)

    def run(self, group: list[QueuedOperation]) -> None:
        for queued in group:
            _run_operation(queued, self._connection)


class _SqliteWriter(_SqliteWorker):
    """The thread that writes: a group is one transaction."""

    def __init__(
        self, name: str, connection: Callable[[], sqlite3.Connection], ballast: Ballast, observer: Observer
    ) -> None:
        super().__init__(name, connection)
        self._ballast = ballast
        self._observer = observer

    def join(self) -> None:
        super().join()
        self._ballast.close()

    def run(self, group: list[QueuedOperation]) -> None:
        self._commit(group)
        if any(isinstance(queued.error, StorageFull) for queued in group) and self._ballast.release():
            # A group that failed on a full disk was rolled back completely, so it can be run again.
            for queued in group:
                queued.error = None
            self._commit(group)
        else:
            self._ballast.allocate()

    def _commit(self, group: list[QueuedOperation]) -> None:
        connection = self._connection
        try:
            with translate_sqlite_errors():
                connection.execute("BEGIN IMMEDIATE")
                if not self._run_all(group):
                    connection.execute("ROLLBACK")
                    connection.execute("BEGIN IMMEDIATE")
                    self._run_each(group)
                started = perf_counter()
                connection.execute("COMMIT")
                self._observer.sync("commit", perf_counter() - started)
        except DomainError as error:
            self._reopen_connection()
            for queued in group:
                queued.error = error

    def _run_all(self, group: list[QueuedOperation]) -> bool:
        """Run the group without savepoints, which cost two statements each. False if an operation has failed."""
        for queued in group:
            _run_operation(queued, self._connection)
            if queued.error is not None:
                self._require_transaction(queued)
                return False
        return True

    def _run_each(self, group: list[QueuedOperation]) -> None:
        """Run each operation in a savepoint, so that one that fails rolls back only itself."""
        connection = self._connection
        for queued in group:
            queued.error = None
            connection.execute("SAVEPOINT operation")
            _run_operation(queued, connection)
            if queued.error is not None:
                self._require_transaction(queued)
                connection.execute("ROLLBACK TO operation")
            connection.execute("RELEASE operation")

    def _require_transaction(self, queued: QueuedOperation) -> None:
        """Raise the error of an operation that fails the whole group: a full disk, or what SQLite has rolled back."""
        if queued.error is not None and (isinstance(queued.error, StorageFull) or not self._connection.in_transaction):
            raise queued.error

    def _reopen_connection(self) -> None:
        """A failed sync is final: the file handle that reported it is not used again."""
        with contextlib.suppress(sqlite3.Error, DomainError):
            self._connection.close()
            self._connection = self._open()


class SqliteDatabase:
    """The embedded database; see `Database` for the contract."""

    dialect: Dialect = sqlite_dialect.dialect(paramstyle="named")

    def __init__(self, path: Path, clock: Clock = time.time, *, observer: Observer = UNOBSERVED) -> None:
        def connection() -> sqlite3.Connection:
            with translate_sqlite_errors():
                return connect(path, clock)

        self._observer = observer
        self._writes: queue.SimpleQueue[QueuedOperation | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[QueuedOperation | None] = queue.SimpleQueue()
        self._writer = _SqliteWriter("filestead-writer", connection, Ballast(path.with_name("ballast")), observer)
        self._long_reads: queue.SimpleQueue[QueuedOperation | None] = queue.SimpleQueue()
        self._readers = [_SqliteWorker(f"filestead-reader-{n}", connection) for n in range(READERS)]
        self._long_reader = _SqliteWorker("filestead-long-reader", connection)
        self._rows = connection()
        self._rows.execute(f"PRAGMA busy_timeout = {ROW_BUSY_SECONDS * 1000:.0f}")
        self._rows_free = threading.Lock()
        self._writer.start(self._writes, group=GROUP_SIZE)
        for reader in self._readers:
            reader.start(self._reads, group=GROUP_SIZE // READERS)
        self._long_reader.start(self._long_reads, group=1)

    async def read(self, operation: Callable[[Connection], T], *, long: bool = False) -> T:
        """Run a read-only operation on a reader's connection."""
        return await self._submit(self._long_reads if long else self._reads, operation, "read")

    async def read_row(self, statement: Statement, **values: str | int) -> tuple[Any, ...] | None:
        """Read one row by its key, at once if no lock is in the way.

        A failure is left to a reader's thread, too, which waits as long as it should and says what is wrong.
        """
        if not self._rows_free.acquire(blocking=False):  # another event loop is using the connection
            return await self.read(lambda connection: statement.row(connection, **values))
        started = perf_counter()
        try:
            row = statement.row(self._rows, **values)
        except sqlite3.Error:
            return await self.read(lambda connection: statement.row(connection, **values))
        finally:
            self._rows_free.release()
        self._observer.database_operation("read", perf_counter() - started, None)
        return row

    async def write(self, operation: Callable[[Connection], T]) -> T:
        """Run an operation as one durable transaction, on the writer's connection."""
        return await self._submit(self._writes, operation, "write")

    async def _submit(
        self, target: "queue.SimpleQueue[QueuedOperation | None]", operation: Callable[[Connection], T], kind: str
    ) -> T:
        queued = QueuedOperation(operation)
        started = perf_counter()
        target.put(queued)
        try:
            result: T = await queued.future
        except Exception as error:
            self._observer.database_operation(kind, perf_counter() - started, failure_of(error))
            raise
        self._observer.database_operation(kind, perf_counter() - started, None)
        return result

    def close(self) -> None:
        """Finish the queued operations and close every connection."""
        self._writes.put(None)
        for _ in self._readers:
            self._reads.put(None)
        self._long_reads.put(None)
        for worker in (self._writer, *self._readers, self._long_reader):
            worker.join()
        self._rows.close()
