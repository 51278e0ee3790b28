"""PostgreSQL: connections, the threads that run operations on them, and the handling of failures.

Guarantee: what `write` returns is committed, as durable as the server's `synchronous_commit` makes it. A write is one
READ COMMITTED transaction; each statement of a read is a transaction of its own. An operation that fails with a
serialization conflict, or loses its connection before COMMIT, is retried a few times; a connection lost during COMMIT
raises `OutcomeUnknown`. Works behind PgBouncer with transaction pooling: nothing is prepared in the server, and no
setting outlasts a transaction.
Limits: the server bounds statements and lock waits (`BEGIN`). `OPERATION_TIMEOUT_SECONDS` bounds the whole operation
in the client, also when the server or the network is silent. An operation waits `QUEUE_TIMEOUT_SECONDS` for a
connection, in a bounded queue.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from functools import partial
from time import monotonic
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.string import StrDumperUnknown
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

from filestead.database.engines.operations import QueuedOperation, deliver_outcomes, failure_of
from filestead.database.engines.postgres.row_reader import NOT_READ, RowReader
from filestead.database.engines.statements import Connection, Statement, T
from filestead.domain.errors import (
    CannotStart,
    DatabaseUnavailable,
    DomainError,
    OutcomeUnknown,
    StorageFailed,
    StorageFull,
)
from filestead.domain.observation import UNOBSERVED, Observer

OPERATION_TIMEOUT_SECONDS = 5.2
QUEUE_TIMEOUT_SECONDS = 1.5
GRACE_SECONDS = 0.3
QUEUE_SIZE = 1_000
MAX_ATTEMPTS = 4
MIN_RETRY_SECONDS = 2.5
RECONNECT_PAUSE_SECONDS = 0.5

# One round trip. SET LOCAL lasts for the transaction, and so works behind PgBouncer, where session options do not.
BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 5000; "
    "SET LOCAL lock_timeout = 3000; SET LOCAL idle_in_transaction_session_timeout = 6000"
)

# Parameters of the URL take precedence. A network that drops packets is detected within these timeouts.
DEFAULT_PARAMETERS: dict[str, Any] = {
    "application_name": "filestead",
    "connect_timeout": 3,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}

DISK_FULL = "53100"
READ_ONLY = "25006"
CONFLICT_CODES = frozenset({"40001", "40P01", "23505"})
SHUTDOWN_CODES = frozenset({"57P01", "57P02"})
# Connection, authorization, rollback, resources, operator; lock timeout, a standby instead of the primary, timeouts.
TRANSIENT_CLASSES = frozenset({"08", "28", "40", "53", "57"})
TRANSIENT_CODES = frozenset({"55P03", READ_ONLY, "25P03", "25P04", "23505", "3D000"})


@contextlib.contextmanager
def translate_postgres_errors() -> Iterator[None]:
    """Turn the driver's exceptions into the domain's."""
    try:
        yield
    except psycopg.Error as error:
        raise _domain_error(error) from error


def _domain_error(error: psycopg.Error) -> DomainError:
    code, reason = error.sqlstate, short_reason(error)
    if code == DISK_FULL:
        return StorageFull(f"the database's disk is full: {reason}")
    if code is None:
        transient = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    else:
        transient = code[:2] in TRANSIENT_CLASSES or code in TRANSIENT_CODES
    if transient:
        return DatabaseUnavailable(f"the database does not respond: {reason}")
    return StorageFailed(f"the database failed: {reason}")


def short_reason(error: psycopg.Error) -> str:
    """The first line of the message from the server or the driver."""
    return error.diag.message_primary or str(error).partition("\n")[0] or type(error).__name__


class PostgresConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose waits for the server end at its deadline."""

    deadline: float | None = None

    def wait(self, gen: Generator[Any, Any, T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait as the driver does, but not beyond the deadline."""
        if self.deadline is not None:
            timeout = max(0.0, self.deadline - monotonic())
        return super().wait(gen, interval, timeout)


def connection_parameters(url: str) -> dict[str, Any]:
    """The parameters in the URL, with defaults. Raises `CannotStart` if the URL is invalid."""
    try:
        return {**DEFAULT_PARAMETERS, **conninfo_to_dict(url)}
    except psycopg.Error:  # the original message may contain a part of the password
        raise CannotStart(
            "the database's URL is invalid: write it as postgresql://user:password@host:port/name, with special "
            "characters of the password as %XX"
        ) from None


class _TextDumper(StrDumperUnknown):
    """PostgreSQL text cannot contain U+0000. It is replaced, so that an id with U+0000 matches no row."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd"))


def connect(parameters: dict[str, Any]) -> PostgresConnection:
    """Open a connection in autocommit mode."""
    connection = PostgresConnection.connect(autocommit=True, prepare_threshold=None, **parameters)
    connection.adapters.register_dumper(str, _TextDumper)
    return connection


class _OperationWithDeadline(QueuedOperation):
    """An operation with a deadline. Either a worker thread or the queue timeout claims it, whichever comes first."""

    __slots__ = ("_claimed", "commits", "deadline", "writes")

    def __init__(self, operation: Callable[[Connection], Any], deadline: float, *, writes: bool) -> None:
        super().__init__(operation)
        self.deadline = deadline
        self.writes = writes
        self.commits = False
        self._claimed = threading.Lock()

    def try_claim(self) -> bool:
        """Claim the operation; False if it is claimed already."""
        return self._claimed.acquire(blocking=False)

    def on_queue_timeout(self) -> None:
        """Fail the operation if it still waits for a connection; otherwise wait for its deadline."""
        if self.try_claim():
            self.error = DatabaseUnavailable("every connection to the database is busy")
            self.resolve()
        else:
            self.loop.call_later(self.deadline + GRACE_SECONDS - monotonic(), self._on_deadline)

    def _on_deadline(self) -> None:
        """Fail the operation: its thread is blocked where no deadline applies (name resolution), or is cleaning up."""
        if not self.future.done():
            reason = "the database does not respond in time"
            self.future.set_exception(OutcomeUnknown(reason) if self.commits else DatabaseUnavailable(reason))


class _PostgresWorker:
    """A thread with its own connection, which is opened on demand and closed when it fails."""

    def __init__(
        self,
        name: str,
        operations: "queue.Queue[_OperationWithDeadline | None]",
        parameters: dict[str, Any],
        rows: RowReader | None,
    ) -> None:
        self._queue = operations
        self._rows = rows
        self._parameters = parameters
        self._connection: PostgresConnection | None = None
        self._connect_failed = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._process_operations, name=name, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._closing.set()
        self._thread.join()

    def _process_operations(self) -> None:
        while (queued := self._queue.get()) is not None:
            if queued.try_claim() and not queued.future.cancelled():
                self._run_operation(queued)
                deliver_outcomes([queued])
                if self._connect_failed:
                    self._closing.wait(RECONNECT_PAUSE_SECONDS)  # let other workers try; do not flood the server
        self._close_connection()

    def _run_operation(self, queued: _OperationWithDeadline) -> None:
        for _ in range(MAX_ATTEMPTS):
            queued.error, queued.commits = None, False
            try:
                with translate_postgres_errors():
                    queued.result = self._attempt(queued)
            except Exception as error:
                queued.error = error
                if _is_retryable(error) and monotonic() + MIN_RETRY_SECONDS < queued.deadline:
                    continue
            return

    def _attempt(self, queued: _OperationWithDeadline) -> Any:
        connection = self._open_connection(queued.deadline)
        try:
            return _run_transaction(connection, queued) if queued.writes else queued.run(connection)
        except BaseException as error:
            if not _reset_connection(connection, error):
                self._close_connection()
                if self._rows is not None:
                    self._rows.drop()  # its server may be gone, or no longer the primary, too
            raise

    def _open_connection(self, deadline: float) -> PostgresConnection:
        if self._connection is None:
            self._connect_failed = True
            try:
                self._connection = connect(self._parameters)
            except psycopg.Error as error:
                # Without a cause, so that it is not retried: another attempt would fail in the same way.
                raise DatabaseUnavailable(f"the database cannot be reached: {short_reason(error)}") from None
            self._connect_failed = False
        self._connection.deadline = deadline
        return self._connection

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _run_transaction(connection: PostgresConnection, queued: _OperationWithDeadline) -> Any:
    connection.execute(BEGIN)
    result = queued.run(connection)
    # In this order: `_on_deadline`, which comes after the deadline, must know of a COMMIT that is still to be sent.
    queued.commits = True
    if monotonic() >= queued.deadline:
        queued.commits = False
        raise DatabaseUnavailable("the database was too slow")
    try:
        done = connection.execute("COMMIT").statusmessage
    except psycopg.Error as error:
        if _is_rolled_back(error):
            raise
        raise OutcomeUnknown(f"the connection was lost during COMMIT: {short_reason(error)}", result) from error
    if done != "COMMIT":
        raise StorageFailed(f"COMMIT returned {done}")
    return result


def _is_rolled_back(error: psycopg.Error) -> bool:
    """Whether a failed COMMIT was certainly rolled back: the server itself reports it and stays up."""
    return error.diag.severity_nonlocalized == "ERROR" and not (error.sqlstate or "08").startswith("08")


def _is_retryable(error: Exception) -> bool:
    """Whether the operation failed before its COMMIT, by a conflict or a lost connection."""
    cause = error.__cause__
    if isinstance(error, OutcomeUnknown) or not isinstance(cause, psycopg.Error):
        return False
    if cause.sqlstate is not None:
        return cause.sqlstate in CONFLICT_CODES or cause.sqlstate in SHUTDOWN_CODES
    return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)


def _reset_connection(connection: PostgresConnection, error: BaseException) -> bool:
    """Prepare the connection for the next operation; False if it cannot be used again."""
    status = connection.info.transaction_status
    if isinstance(error, psycopg.Error) and error.sqlstate == READ_ONLY:
        return False  # another server has become the primary
    connection.deadline = monotonic() + 1
    with contextlib.suppress(psycopg.Error):
        if status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            connection.execute("ROLLBACK")
            return True
        if status == TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=1)
    return status == TransactionStatus.IDLE


class PostgresDatabase:
    """The shared database; see `Database` for the contract."""

    dialect: Dialect = psycopg_dialect()  # type: ignore[no-untyped-call]

    def __init__(
        self,
        url: str,
        *,
        connections: int = 8,
        operation_timeout: float = OPERATION_TIMEOUT_SECONDS,
        observer: Observer = UNOBSERVED,
    ) -> None:
        """Each connection has a thread. If there are several, another one is for reads of one row.

        `operation_timeout` bounds an operation; commands that read all rows need a longer one.
        """
        parameters = connection_parameters(url)
        self._observer = observer
        self._operation_timeout = operation_timeout
        self._queue: queue.Queue[_OperationWithDeadline | None] = queue.Queue(QUEUE_SIZE)
        self._rows = RowReader(partial(connect, parameters)) if connections > 1 else None
        self._workers = [
            _PostgresWorker(f"filestead-postgres-{n}", self._queue, parameters, self._rows) for n in range(connections)
        ]

    async def read(self, operation: Callable[[Connection], T], *, long: bool = False) -> T:
        """Run a read-only operation, one transaction per statement. `long` is ignored: there are enough connections."""
        return await self._submit(operation, writes=False)

    async def read_row(self, statement: Statement, **values: str | int) -> tuple[Any, ...] | None:
        """Read one row by its key, on the connection for such reads; if that fails, like `read`."""
        started = monotonic()
        if self._rows is not None:
            row: Any = await self._rows.read(statement.sql, statement.parameters(values))
            if row is not NOT_READ:
                self._observer.database_operation("read", monotonic() - started, None)
                return row  # type: ignore[no-any-return]
        return await self._submit(lambda connection: statement.row(connection, **values), writes=False, started=started)

    async def write(self, operation: Callable[[Connection], T]) -> T:
        """Run an operation as one durable transaction."""
        return await self._submit(operation, writes=True)

    async def _submit(self, operation: Callable[[Connection], T], *, writes: bool, started: float | None = None) -> T:
        started, kind = started or monotonic(), "write" if writes else "read"
        queued = _OperationWithDeadline(operation, started + self._operation_timeout, writes=writes)
        try:
            self._queue.put_nowait(queued)
        except queue.Full:
            self._observer.database_operation(kind, 0.0, DatabaseUnavailable.__name__)
            raise DatabaseUnavailable(f"{QUEUE_SIZE} operations are waiting for the database") from None
        timer = queued.loop.call_later(QUEUE_TIMEOUT_SECONDS, queued.on_queue_timeout)
        try:
            result: T = await queued.future
        except Exception as error:
            self._observer.database_operation(kind, monotonic() - started, failure_of(error))
            raise
        finally:
            timer.cancel()
        self._observer.database_operation(kind, monotonic() - started, None)
        return result

    def close(self) -> None:
        """Finish the queued operations and close every connection."""
        if self._rows is not None:
            self._rows.close()
        for _ in self._workers:
            self._queue.put(None)
        for worker in self._workers:
            worker.join()
