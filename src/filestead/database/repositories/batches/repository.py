"""Batches as the API sees them: `BatchRepository` in SQL."""

from functools import partial
from typing import Any

from sqlalchemy import bindparam, or_, select, tuple_, update

from filestead.database.engines.statements import Connection, Database, Statement, int_param, now
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.repositories.batches.creating import Creating, Owner
from filestead.database.repositories.batches.journal import SIZES, Journal
from filestead.database.repositories.batches.rows import BATCH_COLUMNS, decode_pauses, in_project, table, to_batch
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.idempotency import IdempotencyRecords
from filestead.database.repositories.jobs import JobQueue
from filestead.database.tables import batches
from filestead.domain.audit.events import EventType
from filestead.domain.batches.model import Batch, BatchStatus, NewBatch, Pause, ResultKind
from filestead.domain.clock import ClockWatch
from filestead.domain.errors import BatchCursorNotFound, BatchNotCancellable, BatchNotFound
from filestead.domain.jobs import JobKind

CANCELLABLE = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)
CANCELLED = (BatchStatus.CANCELLING, BatchStatus.CANCELLED)


class SqlBatchRepository:
    """See `BatchRepository` for the contract."""

    def __init__(self, database: Database, watch: ClockWatch | None = None) -> None:
        """`watch` decides whether the database's clock is trusted."""
        compiled = partial(Statement, dialect=database.dialect)
        self._database = database
        self._queue = JobQueue.of(database.dialect)
        records = IdempotencyRecords(database.dialect, SqlClock(database, watch or ClockWatch()))
        self._creating = Creating(database.dialect, self._queue, records)
        self._journal = Journal(database.dialect)
        self._audit = AuditEvents.of(database.dialect)
        self._get = compiled(select(*BATCH_COLUMNS).where(in_project()))
        position = (table.created_at, table.seq)
        self._position = compiled(select(*position).where(in_project()))
        page = (
            select(*BATCH_COLUMNS)
            .where(table.project_id == bindparam("project_id"))
            .order_by(table.created_at.desc(), table.seq.desc())
            .limit(int_param("limit"))
        )
        self._first_page = compiled(page)
        self._page = compiled(page.where(tuple_(*position) < tuple_(int_param("created_at"), int_param("seq"))))
        self._pauses = compiled(select(table.pauses).where(table.pauses.is_not(None)).distinct())
        self._cancel = compiled(
            update(batches)
            .where(in_project(), or_(*(table.status == status.value for status in CANCELLABLE)))
            .values(status=BatchStatus.CANCELLING.value, cancelling_at=now())
            .returning(*BATCH_COLUMNS)
        )
        self._journal_of = compiled(
            select(table.seq, SIZES[ResultKind.OUTPUT], SIZES[ResultKind.ERROR]).where(in_project())
        )

    async def create(self, project_id: str, organization_id: str, user_id: str, new: NewBatch, *, rate: int) -> Batch:
        """Create a batch with its job, and pin its input."""
        return await self._database.write(
            lambda connection: self._creating.create(
                connection, Owner(project_id, organization_id, user_id), new, rate=rate
            )
        )

    async def find_by_key(self, project_id: str, key: str, fingerprint: str) -> Batch | None:
        """The batch that was created with an idempotency key."""
        return await self._database.read(
            lambda connection: self._creating.find_by_key(connection, project_id, key, fingerprint)
        )

    async def get(self, project_id: str, batch_id: str) -> Batch:
        """The batch."""
        return await self._database.read(lambda connection: self._find(connection, project_id, batch_id))

    def _find(self, connection: Connection, project_id: str, batch_id: str) -> Batch:
        row = self._get(connection, id=batch_id, project_id=project_id).fetchone()
        if row is None:
            raise BatchNotFound(batch_id)
        return to_batch(row)

    async def page(self, project_id: str, *, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        """Batches, newest first, starting after the batch `after`."""

        def operation(connection: Connection) -> list[tuple[Any, ...]]:
            values: dict[str, object] = {"project_id": project_id, "limit": limit + 1}
            if after is None:
                return self._first_page(connection, **values).fetchall()
            row = self._position(connection, id=after, project_id=project_id).fetchone()
            if row is None:
                raise BatchCursorNotFound(after)
            return self._page(connection, **values, created_at=row[0], seq=row[1]).fetchall()

        rows = await self._database.read(operation)
        return [to_batch(row) for row in rows[:limit]], len(rows) > limit

    async def pauses(self) -> list[Pause]:
        """The different pauses of the batches of all projects."""
        rows = await self._database.read(lambda connection: self._pauses(connection).fetchall())
        return list(dict.fromkeys(pause for (text,) in rows for pause in decode_pauses(text)))

    async def cancel(self, project_id: str, batch_id: str) -> Batch:
        """Set `cancelling`, and make the job due unless a worker holds it, who sees the status soon."""

        def operation(connection: Connection) -> Batch:
            # The job first, as everywhere, so that no deadlock arises.
            self._queue.wake(connection, JobKind.BATCH, batch_id, project_id)
            row = self._cancel(connection, id=batch_id, project_id=project_id).fetchone()
            if row is not None:
                self._audit.record(connection, EventType.BATCH_CANCELLING, batch_id, project_id)
                return to_batch(row)
            batch = self._find(connection, project_id, batch_id)
            if batch.status not in CANCELLED:
                raise BatchNotCancellable(batch.status.value)
            return batch

        return await self._database.write(operation)

    async def read_results(self, project_id: str, batch_id: str, kind: ResultKind, start: int, limit: int) -> bytes:
        """Some bytes of the results so far."""

        def operation(connection: Connection) -> bytes:
            seq, size = self._results(connection, project_id, batch_id, kind)
            return self._journal.read(connection, seq, kind, start, min(limit, size - start)) if start < size else b""

        return await self._database.read(operation)

    async def results_size(self, project_id: str, batch_id: str, kind: ResultKind) -> int:
        """The size of the results so far."""
        return await self._database.read(lambda connection: self._results(connection, project_id, batch_id, kind)[1])

    def _results(self, connection: Connection, project_id: str, batch_id: str, kind: ResultKind) -> tuple[int, int]:
        """The number of a batch, and the size of its results."""
        row = self._journal_of(connection, id=batch_id, project_id=project_id).fetchone()
        if row is None:
            raise BatchNotFound(batch_id)
        return row[0], row[1] if kind is ResultKind.OUTPUT else row[2]
