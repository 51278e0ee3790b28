"""The bytes of inline blobs: rows beside the ledger of blobs."""

from functools import cache, partial
from typing import Any

from sqlalchemy import Dialect, bindparam, delete, func, insert, select

from filestead.database.engines.statements import (
    Database,
    Statement,
    StatementSet,
    dialect_insert,
    int_param,
    rows_of,
)
from filestead.database.tables import inline_blobs


class InlineStatements(StatementSet):
    """Statements on the bytes of inline blobs."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        key = inline_blobs.c.key == bindparam("key")
        values: dict[str, Any] = {"key": bindparam("key"), "data": bindparam("data")}
        self.add = compiled(insert(inline_blobs).values(**values))
        upsert = dialect_insert(inline_blobs, dialect).values(**values)
        self.replace = compiled(
            upsert.on_conflict_do_update(index_elements=[inline_blobs.c.key], set_={"data": upsert.excluded.data})
        )
        self.add_many = cache(lambda count: compiled(insert(inline_blobs).values(rows_of(("key", "data"), count))))
        self.get = compiled(select(inline_blobs.c.data).where(key))
        self.size = compiled(select(func.length(inline_blobs.c.data)).where(key))
        self.delete = compiled(delete(inline_blobs).where(key))
        self.keys = compiled(
            select(inline_blobs.c.key)
            .where(inline_blobs.c.key > bindparam("after"))
            .order_by(inline_blobs.c.key)
            .limit(int_param("limit"))
        )


class SqlInlineBlobs:
    """See `InlineBlobs` for the contract."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements = InlineStatements.of(database.dialect)

    async def write(self, key: str, content: bytes) -> None:
        """Store or replace the bytes."""
        await self._database.write(lambda connection: self._statements.replace(connection, key=key, data=content))

    async def read(self, key: str) -> bytes | None:
        """The bytes, or None."""
        row = await self._database.read_row(self._statements.get, key=key)
        return None if row is None else bytes(row[0])

    async def size(self, key: str) -> int | None:
        """The size in bytes, or None."""
        row = await self._database.read(lambda connection: self._statements.size(connection, key=key).fetchone())
        return None if row is None else int(row[0])

    async def delete(self, key: str) -> None:
        """Delete the bytes."""
        await self._database.write(lambda connection: self._statements.delete(connection, key=key))

    async def keys(self, after: str, limit: int) -> list[str]:
        """Keys in order."""
        rows = await self._database.read(
            lambda connection: self._statements.keys(connection, after=after, limit=limit).fetchall()
        )
        return [row[0] for row in rows]
