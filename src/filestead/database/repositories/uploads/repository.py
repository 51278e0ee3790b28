"""Uploads in parts: `UploadRepository` in SQL. Each method is one transaction, and locks the row of its upload first.

The order of locks is that of the file repository.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from filestead.database.engines.statements import Connection, Database, json_array
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.files.blobs import BlobStatements
from filestead.database.repositories.files.ended_uploads import EndedUploads
from filestead.database.repositories.files.garbage import Garbage
from filestead.database.repositories.files.limits import QuotaLedger, UploadRate
from filestead.database.repositories.files.listing import FileListing
from filestead.database.repositories.files.rows import FileStatements, require_row
from filestead.database.repositories.idempotency import IdempotencyRecords
from filestead.database.repositories.jobs import JobQueue
from filestead.database.repositories.uploads.rows import (
    UPLOAD_COLUMNS,
    CompletionStatements,
    PartStatements,
    UploadStatements,
)
from filestead.domain.audit.events import EventType
from filestead.domain.clock import ClockWatch
from filestead.domain.errors import (
    QuotaExceeded,
    TooManyParts,
    UploadLost,
    UploadNotFound,
    UploadNotPending,
    UploadOverflow,
)
from filestead.domain.files.model import ContentPart, File, FileStatus
from filestead.domain.jobs import Job, JobKind
from filestead.domain.quota import Quota
from filestead.domain.rate_limit import RateDecision
from filestead.domain.uploads import completion as rules
from filestead.domain.uploads import repetition
from filestead.domain.uploads.model import (
    LIFETIME_SECONDS,
    MAX_PARTS,
    AcceptedPart,
    Checked,
    CompletedUpload,
    Completion,
    EndedUpload,
    NewUpload,
    Part,
    PendingPart,
    ReceivedPart,
    Room,
    ScannedPart,
    Upload,
    UploadStatus,
)
from filestead.domain.uploads.repetition import SamePart, SharedBytes, StoredPart


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of an upload with what the client does not see."""

    upload: Upload
    bytes_received: int
    file_lifetime: int | None
    file_id: str | None
    completed_with: str | None

    def require_pending(self) -> None:
        if self.upload.status is not UploadStatus.PENDING:
            raise UploadNotPending(self.upload.id, self.upload.status)


class SqlUploadRepository:
    """See `UploadRepository` for the contract."""

    def __init__(self, database: Database, watch: ClockWatch | None = None) -> None:
        """`watch` decides whether the database's clock is trusted."""
        dialect = database.dialect
        self._database = database
        self._uploads = UploadStatements(dialect)
        self._parts = PartStatements(dialect)
        self._completion = CompletionStatements(dialect)
        self._blobs = BlobStatements.of(dialect)
        self._rate = UploadRate.of(dialect)
        self._quota = QuotaLedger.of(dialect)
        self._ended = EndedUploads.of(dialect)
        self._jobs = JobQueue.of(dialect)
        self._events = AuditEvents.of(dialect)
        clock = SqlClock(database, watch or ClockWatch())
        self._garbage = Garbage(
            clock,
            FileStatements.of(dialect),
            self._blobs,
            self._quota,
            FileListing(dialect, clock),
            IdempotencyRecords(dialect, clock),
            self._ended,
            self._events,
        )

    # --- an upload and its parts ----------------------------------------------------------------------------------

    async def create(self, upload: NewUpload, *, rate: int, quota: Quota) -> tuple[Upload, RateDecision]:
        """Count the upload and reserve its bytes."""

        def operation(connection: Connection) -> tuple[Upload, RateDecision] | QuotaExceeded:
            decision = self._rate.count(connection, upload.user_id, rate)
            exceeded = self._reserve(connection, upload, quota)
            if exceeded is not None:
                return exceeded  # not raised: the request stays counted
            created_at = require_row(self._uploads.now(connection).fetchone())[0]
            upload_id = f"upload_{created_at:08x}{upload.random}"
            about = {"bytes": upload.bytes, "purpose": upload.purpose}
            self._events.record(connection, EventType.UPLOAD_CREATED, upload_id, upload.project_id, **about)
            row = self._uploads.add(
                connection,
                id=upload_id,
                project_id=upload.project_id,
                filename=upload.filename,
                purpose=upload.purpose,
                bytes=upload.bytes,
                created_at=created_at,
                expires_at=created_at + LIFETIME_SECONDS,
                file_lifetime=upload.file_lifetime,
            ).fetchone()
            return _upload(require_row(row)), decision

        outcome = await self._database.write(operation)
        if isinstance(outcome, QuotaExceeded):
            raise outcome
        return outcome

    def _reserve(self, connection: Connection, upload: NewUpload, quota: Quota) -> QuotaExceeded | None:
        """Reserve the declared bytes; if they do not fit, release those of expired files and try once more."""
        ids = (upload.project_id, upload.organization_id)
        if not upload.bytes or self._quota.charge(connection, *ids, quota, reserve=upload.bytes) is None:
            return None
        self._garbage.release_expired(connection)
        return self._quota.charge(connection, *ids, quota, reserve=upload.bytes)

    async def begin_part(self, part: PendingPart, *, lease_seconds: int) -> Room:
        """Record the blob of a part as pending."""

        def operation(connection: Connection) -> Room:
            row = self._require(connection, part.project_id, part.upload_id)
            row.require_pending()
            is_known = self._part_of_key(connection, part) is not None
            if not is_known:
                self._require_room_for_part(connection, part.upload_id)
                # The upload may have ended after the first look: then its parts are not looked for any more.
                self._require(connection, part.project_id, part.upload_id).require_pending()
            self._blobs.add_pending(
                connection,
                key=part.blob_key,
                project_id=part.project_id,
                bytes_reserved=0,
                lease_us=lease_seconds * 1_000_000,
            )
            return Room(row.upload.bytes, row.bytes_received, is_known)

        return await self._database.write(operation)

    async def accept_part(self, part: ReceivedPart) -> AcceptedPart:
        """Add a part whose bytes are stored."""

        def operation(connection: Connection) -> AcceptedPart:
            row = self._locked(connection, part.project_id, part.upload_id)
            ids = {"upload_id": part.upload_id, "blob_key": part.blob_key}
            if (known := self._parts.of_blob(connection, **ids).fetchone()) is not None:
                return AcceptedPart(Part(*known), stored=True)
            row.require_pending()
            identity = self._identify(connection, row, part)
            if isinstance(identity, SamePart):
                return AcceptedPart(identity.part, stored=False)
            self._require_room_for_part(connection, part.upload_id)
            if isinstance(identity, SharedBytes):
                return AcceptedPart(self._share(connection, part, identity.stored), stored=False)
            values = {"id": part.upload_id, "project_id": part.project_id, "more": part.bytes}
            if not self._uploads.receive(connection, **values).rowcount:
                raise UploadOverflow(part.upload_id, row.upload.bytes, row.bytes_received)
            if self._blobs.activate(connection, key=part.blob_key).fetchone() is None:
                raise UploadLost
            added = self._add_part(connection, part, part.blob_key, first_copy_due=identity.first_copy_due)
            return AcceptedPart(added, stored=True)

        return await self._database.write(operation)

    def _identify(self, connection: Connection, row: _Row, part: ReceivedPart) -> repetition.Identity:
        if part.idempotency_key is not None:
            return repetition.by_key(part, self._part_of_key(connection, part))
        equal = self._parts.equal if part.repeated else self._parts.late
        rows = equal(connection, upload_id=part.upload_id, bytes=part.bytes, sha256=part.sha256).fetchall()
        has_room = row.bytes_received + part.bytes <= row.upload.bytes
        return repetition.by_content(part, [_stored_part(each) for each in rows], has_room=has_room)

    def _part_of_key(self, connection: Connection, part: PendingPart | ReceivedPart) -> StoredPart | None:
        if part.idempotency_key is None:
            return None
        ids = {"upload_id": part.upload_id, "idempotency_key": part.idempotency_key}
        row = self._parts.of_key(connection, **ids).fetchone()
        return None if row is None else _stored_part(row)

    def _share(self, connection: Connection, part: ReceivedPart, stored: StoredPart) -> Part:
        if not part.repeated:
            self._parts.first_copy_came(connection, id_of_part=stored.part.id)
        return self._add_part(connection, part, stored.blob_key)

    def _add_part(
        self, connection: Connection, part: ReceivedPart, blob_key: str, *, first_copy_due: bool = False
    ) -> Part:
        created_at = require_row(self._uploads.now(connection).fetchone())[0]
        row = self._parts.add(
            connection,
            id=f"part_{created_at:08x}{part.random}",
            upload_id=part.upload_id,
            blob_key=blob_key,
            bytes=part.bytes,
            sha256=part.sha256,
            created_at=created_at,
            idempotency_key=part.idempotency_key,
            first_copy_due=int(first_copy_due),
        ).fetchone()
        return Part(*require_row(row))

    def _require_room_for_part(self, connection: Connection, upload_id: str) -> None:
        if require_row(self._parts.count(connection, upload_id=upload_id).fetchone())[0] >= MAX_PARTS:
            raise TooManyParts(MAX_PARTS)

    # --- the end of an upload -------------------------------------------------------------------------------------

    async def arrange(self, project_id: str, upload_id: str, part_ids: Sequence[str]) -> list[ContentPart] | None:
        """The content that `complete` would make."""

        def operation(connection: Connection) -> list[ContentPart] | None:
            row = self._require(connection, project_id, upload_id)
            if row.completed_with == rules.digest_of(part_ids):
                return None
            row.require_pending()
            return rules.arrange(upload_id, row.upload.bytes, self._stored_parts(connection, upload_id), part_ids)

        return await self._database.read(operation)

    async def complete(self, completion: Completion) -> CompletedUpload:
        """Make the file visible."""
        return await self._database.write(lambda connection: self._complete(connection, completion))

    def _complete(self, connection: Connection, completion: Completion) -> CompletedUpload:
        row = self._locked(connection, completion.project_id, completion.upload_id)
        digest = rules.digest_of(completion.part_ids)
        if row.completed_with == digest:
            return self._completed_before(connection, row, completion.project_id)
        row.require_pending()
        stored = self._stored_parts(connection, completion.upload_id)
        parts = rules.arrange(completion.upload_id, row.upload.bytes, stored, completion.part_ids)
        file = self._add_file(connection, row, completion, parts)
        ids = (completion.upload_id, completion.project_id)
        self._events.record(connection, EventType.UPLOAD_COMPLETED, *ids, file_id=file.id)
        about = {"bytes": file.bytes, "purpose": file.purpose}
        self._events.record(connection, EventType.FILE_CREATED, file.id, completion.project_id, **about)
        if not file.sha256 or file.purpose in completion.check_purposes:
            self._jobs.add(connection, JobKind.CHECK, file.id, completion.project_id)
        used = {part.blob_key for part in parts}
        unused = sorted({part.blob_key for part in stored.values()} - used)
        self._completion.mark_unused(connection, keys=json_array(unused))
        self._parts.delete(connection, upload_id=completion.upload_id)
        self._uploads.complete(
            connection,
            id=completion.upload_id,
            project_id=completion.project_id,
            new_file_id=file.id,
            new_completed_with=digest,
        )
        # What was reserved becomes usage, whatever the quota is now.
        self._quota.release(connection, project_id=completion.project_id, used=-file.bytes, reserved=file.bytes)
        done = self._require(connection, completion.project_id, completion.upload_id)
        return CompletedUpload(done.upload, file, unused)

    def _add_file(self, connection: Connection, row: _Row, completion: Completion, parts: list[ContentPart]) -> File:
        upload, lifetime = row.upload, row.file_lifetime
        blob_key, number_of_parts = completion.blob_key, None
        if len(parts) == 1:
            blob_key = parts[0].blob_key
        else:
            number_of_parts = len(parts)
            self._completion.add_live_blob(connection, key=blob_key, project_id=completion.project_id)
            self._completion.add_blob_parts(connection, blob_key, parts)
        added = self._completion.add_file(
            connection,
            id=completion.file_id,
            project_id=completion.project_id,
            filename=upload.filename,
            purpose=upload.purpose,
            bytes=upload.bytes,
            sha256=completion.sha256 or rules.known_sha256(parts) or "",
            status=FileStatus.PROCESSED.value,
            blob_key=blob_key,
            created_at=upload.created_at,
            expires_at=None if lifetime is None else upload.created_at + lifetime,
            parts=number_of_parts,
        ).fetchone()
        return File(*require_row(added))

    def _completed_before(self, connection: Connection, row: _Row, project_id: str) -> CompletedUpload:
        """The file of an earlier completion with the same parts."""
        file = self._completion.file(connection, project_id=project_id, id=row.file_id).fetchone()
        if file is None:
            raise UploadNotPending(row.upload.id, row.upload.status)
        return CompletedUpload(row.upload, File(*file))

    async def cancel(self, project_id: str, upload_id: str) -> EndedUpload:
        """Cancel a pending upload."""

        def operation(connection: Connection) -> EndedUpload:
            row = self._locked(connection, project_id, upload_id)
            if row.upload.status in (UploadStatus.CANCELLED, UploadStatus.EXPIRED):
                return EndedUpload(row.upload)
            row.require_pending()
            reserved, keys = self._ended.end(connection, [upload_id], UploadStatus.CANCELLED)
            self._quota.release_all(connection, used=Counter(), reserved=reserved)
            return EndedUpload(self._require(connection, project_id, upload_id).upload, keys)

        return await self._database.write(operation)

    # --- checks of the content ------------------------------------------------------------------------------------

    async def check_task(self, job: Job) -> File | None:
        """The file that the job checks."""
        ids = {"project_id": job.project_id, "id": job.subject}
        row = await self._database.read(lambda connection: self._completion.file_to_check(connection, **ids).fetchone())
        return None if row is None else File(*row)

    async def record_check(self, job: Job, file: File, checked: Checked) -> None:
        """Set digest and status of the file, and finish the job."""

        def operation(connection: Connection) -> None:
            self._completion.record_check(
                connection,
                id_of_file=file.id,
                new_sha256=checked.sha256,
                new_status=checked.status.value,
                new_status_details=checked.status_details,
            )
            self._jobs.finish(connection, job)

        await self._database.write(operation)

    async def scan_parts(self, after: int, limit: int) -> list[ScannedPart]:
        """Stored parts of pending uploads."""
        rows = await self._database.read(
            lambda connection: self._parts.scan(connection, seq=after, limit=limit).fetchall()
        )
        return [ScannedPart(seq, part_id, ContentPart(*content)) for seq, part_id, *content in rows]

    # --- rows -----------------------------------------------------------------------------------------------------

    def _locked(self, connection: Connection, project_id: str, upload_id: str) -> _Row:
        self._uploads.lock(connection, project_id=project_id, id=upload_id)
        return self._require(connection, project_id, upload_id)

    def _require(self, connection: Connection, project_id: str, upload_id: str) -> _Row:
        row = self._uploads.get(connection, project_id=project_id, id=upload_id).fetchone()
        if row is None:
            raise UploadNotFound(upload_id)
        return _Row(_upload(row), *row[len(UPLOAD_COLUMNS) :])

    def _stored_parts(self, connection: Connection, upload_id: str) -> dict[str, ContentPart]:
        rows = self._parts.of_upload(connection, upload_id=upload_id).fetchall()
        return {part_id: ContentPart(*content) for part_id, *content in rows}


def _stored_part(row: tuple[Any, ...]) -> StoredPart:
    part_id, upload_id, created_at, blob_key, size, sha256, first_copy_due = row
    return StoredPart(Part(part_id, upload_id, created_at), blob_key, size, sha256, bool(first_copy_due))


def _upload(row: tuple[Any, ...]) -> Upload:
    """The upload of a row that begins with `UPLOAD_COLUMNS`."""
    upload_id, size, created_at, filename, purpose, status, expires_at = row[: len(UPLOAD_COLUMNS)]
    return Upload(upload_id, size, created_at, filename, purpose, UploadStatus(status), expires_at)
