"""Vectors in PostgreSQL: a table for each model, `chunk_vectors_<id>`, with an HNSW index of pgvector.

The tables are not part of the migrations, since a server without pgvector can be used, too. Inner products of vectors
of length 1 are cosines. Source: the documentation of pgvector 0.8.
"""

import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from filestead.database.engines.statements import Connection, Database
from filestead.database.repositories.vector_stores.parts import first_ordinals, part_id, range_of, split_part_id
from filestead.domain.vector_stores.embeddings import (
    BYTES_PER_DIMENSION,
    DenseCandidate,
    EmbeddingModel,
    SearchedVectors,
    VectorBlock,
)

EXACT_CHUNKS = 10_000
"""Stores up to this size are scanned by themselves: that is exact, and quick whatever other stores hold."""

FIRST_BATCH = 128
GROWTH = 8
MAX_LIMIT = 2**31 - 1

# The index covers all stores; it goes on until enough vectors of the store are found. Sorting is what the planner would
# do otherwise.
APPROXIMATE = (
    "BEGIN READ ONLY; SET LOCAL enable_sort = off; SET LOCAL hnsw.ef_search = 160; "
    "SET LOCAL hnsw.iterative_scan = relaxed_order; SET LOCAL hnsw.max_scan_tuples = 40000"
)


@dataclass(frozen=True, slots=True)
class _Table:
    """The table of one model."""

    id: int
    dimensions: int

    @property
    def name(self) -> str:
        return f"chunk_vectors_{self.id}"

    @property
    def indexed_type(self) -> str | None:
        """The type that an HNSW index can have: it is limited to 2,000 dimensions, or 4,000 in half precision."""
        if self.dimensions <= 2_000:
            return f"vector({self.dimensions})"
        return f"halfvec({self.dimensions})" if self.dimensions <= 4_000 else None


class ChunkTable:
    """Vectors in a row for each chunk; see `VectorTable`. The names of tables are made of numbers only."""

    def prepare_model(self, connection: Connection, model: EmbeddingModel) -> None:
        """Create the table of the model."""
        table = _Table(model.id, model.dimensions)
        name = table.name
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {name} "
            f"(id bigint PRIMARY KEY, store bigint NOT NULL, embedding vector({model.dimensions}) NOT NULL)"
        )
        connection.execute(f"CREATE INDEX IF NOT EXISTS {name}_store ON {name} (store)")
        if table.indexed_type is not None:
            operators = f"{table.indexed_type.partition('(')[0]}_ip_ops"
            connection.execute(
                f"CREATE INDEX IF NOT EXISTS {name}_hnsw ON {name} "
                f"USING hnsw ((embedding::{table.indexed_type}) {operators})"
            )

    def replace(
        self, connection: Connection, store: int, model: EmbeddingModel, vectors: Sequence[VectorBlock]
    ) -> None:
        """Store vectors in place of those of an earlier attempt."""
        table = _Table(model.id, model.dimensions)
        for attachment, start in first_ordinals(vectors).items():
            connection.execute(
                f"DELETE FROM {table.name} WHERE id >= %(first)s AND id < %(end)s",  # noqa: S608
                range_of(attachment, start),
            )
        ids: list[int] = []
        texts: list[str] = []
        for block in vectors:
            ids += [part_id(block.attachment, block.first + number) for number in range(block.chunks)]
            texts += texts_of(block.values, model.dimensions)
        connection.execute(
            f"INSERT INTO {table.name} (id, store, embedding) SELECT id, %(store)s, embedding::vector "  # noqa: S608
            "FROM unnest(%(ids)s::bigint[], %(texts)s::text[]) AS made (id, embedding)",
            {"store": store, "ids": ids, "texts": texts},
        )

    def next_ordinal(self, connection: Connection, attachment: int, model: int) -> int:
        """The ordinal after the last chunk that has a vector."""
        sql = f"SELECT max(id) FROM chunk_vectors_{model} WHERE id >= %(first)s AND id < %(end)s"  # noqa: S608
        row = connection.execute(sql, range_of(attachment)).fetchone()
        return 0 if row is None or row[0] is None else split_part_id(row[0])[1] + 1

    def delete(self, connection: Connection, attachments: Sequence[int], limit: int) -> int:
        """Delete vectors of attachments, of all models."""
        left = limit
        for table in tables(connection):
            for attachment in attachments:
                left -= connection.execute(
                    f"DELETE FROM {table.name} WHERE id IN (SELECT id FROM {table.name} "  # noqa: S608
                    "WHERE id >= %(first)s AND id < %(end)s LIMIT %(limit)s)",
                    {**range_of(attachment), "limit": max(left, 0)},
                ).rowcount
        return limit - left

    def delete_others(self, connection: Connection, store: int, model: int, limit: int) -> int:
        """Delete vectors of other models."""
        return sum(
            connection.execute(
                f"DELETE FROM {table.name} WHERE id IN (SELECT id FROM {table.name} "  # noqa: S608
                "WHERE store = %(store)s LIMIT %(limit)s)",
                {"store": store, "limit": limit},
            ).rowcount
            for table in tables(connection)
            if table.id != model
        )


def tables(connection: Connection) -> list[_Table]:
    """The tables that there are."""
    rows = connection.execute(
        "SELECT id, dimensions FROM embedding_models WHERE to_regclass('chunk_vectors_' || id) IS NOT NULL ORDER BY id",
        {},
    ).fetchall()
    return [_Table(*row) for row in rows]


def lacks_tables(connection: Connection, name: str | None, dimensions: int) -> bool:
    """Whether the extension, or something that `create_tables` creates, is missing."""
    row = connection.execute(
        "SELECT NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') "
        "OR EXISTS (SELECT FROM embedding_models WHERE to_regclass('chunk_vectors_' || id) IS NULL) "
        "OR %(name)s::text IS NOT NULL AND NOT EXISTS "
        "(SELECT FROM embedding_models WHERE name = %(name)s AND dimensions = %(dimensions)s)",
        {"name": name, "dimensions": dimensions},
    ).fetchone()
    return bool(row and row[0])


def create_tables(connection: Connection, name: str | None, dimensions: int) -> None:
    """Record the model `name`, if given, and create the tables of all models. The extension must be there."""
    if name is not None:
        connection.execute(
            "INSERT INTO embedding_models (name, dimensions) VALUES (%(name)s, %(dimensions)s) ON CONFLICT DO NOTHING",
            {"name": name, "dimensions": dimensions},
        )
    rows = connection.execute("SELECT id, name, dimensions FROM embedding_models ORDER BY id", {}).fetchall()
    for row in rows:
        ChunkTable().prepare_model(connection, EmbeddingModel(*row))


class PgvectorSearch:
    """See `NearestChunks` for the contract."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def nearest(self, searched: SearchedVectors, query: bytes) -> AsyncIterator[Sequence[DenseCandidate]]:
        """Yield chunks: of a large store first those that the index finds, then all by exact scores."""
        table = _Table(searched.model.id, searched.model.dimensions)
        (text,) = texts_of(query, table.dimensions)
        seen: set[int] = set()
        limit = FIRST_BATCH
        approximate = searched.chunks > EXACT_CHUNKS and table.indexed_type is not None
        while True:
            values = {"store": searched.store, "query": text, "limit": limit}

            def operation(
                connection: Connection, values: dict[str, object] = values, indexed: bool = approximate
            ) -> list[tuple[int, float]]:
                return _nearest_rows(connection, table, values, indexed=indexed)

            rows = await self._database.read(operation, long=not approximate)
            fresh = [row for row in rows if row[0] not in seen]
            seen.update(id_ for id_, _ in fresh)
            if fresh:
                fresh.sort(key=lambda row: (-row[1], row[0]))
                yield [DenseCandidate(*split_part_id(id_), score) for id_, score in fresh]
            if len(rows) < limit and not approximate:
                return
            limit = min(limit * GROWTH, MAX_LIMIT)
            approximate = False


def _nearest_rows(
    connection: Connection, table: _Table, values: dict[str, object], *, indexed: bool
) -> list[tuple[int, float]]:
    type_ = table.indexed_type if indexed else f"vector({table.dimensions})"
    distance = f"(embedding::{type_}) <#> %(query)s::{type_}"
    # The sum keeps the planner from the index.
    order = distance if indexed else f"({distance}) + 0.0"
    select = (
        f"SELECT id, -({distance}) FROM {table.name} WHERE store = %(store)s "  # noqa: S608
        f"ORDER BY {order} LIMIT %(limit)s"
    )
    if not indexed:
        return [(row[0], row[1]) for row in connection.execute(select, values).fetchall()]
    connection.execute(APPROXIMATE)
    rows = connection.execute(select, values).fetchall()
    connection.execute("COMMIT")
    return [(row[0], row[1]) for row in rows]


def texts_of(values: bytes, dimensions: int) -> list[str]:
    """Vectors in the notation of pgvector, exact to the last bit of float32."""
    size = BYTES_PER_DIMENSION * dimensions
    rows = (values[start : start + size] for start in range(0, len(values), size))
    return [f"[{','.join(f'{number:.9g}' for number in struct.unpack(f'<{dimensions}f', row))}]" for row in rows]


def bytes_of(text: str) -> bytes:
    """A vector of this notation as bytes."""
    numbers = text.strip("[]").split(",")
    return struct.pack(f"<{len(numbers)}f", *map(float, numbers))
