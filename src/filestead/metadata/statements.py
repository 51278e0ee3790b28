"""Statements are written in SQLAlchemy Core, compiled once for a dialect, and then run on the driver's own connection.

That keeps one text for every database without paying for SQLAlchemy on each call (see docs/adr/0002).
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from sqlalchemy import BigInteger, ColumnElement, Dialect, Executable, bindparam, func

T = TypeVar("T")


class Cursor(Protocol):
    """What is used of a driver's cursor."""

    @property
    def rowcount(self) -> int:
        """Rows that were changed."""

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows that are left."""


class Connection(Protocol):
    """What is used of a driver's connection; `sqlite3` and psycopg both have it."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Cursor:
        """Run one statement."""


class Database(Protocol):
    """Runs operations: plain functions over a connection. A driver's exceptions come out as errors of the domain."""

    dialect: Dialect

    async def read(self, operation: Callable[[Connection], T]) -> T:
        """Run an operation that only reads."""

    async def write(self, operation: Callable[[Connection], T]) -> T:
        """Run an operation as one durable transaction: all of it or, if it raises, nothing."""


def now_us() -> ColumnElement[int]:
    """The database's clock in microseconds."""
    return func.filestead_now(type_=BigInteger)


def now() -> ColumnElement[int]:
    """The database's clock in whole seconds."""
    return now_us() // 1_000_000


def number(name: str) -> Any:
    """A parameter that is a whole number."""
    return bindparam(name, type_=BigInteger)


class Statement:
    """A compiled statement; call it with a connection and the values of its parameters."""

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        self.sql = str(compiled)
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    def __call__(self, connection: Connection, **values: object) -> Cursor:
        """Run it."""
        return connection.execute(self.sql, {**self._constants, **values})
