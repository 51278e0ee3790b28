"""Reads and writes whole tables, to copy an installation to another database. Ids, keys and order are preserved."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from filestead.database.engines.statements import Connection, Database, Statement, now_us
from filestead.database.repositories.clock import proven_us
from filestead.database.tables import LIVE, PENDING, blobs, files, metadata, projects

Row = dict[str, Any]

TABLES_BEFORE_FILES = ("organizations", "projects", "users", "keys")
TABLES_AFTER_FILES = ("idempotency_keys", "file_tombstones")
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

# The position of the newest file ever published, even if it was deleted.
_LAST_SEQ = {
    "sqlite": "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'files'",
    "postgresql": "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('files', 'seq')::regclass), 0)",
}
_CONTINUE_AFTER = {
    "sqlite": (
        "DELETE FROM sqlite_sequence WHERE name = 'files'",
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('files', :last_seq)",
    ),
    "postgresql": (
        "SELECT setval(pg_get_serial_sequence('files', 'seq'), greatest(%(last_seq)s::bigint, 1), %(last_seq)s > 0)",
    ),
}


class TableCopier:
    """Reads and writes rows unchanged. The installation must not be served at the same time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- out ------------------------------------------------------------------------------------------------------

    async def rows(self, table: str, after: Row | None, limit: int) -> list[Row]:
        """Rows in the order of the table's key, starting after the row `after`."""
        return await self._page(metadata.tables[table], sa.select(metadata.tables[table]), after, limit)

    async def files(self, after: Row | None, limit: int) -> list[Row]:
        """As `rows`, without expired files."""
        unexpired = sa.or_(files.c.expires_at.is_(None), files.c.expires_at > proven_us() // 1_000_000)
        return await self._page(files, sa.select(files).where(unexpired), after, limit)

    async def matching_rows(self, table: str, rows: Sequence[Row]) -> list[Row]:
        """The rows with the same keys as `rows`, which come from another installation."""
        columns = metadata.tables[table].columns
        (key,) = _key_columns(metadata.tables[table])
        names = [f"key_{number}" for number in range(len(rows))]
        statement = sa.select(*columns).where(key.in_([sa.bindparam(name, type_=key.type) for name in names]))
        return await self._read_rows(statement, dict(zip(names, (row[key.name] for row in rows), strict=True)))

    async def last_seq(self) -> int:
        """The highest `seq` that a file was ever given."""
        sql = _LAST_SEQ[self._database.dialect.name]
        row = await self._database.read(lambda connection: connection.execute(sql, {}).fetchone())
        return int(row[0]) if row else 0

    async def _page(self, table: sa.Table, statement: sa.Select[Any], after: Row | None, limit: int) -> list[Row]:
        key = _key_columns(table)
        values: Row = {}
        if after is not None:
            values = {f"after_{column.name}": after[column.name] for column in key}
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
        await self._write_all(self._upsert(blobs, ledger, lease_until_us=lease))

    async def publish(self, rows: Sequence[Row]) -> None:
        """Insert files whose bytes are stored, in one transaction with the rows of their blobs."""
        ledger = [_blob_row(row, LIVE) for row in rows]
        await self._write_all(self._upsert(blobs, ledger), self._upsert(files, rows))

    async def finalize(self, last_seq: int) -> None:
        """Set the usage of the projects to the sum of their files, and number new files after `last_seq`."""
        used = sa.func.coalesce(
            sa.select(sa.func.sum(files.c.bytes)).where(files.c.project_id == projects.c.id).scalar_subquery(),
            sa.literal_column("0"),
        )
        sums = projects.update().values(bytes_used=used, bytes_reserved=sa.literal_column("0"))
        await self._write_all((sums, {}))
        steps = _CONTINUE_AFTER[self._database.dialect.name]

        def operation(connection: Connection) -> None:
            for sql in steps:
                connection.execute(sql, {"last_seq": last_seq})

        await self._database.write(operation)

    def _upsert(self, table: sa.Table, rows: Sequence[Row], **expressions: Any) -> tuple[sa.Executable, Row]:
        """One statement for all rows, to save round trips, and its parameters."""
        names = [column.name for column in table.columns if column.name not in expressions]
        insert = _INSERTS[self._database.dialect.name](table).values(
            [
                {name: sa.bindparam(f"{name}_{number}", type_=table.c[name].type) for name in names} | expressions
                for number in range(len(rows))
            ]
        )
        key = _key_columns(table)
        others = {column.name: insert.excluded[column.name] for column in table.columns if column not in set(key)}
        values = {f"{name}_{number}": row[name] for number, row in enumerate(rows) for name in names}
        return insert.on_conflict_do_update(index_elements=key, set_=others), values

    async def _write_all(self, *statements: tuple[sa.Executable, Row]) -> None:
        compiled = [(Statement(statement, self._database.dialect), values) for statement, values in statements]

        def operation(connection: Connection) -> None:
            for statement, values in compiled:
                statement(connection, **values)

        await self._database.write(operation)


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
