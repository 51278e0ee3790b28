"""Reads and writes whole tables, to copy an installation to another database. Ids, keys and order are preserved."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from filestead.database.engines.statements import (
    Connection,
    Database,
    Statement,
    dialect_insert,
    int_param,
    now_us,
)
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.usage import journal_bytes, used_bytes
from filestead.database.tables import LIVE, PENDING, blob_parts, blobs, files, metadata, projects
from filestead.domain.clock import ClockWatch

Row = dict[str, Any]

TABLES_BEFORE_FILES = ("organizations", "projects", "users", "keys")
TABLES_AFTER_FILES = ("idempotency_keys", "file_tombstones")
AUDIT_TABLES = ("audit_events", "audit_chain")

RESOURCE_TABLES = (
    *("embedding_models", "vector_stores", "file_batches", "vector_store_files", "vector_store_chunks"),
    *("index_segments", "index_postings", "index_documents"),
    *("batches", "batch_results", "webhook_events", "jobs"),
)
"""Tables of vector stores, batches and jobs, in the order of their references; without vectors, see `copying.py`."""

VECTOR_TABLES = ("vector_blocks", "vector_values")
"""Of SQLite alone."""

SEQUENCES = {
    "files": "seq",
    "vector_stores": "seq",
    "vector_store_files": "seq",
    "embedding_models": "id",
    "index_segments": "id",
    "batches": "seq",
    "jobs": "id",
    "audit_events": "id",
}
"""Tables whose rows are numbered; a number is never given twice."""

# The highest number ever given, even if the row was deleted.
_LAST_NUMBER = {
    "sqlite": "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = '{table}'",
    "postgresql": (
        "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('{table}', '{column}')::regclass), 0)"
    ),
}
_CONTINUE_AFTER = {
    "sqlite": (
        "DELETE FROM sqlite_sequence WHERE name = '{table}'",
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('{table}', :last)",
    ),
    "postgresql": (
        "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), greatest(%(last)s::bigint, 1), %(last)s > 0)",
    ),
}
_ROWS_PER_DELETE = 1_000
_ROWS_PER_INSERT = 500
"""A statement has at most 32,766 parameters in SQLite."""


class TableCopier:
    """Reads and writes rows unchanged. The installation must not be served at the same time."""

    def __init__(self, database: Database, watch: ClockWatch | None = None) -> None:
        """`watch` decides whether the database's clock is trusted: what expired by a jump is copied."""
        self._database = database
        self._clock = SqlClock(database, watch or ClockWatch())

    # --- out ------------------------------------------------------------------------------------------------------

    async def rows(self, table: str, after: Row | None, limit: int) -> list[Row]:
        """Rows in the order of the table's key, starting after the row `after`."""
        return await self._page(metadata.tables[table], sa.select(metadata.tables[table]), after, limit)

    async def files(self, after: Row | None, limit: int) -> list[Row]:
        """As `rows`, without expired files."""
        unexpired = sa.or_(files.c.expires_at.is_(None), files.c.expires_at > int_param("proven"))
        return await self._page(files, sa.select(files).where(unexpired), after, limit, **await self._proven())

    async def expired_files(self, after: Row | None, limit: int) -> list[Row]:
        """The rows that `files` leaves out."""
        expired = files.c.expires_at <= int_param("proven")
        return await self._page(files, sa.select(files).where(expired), after, limit, **await self._proven())

    async def matching_rows(self, table: str, rows: Sequence[Row]) -> list[Row]:
        """The rows with the same keys as `rows`, which come from another installation."""
        columns = metadata.tables[table].columns
        (key,) = _key_columns(metadata.tables[table])
        names = [f"key_{number}" for number in range(len(rows))]
        statement = sa.select(*columns).where(key.in_([sa.bindparam(name, type_=key.type) for name in names]))
        return await self._read_rows(statement, dict(zip(names, (row[key.name] for row in rows), strict=True)))

    async def attached_files(self, after: Row | None, limit: int) -> list[Row]:
        """As `rows` of `vector_store_files`, without those of expired files."""
        table = metadata.tables["vector_store_files"]
        unexpired = sa.or_(table.c.expires_at.is_(None), table.c.expires_at > int_param("proven"))
        return await self._page(table, sa.select(table).where(unexpired), after, limit, **await self._proven())

    async def _proven(self) -> dict[str, int]:
        """The proven time in seconds, as a parameter."""
        return {"proven": await self._database.read(self._clock.proven_us) // 1_000_000}

    async def last_number(self, table: str = "files") -> int:
        """The highest number that a row of one of `SEQUENCES` was ever given."""
        sql = _LAST_NUMBER[self._database.dialect.name].format(table=table, column=SEQUENCES[table])
        row = await self._database.read(lambda connection: connection.execute(sql, {}).fetchone())
        return int(row[0]) if row else 0

    async def _page(
        self, table: sa.Table, statement: sa.Select[Any], after: Row | None, limit: int, **values: Any
    ) -> list[Row]:
        key = _key_columns(table)
        if after is not None:
            values |= {f"after_{column.name}": after[column.name] for column in key}
            parameters = (sa.bindparam(f"after_{column.name}", type_=column.type) for column in key)
            statement = statement.where(sa.tuple_(*key) > sa.tuple_(*parameters))
        return await self._read_rows(statement.order_by(*key).limit(limit), values)

    async def _read_rows(self, statement: sa.Select[Any], values: Row) -> list[Row]:
        compiled = Statement(statement, self._database.dialect)
        found = await self._database.read(lambda connection: compiled(connection, **values).fetchall())
        return [dict(zip(statement.selected_columns.keys(), row, strict=True)) for row in found]

    # --- in -------------------------------------------------------------------------------------------------------

    async def write(self, table: str, rows: Sequence[Row]) -> None:
        """Insert rows, or overwrite rows with the same key."""
        await self._write_all(self._upsert(metadata.tables[table], rows))

    async def register_pending_blobs(self, rows: Sequence[Row], *, lease_seconds: int) -> None:
        """Add blobs to the ledger before their first byte is written, so that no blob is ever without a row."""
        lease = now_us() + sa.bindparam("lease_us", lease_seconds * 1_000_000, type_=sa.BigInteger)
        ledger = [_blob_row(row, PENDING) for row in rows]
        await self._write_all(*(self._upsert(blobs, some, lease_until_us=lease) for some in _chunks(ledger)))

    async def publish(self, rows: Sequence[Row], parts: Sequence[Row] = ()) -> None:
        """Insert files whose bytes are stored, and their rows of `blob_parts`, in one transaction with their blobs."""
        keys = {(row["blob_key"], row["project_id"]) for row in rows}
        projects_of = dict(keys)
        keys |= {(row["part_key"], projects_of[row["blob_key"]]) for row in parts}
        ledger = [_blob_row({"blob_key": key, "project_id": project}, LIVE) for key, project in sorted(keys)]
        of_parts = [self._upsert(blob_parts, some) for some in _chunks(parts)]
        of_blobs = [self._upsert(blobs, some) for some in _chunks(ledger)]
        await self._write_all(*of_blobs, *of_parts, self._upsert(files, rows))

    async def write_parts(self, parts: Sequence[Row]) -> None:
        """Insert rows of `blob_parts` of blobs that no file has any more."""
        await self._write_all(*(self._upsert(blob_parts, some) for some in _chunks(parts)))

    async def clear(self, table: str) -> None:
        """Delete all rows, in several transactions."""
        found = metadata.tables[table]
        key = _key_columns(found)
        some = sa.select(*key).limit(_ROWS_PER_DELETE)
        delete = Statement(sa.delete(found).where(sa.tuple_(*key).in_(some)), self._database.dialect)
        while await self._database.write(lambda connection: delete(connection).rowcount):
            pass

    async def finalize(self, last_numbers: Mapping[str, int]) -> None:
        """Set the usage of the projects to what they have, and number new rows of tables after these."""
        sums = projects.update().values(bytes_used=used_bytes(), bytes_reserved=journal_bytes())
        await self._write_all((sums, {}))
        steps = _CONTINUE_AFTER[self._database.dialect.name]

        def operation(connection: Connection) -> None:
            for table, last in last_numbers.items():
                for sql in steps:
                    connection.execute(sql.format(table=table, column=SEQUENCES[table]), {"last": last})

        await self._database.write(operation)

    def _upsert(self, table: sa.Table, rows: Sequence[Row], **expressions: Any) -> tuple[sa.Executable, Row]:
        """One statement for all rows, to save round trips, and its parameters."""
        names = [column.name for column in table.columns if column.name not in expressions]
        insert = dialect_insert(table, self._database.dialect).values(
            [
                {name: sa.bindparam(f"{name}_{number}", type_=table.c[name].type) for name in names} | expressions
                for number in range(len(rows))
            ]
        )
        key = _key_columns(table)
        others = {column.name: insert.excluded[column.name] for column in table.columns if column not in set(key)}
        values = {f"{name}_{number}": row[name] for number, row in enumerate(rows) for name in names}
        if not others:
            return insert.on_conflict_do_nothing(index_elements=key), values
        return insert.on_conflict_do_update(index_elements=key, set_=others), values

    async def _write_all(self, *statements: tuple[sa.Executable, Row]) -> None:
        compiled = [(Statement(statement, self._database.dialect), values) for statement, values in statements]

        def operation(connection: Connection) -> None:
            for statement, values in compiled:
                statement(connection, **values)

        await self._database.write(operation)


def _chunks(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[start : start + _ROWS_PER_INSERT] for start in range(0, len(rows), _ROWS_PER_INSERT)]


def _key_columns(table: sa.Table) -> list[sa.Column[Any]]:
    return list(table.primary_key.columns)


def _blob_row(file: Row, state: str) -> Row:
    return {
        "key": file["blob_key"],
        "project_id": file["project_id"],
        "state": state,
        "lease_until_us": None,
        "bytes_reserved": 0,
    }
