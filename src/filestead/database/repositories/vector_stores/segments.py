"""Index segments and their blocks, each statement within the caller's transaction.

The blocks of a large segment are written in several transactions, so that other writers do not wait long; meanwhile the
segment is `building`, and no search sees it. Replaced segments become `garbage`, which the sweep deletes.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from sqlalchemy import Dialect, and_, bindparam, delete, exists, insert, literal_column, select, update

from filestead.database.engines.statements import (
    Connection,
    Statement,
    StatementSet,
    int_array_param,
    int_param,
    json_array,
)
from filestead.database.repositories.files.rows import require_row
from filestead.database.repositories.vector_stores.parts import in_range, part_id, range_of
from filestead.database.tables import index_documents, index_postings, index_segments, jobs
from filestead.domain.errors import SegmentsChanged
from filestead.domain.vector_stores.model import SegmentData, SegmentInfo

MERGE_FAN_IN = 16
"""Segments of one level that are merged into one of the next."""

MAX_MERGED_CHUNKS = 65_536
"""Segments are not merged beyond this size, so that a merge stays short."""

TRANSACTION_BYTES = 4 * 1024 * 1024
"""Blocks are written in transactions of about this size."""

BUILDING, READY, GARBAGE = "building", "ready", "garbage"

Block = tuple[bool, int, bytes]
"""Whether it is of postings, its number, its data."""

segments = index_segments.c


class SegmentStatements(StatementSet):
    """Statements on segments and their blocks."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        in_store = segments.vector_store_id == bindparam("store_id")
        self._ready = compiled(
            select(segments.id, segments.level, segments.chunks, segments.length, segments.postings, segments.buckets)
            .where(in_store, segments.state == READY)
            .order_by(segments.id)
        )
        texts = ("state", "built_by")
        numbers = ("level", "chunks", "length", "postings", "buckets")
        self._add = compiled(
            insert(index_segments)
            .values(
                vector_store_id=bindparam("store_id"),
                **{name: bindparam(name) for name in texts},
                **{name: int_param(name) for name in numbers},
            )
            .returning(segments.id)
        )
        changed = update(index_segments)
        # As the partial index has it: SQLite recognizes nothing else.
        not_ready = segments.state != literal_column("'ready'")
        building = and_(not_ready, segments.state == BUILDING)
        self._publish = compiled(changed.where(segments.id == int_param("id"), building).values(state=READY))
        ready = changed.where(segments.state == READY).values(state=GARBAGE)
        self._discard = compiled(ready.where(segments.id.in_(int_array_param("ids"))))
        self._discard_all = compiled(ready.where(in_store))
        abandoned = (
            select(segments.id)
            .where(building, ~exists().where(jobs.c.token == segments.built_by))
            .with_for_update(skip_locked=True)
        )
        # A claim that was lost stays lost, so that nobody goes on with the segment.
        self._abandon = compiled(changed.where(segments.id.in_(abandoned.subquery().select())).values(state=GARBAGE))
        self._garbage = compiled(
            select(segments.id)
            .where(not_ready, segments.state == GARBAGE)
            .order_by(segments.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        block = {"id": int_param("id"), "data": bindparam("data")}
        self._add_posting = compiled(insert(index_postings).values(**block))
        self._add_document = compiled(insert(index_documents).values(**block))
        ids = int_array_param("ids")
        postings, documents = index_postings.c, index_documents.c
        self.read_postings = compiled(select(postings.id, postings.data).where(postings.id.in_(ids)))
        self.read_documents = compiled(select(documents.id, documents.data).where(documents.id.in_(ids)))
        self._delete_blocks = [
            compiled(
                delete(table).where(
                    table.c.id.in_(select(table.c.id).where(in_range(table.c.id)).limit(int_param("limit")))
                )
            )
            for table in (index_postings, index_documents)
        ]
        self._delete = compiled(delete(index_segments).where(segments.id == int_param("id")))

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

    def add_blocks(self, connection: Connection, segment_id: int, blocks: Iterable[Block]) -> None:
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
            self.add_blocks(connection, segment_id, blocks_of(segment))
        elif not self._publish(connection, id=built).rowcount:
            raise SegmentsChanged  # a sweep took it for abandoned

    def discard(self, connection: Connection, ids: Sequence[int]) -> None:
        """Hide segments from searches. Raises `SegmentsChanged` if one is hidden already."""
        if self._discard(connection, ids=json_array(ids)).rowcount != len(ids):
            raise SegmentsChanged

    def discard_all(self, connection: Connection, store_id: str) -> None:
        """Hide every segment of a store, for good."""
        self._discard_all(connection, store_id=store_id)

    def abandon(self, connection: Connection) -> int:
        """Turn segments that nobody goes on building into garbage; returns their number."""
        return self._abandon(connection).rowcount

    def delete_garbage(self, connection: Connection, limit: int) -> int:
        """Delete up to `limit` blocks of one segment, and in the end its row; returns the number of rows."""
        row = self._garbage(connection).fetchone()
        if row is None:
            return 0
        left = limit
        for statement in self._delete_blocks:
            left -= statement(connection, **range_of(row[0]), limit=left).rowcount
        if not left:
            return limit
        self._delete(connection, id=row[0])
        return limit - left + 1


def blocks_of(segment: SegmentData) -> Iterator[Block]:
    """The blocks of a segment."""
    yield from ((True, number, data) for number, data in enumerate(segment.buckets))
    yield from ((False, number, data) for number, data in enumerate(segment.documents))


def batches_of(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Blocks in batches of about `TRANSACTION_BYTES`."""
    batch: list[Block] = []
    size = 0
    for block in blocks:
        batch.append(block)
        size += len(block[2])
        if size >= TRANSACTION_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
