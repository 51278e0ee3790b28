"""Where vectors are stored: `BlockTable` in SQLite, `pgvector.ChunkTable` in PostgreSQL."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from sqlalchemy import Dialect, bindparam, delete, func, insert, select

from filestead.database.engines.statements import (
    Connection,
    Database,
    Statement,
    StatementSet,
    int_array_param,
    int_param,
    json_array,
)
from filestead.database.repositories.files.rows import require_row
from filestead.database.repositories.vector_stores.parts import first_ordinals, in_range
from filestead.database.tables import vector_blocks, vector_values
from filestead.domain.vector_stores.embeddings import (
    ROWS_PER_BLOCK,
    CodeBlock,
    EmbeddingModel,
    SearchedVectors,
    VectorBlock,
)

blocks = vector_blocks.c


class VectorTable(Protocol):
    """Vectors of chunks, each statement within the caller's transaction."""

    def prepare_model(self, connection: Connection, model: EmbeddingModel) -> None:
        """Prepare for the vectors of a new model."""

    def replace(
        self, connection: Connection, store: int, model: EmbeddingModel, vectors: Sequence[VectorBlock]
    ) -> None:
        """Store vectors; those that an earlier attempt stored from the first of these chunks on are deleted."""

    def next_ordinal(self, connection: Connection, attachment: int, model: int) -> int:
        """The ordinal after the last chunk of an attachment that has a vector of the model."""

    def delete(self, connection: Connection, attachments: Sequence[int], limit: int) -> int:
        """Delete up to about `limit` vectors of attachments; returns the number of deleted rows."""

    def delete_others(self, connection: Connection, store: int, model: int, limit: int) -> int:
        """Delete up to about `limit` vectors of a store that other models made; returns the number of deleted rows."""


class BlockTable(StatementSet):
    """Vectors in blocks, which a scan reads; see `VectorTable`."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        numbers = {name: int_param(name) for name in ("store", "model", "attachment", "first", "chunks")}
        self._add = compiled(insert(vector_blocks).values(**numbers, codes=bindparam("codes")).returning(blocks.seq))
        self._add_values = compiled(insert(vector_values).values(id=int_param("id"), data=bindparam("data")))
        of_attachment = blocks.attachment == int_param("attachment")
        of_model = blocks.model == int_param("model")
        self._stored = compiled(select(blocks.seq).where(of_attachment, of_model, blocks.first >= int_param("start")))
        self._next = compiled(
            select(func.coalesce(func.max(blocks.first + blocks.chunks), 0)).where(of_attachment, of_model)
        )
        limit = int_param("limit")
        self._of_attachments = compiled(
            select(blocks.seq).where(blocks.attachment.in_(int_array_param("attachments"))).limit(limit)
        )
        of_store = blocks.store == int_param("store")
        self._others = compiled(select(blocks.seq).where(of_store, blocks.model != int_param("model")).limit(limit))
        seqs = int_array_param("seqs")
        self._delete = compiled(delete(vector_blocks).where(blocks.seq.in_(seqs)))
        self._delete_values = compiled(delete(vector_values).where(in_range(vector_values.c.id)))
        self._codes = compiled(
            select(blocks.seq, blocks.attachment, blocks.first, blocks.chunks, blocks.codes)
            .where(of_store, of_model, blocks.seq > int_param("after"))
            .order_by(blocks.seq)
            .limit(limit)
        )
        self._values = compiled(
            select(vector_values.c.id, vector_values.c.data).where(vector_values.c.id.in_(int_array_param("ids")))
        )

    def prepare_model(self, connection: Connection, model: EmbeddingModel) -> None:
        """Nothing to prepare."""

    def replace(
        self, connection: Connection, store: int, model: EmbeddingModel, vectors: Sequence[VectorBlock]
    ) -> None:
        """Store vectors in place of those of an earlier attempt."""
        for attachment, start in first_ordinals(vectors).items():
            self._delete_blocks(
                connection, self._stored(connection, attachment=attachment, model=model.id, start=start).fetchall()
            )
        for block in vectors:
            row = self._add(
                connection,
                store=store,
                model=model.id,
                attachment=block.attachment,
                first=block.first,
                chunks=block.chunks,
                codes=block.codes,
            ).fetchone()
            first = require_row(row)[0] * ROWS_PER_BLOCK
            size = len(block.values) // block.chunks
            for number in range(block.chunks):
                data = block.values[number * size : (number + 1) * size]
                self._add_values(connection, id=first + number, data=data)

    def next_ordinal(self, connection: Connection, attachment: int, model: int) -> int:
        """The ordinal after the last chunk that has a vector."""
        return int(require_row(self._next(connection, attachment=attachment, model=model).fetchone())[0])

    def delete(self, connection: Connection, attachments: Sequence[int], limit: int) -> int:
        """Delete blocks of attachments."""
        found = self._of_attachments(connection, attachments=json_array(attachments), limit=limit).fetchall()
        return self._delete_blocks(connection, found)

    def delete_others(self, connection: Connection, store: int, model: int, limit: int) -> int:
        """Delete blocks of other models."""
        found = self._others(connection, store=store, model=model, limit=limit).fetchall()
        return self._delete_blocks(connection, found)

    def _delete_blocks(self, connection: Connection, rows: Sequence[tuple[int, ...]]) -> int:
        if rows:
            self._delete(connection, seqs=json_array(seq for (seq,) in rows))
            for (seq,) in rows:
                first = seq * ROWS_PER_BLOCK
                self._delete_values(connection, first=first, end=first + ROWS_PER_BLOCK)
        return len(rows)

    def codes(self, connection: Connection, searched: SearchedVectors, after: int, limit: int) -> list[CodeBlock]:
        """Blocks that were stored after one."""
        rows = self._codes(
            connection, store=searched.store, model=searched.model.id, after=after, limit=limit
        ).fetchall()
        return [CodeBlock(*row) for row in rows]

    def values(self, connection: Connection, ids: Sequence[int]) -> dict[int, bytes]:
        """Exact vectors."""
        return dict(self._values(connection, ids=json_array(ids)).fetchall())


class SqlVectorBlocks:
    """See `VectorBlocks` for the contract."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = BlockTable.of(database.dialect)

    async def codes(self, searched: SearchedVectors, after: int, *, limit: int) -> list[CodeBlock]:
        """Blocks that were stored after one; the first read of a large store must not delay other reads."""
        return await self._database.read(
            lambda connection: self._table.codes(connection, searched, after, limit), long=after == 0
        )

    async def values(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Exact vectors."""
        return await self._database.read(lambda connection: self._table.values(connection, ids))
