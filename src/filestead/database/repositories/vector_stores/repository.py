"""Vector stores, attached files and file batches: `VectorStoreRepository` in SQL.

A store's counts and usage are read from its attached files, so that a deleted or expired file is never counted.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import and_, bindparam, delete, insert, select, update

from filestead.database.engines.statements import (
    Connection,
    Database,
    RowLock,
    Statement,
    int_array_param,
    int_param,
    json_array,
    now,
)
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.idempotency import IdempotencyRecords
from filestead.database.repositories.jobs import JobQueue
from filestead.database.repositories.vector_stores.attaching import Attaching
from filestead.database.repositories.vector_stores.deletions import Deletions
from filestead.database.repositories.vector_stores.listing import Listing
from filestead.database.repositories.vector_stores.parts import is_part_of
from filestead.database.repositories.vector_stores.rows import (
    DAY_SECONDS,
    EXPIRED,
    FILE_COLUMNS,
    STORE_COLUMNS,
    attached,
    counts_query,
    encode,
    in_project,
    stores,
    to_attached_file,
    to_counts,
    to_store,
    unexpired,
    update_of_store,
)
from filestead.database.repositories.vector_stores.segments import SegmentStatements
from filestead.database.tables import (
    detached_files,
    file_batches,
    vector_store_chunks,
    vector_store_files,
    vector_stores,
)
from filestead.domain.attempts import RetryRecord
from filestead.domain.audit.events import EventType
from filestead.domain.clock import ClockWatch
from filestead.domain.errors import AttachedFileNotFound, FileBatchNotFound, VectorStoreExpired, VectorStoreNotFound
from filestead.domain.jobs import JobKind
from filestead.domain.rate_limit import RateDecision
from filestead.domain.vector_stores.model import (
    AttachedFile,
    Attributes,
    FileBatch,
    IndexStatus,
    ItemPage,
    NewAttachment,
    NewStore,
    PageRequest,
    StoreChanges,
    StoredChunk,
    VectorStore,
)

ACTIVITY_SECONDS = 60
"""Activity within so many seconds after the last one is not recorded again."""


class SqlVectorStoreRepository:
    """See `VectorStoreRepository` for the contract."""

    def __init__(self, database: Database, watch: ClockWatch | None = None) -> None:
        """`watch` decides whether the database's clock is trusted."""
        self._database = database
        dialect = database.dialect
        self._records = IdempotencyRecords(dialect, SqlClock(database, watch or ClockWatch()))
        self._deletions = Deletions(database, self._records)
        compiled = partial(Statement, dialect=dialect)
        self._queue = JobQueue.of(dialect)
        self._segments = SegmentStatements.of(dialect)
        self._events = AuditEvents.of(dialect)
        self._attaching = Attaching(dialect, self._queue, self._events)
        texts = ("project_id", "name", "description", "metadata")
        self._insert = compiled(
            insert(vector_stores).values(
                **{name: bindparam(name) for name in texts},
                id=bindparam("store_id"),
                created_at=now(),
                last_active_at=now(),
                expires_after_days=int_param("expires_after_days"),
                expires_at=now() + int_param("expires_after_days") * DAY_SECONDS,  # null times anything is null
            )
        )
        self._get = compiled(select(*STORE_COLUMNS).where(in_project()))
        self._get_activity = compiled(select(now() - stores.last_active_at, EXPIRED).where(in_project()))
        self._touch = compiled(
            update(vector_stores)
            .where(in_project(), EXPIRED == 0)
            .values(last_active_at=now(), expires_at=now() + stores.expires_after_days * DAY_SECONDS)
        )
        self._update = compiled(update_of_store())
        self._delete = compiled(delete(vector_stores).where(in_project()))
        self._lock_store = RowLock(select(stores.id).where(in_project()), dialect)
        in_store = attached.vector_store_id == bindparam("store_id")
        self._counts = compiled(counts_query().where(in_store))
        one = and_(in_store, attached.file_id == bindparam("file_id"), unexpired())
        in_batch = attached.file_batch_id == bindparam("batch_id")
        # Attached files are locked by number, by whatever deletes or changes more than one: no deadlock arises.
        self._lock_files = RowLock(select(attached.seq).where(in_store).order_by(attached.seq), dialect)
        self._get_file = compiled(select(*FILE_COLUMNS).where(one))
        self._update_file = compiled(update(vector_store_files).where(one).values(attributes=bindparam("attributes")))
        self._detach = compiled(delete(vector_store_files).where(one).returning(attached.seq))
        self._batch = compiled(
            select(file_batches.c.created_at, file_batches.c.cancelled).where(
                file_batches.c.id == bindparam("batch_id"), file_batches.c.vector_store_id == bindparam("store_id")
            )
        )
        self._batch_counts = compiled(counts_query().where(in_batch))
        self._in_progress = compiled(
            select(attached.seq)
            .where(in_batch, attached.status == IndexStatus.IN_PROGRESS.value)
            .order_by(attached.seq)
            .with_for_update()
        )
        listed = int_array_param("ids")
        self._cancel_files = compiled(
            update(vector_store_files).where(attached.seq.in_(listed)).values(status=IndexStatus.CANCELLED.value)
        )
        self._forget_chunks = compiled(insert(detached_files).from_select(["attachment"], listed))
        self._cancel = compiled(
            update(file_batches).where(file_batches.c.id == bindparam("batch_id")).values(cancelled=1)
        )
        chunks = vector_store_chunks.c
        self._chunks = compiled(
            select(chunks.text, chunks.overlap, chunks.tokens)
            .join(vector_store_files, is_part_of(chunks.id, attached.seq))
            .where(one, attached.status == IndexStatus.COMPLETED.value)
            .order_by(chunks.id)
        )
        self._store_pages = Listing(
            dialect, STORE_COLUMNS, stores.seq, stores.id, stores.project_id == bindparam("project_id")
        )
        self._file_pages = Listing(
            dialect,
            FILE_COLUMNS,
            attached.seq,
            attached.file_id,
            in_store,
            unexpired(),
            (("status", attached.status == bindparam("status")), ("batch_id", in_batch)),
        )

    async def create(
        self, project_id: str, organization_id: str, new: NewStore, files: Sequence[NewAttachment], *, rate: int
    ) -> VectorStore:
        """Create a store and attach files."""

        def operation(connection: Connection) -> VectorStore:
            if new.retry is not None and (earlier := self._earlier(connection, project_id, new.id, new.retry)):
                return earlier
            self._insert(
                connection,
                store_id=new.id,
                project_id=project_id,
                name=new.name,
                description=new.description,
                metadata=encode(new.metadata),
                expires_after_days=new.expires_after_days,
            )
            self._events.record(connection, EventType.STORE_CREATED, new.id, project_id)
            self._attaching.attach(connection, project_id, organization_id, new.id, files, rate=rate, batch_id=None)
            return self._require_store(connection, project_id, new.id)

        return await self._database.write(operation)

    def _earlier(self, connection: Connection, project_id: str, new_id: str, retry: RetryRecord) -> VectorStore | None:
        """The store that an earlier attempt has created; None if there is none, which is then recorded.

        The record is locked first, before files: nothing else that locks files locks it.
        """
        store_id = self._records.claim(connection, project_id, retry, new_id)
        if store_id is None:
            return None
        if row := self._get(connection, project_id=project_id, store_id=store_id).fetchone():
            return self._with_counts(connection, [row])[0]
        self._records.save_latest(connection, project_id, [(retry.record, new_id)])
        return None

    async def get(self, project_id: str, store_id: str) -> VectorStore:
        """The store, expired or not."""
        return await self._database.read(lambda connection: self._require_store(connection, project_id, store_id))

    async def page(self, project_id: str, request: PageRequest) -> ItemPage[VectorStore]:
        """Stores in the order of creation."""
        return await self._database.read(
            lambda connection: self._store_pages.page(
                connection, request, lambda rows: self._with_counts(connection, rows), project_id=project_id
            )
        )

    async def update(self, project_id: str, store_id: str, changes: StoreChanges) -> VectorStore:
        """Change a store."""

        def operation(connection: Connection) -> VectorStore:
            changed = self._update(
                connection,
                project_id=project_id,
                store_id=store_id,
                name=changes.name,
                set_name=int(changes.set_name),
                expires_after_days=changes.expires_after_days,
                set_expires=int(changes.set_expires_after),
                metadata=encode(changes.metadata or {}),
                set_metadata=int(changes.metadata is not None),
            )
            if not changed.rowcount:
                self._reject(connection, project_id, store_id)
            return self._require_store(connection, project_id, store_id)

        return await self._database.write(operation)

    async def delete(self, project_id: str, store_id: str) -> None:
        """Delete a store and detach its files."""

        def operation(connection: Connection) -> None:
            self._lock_store(connection, project_id=project_id, store_id=store_id)
            self._require_store_row(connection, project_id, store_id)
            self._lock_files(connection, store_id=store_id)
            if not self._delete(connection, project_id=project_id, store_id=store_id).rowcount:
                raise VectorStoreNotFound(store_id)
            self._queue.remove(connection, JobKind.MERGE, [store_id])
            self._queue.remove(connection, JobKind.EMBED, [store_id])
            self._segments.discard_all(connection, store_id)
            self._events.record(connection, EventType.STORE_DELETED, store_id, project_id)
            self._deletions.add(connection, project_id, store_id)

        await self._database.write(operation)

    async def was_deleted(self, project_id: str, *ids: str) -> bool:
        """Whether a store was deleted, or a file detached, a short while ago."""
        return await self._deletions.contains(project_id, *ids)

    async def touch(self, project_id: str, store_id: str) -> None:
        """Record activity, if the last one is not recent: a search should not wait for a disk."""

        def is_recent(connection: Connection) -> bool:
            row = self._get_activity(connection, project_id=project_id, store_id=store_id).fetchone()
            if row is None:
                raise VectorStoreNotFound(store_id)
            return bool(row[0] < ACTIVITY_SECONDS and not row[1])

        if not await self._database.read(is_recent):
            await self._database.write(lambda connection: self._lock_usable(connection, project_id, store_id))

    async def attach(
        self, project_id: str, organization_id: str, store_id: str, attachment: NewAttachment, *, rate: int
    ) -> tuple[AttachedFile, RateDecision]:
        """Attach a file and add its job."""

        def operation(connection: Connection) -> tuple[AttachedFile, RateDecision]:
            self._lock_usable(connection, project_id, store_id)
            decision = self._attaching.attach(
                connection, project_id, organization_id, store_id, [attachment], rate=rate, batch_id=None
            )
            return self._require_file(connection, project_id, store_id, attachment.file_id), decision

        return await self._database.write(operation)

    async def attach_batch(
        self,
        project_id: str,
        organization_id: str,
        store_id: str,
        batch_id: str,
        files: Sequence[NewAttachment],
        *,
        rate: int,
    ) -> tuple[FileBatch, RateDecision]:
        """Attach files together and add their jobs."""

        def operation(connection: Connection) -> tuple[FileBatch, RateDecision]:
            self._lock_usable(connection, project_id, store_id)
            decision = self._attaching.attach(
                connection, project_id, organization_id, store_id, files, rate=rate, batch_id=batch_id
            )
            return self._require_batch(connection, store_id, batch_id), decision

        return await self._database.write(operation)

    async def get_file(self, project_id: str, store_id: str, file_id: str) -> AttachedFile:
        """An attached file."""
        return await self._database.read(
            lambda connection: self._require_file(connection, project_id, store_id, file_id)
        )

    async def page_files(
        self,
        project_id: str,
        store_id: str,
        request: PageRequest,
        *,
        status: IndexStatus | None = None,
        batch_id: str | None = None,
    ) -> ItemPage[AttachedFile]:
        """Attached files in the order of attachment."""

        def operation(connection: Connection) -> ItemPage[AttachedFile]:
            self._require_store_row(connection, project_id, store_id)
            if batch_id is not None:
                self._require_batch(connection, store_id, batch_id)
            return self._file_pages.page(
                connection,
                request,
                lambda rows: [to_attached_file(row) for row in rows],
                store_id=store_id,
                status=None if status is None else status.value,
                batch_id=batch_id,
            )

        return await self._database.read(operation)

    async def update_file(self, project_id: str, store_id: str, file_id: str, attributes: Attributes) -> AttachedFile:
        """Replace the attributes of an attached file."""

        def operation(connection: Connection) -> AttachedFile:
            self._lock_usable(connection, project_id, store_id)
            self._update_file(connection, store_id=store_id, file_id=file_id, attributes=encode(attributes))
            return self._require_file(connection, project_id, store_id, file_id)

        return await self._database.write(operation)

    async def detach(self, project_id: str, store_id: str, file_id: str) -> None:
        """Detach a file."""

        def operation(connection: Connection) -> None:
            self._require_store_row(connection, project_id, store_id)
            row = self._detach(connection, store_id=store_id, file_id=file_id).fetchone()
            if row is None:
                raise AttachedFileNotFound(store_id, file_id)
            self._events.record(connection, EventType.FILE_DETACHED, file_id, project_id, vector_store_id=store_id)
            self._deletions.add(connection, project_id, store_id, file_id)

        await self._database.write(operation)

    async def get_batch(self, project_id: str, store_id: str, batch_id: str) -> FileBatch:
        """A file batch."""

        def operation(connection: Connection) -> FileBatch:
            self._require_store_row(connection, project_id, store_id)
            return self._require_batch(connection, store_id, batch_id)

        return await self._database.read(operation)

    async def cancel_batch(self, project_id: str, store_id: str, batch_id: str) -> FileBatch:
        """Cancel the files of a batch that are in progress."""

        def operation(connection: Connection) -> FileBatch:
            self._require_store_row(connection, project_id, store_id)
            self._require_batch(connection, store_id, batch_id)
            found = [seq for (seq,) in self._in_progress(connection, batch_id=batch_id).fetchall()]
            if found:
                self._cancel_files(connection, ids=json_array(found))
                self._cancel(connection, batch_id=batch_id)
                self._queue.remove(connection, JobKind.INDEX, map(str, found))
                self._forget_chunks(connection, ids=json_array(found))
            return self._require_batch(connection, store_id, batch_id)

        return await self._database.write(operation)

    async def text(self, project_id: str, store_id: str, file_id: str) -> list[StoredChunk]:
        """The chunks of an attached file in order."""

        def operation(connection: Connection) -> list[StoredChunk]:
            self._require_file(connection, project_id, store_id, file_id)
            rows = self._chunks(connection, store_id=store_id, file_id=file_id).fetchall()
            return [StoredChunk(*row) for row in rows]

        return await self._database.read(operation, long=True)

    def _lock_usable(self, connection: Connection, project_id: str, store_id: str) -> None:
        """Record activity of a store and lock its row, or raise `VectorStoreNotFound` or `VectorStoreExpired`."""
        if not self._touch(connection, project_id=project_id, store_id=store_id).rowcount:
            self._reject(connection, project_id, store_id)

    def _reject(self, connection: Connection, project_id: str, store_id: str) -> None:
        self._require_store_row(connection, project_id, store_id)
        raise VectorStoreExpired(store_id)

    def _require_store_row(self, connection: Connection, project_id: str, store_id: str) -> tuple[Any, ...]:
        row = self._get(connection, project_id=project_id, store_id=store_id).fetchone()
        if row is None:
            raise VectorStoreNotFound(store_id)
        return row

    def _require_store(self, connection: Connection, project_id: str, store_id: str) -> VectorStore:
        return self._with_counts(connection, [self._require_store_row(connection, project_id, store_id)])[0]

    def _with_counts(self, connection: Connection, rows: list[tuple[Any, ...]]) -> list[VectorStore]:
        # A statement for each: for a list of unknown length, PostgreSQL might read the files of every store.
        return [to_store(row, self._counts(connection, store_id=row[0]).fetchall()) for row in rows]

    def _require_file(self, connection: Connection, project_id: str, store_id: str, file_id: str) -> AttachedFile:
        self._require_store_row(connection, project_id, store_id)
        row = self._get_file(connection, store_id=store_id, file_id=file_id).fetchone()
        if row is None:
            raise AttachedFileNotFound(store_id, file_id)
        return to_attached_file(row)

    def _require_batch(self, connection: Connection, store_id: str, batch_id: str) -> FileBatch:
        row = self._batch(connection, store_id=store_id, batch_id=batch_id).fetchone()
        if row is None:
            raise FileBatchNotFound(store_id, batch_id)
        created_at, cancelled = row
        counts = to_counts(self._batch_counts(connection, batch_id=batch_id).fetchall())
        return FileBatch(batch_id, store_id, created_at, bool(cancelled), counts)
