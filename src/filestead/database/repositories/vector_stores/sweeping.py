"""What is left of detached files, of expired vector stores and of old index segments: removed step by step.

Each step is one short transaction. Stores are emptied by the proven time, since it cannot be undone; until then their
expiry only forbids their use.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from sqlalchemy import Dialect, bindparam, delete, exists, or_, select

from filestead.database.engines.statements import Connection, Statement, int_array_param, int_param, json_array
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.files.limits import QuotaLedger
from filestead.database.repositories.jobs import JobQueue
from filestead.database.repositories.vector_stores.parts import in_range, is_part_of, range_of
from filestead.database.repositories.vector_stores.rows import attached, stores
from filestead.database.repositories.vector_stores.segments import READY, SegmentStatements
from filestead.database.repositories.vector_stores.vector_tables import VectorTable
from filestead.database.tables import (
    detached_files,
    index_segments,
    vector_store_chunks,
    vector_store_files,
    vector_stores,
)
from filestead.domain.audit.events import Event, EventType
from filestead.domain.jobs import JobKind

ROWS_PER_STEP = 1_000
BLOCKS_PER_STEP = 256
"""About 4 MiB."""

Step = Callable[[Connection, int], int]


class Sweeping:
    """Statements of the sweep; a step takes the largest number of rows and returns how many it has deleted."""

    def __init__(
        self,
        dialect: Dialect,
        clock: SqlClock,
        queue: JobQueue,
        segments: SegmentStatements,
        *,
        vectors: VectorTable,
        quota: QuotaLedger,
    ) -> None:
        compiled = partial(Statement, dialect=dialect)
        self._quota = quota
        self._events = AuditEvents.of(dialect)
        self._clock = clock
        self._queue = queue
        self._segments = segments
        self._vectors = vectors
        not_empty = or_(
            exists().where(attached.vector_store_id == stores.id),
            exists().where(index_segments.c.vector_store_id == stores.id, index_segments.c.state == READY),
        )
        self._expired = compiled(
            select(stores.id, stores.project_id)
            .where(stores.expires_at <= int_param("proven_us") // 1_000_000, not_empty)
            .order_by(stores.expires_at)
            .limit(1)
            .with_for_update(skip_locked=True, of=vector_stores)
        )
        self._of_store = compiled(
            select(attached.seq)
            .where(attached.vector_store_id == bindparam("store_id"))
            .order_by(attached.seq)
            .limit(int_param("limit"))
            .with_for_update()
        )
        self._detach = compiled(delete(vector_store_files).where(attached.seq.in_(int_array_param("ids"))))
        detached, chunks = detached_files.c, vector_store_chunks.c
        has_chunks = exists().where(is_part_of(chunks.id, detached.attachment))
        self._detached = compiled(
            select(detached.attachment, detached.project_id, detached.usage_bytes, has_chunks)
            .limit(int_param("limit"))
            .with_for_update(skip_locked=True)
        )
        self._delete_chunks = compiled(
            delete(vector_store_chunks).where(
                chunks.id.in_(select(chunks.id).where(in_range(chunks.id)).limit(int_param("limit")))
            )
        )
        self._forget = compiled(delete(detached_files).where(detached_files.c.attachment.in_(int_array_param("ids"))))

    def steps(self) -> Iterator[tuple[Step, int]]:
        """The steps in order, and their largest numbers of rows; each is repeated until it returns 0."""
        yield self.detach_expired, ROWS_PER_STEP
        yield self.delete_chunks, ROWS_PER_STEP
        yield lambda connection, _: self._segments.abandon(connection), ROWS_PER_STEP
        yield self._segments.delete_garbage, BLOCKS_PER_STEP

    def detach_expired(self, connection: Connection, limit: int) -> int:
        """Detach files of one expired store, and discard its index once it has none."""
        row = self._expired(connection, proven_us=self._clock.proven_us(connection)).fetchone()
        if row is None:
            return 0
        store_id, project_id = row
        found = [seq for (seq,) in self._of_store(connection, store_id=store_id, limit=limit).fetchall()]
        self._detach(connection, ids=json_array(found))
        if len(found) < limit:
            self._queue.remove(connection, JobKind.MERGE, [store_id])
            self._queue.remove(connection, JobKind.EMBED, [store_id])
            self._segments.discard_all(connection, store_id)
            self._events.add(connection, None, Event(EventType.STORE_EXPIRED, store_id, project_id))
        return max(1, len(found))

    def delete_chunks(self, connection: Connection, limit: int) -> int:
        """Delete chunks and vectors of detached files; once a file has none, its usage is released."""
        left, done, usage = limit, [], Counter[str]()
        for attachment, project_id, usage_bytes, has_chunks in self._detached(connection, limit=limit).fetchall():
            if has_chunks:
                left -= self._delete_chunks(connection, **range_of(attachment), limit=left).rowcount
            if left <= 0:
                break
            done.append(attachment)
            if usage_bytes:
                usage[project_id] += usage_bytes
        if done and left > 0:
            left -= self._vectors.delete(connection, done, left)
        if left <= 0:
            return limit - left
        self._forget(connection, ids=json_array(done))
        self._quota.release_all(connection, used=usage, reserved=Counter())
        return limit - left + len(done)
