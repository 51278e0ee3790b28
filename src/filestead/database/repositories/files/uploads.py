"""An upload from its reservation to its file. The methods run within the caller's transaction, and may run again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Dialect

from filestead.database.engines.statements import Connection, in_powers
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.files.blobs import BlobStatements
from filestead.database.repositories.files.ended_uploads import EndedUploads
from filestead.database.repositories.files.garbage import Garbage
from filestead.database.repositories.files.inline import InlineStatements
from filestead.database.repositories.files.limits import QuotaLedger, UploadRate
from filestead.database.repositories.files.listing import FileListing
from filestead.database.repositories.files.rows import FileStatements, require_row
from filestead.database.repositories.idempotency import IdempotencyRecords
from filestead.database.tables import LIVE
from filestead.domain.audit.events import Event, EventType, Origin, current_origin
from filestead.domain.errors import IdempotencyKeyReused, IdempotencyKeySpent, QuotaExceeded, UploadLost
from filestead.domain.files.model import (
    Admission,
    CompletedUpload,
    Created,
    File,
    InlineUpload,
    PendingUpload,
)
from filestead.domain.quota import Quota


@dataclass(frozen=True, slots=True)
class Uploads:
    """Operations of an upload; see `FileRepository`."""

    _rate: UploadRate
    _files: FileStatements
    _blobs: BlobStatements
    _quota: QuotaLedger
    _garbage: Garbage
    _idempotency: IdempotencyRecords
    _inline: InlineStatements
    _events: AuditEvents

    @classmethod
    def compile(cls, dialect: Dialect, clock: SqlClock) -> "Uploads":
        """Compile the statements, for a repository that publishes files in its own transactions."""
        files, blobs, quota = FileStatements.of(dialect), BlobStatements.of(dialect), QuotaLedger.of(dialect)
        idempotency = IdempotencyRecords(dialect, clock)
        listing, parts = FileListing(dialect, clock), EndedUploads.of(dialect)
        inline, events = InlineStatements.of(dialect), AuditEvents.of(dialect)
        garbage = Garbage(clock, files, blobs, quota, listing, idempotency, parts, events)
        return cls(UploadRate.of(dialect), files, blobs, quota, garbage, idempotency, inline, events)

    def begin(
        self, connection: Connection, upload: PendingUpload, rate: int, quota: Quota, lease_seconds: int
    ) -> Admission | QuotaExceeded:
        """Count the upload, reserve its first bytes, record its blob as pending."""
        decision = self._rate.count(connection, upload.user_id, rate)
        key = upload.idempotency_key
        if key is not None and self._idempotency.get(connection, upload.project_id, key) is not None:
            return Admission(decision, 0, repeats=True)
        reserved = self._reserve_initial(connection, upload, quota)
        if isinstance(reserved, QuotaExceeded):
            return reserved  # not raised: the request stays counted
        self._blobs.add_pending(
            connection,
            key=upload.blob_key,
            project_id=upload.project_id,
            bytes_reserved=reserved,
            lease_us=lease_seconds * 1_000_000,
        )
        return Admission(decision, reserved, repeats=False)

    def _reserve_initial(self, connection: Connection, upload: PendingUpload, quota: Quota) -> int | QuotaExceeded:
        """Reserve the requested bytes if they fit, else none; `QuotaExceeded` if `min_size` does not fit."""
        # If nothing is reserved, the project's row is not locked: other uploads would wait for this commit.
        if upload.reserve_bytes:
            needed = max(upload.reserve_bytes, upload.min_size)
            if self._charge(connection, upload, quota, reserve=upload.reserve_bytes, needed=needed) is None:
                return upload.reserve_bytes
        if upload.min_size:
            return self._charge(connection, upload, quota, needed=upload.min_size) or 0
        return 0

    def reserve(self, connection: Connection, upload: PendingUpload, more: int, quota: Quota) -> None:
        """Add to the reservation of a pending upload."""
        if not self._blobs.extend_reservation(connection, key=upload.blob_key, more=more).rowcount:
            raise UploadLost
        if exceeded := self._charge(connection, upload, quota, reserve=more):
            raise exceeded

    def _charge(
        self, connection: Connection, upload: PendingUpload | CompletedUpload, quota: Quota, **changes: int
    ) -> QuotaExceeded | None:
        return self.charge(connection, upload.project_id, upload.organization_id, quota, **changes)

    def charge(
        self, connection: Connection, project_id: str, organization_id: str, quota: Quota, **changes: int
    ) -> QuotaExceeded | None:
        """Charge the quota; if it is exceeded, release that of expired files and try once more."""
        if self._quota.charge(connection, project_id, organization_id, quota, **changes) is None:
            return None
        self._garbage.release_expired(connection)
        return self._quota.charge(connection, project_id, organization_id, quota, **changes)

    def publish(self, connection: Connection, completed: CompletedUpload, quota: Quota) -> File:
        """Turn the pending blob into a visible file and its reservation into usage."""
        if completed.may_repeat:
            self._lock_rows(connection, completed, quota)
            if earlier := self._earlier_file(connection, completed):
                return earlier
        pending = self._blobs.activate(connection, key=completed.blob_key).fetchone()
        if pending is None:
            return self._published_file(connection, completed)
        # Locks the project's row, so files become visible in the order of `created_at` and `seq`.
        if exceeded := self._charge(connection, completed, quota, use=completed.bytes, settle=pending[0]):
            raise exceeded
        return self._add_file(connection, completed, current_origin())

    def create_inline(
        self, connection: Connection, upload: InlineUpload, rate: int, quota: Quota, origin: Origin | None
    ) -> Created:
        """Count the upload, charge the quota, store the bytes and make the file visible."""
        completed = upload.completed
        key, project_id = completed.blob_key, completed.project_id
        # First, so that a repetition waits for the commit of the first attempt. No other upload has this key.
        if not self._blobs.add_live(connection, key=key, project_id=project_id).rowcount:
            file = self._published_file(connection, completed)
            return Created(file, self._rate.decision(connection, upload.user_id, rate), replayed=False)
        decision = self._rate.count(connection, upload.user_id, rate)
        if completed.may_repeat:
            self._lock_rows(connection, completed, quota)
            if earlier := self._earlier_file(connection, completed):
                self._blobs.take_back(connection, key=key)
                return Created(earlier, decision, replayed=True)
        self._inline.add(connection, key=key, data=upload.content)
        # Locks the project's row, so late: uploads of other nodes wait for this commit.
        if exceeded := self._charge(connection, completed, quota, use=completed.bytes):
            raise exceeded
        return Created(self._add_file(connection, completed, origin), decision, replayed=False)

    def create_many_inline(
        self,
        connection: Connection,
        uploads: Sequence[InlineUpload],
        rate: int,
        quota: Quota,
        origins: Sequence[Origin | None],
    ) -> list[Created]:
        """As `create_inline` for uploads of one project that repeat nothing; raises if one of them fails.

        The statements have 2, 4, 8 and so on rows, so that there are few of them.
        """
        first = uploads[0].completed
        keys: list[dict[str, object]] = [
            {"key": each.completed.blob_key, "project_id": first.project_id} for each in uploads
        ]
        if sum(in_powers(self._blobs.add_many_live, connection, keys, lambda cursor: cursor.rowcount)) < len(keys):
            raise UploadLost  # one of them is there already, from an earlier attempt
        by_user = Counter(each.user_id for each in uploads)
        decisions = {
            user: iter(self._rate.count_many(connection, user, rate, by_user[user])) for user in sorted(by_user)
        }
        contents: list[dict[str, object]] = [{"key": each.completed.blob_key, "data": each.content} for each in uploads]
        in_powers(self._inline.add_many, connection, contents, lambda cursor: None)
        if exceeded := self._charge(connection, first, quota, use=sum(each.completed.bytes for each in uploads)):
            raise exceeded
        rows = [_file_values(each.completed) for each in uploads]
        found = [
            File(*row)
            for some in in_powers(self._files.add_many, connection, rows, lambda cursor: cursor.fetchall())
            for row in some
        ]
        attempts = [(each.completed.retry, each.completed.id) for each in uploads]
        self._idempotency.save_latest(
            connection, first.project_id, [(retry.record, file_id) for retry, file_id in attempts if retry is not None]
        )
        created = (_created(each.completed) for each in uploads)
        self._events.add_all(connection, zip(origins, created, strict=True))
        files = {file.id: file for file in found}
        return [Created(files[each.completed.id], next(decisions[each.user_id]), replayed=False) for each in uploads]

    def _add_file(self, connection: Connection, completed: CompletedUpload, origin: Origin | None) -> File:
        if completed.idempotency is not None:
            self._idempotency.save(connection, completed.project_id, completed.idempotency, completed.id)
        if completed.retry is not None:
            made = (completed.retry.record, completed.id)
            self._idempotency.save_latest(connection, completed.project_id, [made])
        row = self._files.add(connection, **_file_values(completed)).fetchone()
        self._events.add(connection, origin, _created(completed))
        return File(*require_row(row))

    def _lock_rows(self, connection: Connection, completed: CompletedUpload, quota: Quota) -> None:
        """Serialize the project's publications, so that the state of an idempotency key does not change meanwhile."""
        self._blobs.lock(connection, key=completed.blob_key)
        if quota.organization_bytes is not None:
            self._quota.lock_organization(connection, organization_id=completed.organization_id)
        self._quota.lock_project(connection, project_id=completed.project_id)

    def _published_file(self, connection: Connection, completed: CompletedUpload) -> File:
        """The file of this upload, if an earlier attempt was committed but its outcome was lost."""
        row = self._files.get(connection, project_id=completed.project_id, id=completed.id).fetchone()
        if row is None:
            raise UploadLost
        return File(*row)

    def _earlier_file(self, connection: Connection, completed: CompletedUpload) -> File | None:
        """The file that this upload's idempotency key, or an earlier attempt, has created; None without a record."""
        sought = completed.idempotency or (completed.retry.record if completed.retry is not None else None)
        record = None if sought is None else self._idempotency.get(connection, completed.project_id, sought.key)
        if record is None or sought is None:
            return None
        fingerprint, file_id = record
        if fingerprint != sought.fingerprint:
            raise IdempotencyKeyReused(file_id)
        row = self._files.get(connection, project_id=completed.project_id, id=file_id).fetchone()
        if row is None and completed.idempotency is not None:
            raise IdempotencyKeySpent(file_id)
        return None if row is None else File(*row)

    def abandon(self, connection: Connection, blob_key: str) -> bool:
        """Abort a pending upload; False if its file is visible."""
        for project_id, reserved in self._blobs.abort_pending(connection, key=blob_key).fetchall():
            if reserved:
                self._blobs.clear_reservation(connection, key=blob_key)
                self._quota.release(connection, project_id=project_id, used=0, reserved=reserved)
        row = self._blobs.state(connection, key=blob_key).fetchone()
        return row is None or row[0] != LIVE


def _created(completed: CompletedUpload) -> Event:
    return Event(
        EventType.FILE_CREATED,
        completed.id,
        completed.project_id,
        {"bytes": completed.bytes, "purpose": completed.purpose},
        completed.organization_id,
    )


def _file_values(completed: CompletedUpload) -> dict[str, object]:
    return {
        "id": completed.id,
        "project_id": completed.project_id,
        "filename": completed.filename,
        "purpose": completed.purpose,
        "bytes": completed.bytes,
        "sha256": completed.sha256,
        "status": str(completed.status),
        "status_details": completed.status_details,
        "blob_key": completed.blob_key,
        "lifetime": completed.expires_after_seconds,
    }
