"""The index of vector stores: `IndexRepository` in SQL. Chunks, and segments with their blocks.

The blocks of a large segment are written in several transactions, so that other writers do not wait long; meanwhile the
segment is `building`, and no search sees it. Replaced segments become `garbage`, which the sweep deletes.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Dialect, Select, and_, bindparam, delete, exists, insert, or_, select, update

from filestead.database.engines.statements import (
    Connection,
    Database,
    Statement,
    int_array_param,
    int_param,
    json_array,
)
from filestead.database.repositories.clock import proven_us
from filestead.database.repositories.files.rows import FILE_COLUMNS, is_visible, require_row
from filestead.database.repositories.jobs import JobQueue
from filestead.database.repositories.vector_stores.rows import DAY_SECONDS, attached, stores
from filestead.database.tables import (
    PART_BITS,
    detached_files,
    files,
    index_documents,
    index_postings,
    index_segments,
    jobs,
    vector_store_chunks,
    vector_store_files,
    vector_stores,
)
from filestead.domain.errors import SegmentsChanged
from filestead.domain.files.model import File
from filestead.domain.jobs import Job, JobKind
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

MERGE_FAN_IN = 16
"""Segments of one level that are merged into one of the next."""

MAX_MERGED_CHUNKS = 65_536
"""Segments are not merged beyond this size, so that a merge stays short."""

TRANSACTION_BYTES = 4 * 1024 * 1024
"""Blocks are written and deleted in transactions of about this size."""

BLOCKS_PER_DELETE = 256

BUILDING, READY, GARBAGE = "building", "ready", "garbage"


class SqlIndexRepository:
    """See `IndexRepository` for the contract."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.dialect
        compiled = partial(Statement, dialect=dialect)
        self._queue = JobQueue(dialect)
        self._segments = _SegmentStatements(dialect)
        self._task = compiled(
            select(attached.vector_store_id, attached.chunk_tokens, attached.chunk_overlap_tokens, *FILE_COLUMNS)
            .join(files, files.c.id == attached.file_id)
            .where(
                attached.seq == int_param("attachment"),
                attached.status == IndexStatus.IN_PROGRESS.value,
                is_visible(),
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
        chunks = vector_store_chunks.c
        self._delete_chunks = compiled(delete(vector_store_chunks).where(_parts(chunks.id)))
        self._insert_chunk = compiled(
            insert(vector_store_chunks).values(
                id=int_param("id"), text=bindparam("text"), overlap=int_param("overlap"), tokens=int_param("tokens")
            )
        )
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
        self._detached = compiled(
            select(detached_files.c.attachment).limit(int_param("limit")).with_for_update(skip_locked=True)
        )
        expired = and_(
            stores.expires_after_days.is_not(None),
            stores.last_active_at + stores.expires_after_days * DAY_SECONDS <= proven_us() // 1_000_000,
        )
        of_expired = (
            select(attached.seq)
            .join(vector_stores, stores.id == attached.vector_store_id)
            .where(expired)
            .limit(int_param("limit"))
        )
        self._detach_of_expired = compiled(delete(vector_store_files).where(attached.seq.in_(of_expired)))
        self._forget_detached = compiled(
            delete(detached_files).where(detached_files.c.attachment.in_(int_array_param("ids")))
        )

    # --- indexing -------------------------------------------------------------------------------------------------

    async def index_task(self, job: Job) -> IndexTask | None:
        """What to index; None if the file was detached, cancelled or indexed meanwhile."""
        attachment = int(job.subject)
        row = await self._database.read(lambda connection: self._task(connection, attachment=attachment).fetchone())
        if row is None:
            return None
        store_id, tokens, overlap, *columns = row
        return IndexTask(attachment, store_id, File(*columns), Chunking(tokens, overlap))

    async def add_chunks(self, job: Job, task: IndexTask, start: int, chunks: Sequence[StoredChunk]) -> None:
        """Store chunks from the ordinal `start` on, replacing those of an earlier attempt."""

        def operation(connection: Connection) -> None:
            self._queue.require_held(connection, job)
            self._replace_chunks(connection, task, start, chunks)

        await self._database.write(operation)

    def _replace_chunks(
        self, connection: Connection, task: IndexTask, start: int, chunks: Sequence[StoredChunk]
    ) -> None:
        first, end = part_id(task.attachment, start), part_id(task.attachment + 1, 0)
        self._delete_chunks(connection, first=first, end=end)
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
        start: int = 0,
        chunks: Sequence[StoredChunk] = (),
    ) -> None:
        """Store the last chunks, add the segment, set the file to `completed` and finish the job."""
        built = await self._build(job, task.vector_store_id, segment, level=0)

        def operation(connection: Connection) -> None:
            ended = self._end(
                connection,
                attachment=task.attachment,
                new_status=IndexStatus.COMPLETED.value,
                usage_bytes=usage_bytes,
                error_code=None,
                error_message=None,
            )
            self._queue.finish(connection, job)
            if not ended.rowcount:
                return  # detached or cancelled meanwhile: the sweep deletes the chunks
            self._replace_chunks(connection, task, start, chunks)
            self._segments.publish(connection, task.vector_store_id, segment, level=0, built=built)
            if self._segments.to_merge(connection, task.vector_store_id):
                self._queue.add(connection, JobKind.MERGE, task.vector_store_id, job.project_id)

        await self._database.write(operation)

    async def fail_file(
        self, job: Job, task: IndexTask, error: IndexingError, *, dead_letter: str | None = None
    ) -> None:
        """Set the file to `failed` and finish the job, or keep it as a dead letter."""

        def operation(connection: Connection) -> None:
            self._end(
                connection,
                attachment=task.attachment,
                new_status=IndexStatus.FAILED.value,
                usage_bytes=0,
                error_code=error.code,
                error_message=error.message,
            )
            if dead_letter is None:
                self._queue.finish(connection, job)
            else:
                self._queue.bury(connection, job, dead_letter)
            self._delete_chunks(connection, first=part_id(task.attachment, 0), end=part_id(task.attachment + 1, 0))

        await self._database.write(operation)

    async def _build(self, job: Job, store_id: str, segment: SegmentData, *, level: int) -> int | None:
        """Write the blocks of a large segment ahead of its publication; None for a small one."""
        blocks = list(_blocks(segment))
        if sum(len(data) for _, _, data in blocks) <= TRANSACTION_BYTES:
            return None

        def begin(connection: Connection) -> int:
            self._queue.require_held(connection, job)
            return self._segments.add(connection, store_id, segment, level=level, state=BUILDING, built_by=job.token)

        built = await self._database.write(begin)
        for batch in _batches(blocks):

            def write(connection: Connection, batch: list[tuple[bool, int, bytes]] = batch) -> None:
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
            self._segments.discard(connection, [segment.id for segment in old])
            if merged.chunks:
                self._segments.publish(connection, store_id, merged, level=level, built=built)
            self._queue.finish(connection, job)
            if self._segments.to_merge(connection, store_id):
                self._queue.add(connection, JobKind.MERGE, store_id, job.project_id)

        await self._database.write(operation)

    async def delete_detached(self, limit: int) -> int:
        """Detach files of expired stores; delete chunks, segments and blocks that belong to nothing any more."""

        def chunks(connection: Connection) -> int:
            self._detach_of_expired(connection, limit=limit)
            ids = [row[0] for row in self._detached(connection, limit=limit).fetchall()]
            for attachment in ids:
                self._delete_chunks(connection, first=part_id(attachment, 0), end=part_id(attachment + 1, 0))
            self._forget_detached(connection, ids=json_array(ids))
            return len(ids)

        deleted = await self._database.write(chunks)
        await self._database.write(self._segments.mark_garbage)
        while await self._database.write(self._segments.delete_garbage):
            deleted += 1
        return deleted


class _SegmentStatements:
    """Statements on segments and their blocks."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        segments, table = index_segments.c, index_segments
        in_store = segments.vector_store_id == bindparam("store_id")
        self._ready = compiled(
            select(segments.id, segments.level, segments.chunks, segments.length, segments.postings, segments.buckets)
            .where(in_store, segments.state == READY)
            .order_by(segments.id)
        )
        texts = ("state", "built_by")
        numbers = ("level", "chunks", "length", "postings", "buckets")
        self._add = compiled(
            insert(table)
            .values(
                vector_store_id=bindparam("store_id"),
                **{name: bindparam(name) for name in texts},
                **{name: int_param(name) for name in numbers},
            )
            .returning(segments.id)
        )
        self._publish = compiled(
            update(table).where(segments.id == int_param("id"), segments.state == BUILDING).values(state=READY)
        )
        listed = segments.id.in_(int_array_param("ids"))
        self._discard = compiled(update(table).where(listed, segments.state == READY).values(state=GARBAGE))
        block = {"id": int_param("id"), "data": bindparam("data")}
        self._add_posting = compiled(insert(index_postings).values(**block))
        self._add_document = compiled(insert(index_documents).values(**block))
        ids = int_array_param("ids")
        postings, documents = index_postings.c, index_documents.c
        self.read_postings = compiled(select(postings.id, postings.data).where(postings.id.in_(ids)))
        self.read_documents = compiled(select(documents.id, documents.data).where(documents.id.in_(ids)))
        abandoned = and_(segments.state == BUILDING, ~exists().where(jobs.c.token == segments.built_by))
        store_gone = ~exists().where(stores.id == segments.vector_store_id)
        self._mark = compiled(
            update(table).where(or_(abandoned, and_(segments.state == READY, store_gone))).values(state=GARBAGE)
        )
        self._garbage = compiled(
            select(segments.id).where(segments.state == GARBAGE).limit(1).with_for_update(skip_locked=True)
        )
        self._first_blocks = [
            compiled(delete(blocks).where(blocks.c.id.in_(_first_parts(blocks.c.id))))
            for blocks in (index_postings, index_documents)
        ]
        self._delete = compiled(delete(table).where(segments.id == int_param("id")))

    def ready(self, connection: Connection, store_id: str) -> list[SegmentInfo]:
        """The segments of a store that a search reads."""
        return [SegmentInfo(*row) for row in self._ready(connection, store_id=store_id).fetchall()]

    def to_merge(self, connection: Connection, store_id: str) -> list[SegmentInfo]:
        """All segments of the lowest level that has `MERGE_FAN_IN`, up to the size of a merge."""
        levels: dict[int, list[SegmentInfo]] = {}
        for segment in self.ready(connection, store_id):
            if segment.chunks < MAX_MERGED_CHUNKS // 2:
                levels.setdefault(segment.level, []).append(segment)
        for _, found in sorted(levels.items()):
            chosen: list[SegmentInfo] = []
            for segment in found:
                if sum(each.chunks for each in chosen) + segment.chunks <= MAX_MERGED_CHUNKS:
                    chosen.append(segment)
            if len(found) >= MERGE_FAN_IN and len(chosen) > 1:
                return chosen
        return []

    def add(
        self,
        connection: Connection,
        store_id: str,
        segment: SegmentData,
        *,
        level: int,
        state: str,
        built_by: str | None,
    ) -> int:
        """Add the row of a segment and return its id."""
        row = self._add(
            connection,
            store_id=store_id,
            state=state,
            built_by=built_by,
            level=level,
            chunks=segment.chunks,
            length=segment.length,
            postings=segment.postings,
            buckets=len(segment.buckets),
        ).fetchone()
        return int(require_row(row)[0])

    def add_blocks(self, connection: Connection, segment_id: int, blocks: Iterable[tuple[bool, int, bytes]]) -> None:
        """Add blocks of a segment."""
        for is_posting, number, data in blocks:
            statement = self._add_posting if is_posting else self._add_document
            statement(connection, id=part_id(segment_id, number), data=data)

    def publish(
        self, connection: Connection, store_id: str, segment: SegmentData, *, level: int, built: int | None
    ) -> None:
        """Make a segment visible to searches; `built` is the id of one whose blocks are written already."""
        if built is None:
            segment_id = self.add(connection, store_id, segment, level=level, state=READY, built_by=None)
            self.add_blocks(connection, segment_id, _blocks(segment))
        elif not self._publish(connection, id=built).rowcount:
            raise SegmentsChanged  # a sweep took it for abandoned

    def discard(self, connection: Connection, ids: Sequence[int]) -> None:
        """Hide segments from searches. Raises `SegmentsChanged` if one is hidden already."""
        if self._discard(connection, ids=json_array(ids)).rowcount != len(ids):
            raise SegmentsChanged

    def mark_garbage(self, connection: Connection) -> None:
        """Mark segments of deleted stores, and those that nobody goes on building."""
        self._mark(connection)

    def delete_garbage(self, connection: Connection) -> bool:
        """Delete some blocks of one segment, and in the end its row; False if there is none."""
        row = self._garbage(connection).fetchone()
        if row is None:
            return False
        first, end = part_id(row[0], 0), part_id(row[0] + 1, 0)
        if not any(delete_(connection, first=first, end=end).rowcount for delete_ in self._first_blocks):
            self._delete(connection, id=row[0])
        return True


def part_id(whole: int, part: int) -> int:
    """The id of a chunk of an attachment, or of a block of a segment."""
    return (whole << PART_BITS) + part


def split_part_id(id_: int) -> tuple[int, int]:
    """The inverse of `part_id`."""
    return id_ >> PART_BITS, id_ & ((1 << PART_BITS) - 1)


def _parts(column: ColumnElement[int]) -> ColumnElement[bool]:
    """The condition that an id belongs to a range of wholes."""
    return and_(column >= int_param("first"), column < int_param("end"))


def _first_parts(column: ColumnElement[int]) -> Select[Any]:
    return select(column).where(_parts(column)).limit(BLOCKS_PER_DELETE)


def _blocks(segment: SegmentData) -> Iterator[tuple[bool, int, bytes]]:
    """(whether it is of postings, number, data) of each block."""
    yield from ((True, number, data) for number, data in enumerate(segment.buckets))
    yield from ((False, number, data) for number, data in enumerate(segment.documents))


def _batches(blocks: Iterable[tuple[bool, int, bytes]]) -> Iterator[list[tuple[bool, int, bytes]]]:
    """Blocks in batches of about `TRANSACTION_BYTES`."""
    batch: list[tuple[bool, int, bytes]] = []
    size = 0
    for block in blocks:
        batch.append(block)
        size += len(block[2])
        if size >= TRANSACTION_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
