"""PostgreSQL: connections, the threads that run operations on them, and what becomes of them when they fail.

Guarantee: what `write` returns is committed, as durable as the server's `synchronous_commit` makes it. A write is one
READ COMMITTED transaction; a read is one statement after the other, each by itself. An operation that lost a race, or
its connection before COMMIT, runs again a few times; on a connection lost during COMMIT it ends as `OutcomeUnknown`.
PgBouncer may stand between and pool transactions: nothing is prepared in the server or set beyond a transaction.
Limits: those of the server for statements and locks (`BEGIN`); those of the client for everything (`SECONDS`), which
hold also where server or network are silent. A job waits `QUEUE_SECONDS` for a connection, in a queue that has an end.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from time import monotonic
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.string import StrDumperUnknown
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

from filestead.database.engines.jobs import Job, deliver
from filestead.database.engines.statements import Connection, T
from filestead.domain.errors import (
    CannotStart,
    DatabaseUnavailable,
    DomainError,
    OutcomeUnknown,
    StorageFailed,
    StorageFull,
)

SECONDS = 5.2
QUEUE_SECONDS = 1.5
GRACE_SECONDS = 0.3
QUEUE = 1_000
TRIES = 4
TRY_SECONDS = 2.5
PAUSE_SECONDS = 0.5

# One round trip. SET LOCAL ends with the transaction, so it holds behind PgBouncer, where options of a session do not.
BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 5000; "
    "SET LOCAL lock_timeout = 3000; SET LOCAL idle_in_transaction_session_timeout = 6000"
)

# Where the URL says otherwise, it wins. A network that swallows packets is noticed within these seconds.
PARAMETERS: dict[str, Any] = {
    "application_name": "filestead",
    "connect_timeout": 3,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}

DISK_FULL = "53100"
READ_ONLY = "25006"
LOST_RACES = frozenset({"40001", "40P01", "23505"})
SHUTDOWNS = frozenset({"57P01", "57P02"})
# Connection, authorization, rollback, resources, operator; lock timeout, a standby instead of the primary, timeouts.
PASSING_CLASSES = frozenset({"08", "28", "40", "53", "57"})
PASSING = frozenset({"55P03", READ_ONLY, "25P03", "25P04", "23505", "3D000"})


@contextlib.contextmanager
def translate_postgres_errors() -> Iterator[None]:
    """Turn the driver's exceptions into the domain's."""
    try:
        yield
    except psycopg.Error as error:
        raise _meaning(error) from error


def _meaning(error: psycopg.Error) -> DomainError:
    code, reason = error.sqlstate, reason_of(error)
    if code == DISK_FULL:
        return StorageFull(f"the database's disk is full: {reason}")
    if code is None:
        passes = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    else:
        passes = code[:2] in PASSING_CLASSES or code in PASSING
    if passes:
        return DatabaseUnavailable(f"the database does not answer: {reason}")
    return StorageFailed(f"the database failed: {reason}")


def reason_of(error: psycopg.Error) -> str:
    """The first line of what the server or the driver says."""
    return error.diag.message_primary or str(error).partition("\n")[0] or type(error).__name__


class PostgresConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for the server no longer than its deadline allows."""

    deadline: float | None = None

    def wait(self, gen: Generator[Any, Any, T], interval: float = 0.1, timeout: float | None = None) -> T:
        """See the driver."""
        if self.deadline is not None:
            timeout = max(0.0, self.deadline - monotonic())
        return super().wait(gen, interval, timeout)


def connection_parameters(url: str) -> dict[str, Any]:
    """The URL taken apart, with this project's settings. `CannotStart` if it is none."""
    try:
        return {**PARAMETERS, **conninfo_to_dict(url)}
    except psycopg.Error:  # whose words may hold a part of the password
        raise CannotStart(
            "the database's URL cannot be read: write it as postgresql://user:password@host:port/name, with special "
            "characters of the password as %XX"
        ) from None


class _TextDumper(StrDumperUnknown):
    """The server's text cannot hold U+0000. So nothing stored has one, and an id with one is to be found nowhere."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd"))


def connect(parameters: dict[str, Any]) -> PostgresConnection:
    """A connection in autocommit mode."""
    connection = PostgresConnection.connect(autocommit=True, prepare_threshold=None, **parameters)
    connection.adapters.register_dumper(str, _TextDumper)
    return connection


class _Job(Job):
    """An operation with a deadline. Whoever takes it first, a thread or the clock, has it."""

    __slots__ = ("_taken", "commits", "deadline", "writes")

    def __init__(self, operation: Callable[[Connection], Any], deadline: float, *, writes: bool) -> None:
        super().__init__(operation)
        self.deadline = deadline
        self.writes = writes
        self.commits = False
        self._taken = threading.Lock()

    def take(self) -> bool:
        """Whether it is still to be had."""
        return self._taken.acquire(blocking=False)

    def hurry(self) -> None:
        """It has been waiting for long, for a connection or for the server."""
        if self.take():
            self.error = DatabaseUnavailable("every connection to the database is busy")
            self.conclude()
        else:
            self.loop.call_later(self.deadline + GRACE_SECONDS - monotonic(), self._give_up)

    def _give_up(self) -> None:
        """The thread hangs where no deadline reaches, as in the resolution of a name, or is busy cleaning up."""
        if not self.future.done():
            reason = "the database does not answer in time"
            self.future.set_exception(OutcomeUnknown(reason) if self.commits else DatabaseUnavailable(reason))


class _Worker:
    """A thread with a connection of its own, which is opened when it is needed and given up when it fails."""

    def __init__(self, name: str, jobs: "queue.Queue[_Job | None]", parameters: dict[str, Any]) -> None:
        self._jobs = jobs
        self._parameters = parameters
        self._connection: PostgresConnection | None = None
        self._unreachable = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._closing.set()
        self._thread.join()

    def _loop(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.take() and not job.future.cancelled():
                self._run(job)
                deliver([job])
                if self._unreachable:
                    self._closing.wait(PAUSE_SECONDS)  # the others may fare better; do not storm the server
        self._drop()

    def _run(self, job: _Job) -> None:
        for _ in range(TRIES):
            job.error, job.commits = None, False
            try:
                with translate_postgres_errors():
                    job.result = self._try(job)
            except Exception as error:
                job.error = error
                if _may_repeat(error) and monotonic() + TRY_SECONDS < job.deadline:
                    continue
            return

    def _try(self, job: _Job) -> Any:
        connection = self._connected(job.deadline)
        try:
            return _write(connection, job) if job.writes else job.operation(connection)
        except BaseException as error:
            if not _recovered(connection, error):
                self._drop()
            raise

    def _connected(self, deadline: float) -> PostgresConnection:
        if self._connection is None:
            self._unreachable = True
            try:
                self._connection = connect(self._parameters)
            except psycopg.Error as error:
                # Without a cause: a second try would find the same.
                raise DatabaseUnavailable(f"the database cannot be reached: {reason_of(error)}") from None
            self._unreachable = False
        self._connection.deadline = deadline
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _write(connection: PostgresConnection, job: _Job) -> Any:
    connection.execute(BEGIN)
    result = job.operation(connection)
    # In this order: `_give_up`, which comes after the deadline, must not miss a COMMIT that is sent yet.
    job.commits = True
    if monotonic() >= job.deadline:
        job.commits = False
        raise DatabaseUnavailable("the database was too slow")
    try:
        done = connection.execute("COMMIT").statusmessage
    except psycopg.Error as error:
        if _is_rolled_back(error):
            raise
        raise OutcomeUnknown(f"the connection was lost during COMMIT: {reason_of(error)}", result) from error
    if done != "COMMIT":
        raise StorageFailed(f"COMMIT was answered with {done}")
    return result


def _is_rolled_back(error: psycopg.Error) -> bool:
    """Whether a failed COMMIT has failed for sure: the server itself says so, and lives on."""
    return error.diag.severity_nonlocalized == "ERROR" and not (error.sqlstate or "08").startswith("08")


def _may_repeat(error: Exception) -> bool:
    """Whether the operation lost a race or its connection, before its COMMIT."""
    cause = error.__cause__
    if isinstance(error, OutcomeUnknown) or not isinstance(cause, psycopg.Error):
        return False
    if cause.sqlstate is not None:
        return cause.sqlstate in LOST_RACES or cause.sqlstate in SHUTDOWNS
    return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)


def _recovered(connection: PostgresConnection, error: BaseException) -> bool:
    """Make the connection fit for the next operation; False if it is not."""
    status = connection.info.transaction_status
    if isinstance(error, psycopg.Error) and error.sqlstate == READ_ONLY:
        return False  # another server is the primary now
    connection.deadline = monotonic() + 1
    with contextlib.suppress(psycopg.Error):
        if status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            connection.execute("ROLLBACK")
            return True
        if status == TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=1)
    return status == TransactionStatus.IDLE


class PostgresDatabase:
    """The shared database; see `statements.Database` for the contract."""

    dialect: Dialect = psycopg_dialect()  # type: ignore[no-untyped-call]

    def __init__(self, url: str, *, connections: int = 8, seconds: float = SECONDS) -> None:
        """`seconds` bounds an operation; a command that looks at everything takes more."""
        parameters = connection_parameters(url)
        self._seconds = seconds
        self._jobs: queue.Queue[_Job | None] = queue.Queue(QUEUE)
        self._workers = [_Worker(f"filestead-postgres-{n}", self._jobs, parameters) for n in range(connections)]

    async def read(self, operation: Callable[[Connection], T], *, long: bool = False) -> T:
        """Run an operation that only reads, each statement by itself. Long ones have connections enough beside them."""
        return await self._submit(operation, writes=False)

    async def write(self, operation: Callable[[Connection], T]) -> T:
        """Run an operation as one durable transaction."""
        return await self._submit(operation, writes=True)

    async def _submit(self, operation: Callable[[Connection], T], *, writes: bool) -> T:
        job = _Job(operation, monotonic() + self._seconds, writes=writes)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise DatabaseUnavailable(f"{QUEUE} operations are waiting for the database") from None
        timer = job.loop.call_later(QUEUE_SECONDS, job.hurry)
        try:
            result: T = await job.future
            return result
        finally:
            timer.cancel()

    def close(self) -> None:
        """Finish what is waiting and close every connection."""
        for _ in self._workers:
            self._jobs.put(None)
        for worker in self._workers:
            worker.join()
