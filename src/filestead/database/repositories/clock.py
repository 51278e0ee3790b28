"""Observations of the database's clock, in one row that all nodes share. The rules are in `domain.clock`.

When the clock has been set back, they also correct what would wait for the time at which it stood.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    and_,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from filestead.database.engines.statements import (
    Connection,
    Database,
    RowLock,
    Statement,
    StatementSet,
    int_param,
    now_us,
)
from filestead.database.tables import clock, jobs
from filestead.domain.clock import ClockState, ClockWatch
from filestead.domain.jobs import JobKind, longest_wait


def proven_us() -> ColumnElement[int]:
    """The database's clock without the jumps that the last sweep found, for read-only commands."""
    return now_us() - func.coalesce(select(clock.c.seen_us - clock.c.proven_us).scalar_subquery(), 0, type_=BigInteger)


class _JobTimes(StatementSet):
    """Times of jobs that lie in the future, since the clock was ahead when they were written."""

    def __init__(self, dialect: Dialect) -> None:
        longest = case(
            (and_(jobs.c.token.is_(None), jobs.c.attempts == 0), literal_column("0")),  # never claimed
            *((jobs.c.kind == literal(kind.value), literal(int(longest_wait(kind) * 1e6))) for kind in JobKind),
            else_=literal_column("0"),
        )
        latest = now_us() + longest
        waits_too_long, is_of_the_future = jobs.c.due_us > latest, jobs.c.died_us > now_us()
        self._exceed = Statement(select(jobs.c.id).where(or_(waits_too_long, is_of_the_future)).limit(1), dialect)
        self._cap_waits = Statement(update(jobs).where(waits_too_long).values(due_us=latest), dialect)
        self._cap_deaths = Statement(update(jobs).where(is_of_the_future).values(died_us=now_us()), dialect)

    def exceed(self, connection: Connection) -> bool:
        """Whether there is something to cap: mostly there is not, and a read costs no sync."""
        return bool(self._exceed(connection).fetchall())

    def cap(self, connection: Connection) -> None:
        """Let no job wait longer than it may, and no dead letter be younger than it can be."""
        self._cap_waits(connection)
        self._cap_deaths(connection)


class _ClockRow(StatementSet):
    """Statements on the row of observations."""

    def __init__(self, dialect: Dialect) -> None:
        self.lock = RowLock(select(clock.c.id), dialect)
        self.read = Statement(select(now_us(), clock.c.seen_us, clock.c.proven_us, clock.c.jumped_us), dialect)
        values: dict[str, Any] = {name: int_param(name) for name in ("seen_us", "proven_us", "jumped_us")}
        self.record = Statement(update(clock).values(**values), dialect)


class SqlClock:
    """Readings of the database's clock."""

    def __init__(self, database: Database, watch: ClockWatch) -> None:
        self._database = database
        self._watch = watch
        self._job_times = _JobTimes.of(database.dialect)
        self._row = _ClockRow.of(database.dialect)

    def proven_us(self, connection: Connection) -> int:
        """The current proven time, by which rows may be deleted for good."""
        return self._read_state(connection)[1].proven_us

    async def observe(self) -> str | None:
        """Compare the clock with the elapsed time and record the result; returns a line for the log, if any.

        Jobs that were added or delayed before the clock was set back do not wait for the time at which it stood.
        """

        def operation(connection: Connection) -> tuple[ClockState | None, ClockState, float]:
            self._row.lock(connection)
            before, after, read_at = self._read_state(connection)
            self._row.record(connection, seen_us=after.seen_us, proven_us=after.proven_us, jumped_us=after.jumped_us)
            return before, after, read_at

        before, after, read_at = await self._database.write(operation)
        if await self._database.read(self._job_times.exceed):
            await self._database.write(self._job_times.cap)
        message = self._watch.log_message(before, after)
        self._watch.remember(after, read_at)
        return message

    def _read_state(self, connection: Connection) -> tuple[ClockState | None, ClockState, float]:
        row = self._row.read(connection).fetchone()
        read_at = self._watch.monotonic()
        if row is None:
            raise LookupError("the row of the clock is missing")
        recorded = None if row[1] is None else ClockState(*row[1:])
        return recorded, self._watch.evaluate(row[0], recorded), read_at
