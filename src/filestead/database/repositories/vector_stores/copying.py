"""Copies vectors from one database to another, whatever the form in which each of them keeps vectors."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from sqlalchemy import null, select, update

from filestead.database.engines.statements import (
    Connection,
    Database,
    Statement,
    int_array_param,
    int_param,
    json_array,
)
from filestead.database.repositories.vector_stores.parts import split_part_id
from filestead.database.repositories.vector_stores.pgvector import bytes_of, create_tables, tables
from filestead.database.repositories.vector_stores.rows import attached
from filestead.database.repositories.vector_stores.vector_tables import blocks
from filestead.database.repositories.vector_stores.vectors import vector_table
from filestead.database.tables import vector_blocks, vector_store_files, vector_stores, vector_values
from filestead.domain.errors import DomainError
from filestead.domain.vector_stores.embeddings import BYTES_PER_DIMENSION, ROWS_PER_BLOCK, EmbeddingModel, VectorBlock

ROWS_PER_PAGE = 1_000

Encode = Callable[[Sequence[bytes], int], Sequence[tuple[int, int, bytes, bytes]]]
"""Makes blocks (first, chunks, values, codes) of vectors of consecutive chunks, see `search/dense.py`."""


@dataclass(frozen=True, slots=True)
class CopiedVector:
    """A vector, and whose it is."""

    model: int
    store: int
    attachment: int
    ordinal: int
    vector: bytes


class VectorCopier:
    """Reads and writes vectors. The installation must not be served at the same time."""

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        self._database = database
        self._is_sqlite = dialect.name == "sqlite"
        self._table = vector_table(dialect)
        compiled = partial(Statement, dialect=dialect)
        number = vector_values.c.id % ROWS_PER_BLOCK
        self._rows = compiled(
            select(
                vector_values.c.id,
                blocks.model,
                blocks.store,
                blocks.attachment,
                blocks.first + number,
                vector_values.c.data,
            )
            .join(vector_blocks, blocks.seq == vector_values.c.id // ROWS_PER_BLOCK)
            .where(vector_values.c.id > int_param("after"))
            .order_by(vector_values.c.id)
            .limit(ROWS_PER_PAGE)
        )
        self._there = compiled(select(attached.seq).where(attached.seq.in_(int_array_param("ids"))))
        self._forget = [
            compiled(update(vector_stores).values(embedding_model=null())),
            compiled(update(vector_store_files).values(embedded_model=null())),
        ]

    async def pages(self) -> AsyncIterator[list[CopiedVector]]:
        """All vectors, in the order of their chunks within a model."""
        for read in await self._sources():
            after = -1
            while rows := await self._database.read(partial(read, after)):
                after = rows[-1][0]
                yield [row for _, row in rows]

    async def _sources(self) -> list[Callable[[int, Connection], list[tuple[int, CopiedVector]]]]:
        if self._is_sqlite:
            return [self._read_blocks]
        return [partial(_read_table, table.id, table.name) for table in await self._database.read(tables)]

    def _read_blocks(self, after: int, connection: Connection) -> list[tuple[int, CopiedVector]]:
        rows = self._rows(connection, after=after).fetchall()
        return [(row[0], CopiedVector(*row[1:])) for row in rows]

    async def clear(self) -> None:
        """Delete all vectors. The tables of SQLite are cleared with the others."""
        if self._is_sqlite:
            return

        def drop(connection: Connection) -> None:
            for table in tables(connection):
                connection.execute(f"DROP TABLE {table.name}")

        await self._database.write(drop)

    async def prepare(self) -> bool:
        """Prepare for the vectors of all models; False if the database cannot keep vectors."""
        if self._is_sqlite:
            return True

        def create(connection: Connection) -> None:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            create_tables(connection, None, 0)

        try:
            await self._database.write(create)
        except DomainError:
            return False
        return True

    async def write(self, rows: Sequence[CopiedVector], encode: Encode) -> None:
        """Add vectors whose files were copied."""

        def operation(connection: Connection) -> None:
            ids = json_array({row.attachment for row in rows})
            there = {seq for (seq,) in self._there(connection, ids=ids).fetchall()}
            kept = [row for row in rows if row.attachment in there]
            for (number, store, attachment), group in groupby(
                kept, key=lambda row: (row.model, row.store, row.attachment)
            ):
                found = list(group)
                model = EmbeddingModel(number, "", len(found[0].vector) // BYTES_PER_DIMENSION)
                made = encode([row.vector for row in found], found[0].ordinal)
                self._table.replace(connection, store, model, [VectorBlock(attachment, *block) for block in made])

        await self._database.write(operation)

    async def forget(self) -> None:
        """Record that no store has vectors, so that jobs make them."""

        def operation(connection: Connection) -> None:
            for statement in self._forget:
                statement(connection)

        await self._database.write(operation)


def _read_table(model: int, name: str, after: int, connection: Connection) -> list[tuple[int, CopiedVector]]:
    rows = connection.execute(
        f"SELECT id, store, embedding::text FROM {name} WHERE id > %(after)s ORDER BY id LIMIT {ROWS_PER_PAGE}",  # noqa: S608
        {"after": after},
    ).fetchall()
    return [(id_, CopiedVector(model, store, *split_part_id(id_), bytes_of(text))) for id_, store, text in rows]
