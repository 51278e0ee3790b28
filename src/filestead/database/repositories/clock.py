"""Observations of the database's clock, in one row that all nodes share. The rules are in `domain.clock`."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, func, select, update

from filestead.database.engines.statements import Connection, Database, RowLock, Statement, int_param, now_us
from filestead.database.tables import clock
from filestead.domain.clock import ClockState, ClockWatch


def proven_us() -> ColumnElement[int]:
    """The database's clock without the jumps that the last sweep found, for read-only commands."""
    return now_us() - func.coalesce(select(clock.c.seen_us - clock.c.proven_us).scalar_subquery(), 0, type_=BigInteger)


class SqlClock:
    """Readings of the database's clock."""

    def __init__(self, database: Database, watch: ClockWatch) -> None:
        self._database = database
        self._watch = watch
        self._lock = RowLock(select(clock.c.id), database.dialect)
        self._read = Statement(
            select(now_us(), clock.c.seen_us, clock.c.proven_us, clock.c.jumped_us), database.dialect
        )
        values: dict[str, Any] = {name: int_param(name) for name in ("seen_us", "proven_us", "jumped_us")}
        self._record = Statement(update(clock).values(**values), database.dialect)

    def proven_us(self, connection: Connection) -> int:
        """The current proven time, by which rows may be deleted for good."""
        return self._read_state(connection)[1].proven_us

    async def observe(self) -> str | None:
        """Compare the clock with the elapsed time and record the result; returns a line for the log, if any."""

        def operation(connection: Connection) -> tuple[ClockState | None, ClockState, float]:
            self._lock(connection)
            before, after, read_at = self._read_state(connection)
            self._record(connection, seen_us=after.seen_us, proven_us=after.proven_us, jumped_us=after.jumped_us)
            return before, after, read_at

        before, after, read_at = await self._database.write(operation)
        message = self._watch.log_message(before, after)
        self._watch.remember(after, read_at)
        return message

    def _read_state(self, connection: Connection) -> tuple[ClockState | None, ClockState, float]:
        row = self._read(connection).fetchone()
        read_at = self._watch.monotonic()
        if row is None:
            raise LookupError("the row of the clock is missing")
        recorded = None if row[1] is None else ClockState(*row[1:])
        return recorded, self._watch.evaluate(row[0], recorded), read_at
