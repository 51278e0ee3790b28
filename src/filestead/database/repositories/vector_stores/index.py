"""The index of vector stores: `IndexRepository` in SQL. Chunks, and the segments that refer to them."""

import json
from collections.abc import Sequence
from functools import partial

from sqlalchemy import Dialect, bindparam, delete, insert, select, update

from filestead.database.engines.statements import (
    Connection,
    Database,
    Statement,
    int_array_param,
    int_param,
    json_array,
)
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.files.limits import QuotaLedger
from filestead.database.repositories.files.rows import FILE_COLUMNS, is_visible, require_row
from filestead.database.repositories.jobs import JobQueue
from filestead.database.repositories.vector_stores.parts import in_range, part_id, range_of, split_part_id
from filestead.database.repositories.vector_stores.rows import attached, stores
from filestead.database.repositories.vector_stores.segments import (
    BUILDING,
    TRANSACTION_BYTES,
    Block,
    SegmentStatements,
    batches_of,
    blocks_of,
)
from filestead.database.repositories.vector_stores.sweeping import Step, Sweeping
from filestead.database.repositories.vector_stores.vectors import vector_table
from filestead.database.tables import files, projects, vector_store_chunks, vector_store_files, vector_stores
from filestead.domain.clock import ClockWatch
from filestead.domain.errors import JobLost, SegmentsChanged
from filestead.domain.files.model import File
from filestead.domain.jobs import Job, JobKind
from filestead.domain.quota import Quota
from filestead.domain.vector_stores.embeddings import NewVectors
from filestead.domain.vector_stores.model import (
    Chunking,
    ChunkRef,
    IndexingError,
    IndexStatus,
    IndexTask,
    SearchableFile,
    SegmentData,
    SegmentInfo,
    StoredChunk,
)


class SqlIndexRepository:
    """See `IndexRepository` for the contract."""

    def __init__(self, database: Database, watch: ClockWatch | None = None) -> None:
        """`watch` decides whether the database's clock is trusted; all repositories of a process share it."""
        dialect = database.dialect
        self._database = database
        self._queue = JobQueue.of(dialect)
        self._segments = SegmentStatements.of(dialect)
        self._quota = QuotaLedger.of(dialect)
        self._vectors = vector_table(dialect)
        clock = SqlClock(database, watch or ClockWatch())
        self._sweeping = Sweeping(dialect, clock, self._queue, self._segments, vectors=self._vectors, quota=self._quota)
        self._compile_indexing(dialect)
        self._compile_vectors(dialect)
        self._compile_search(dialect)

    def _compile_indexing(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        self._task = compiled(
            select(
                attached.vector_store_id,
                attached.chunk_tokens,
                attached.chunk_overlap_tokens,
                stores.seq.label("store"),
                *FILE_COLUMNS,
            )
            .join(files, files.c.id == attached.file_id)
            .join(vector_stores, stores.id == attached.vector_store_id)
            .where(
                attached.seq == int_param("attachment"),
                attached.status == IndexStatus.IN_PROGRESS.value,
            )
        )
        self._end = compiled(
            update(vector_store_files)
            .where(attached.seq == int_param("attachment"), attached.status == IndexStatus.IN_PROGRESS.value)
            .values(
                status=bindparam("new_status"),
                usage_bytes=int_param("usage_bytes"),
                error_code=bindparam("error_code"),
                error_message=bindparam("error_message"),
            )
        )
        self._organization = compiled(
            select(projects.c.organization_id).where(projects.c.id == bindparam("project_id"))
        )
        chunks = vector_store_chunks.c
        self._delete_chunks = compiled(delete(vector_store_chunks).where(in_range(chunks.id)))
        self._insert_chunk = compiled(
            insert(vector_store_chunks).values(
                id=int_param("id"), text=bindparam("text"), overlap=int_param("overlap"), tokens=int_param("tokens")
            )
        )
        # As long as the transaction lasts, the store is not deleted.
        self._keep_store = compiled(
            select(stores.id).where(stores.id == bindparam("store_id")).with_for_update(read=True, key_share=True)
        )

    def _compile_vectors(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        self._embedded = compiled(
            update(vector_store_files)
            .where(attached.seq == int_param("attachment"))
            .values(embedded_model=int_param("model"))
        )
        self._first_model = compiled(
            update(vector_stores)
            .where(stores.id == bindparam("store_id"), stores.embedding_model.is_(None))
            .values(embedding_model=int_param("model"))
        )

    def _compile_search(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        chunks = vector_store_chunks.c
        self._texts = compiled(select(chunks.id, chunks.text).where(chunks.id.in_(int_array_param("ids"))))
        self._searchable = compiled(
            select(attached.seq, attached.file_id, files.c.filename, attached.attributes)
            .join(files, files.c.id == attached.file_id)
            .where(
                attached.seq.in_(int_array_param("ids")),
                attached.vector_store_id == bindparam("store_id"),
                attached.status == IndexStatus.COMPLETED.value,
                is_visible(),
            )
        )
        self._attached = compiled(select(attached.seq).where(attached.vector_store_id == bindparam("store_id")))

    # --- indexing -------------------------------------------------------------------------------------------------

    async def index_task(self, job: Job) -> IndexTask | None:
        """What to index; None if the file was detached, cancelled or indexed meanwhile."""
        attachment = int(job.subject)
        row = await self._database.read(lambda connection: self._task(connection, attachment=attachment).fetchone())
        if row is None:
            return None
        store_id, tokens, overlap, store, *columns = row
        return IndexTask(attachment, store_id, File(*columns), Chunking(tokens, overlap), store)

    async def add_chunks(
        self,
        job: Job,
        task: IndexTask,
        start: int,
        chunks: Sequence[StoredChunk],
        vectors: NewVectors | None = None,
    ) -> None:
        """Store chunks from the ordinal `start` on, replacing those of an earlier attempt."""

        def operation(connection: Connection) -> None:
            self._queue.require_held(connection, job)
            self._replace_chunks(connection, task, start, chunks)
            if vectors is not None:
                self._vectors.replace(connection, task.store, vectors.model, vectors.blocks)

        await self._database.write(operation)

    def _replace_chunks(
        self, connection: Connection, task: IndexTask, start: int, chunks: Sequence[StoredChunk]
    ) -> None:
        first = part_id(task.attachment, start)
        self._delete_chunks(connection, **range_of(task.attachment, start))
        for number, chunk in enumerate(chunks):
            self._insert_chunk(
                connection, id=first + number, text=chunk.text, overlap=chunk.overlap, tokens=chunk.tokens
            )

    async def complete_file(
        self,
        job: Job,
        task: IndexTask,
        segment: SegmentData,
        *,
        usage_bytes: int,
        quota: Quota,
        start: int = 0,
        chunks: Sequence[StoredChunk] = (),
        vectors: NewVectors | None = None,
        embed: bool = False,
    ) -> None:
        """Store the last chunks, add the segment, set the file to `completed`, charge its usage, finish the job."""
        built = await self._build(job, task.vector_store_id, segment, level=0)

        def operation(connection: Connection) -> None:
            if vectors is not None:  # before the row of the file, as a deletion of the store locks them
                self._first_model(connection, store_id=task.vector_store_id, model=vectors.model.id)
            self._end_file(connection, task, IndexStatus.COMPLETED, usage_bytes=usage_bytes)
            self._queue.finish(connection, job)
            if chunks:
                self._replace_chunks(connection, task, start, chunks)
            if segment.chunks:
                if vectors is not None:
                    self._vectors.replace(connection, task.store, vectors.model, vectors.blocks)
                    self._embedded(connection, attachment=task.attachment, model=vectors.model.id)
                if embed:
                    self._queue.add(connection, JobKind.EMBED, task.vector_store_id, job.project_id)
                self._segments.publish(connection, task.vector_store_id, segment, level=0, built=built)
                if self._segments.to_merge(connection, task.vector_store_id):
                    self._queue.add(connection, JobKind.MERGE, task.vector_store_id, job.project_id)
            self._charge(connection, job.project_id, usage_bytes, quota)

        await self._database.write(operation)

    def _charge(self, connection: Connection, project_id: str, usage_bytes: int, quota: Quota) -> None:
        """Charge the quota, last: the rows of project and organization are locked for the rest of the transaction."""
        organization_id = require_row(self._organization(connection, project_id=project_id).fetchone())[0]
        exceeded = self._quota.charge(connection, project_id, organization_id, quota, use=usage_bytes)
        if exceeded is not None:
            raise exceeded

    async def fail_file(
        self, job: Job, task: IndexTask, error: IndexingError, *, dead_letter: str | None = None
    ) -> None:
        """Set the file to `failed` and finish the job, or keep it as a dead letter."""

        def operation(connection: Connection) -> None:
            self._end_file(connection, task, IndexStatus.FAILED, error=error)
            if dead_letter is None:
                self._queue.finish(connection, job)
            else:
                self._queue.bury(connection, job, dead_letter)
            self._delete_chunks(connection, **range_of(task.attachment))

        await self._database.write(operation)

    def _end_file(
        self,
        connection: Connection,
        task: IndexTask,
        status: IndexStatus,
        *,
        usage_bytes: int = 0,
        error: IndexingError | None = None,
    ) -> None:
        """Set the final status. A file that was detached or cancelled has none, and no job that could be finished."""
        self._end(
            connection,
            attachment=task.attachment,
            new_status=status.value,
            usage_bytes=usage_bytes,
            error_code=error.code if error else None,
            error_message=error.message if error else None,
        )

    async def _build(self, job: Job, store_id: str, segment: SegmentData, *, level: int) -> int | None:
        """Write the blocks of a large segment ahead of its publication; None for a small one."""
        blocks = list(blocks_of(segment))
        if sum(len(data) for _, _, data in blocks) <= TRANSACTION_BYTES:
            return None

        def begin(connection: Connection) -> int:
            self._queue.require_held(connection, job)
            return self._segments.add(connection, store_id, segment, level=level, state=BUILDING, built_by=job.token)

        built = await self._database.write(begin)
        for batch in batches_of(blocks):

            def write(connection: Connection, batch: list[Block] = batch) -> None:
                self._queue.require_held(connection, job)
                self._segments.add_blocks(connection, built, batch)

            await self._database.write(write)
        return built

    # --- search ---------------------------------------------------------------------------------------------------

    async def segments(self, store_id: str) -> list[SegmentInfo]:
        """The segments of a store."""
        return await self._database.read(lambda connection: self._segments.ready(connection, store_id))

    async def read_postings(self, blocks: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """The blocks of postings (segment, bucket)."""
        return await self._read_blocks(self._segments.read_postings, blocks)

    async def read_documents(self, blocks: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """The blocks of chunk numbers (segment, block)."""
        return await self._read_blocks(self._segments.read_documents, blocks)

    async def _read_blocks(
        self, statement: Statement, blocks: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], bytes]:
        if not blocks:
            return {}
        ids = json_array({part_id(*block) for block in blocks})
        rows = await self._database.read(lambda connection: statement(connection, ids=ids).fetchall())
        found = {split_part_id(id_): bytes(data) for id_, data in rows}
        if len(found) < len(set(blocks)):
            raise SegmentsChanged
        return found

    async def searchable(self, store_id: str, attachments: Sequence[int]) -> dict[int, SearchableFile]:
        """Those attachments that are completed, attached, and whose file is visible, now."""
        ids = json_array(attachments)
        rows = await self._database.read(
            lambda connection: self._searchable(connection, ids=ids, store_id=store_id).fetchall()
        )
        return {seq: SearchableFile(file_id, name, json.loads(text)) for seq, file_id, name, text in rows}

    async def attached(self, store_id: str) -> list[int]:
        """The attachments of a store."""
        rows = await self._database.read(
            lambda connection: self._attached(connection, store_id=store_id).fetchall(), long=True
        )
        return [seq for (seq,) in rows]

    async def chunk_texts(self, chunks: Sequence[ChunkRef]) -> dict[ChunkRef, str]:
        """The texts of chunks that are still stored."""
        ids = json_array(part_id(*chunk) for chunk in chunks)
        rows = await self._database.read(lambda connection: self._texts(connection, ids=ids).fetchall())
        return {split_part_id(id_): text for id_, text in rows}

    # --- upkeep ---------------------------------------------------------------------------------------------------

    async def merge_candidates(self, store_id: str) -> list[SegmentInfo]:
        """Segments to merge into one."""
        return await self._database.read(lambda connection: self._segments.to_merge(connection, store_id))

    async def replace_segments(
        self, job: Job, store_id: str, old: Sequence[SegmentInfo], merged: SegmentData, *, level: int
    ) -> None:
        """Replace segments by their merge and finish the job; another job follows if there is more to merge."""
        built = await self._build(job, store_id, merged, level=level) if merged.chunks else None

        def operation(connection: Connection) -> None:
            if self._keep_store(connection, store_id=store_id).fetchone() is None:
                raise JobLost  # the store was deleted, and the job with it
            self._segments.discard(connection, [segment.id for segment in old])
            if merged.chunks:
                self._segments.publish(connection, store_id, merged, level=level, built=built)
            self._queue.finish(connection, job)
            if self._segments.to_merge(connection, store_id):
                self._queue.add(connection, JobKind.MERGE, store_id, job.project_id)

        await self._database.write(operation)

    async def delete_detached(self, limit: int) -> int:
        """Delete what belongs to nothing any more, in short transactions."""
        deleted = 0
        for step, most in self._sweeping.steps():
            number = 1
            while number and deleted < limit:
                number = await self._database.write(partial(_run, step, min(most, limit - deleted)))
                deleted += number
        return deleted


def _run(step: Step, limit: int, connection: Connection) -> int:
    return step(connection, limit)
