"""Vectors of chunks, and the models they are made with: `VectorRepository` in SQL."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import Dialect, and_, bindparam, exists, func, or_, select, update

from filestead.database.engines.statements import (
    Connection,
    Database,
    Statement,
    dialect_insert,
    int_array_param,
    int_param,
    json_array,
    now,
    now_us,
)
from filestead.database.repositories.files.rows import require_row
from filestead.database.repositories.jobs import REVIVE_SECONDS, JobQueue
from filestead.database.repositories.vector_stores.parts import in_range, range_of, split_part_id
from filestead.database.repositories.vector_stores.pgvector import ChunkTable
from filestead.database.repositories.vector_stores.rows import attached, stores
from filestead.database.repositories.vector_stores.vector_tables import BlockTable, VectorTable
from filestead.database.tables import (
    embedding_models,
    index_segments,
    jobs,
    vector_store_chunks,
    vector_store_files,
    vector_stores,
)
from filestead.domain.jobs import Job, JobKind
from filestead.domain.vector_stores.embeddings import (
    EmbeddingModel,
    PendingChunk,
    PendingVectors,
    SearchedVectors,
    VectorBlock,
)
from filestead.domain.vector_stores.model import IndexStatus

ROWS_PER_DELETE = 500
ATTACHMENTS_PER_READ = 64

models = embedding_models.c


def vector_table(dialect: Dialect) -> VectorTable:
    """Where the database keeps vectors."""
    return BlockTable.of(dialect) if dialect.name == "sqlite" else ChunkTable()


def newest_model() -> Any:
    """The number of the model with the name `name` that was recorded last: a server may change its dimensions."""
    return select(func.max(models.id)).where(models.name == bindparam("name")).scalar_subquery()


class SqlVectorRepository:
    """See `VectorRepository` for the contract."""

    def __init__(self, database: Database) -> None:
        dialect = database.dialect
        self._database = database
        self._queue = JobQueue.of(dialect)
        self._table = vector_table(dialect)
        compiled = partial(Statement, dialect=dialect)
        new = dialect_insert(embedding_models, dialect).values(
            name=bindparam("name"), dimensions=int_param("dimensions")
        )
        self._register = compiled(
            # An update that changes nothing returns the row, too.
            new.on_conflict_do_update(
                index_elements=["name", "dimensions"], set_={"name": new.excluded.name}
            ).returning(models.id)
        )
        self._model = compiled(
            select(models.id).where(models.name == bindparam("name"), models.dimensions == int_param("dimensions"))
        )
        self._newest_row = compiled(
            select(models.id, models.name, models.dimensions).where(models.id == newest_model())
        )
        chunks = (
            select(func.coalesce(func.sum(index_segments.c.chunks), 0))
            .where(index_segments.c.vector_store_id == stores.id, index_segments.c.state == "ready")
            .scalar_subquery()
        )
        in_store = stores.id == bindparam("store_id")
        self._searched = compiled(
            select(stores.seq, chunks, models.id, models.name, models.dimensions)
            .join(embedding_models, models.id == stores.embedding_model)
            .where(in_store)
        )
        self._compile_pending(dialect)
        self._store = compiled(select(stores.seq).where(in_store))
        self._there = compiled(
            select(attached.seq)
            .where(attached.seq.in_(int_array_param("ids")))
            .order_by(attached.seq)
            .with_for_update(read=True, key_share=True)
        )
        self._mark = compiled(
            update(vector_store_files)
            .where(attached.seq.in_(int_array_param("ids")))
            .values(embedded_model=int_param("model"))
        )
        self._activate = compiled(update(vector_stores).where(in_store).values(embedding_model=int_param("model")))

    def _compile_pending(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        lacking = and_(
            attached.status == IndexStatus.COMPLETED.value,
            or_(attached.embedded_model.is_(None), attached.embedded_model != func.coalesce(newest_model(), -1)),
        )
        self._newest = compiled(select(newest_model()))
        self._lacking = compiled(
            select(attached.seq)
            .where(attached.vector_store_id == bindparam("store_id"), lacking)
            .order_by(attached.seq)
            .limit(int_param("limit"))
        )
        chunks = vector_store_chunks.c
        self._chunks = compiled(
            select(chunks.id, chunks.text).where(in_range(chunks.id)).order_by(chunks.id).limit(int_param("limit"))
        )
        waiting = exists().where(
            jobs.c.kind == JobKind.EMBED.value,
            jobs.c.subject == stores.id,
            or_(jobs.c.died_us.is_(None), jobs.c.died_us > now_us() - REVIVE_SECONDS * 1_000_000),
        )
        self._stores = compiled(
            select(stores.id, stores.project_id)
            .where(
                or_(stores.expires_at.is_(None), stores.expires_at > select(now()).scalar_subquery()),
                or_(
                    exists().where(attached.vector_store_id == stores.id, lacking),
                    stores.embedding_model != newest_model(),
                ),
                ~waiting,
            )
            .limit(int_param("limit"))
        )

    async def register(self, name: str, dimensions: int) -> EmbeddingModel:
        """The model, recorded if it is new."""

        def find(connection: Connection) -> EmbeddingModel | None:
            row = self._model(connection, name=name, dimensions=dimensions).fetchone()
            return None if row is None else EmbeddingModel(row[0], name, dimensions)

        def record(connection: Connection) -> EmbeddingModel:
            row = require_row(self._register(connection, name=name, dimensions=dimensions).fetchone())
            model = EmbeddingModel(row[0], name, dimensions)
            self._table.prepare_model(connection, model)
            return model

        known: EmbeddingModel | None = await self._database.read(find)
        if known is not None:
            return known
        return await self._database.write(record)

    async def newest(self, name: str) -> EmbeddingModel | None:
        """The model with the name that was recorded last."""
        row = await self._database.read(lambda connection: self._newest_row(connection, name=name).fetchone())
        return None if row is None else EmbeddingModel(*row)

    async def searched(self, store_id: str) -> SearchedVectors | None:
        """Which vectors a search compares."""
        row = await self._database.read(lambda connection: self._searched(connection, store_id=store_id).fetchone())
        if row is None:
            return None
        store, chunks, *model = row
        return SearchedVectors(store, int(chunks), EmbeddingModel(*model))

    async def pending(self, store_id: str, name: str, *, limit: int) -> PendingVectors:
        """The next chunks without vectors."""
        return await self._database.read(lambda connection: self._pending(connection, store_id, name, limit))

    def _pending(self, connection: Connection, store_id: str, name: str, limit: int) -> PendingVectors:
        found: list[PendingChunk] = []
        complete: list[int] = []
        model = require_row(self._newest(connection, name=name).fetchone())[0]
        lacking = self._lacking(connection, store_id=store_id, name=name, limit=ATTACHMENTS_PER_READ).fetchall()
        for (attachment,) in lacking:
            start = 0 if model is None else self._table.next_ordinal(connection, attachment, model)
            wanted = limit - len(found)
            rows = self._chunks(connection, **range_of(attachment, start), limit=wanted + 1).fetchall()
            found += [PendingChunk(attachment, split_part_id(id_)[1], text) for id_, text in rows[:wanted]]
            if len(rows) > wanted:
                break
            complete.append(attachment)
        return PendingVectors(found, complete)

    async def add(
        self,
        job: Job,
        store_id: str,
        model: EmbeddingModel,
        blocks: Sequence[VectorBlock],
        *,
        complete: Sequence[int],
    ) -> None:
        """Store vectors, and record which attachments have all of theirs."""

        def operation(connection: Connection) -> None:
            self._queue.require_held(connection, job)
            row = self._store(connection, store_id=store_id).fetchone()
            if row is None:
                return
            # What is detached meanwhile is deleted by a sweep, which must not come before these vectors.
            ids = sorted({block.attachment for block in blocks} | set(complete))
            there = {seq for (seq,) in self._there(connection, ids=json_array(ids)).fetchall()}
            kept = [block for block in blocks if block.attachment in there]
            if kept:
                self._table.replace(connection, row[0], model, kept)
            self._mark(connection, ids=json_array(complete), model=model.id)

        await self._database.write(operation)

    async def activate(self, job: Job, store_id: str, model: EmbeddingModel) -> None:
        """Let searches use the model, and delete vectors of others."""

        def use(connection: Connection) -> int | None:
            self._queue.require_held(connection, job)
            self._activate(connection, store_id=store_id, model=model.id)
            row = self._store(connection, store_id=store_id).fetchone()
            return None if row is None else int(row[0])

        store = await self._database.write(use)
        if store is None:
            return

        def delete(connection: Connection) -> int:
            self._queue.require_held(connection, job)
            return self._table.delete_others(connection, store, model.id, ROWS_PER_DELETE)

        while await self._database.write(delete):
            pass

    async def finish(self, job: Job, store_id: str, name: str) -> None:
        """Finish the job; another one follows if a file was completed meanwhile."""

        def operation(connection: Connection) -> None:
            self._queue.finish(connection, job)
            if self._lacking(connection, store_id=store_id, name=name, limit=1).fetchall():
                self._queue.add(connection, JobKind.EMBED, store_id, job.project_id)

        await self._database.write(operation)

    async def add_jobs(self, name: str, *, limit: int) -> int:
        """Add jobs for stores whose vectors are not those of the named model."""
        found = await self._database.read(
            lambda connection: self._stores(connection, name=name, limit=limit).fetchall(), long=True
        )

        def operation(connection: Connection) -> None:
            for store_id, project_id in found:
                self._queue.add(connection, JobKind.EMBED, store_id, project_id)

        if found:
            await self._database.write(operation)
        return len(found)
