"""Expired files, expired uploads and unused blobs: deleted for good, claimed for the sweep, their quota released."""

from collections import Counter
from dataclasses import dataclass

from filestead.database.engines.statements import Connection, json_array
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.files.blobs import BlobStatements
from filestead.database.repositories.files.ended_uploads import EndedUploads
from filestead.database.repositories.files.limits import QuotaLedger
from filestead.database.repositories.files.listing import FileListing
from filestead.database.repositories.files.rows import FileStatements, sum_by_project
from filestead.database.repositories.idempotency import IdempotencyRecords
from filestead.domain.audit.events import Event, EventType
from filestead.domain.clock import LONGEST_LEASE_SECONDS

EXPIRED_FILES_PER_SWEEP = 500
IDEMPOTENCY_RECORDS_PER_SWEEP = 20_000
"""Clients that count their attempts leave one for each upload."""
TOMBSTONES_PER_SWEEP = 10_000
OLD_UPLOADS_PER_SWEEP = 5_000


@dataclass(frozen=True, slots=True)
class Garbage:
    """Operations on rows that are no longer needed, each within the caller's transaction."""

    _clock: SqlClock
    _files: FileStatements
    _blobs: BlobStatements
    _quota: QuotaLedger
    _listing: FileListing
    _idempotency: IdempotencyRecords
    _uploads: EndedUploads
    _events: AuditEvents

    def claim(self, connection: Connection, lease_seconds: int, limit: int) -> list[str]:
        """Claim blobs with an expired lease, among them those of expired files."""
        proven = self._clock.proven_us(connection)
        reserved = self._uploads.expire(connection, proven)
        used = self._delete_expired(connection, proven)
        self._blobs.cap_leases(connection, longest_us=LONGEST_LEASE_SECONDS * 1_000_000)
        rows = self._blobs.expired_leases(connection, proven_us=proven, limit=limit).fetchall()
        keys = [row[0] for row in rows]
        self._blobs.claim(connection, keys=json_array(keys), lease_us=lease_seconds * 1_000_000)
        reserved += sum_by_project(row[1:] for row in rows)
        self._quota.release_all(connection, used=used, reserved=reserved)
        self._idempotency.delete_expired(connection, proven_us=proven, limit=IDEMPOTENCY_RECORDS_PER_SWEEP)
        self._listing.delete_expired_tombstones(connection, proven_us=proven, limit=TOMBSTONES_PER_SWEEP)
        self._uploads.delete_old(connection, proven_us=proven, limit=OLD_UPLOADS_PER_SWEEP)
        return keys

    def release_expired(self, connection: Connection) -> None:
        """Delete expired files and uploads and release their quota; waits for a concurrent sweep of the same ones."""
        proven = self._clock.proven_us(connection)
        reserved = self._uploads.expire(connection, proven)
        used = self._delete_expired(connection, proven)
        self._quota.release_all(connection, used=used, reserved=reserved)

    def _delete_expired(self, connection: Connection, proven_us: int) -> Counter[str]:
        """Delete files that have expired by the proven time; returns the bytes to be released, by project."""
        rows = self._files.expired(connection, proven_us=proven_us, limit=EXPIRED_FILES_PER_SWEEP).fetchall()
        if rows:
            keys = json_array(row[2] for row in rows)
            # Of no request, even if one has just needed the space.
            expired = (Event(EventType.FILE_EXPIRED, row[3], row[0]) for row in rows)
            self._events.add(connection, None, *expired)
            self._listing.add_tombstones(connection, proven_us=proven_us, keys=keys)
            self._files.lock_attachments_by_blobs(connection, keys=keys)
            self._files.delete_by_blobs(connection, keys=keys)
            self._blobs.mark_all_for_deletion(connection, keys=keys)
            self._blobs.mark_parts_for_deletion(connection, keys=keys)
        return sum_by_project(row[:2] for row in rows)
