"""Statements are written in SQLAlchemy Core, compiled once for a dialect, and then run on the driver's own connection.

One text serves every database, without the cost of SQLAlchemy on each call (see docs/adr/0002).
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeVar

from sqlalchemy import BigInteger, ColumnElement, Dialect, Executable, Select, Text, bindparam, cast, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

T = TypeVar("T")


class Cursor(Protocol):
    """The part of a driver's cursor that is used."""

    @property
    def rowcount(self) -> int:
        """The number of changed rows."""

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All remaining rows."""


class Connection(Protocol):
    """The part of a driver's connection that is used; `sqlite3` and psycopg both have it."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Cursor:
        """Run one statement."""


class Database(Protocol):
    """Runs operations: plain functions over a connection. Driver exceptions are translated to errors of the domain.

    An operation may run again after a rollback, and so must not change anything but the database.
    """

    dialect: Dialect

    async def read(self, operation: Callable[[Connection], T], *, long: bool = False) -> T:
        """Run a read-only operation. A `long` one, which reads many rows, must not delay other reads."""

    async def read_row(self, statement: "Statement", **values: str | int) -> tuple[Any, ...] | None:
        """The row that a statement finds by a unique key, if there is one."""

    async def write(self, operation: Callable[[Connection], T]) -> T:
        """Run an operation as one durable transaction; if it raises, it is rolled back.

        After `OutcomeUnknown` the transaction may or may not have been committed.
        """

    def close(self) -> None:
        """Close the connections."""


def dialect_insert(table: Any, dialect: Dialect) -> Any:
    """`INSERT` with `ON CONFLICT` into a table. Only the module of the dialect is loaded; each takes 20 ms and 2 MB."""
    if dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert  # noqa: PLC0415

        return sqlite_insert(table)
    from sqlalchemy.dialects.postgresql import insert as postgresql_insert  # noqa: PLC0415

    return postgresql_insert(table)


def now_us() -> ColumnElement[int]:
    """The database's clock in microseconds."""
    return func.filestead_now(type_=BigInteger)


def now() -> ColumnElement[int]:
    """The database's clock in whole seconds."""
    return now_us() // 1_000_000


def int_param(name: str) -> Any:
    """An integer parameter."""
    return bindparam(name, type_=BigInteger)


class json_texts(GenericFunction[str]):  # noqa: N801 - functions of SQL are written like this
    """The texts of a JSON array as a table with the column `value`."""

    type = Text()
    inherit_cache = True


@compiles(json_texts, "sqlite")
def _json_texts_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(json_texts, "postgresql")
def _json_texts_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS JSON))"


def text_array_param(name: str) -> Any:
    """A parameter for `in_` that is any number of texts; its value is a `json_array`."""
    return select(func.json_texts(bindparam(name, type_=Text)).table_valued("value").c.value)


def int_array_param(name: str) -> Any:
    """A parameter for `in_` that is any number of integers; its value is a `json_array`."""
    return select(cast(func.json_texts(bindparam(name, type_=Text)).table_valued("value").c.value, BigInteger))


def json_array(values: Iterable[str | int]) -> str:
    """The value of a parameter of `text_array_param` or `int_array_param`."""
    return json.dumps(list(values))


class Statement:
    """A compiled statement; call it with a connection and the values of its parameters."""

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        self.sql = str(compiled)
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    def __call__(self, connection: Connection, **values: object) -> Cursor:
        """Run it."""
        return connection.execute(self.sql, self.parameters(values))

    def parameters(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values of all parameters: these, and those that the statement has of itself."""
        return {**self._constants, **values} if self._constants else values

    def row(self, connection: Connection, **values: object) -> tuple[Any, ...] | None:
        """Run it; returns the row that a unique key has, if any.

        All rows are fetched, since a statement that is not at its end keeps its snapshot, and the WAL file grows.
        """
        rows = self(connection, **values).fetchall()
        return rows[0] if rows else None


class StatementSet:
    """Statements that depend on the dialect alone. Repositories share them: a process compiles each once (`of`)."""

    _compiled: ClassVar[dict[tuple[type, Dialect], Any]] = {}

    def __init__(self, dialect: Dialect) -> None:
        """Compile them."""

    @classmethod
    def of(cls, dialect: Dialect) -> Self:
        """The set for a dialect."""
        key = (cls, dialect)
        if key not in cls._compiled:
            cls._compiled[key] = cls(dialect)
        found: Self = cls._compiled[key]
        return found


def rows_of(names: Iterable[str], count: int, **expressions: Callable[[int], Any]) -> list[dict[str, Any]]:
    """The values of an insert of `count` rows, whose parameters are `name_0`, `name_1` and so on."""
    columns = list(names)
    return [
        {name: bindparam(f"{name}_{number}") for name in columns}
        | {name: expression(number) for name, expression in expressions.items()}
        for number in range(count)
    ]


def values_of(rows: Iterable[dict[str, object]]) -> dict[str, object]:
    """The parameters of such an insert."""
    return {f"{name}_{number}": value for number, row in enumerate(rows) for name, value in row.items()}


def in_powers(
    statement: Callable[[int], Statement],
    connection: Connection,
    rows: Sequence[dict[str, object]],
    read: Callable[[Cursor], T],
) -> list[T]:
    """Insert the rows by statements of 1, 2, 4 and so on rows, so that few are compiled; what `read` makes of each."""
    found: list[T] = []
    start = 0
    while start < len(rows):
        count = 1 << ((len(rows) - start).bit_length() - 1)
        found.append(read(statement(count)(connection, **values_of(rows[start : start + count]))))
        start += count
    return found


class RowLock:
    """Locks rows until the end of the transaction, so that they can be read and do not change afterwards.

    SQLite has no such lock and needs none, since it has one writer at a time: nothing is run there.
    """

    def __init__(self, rows: Select[Any], dialect: Dialect) -> None:
        self._statement = Statement(rows.with_for_update(key_share=True), dialect)
        self._needed = self._statement.sql != Statement(rows, dialect).sql

    def __call__(self, connection: Connection, **values: object) -> None:
        """Wait for the locks."""
        if self._needed:
            self._statement(connection, **values)
