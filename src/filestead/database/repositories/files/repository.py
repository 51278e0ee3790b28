"""The files and the ledger of blobs: `FileRepository` in SQL. Each method is one operation, and so one transaction.

Any number of nodes may run them concurrently. A statement sees what was committed before the statement began, not
before the transaction began; so rows that must not change in between are locked before they are read. Rows are locked
in one order, so that no deadlock arises: users, uploads in parts, files, attached files, jobs, blobs, tombstones,
organizations, projects, idempotency keys.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from time import monotonic

from filestead.database.engines.merging import MergedWrites
from filestead.database.engines.statements import Connection, Database, json_array
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.repositories.checks.run import RowChecks
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.files.blobs import BlobStatements
from filestead.database.repositories.files.ended_uploads import EndedUploads
from filestead.database.repositories.files.garbage import Garbage
from filestead.database.repositories.files.inline import InlineStatements
from filestead.database.repositories.files.limits import QuotaLedger, UploadRate
from filestead.database.repositories.files.listing import FileListing
from filestead.database.repositories.files.rows import FileStatements, require_row, sum_by_project
from filestead.database.repositories.files.uploads import Uploads
from filestead.database.repositories.idempotency import IdempotencyRecords
from filestead.database.repositories.repairs import RowRepairs
from filestead.domain.audit.events import EventType, Origin, current_origin
from filestead.domain.blobs import BlobState
from filestead.domain.clock import ClockWatch
from filestead.domain.errors import FileNotFound, QuotaExceeded
from filestead.domain.files.model import (
    SHORT_PAGE,
    Admission,
    CompletedUpload,
    ContentPart,
    Created,
    File,
    InlineUpload,
    Page,
    PendingUpload,
    Usage,
)
from filestead.domain.integrity import Repair, Violation
from filestead.domain.quota import Quota

COPIES = 2
"""What an inline blob needs on the disk: its pages, and their copies in the write-ahead log."""

SPACE_CHECK_BYTES = 1024 * 1024
SPACE_CHECK_SECONDS = 0.05
"""Free space is looked for again after so many bytes, or so much time."""

_InlineItem = tuple[InlineUpload, int, Quota, Origin | None]
"""An upload with its rate and quota, and whose request it is: requests are merged."""


class SqlFileRepository:
    """See `FileRepository` for the contract."""

    def __init__(
        self,
        database: Database,
        watch: ClockWatch | None = None,
        require_free_space: Callable[[int], None] | None = None,
    ) -> None:
        """`watch` decides whether the database's clock is trusted.

        `require_free_space` raises `StorageFull` unless the database's disk has room beside the reserve.
        """
        self._require_free_space = require_free_space
        self._unchecked, self._next_check = 0, 0.0
        dialect = database.dialect
        self._database = database
        self._clock = SqlClock(database, watch or ClockWatch())
        self._files = FileStatements.of(dialect)
        self._blobs = BlobStatements.of(dialect)
        self._quota = QuotaLedger.of(dialect)
        self._listing = FileListing(dialect, self._clock)
        idempotency = IdempotencyRecords(dialect, self._clock)
        self._events = AuditEvents.of(dialect)
        shared = (self._files, self._blobs, self._quota)
        parts, inline = EndedUploads.of(dialect), InlineStatements.of(dialect)
        self._garbage = Garbage(self._clock, *shared, self._listing, idempotency, parts, self._events)
        self._rate = UploadRate.of(dialect)
        self._uploads = Uploads(self._rate, *shared, self._garbage, idempotency, inline, self._events)
        self._inline_writes: MergedWrites[_InlineItem, Created] = MergedWrites(
            database, self._create_many_inline, lambda connection, item: self._uploads.create_inline(connection, *item)
        )

    async def begin_upload(self, upload: PendingUpload, *, rate: int, quota: Quota, lease_seconds: int) -> Admission:
        """Count the upload, reserve its first bytes, record its blob as pending."""
        outcome = await self._database.write(
            lambda connection: self._uploads.begin(connection, upload, rate, quota, lease_seconds)
        )
        if isinstance(outcome, QuotaExceeded):
            raise outcome
        return outcome

    async def reserve(self, upload: PendingUpload, more: int, *, quota: Quota) -> None:
        """Add to the reservation of a pending upload."""
        await self._database.write(lambda connection: self._uploads.reserve(connection, upload, more, quota))

    async def renew(self, blob_keys: Sequence[str], *, lease_seconds: int) -> None:
        """Extend the leases of pending blobs."""
        keys, lease_us = json_array(blob_keys), lease_seconds * 1_000_000
        await self._database.write(lambda connection: self._blobs.renew(connection, keys=keys, lease_us=lease_us))

    async def publish(self, completed: CompletedUpload, *, quota: Quota) -> File:
        """Turn the pending blob into a visible file and its reservation into usage."""
        return await self._database.write(lambda connection: self._uploads.publish(connection, completed, quota))

    async def create_inline(self, upload: InlineUpload, *, rate: int, quota: Quota) -> Created:
        """Make an upload visible whose content becomes a row."""
        if self._require_free_space is not None:
            self._look_for_free_space(self._require_free_space, COPIES * len(upload.content))
        if upload.completed.may_repeat:
            return await self._database.write(
                lambda connection: self._uploads.create_inline(connection, upload, rate, quota, current_origin())
            )
        item = (upload, rate, quota, current_origin())
        return await self._inline_writes.write((upload.completed.project_id, rate, quota), item)

    def _look_for_free_space(self, require: Callable[[int], None], size: int) -> None:
        """Look from time to time only: it is a system call, and the reserve is larger than what comes in between."""
        self._unchecked += size
        if self._unchecked > SPACE_CHECK_BYTES or monotonic() > self._next_check:
            require(size)
            self._unchecked, self._next_check = 0, monotonic() + SPACE_CHECK_SECONDS

    def _create_many_inline(self, connection: Connection, items: Sequence[_InlineItem]) -> list[Created]:
        _, rate, quota, _ = items[0]
        uploads, origins = [upload for upload, *_ in items], [origin for *_, origin in items]
        return self._uploads.create_many_inline(connection, uploads, rate, quota, origins)

    async def count_upload(self, user_id: str, *, rate: int) -> None:
        """Count an upload that has failed."""
        if rate:
            await self._database.write(lambda connection: self._rate.count(connection, user_id, rate))

    async def abandon(self, blob_key: str) -> bool:
        """Abort a pending upload; False if its file is visible."""
        return await self._database.write(lambda connection: self._uploads.abandon(connection, blob_key))

    async def get(self, project_id: str, file_id: str) -> File:
        """The visible file."""
        row = await self._database.read_row(self._files.get, project_id=project_id, id=file_id)
        if row is None:
            raise FileNotFound(file_id)
        return File(*row)

    async def page(
        self, project_id: str, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> Page:
        """Visible files in order, starting after the file `after`."""
        return await self._database.read(
            lambda connection: self._listing.page(
                connection, project_id, limit, purpose=purpose, after=after, newest=newest_first
            ),
            long=limit > SHORT_PAGE,
        )

    async def delete(self, project_id: str, file_id: str) -> File:
        """Make the file invisible and mark its blob for deletion."""

        def operation(connection: Connection) -> File:
            self._files.lock_attachments(connection, project_id=project_id, id=file_id)
            row = self._files.delete(connection, project_id=project_id, id=file_id).fetchone()
            if row is None:
                raise FileNotFound(file_id)
            *columns, seq = row
            file = File(*columns)
            self._blobs.mark_for_deletion(connection, key=file.blob_key)
            if file.parts is not None:
                self._blobs.mark_parts_for_deletion(connection, keys=json_array([file.blob_key]))
            self._listing.add_tombstone(
                connection,
                project_id=project_id,
                id=file_id,
                created_at=file.created_at,
                seq=seq,
                proven_us=self._clock.proven_us(connection),
            )
            self._quota.release(connection, project_id=project_id, used=file.bytes, reserved=0)
            self._events.record(connection, EventType.FILE_DELETED, file_id, project_id)
            return file

        return await self._database.write(operation)

    async def was_deleted(self, project_id: str, file_id: str, *, within_seconds: int) -> bool:
        """Whether a file of the project was deleted within the last seconds."""
        return await self._database.read(
            lambda connection: self._listing.was_deleted(connection, project_id, file_id, within_seconds)
        )

    async def content_parts(self, blob_key: str) -> list[ContentPart]:
        """The parts of the blob of a file, in order."""
        rows = await self._database.read(lambda connection: self._blobs.parts(connection, key=blob_key).fetchall())
        return [ContentPart(*row) for row in rows]

    async def observe_clock(self) -> str | None:
        """Compare the database's clock with the elapsed time."""
        return await self._clock.observe()

    async def claim_garbage(self, *, lease_seconds: int, limit: int) -> list[str]:
        """Claim unused blobs; delete expired idempotency records and tombstones."""
        return await self._database.write(lambda connection: self._garbage.claim(connection, lease_seconds, limit))

    async def is_pinned(self, blob_key: str) -> bool:
        """Whether a batch needs the content."""
        return await self._database.read(
            lambda connection: self._blobs.is_pinned(connection, key=blob_key).fetchone() is not None
        )

    async def delete_blob_rows(self, blob_keys: Sequence[str]) -> None:
        """Delete the rows of blobs whose bytes are gone."""

        def operation(connection: Connection) -> None:
            rows = self._blobs.delete(connection, keys=json_array(blob_keys)).fetchall()
            self._quota.release_all(connection, used=Counter(), reserved=sum_by_project(rows))

        await self._database.write(operation)

    async def release_leases(self) -> int:
        """End every lease."""
        return await self._database.write(lambda connection: self._blobs.release_leases(connection).rowcount)

    async def usage(self, project_id: str) -> Usage:
        """The project's usage and reservations."""
        row = await self._database.read(
            lambda connection: self._files.usage(connection, project_id=project_id).fetchone()
        )
        return Usage(*require_row(row))

    async def scan_files(self, after: str, limit: int) -> list[File]:
        """Files of every project by id."""
        rows = await self._database.read(
            lambda connection: self._files.scan(connection, id=after, limit=limit).fetchall()
        )
        return [File(*row) for row in rows]

    async def blob_states(self, blob_keys: Sequence[str]) -> dict[str, BlobState]:
        """The states of those keys that have a row."""
        keys = json_array(blob_keys)
        rows = await self._database.read(lambda connection: self._blobs.states(connection, keys=keys).fetchall())
        return {key: BlobState(state) for key, state in rows}

    async def check(self) -> list[Violation]:
        """Findings about the rows themselves."""
        return await self._database.read(RowChecks.of(self._database.dialect).find)

    async def repair_rows(self, repairs: Collection[Repair]) -> int:
        """Compute sums anew, and give up parts of what does not exist."""
        statements = RowRepairs.of(self._database.dialect)

        def operation(connection: Connection) -> int:
            changed = 0
            if Repair.DELETE in repairs:
                changed += statements.detach_orphans(connection) + statements.delete_orphans(connection)
            if Repair.RECOMPUTE in repairs:
                changed += statements.recompute(connection)
            return changed

        return await self._database.write(operation)
