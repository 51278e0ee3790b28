"""The files and the ledger of blobs: `FileRepository` in SQL."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from filestead.database.engines.statements import Connection, Database, json_array
from filestead.database.repositories import audit
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.file_statements import FileStatements
from filestead.database.tables import LIVE
from filestead.domain import rate_limit
from filestead.domain.blobs import BlobState
from filestead.domain.clock import LONGEST_LEASE_SECONDS, ClockWatch
from filestead.domain.errors import (
    CursorNotFound,
    FileNotFound,
    IdempotencyKeyReused,
    IdempotencyKeySpent,
    QuotaExceeded,
    RateLimited,
    UploadLost,
)
from filestead.domain.files.model import (
    SHORT_PAGE,
    Admission,
    CompletedUpload,
    File,
    IdempotencyRecord,
    Page,
    PendingUpload,
    Usage,
)
from filestead.domain.integrity import Violation
from filestead.domain.quota import Quota
from filestead.domain.rate_limit import RateDecision

EXPIRED_FILES_PER_SWEEP = 500
IDEMPOTENCY_RECORDS_PER_SWEEP = 5_000
TOMBSTONES_PER_SWEEP = 10_000
_NO_QUOTA = 1 << 62


class SqlFileRepository:
    """See `FileRepository` for the contract. Each public method is one operation, and so one transaction.

    Any number of nodes may run them at once. A statement sees what was committed before it began, not before the
    transaction began; so what must not change meanwhile is locked first and read then. Rows are locked in one order,
    that nobody waits in a circle: users, files, blobs, tombstones, organizations, projects, idempotency keys.
    """

    def __init__(self, database: Database, watch: ClockWatch | None = None) -> None:
        """`watch` says whether the database's clock is believed."""
        self._database = database
        self._clock = SqlClock(database, watch or ClockWatch())
        self._statements = FileStatements(database)

    # --- uploads ------------------------------------------------------------------------------------------------

    async def begin_upload(self, upload: PendingUpload, *, rate: int, quota: Quota, lease_seconds: int) -> Admission:
        """Count the upload, reserve its first bytes, record its blob as pending."""

        def operation(connection: Connection) -> Admission | QuotaExceeded:
            decision = self._count_upload(connection, upload.user_id, rate)
            if self._has_idempotency_record(connection, upload):
                return Admission(decision, 0, repeats=True)
            reserved = self._reserve_initial(connection, upload, quota)
            if isinstance(reserved, QuotaExceeded):
                return reserved  # not raised: the request stays counted
            self._statements.add_pending_blob(
                connection,
                key=upload.blob_key,
                project_id=upload.project_id,
                bytes_reserved=reserved,
                lease_us=lease_seconds * 1_000_000,
            )
            return Admission(decision, reserved, repeats=False)

        outcome = await self._database.write(operation)
        if isinstance(outcome, QuotaExceeded):
            raise outcome
        return outcome

    def _reserve_initial(self, connection: Connection, upload: PendingUpload, quota: Quota) -> int | QuotaExceeded:
        """Reserve what is asked for if it fits; what must fit and does not is the answer."""
        place = upload.project_id, upload.organization_id
        # Where nothing is reserved the project's row is left alone: others wait for it until this is committed.
        if upload.reserve_bytes:
            needed = max(upload.reserve_bytes, upload.min_size)
            if self._charge_quota(connection, *place, quota, reserve=upload.reserve_bytes, needed=needed) is None:
                return upload.reserve_bytes
        if upload.min_size:
            return self._charge_quota(connection, *place, quota, needed=upload.min_size) or 0
        return 0

    async def reserve(self, upload: PendingUpload, more: int, *, quota: Quota) -> None:
        """Add to the reservation of a pending upload."""

        def operation(connection: Connection) -> None:
            if not self._statements.extend_reservation(connection, key=upload.blob_key, more=more).rowcount:
                raise UploadLost
            if exceeded := self._charge_quota(
                connection, upload.project_id, upload.organization_id, quota, reserve=more
            ):
                raise exceeded

        await self._database.write(operation)

    def _count_upload(self, connection: Connection, user_id: str, rate: int) -> RateDecision:
        if not rate:
            return rate_limit.UNLIMITED
        interval = rate_limit.interval(rate)
        row = self._statements.count_upload(
            connection, user_id=user_id, interval=interval, ahead=rate_limit.PERIOD - interval
        ).fetchone()
        if row is not None:
            return rate_limit.allowed(rate, row[0], row[1])
        arrival, now_ = _require_row(self._statements.upload_arrival(connection, user_id=user_id).fetchone())
        raise RateLimited(rate_limit.refused(rate, arrival, now_))

    def _has_idempotency_record(self, connection: Connection, upload: PendingUpload) -> bool:
        key = upload.idempotency_key
        if key is None:
            return False
        return self._get_idempotency_record(connection, upload.project_id, key) is not None

    def _get_idempotency_record(self, connection: Connection, project_id: str, key: str) -> tuple[Any, ...] | None:
        proven = self._clock.proven_us(connection)
        row: tuple[Any, ...] | None = self._statements.get_idempotency_record(
            connection, project_id=project_id, key=key, proven_us=proven
        ).fetchone()
        return row

    def _charge_quota(
        self,
        connection: Connection,
        project_id: str,
        organization_id: str,
        quota: Quota,
        *,
        use: int = 0,
        reserve: int = 0,
        settle: int = 0,
        needed: int = 0,
    ) -> QuotaExceeded | None:
        """Charge `use` and `reserve` bytes to the quota, and release `settle` reserved ones.

        At least `needed` bytes must fit. Expired files that are not swept yet are deleted first if that makes room.
        """
        limit = _NO_QUOTA if quota.project_bytes is None else quota.project_bytes
        needed = max(needed, use + reserve)
        booking = {"project_id": project_id, "use": use, "reserve": reserve, "settle": settle, "quota": limit}
        booking["needed"] = needed
        exceeded = None
        for last_try in (False, True):
            exceeded = self._check_organization(connection, organization_id, quota, needed, settle)
            if exceeded is None and not self._statements.charge_project(connection, **booking).rowcount:
                exceeded = QuotaExceeded("project", limit)
            if exceeded is None:
                break
            if not last_try:
                self._delete_expired_files(connection)
        return exceeded

    def _check_organization(
        self, connection: Connection, organization_id: str, quota: Quota, more: int, settle: int
    ) -> QuotaExceeded | None:
        limit = quota.organization_bytes
        if limit is None or not more:
            return None
        self._statements.lock_organization(connection, organization_id=organization_id)
        (taken,) = _require_row(
            self._statements.organization_usage(connection, organization_id=organization_id).fetchone()
        )
        return QuotaExceeded("organization", limit) if taken + more - settle > limit else None

    async def renew(self, blob_keys: Sequence[str], *, lease_seconds: int) -> None:
        """Extend the leases of pending blobs."""

        def operation(connection: Connection) -> None:
            self._statements.renew_leases(connection, keys=json_array(blob_keys), lease_us=lease_seconds * 1_000_000)

        await self._database.write(operation)

    async def publish(self, completed: CompletedUpload, *, quota: Quota) -> File:
        """Turn the pending blob into a visible file and its reservation into usage."""

        def operation(connection: Connection) -> File:
            idempotency = completed.idempotency
            if idempotency is not None:
                self._lock_rows(connection, completed, quota)
                if earlier := self._earlier_file(connection, completed.project_id, idempotency):
                    return earlier
            pending = self._statements.activate_blob(connection, key=completed.blob_key).fetchone()
            if pending is None:
                return self._published_file(connection, completed)
            # Takes the project's row, and so files become visible in the order of their time and `seq`.
            if exceeded := self._charge_quota(
                connection,
                completed.project_id,
                completed.organization_id,
                quota,
                use=completed.bytes,
                settle=pending[0],
            ):
                raise exceeded
            if idempotency is not None:
                self._save_idempotency_record(connection, completed.project_id, idempotency, completed.id)
            return self._add_file(connection, completed)

        return await self._database.write(operation)

    def _lock_rows(self, connection: Connection, completed: CompletedUpload, quota: Quota) -> None:
        """Wait for other uploads of the project, so that an idempotency key is found bound or stays free."""
        self._statements.lock_blob(connection, key=completed.blob_key)
        if quota.organization_bytes is not None:
            self._statements.lock_organization(connection, organization_id=completed.organization_id)
        self._statements.lock_project(connection, project_id=completed.project_id)

    def _published_file(self, connection: Connection, completed: CompletedUpload) -> File:
        """The file of this upload, if the response to an earlier attempt was lost."""
        row = self._statements.get_file(connection, project_id=completed.project_id, id=completed.id).fetchone()
        if row is None:
            raise UploadLost
        return File(*row)

    def _earlier_file(self, connection: Connection, project_id: str, idempotency: IdempotencyRecord) -> File | None:
        """The file that the key stands for; None if it stands for none (any more)."""
        bound = self._get_idempotency_record(connection, project_id, idempotency.key)
        if bound is None:
            return None
        fingerprint, file_id = bound
        if fingerprint != idempotency.fingerprint:
            raise IdempotencyKeyReused(file_id)
        row = self._statements.get_file(connection, project_id=project_id, id=file_id).fetchone()
        if row is None:
            raise IdempotencyKeySpent(file_id)
        return File(*row)

    def _save_idempotency_record(
        self, connection: Connection, project_id: str, idempotency: IdempotencyRecord, file_id: str
    ) -> None:
        # What the key stood for a lifetime ago may not have been swept yet.
        proven = self._clock.proven_us(connection)
        self._statements.delete_expired_idempotency_record(
            connection, project_id=project_id, key=idempotency.key, proven_us=proven
        )
        self._statements.save_idempotency_record(
            connection,
            project_id=project_id,
            key=idempotency.key,
            fingerprint=idempotency.fingerprint,
            file_id=file_id,
            lifetime_us=idempotency.lifetime_seconds * 1_000_000,
        )

    def _add_file(self, connection: Connection, completed: CompletedUpload) -> File:
        created_at, expires_at = _require_row(
            self._statements.add_file(
                connection,
                id=completed.id,
                project_id=completed.project_id,
                filename=completed.filename,
                purpose=completed.purpose,
                bytes=completed.bytes,
                sha256=completed.sha256,
                status=str(completed.status),
                status_details=completed.status_details,
                blob_key=completed.blob_key,
                lifetime=completed.expires_after_seconds,
            ).fetchone()
        )
        return File(
            id=completed.id,
            filename=completed.filename,
            purpose=completed.purpose,
            bytes=completed.bytes,
            created_at=created_at,
            expires_at=expires_at,
            status=str(completed.status),
            status_details=completed.status_details,
            sha256=completed.sha256,
            blob_key=completed.blob_key,
        )

    async def abandon(self, blob_key: str) -> bool:
        """Give a pending upload up; False if its file is visible."""

        def operation(connection: Connection) -> bool:
            for project_id, reserved in self._statements.mark_pending_for_deletion(connection, key=blob_key).fetchall():
                if reserved:
                    self._statements.clear_reservation(connection, key=blob_key)
                    self._statements.release_quota(connection, project_id=project_id, used=0, reserved=reserved)
            row = self._statements.blob_state(connection, key=blob_key).fetchone()
            return row is None or row[0] != LIVE

        return await self._database.write(operation)

    # --- files --------------------------------------------------------------------------------------------------

    async def get(self, project_id: str, file_id: str) -> File:
        """The visible file."""
        row = await self._database.read(
            lambda connection: self._statements.get_file(connection, project_id=project_id, id=file_id).fetchone()
        )
        if row is None:
            raise FileNotFound(file_id)
        return File(*row)

    async def page(
        self, project_id: str, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> Page:
        """Visible files in order, from behind `after`."""
        statement = self._statements.list_files(purpose is not None, after is not None, newest_first)
        values: dict[str, object] = {"project_id": project_id, "limit": limit + 1}
        if purpose is not None:
            values["purpose"] = purpose

        def operation(connection: Connection) -> Page:
            if after is not None:
                values["created_at"], values["seq"] = self._position(connection, project_id, after)
            rows = statement(connection, **values).fetchall()
            return Page([File(*row) for row in rows[:limit]], has_more=len(rows) > limit)

        return await self._database.read(operation, long=limit > SHORT_PAGE)

    def _position(self, connection: Connection, project_id: str, file_id: str) -> tuple[int, int]:
        """Where the file is in the listing, or was if it is gone.

        Tombstones are asked last: a file that is deleted in between has one by then.
        """
        proven = self._clock.proven_us(connection)
        for statement in (self._statements.position, self._statements.tombstone_position):
            row = statement(connection, project_id=project_id, id=file_id, proven_us=proven).fetchone()
            if row is not None:
                created_at, seq = row
                return created_at, seq
        raise CursorNotFound(file_id)

    async def delete(self, project_id: str, file_id: str) -> File:
        """Make the file invisible and hand its blob to the sweep."""

        def operation(connection: Connection) -> File:
            row = self._statements.delete_file(connection, project_id=project_id, id=file_id).fetchone()
            if row is None:
                raise FileNotFound(file_id)
            *columns, seq = row
            file = File(*columns)
            self._statements.mark_blob_for_deletion(connection, key=file.blob_key)
            self._statements.add_tombstone(
                connection,
                project_id=project_id,
                id=file_id,
                created_at=file.created_at,
                seq=seq,
                proven_us=self._clock.proven_us(connection),
            )
            self._statements.release_quota(connection, project_id=project_id, used=file.bytes, reserved=0)
            return file

        return await self._database.write(operation)

    # --- sweeping -----------------------------------------------------------------------------------------------

    async def observe_clock(self) -> str | None:
        """Compare the database's clock with the time that has passed."""
        return await self._clock.observe()

    async def claim_garbage(self, *, lease_seconds: int, limit: int) -> list[str]:
        """Claim blobs that nobody needs; forget idempotency keys and tombstones that stand for nothing any more."""

        def operation(connection: Connection) -> list[str]:
            proven = self._clock.proven_us(connection)
            used = self._expire(connection, proven)
            self._statements.cap_leases(connection, longest_us=LONGEST_LEASE_SECONDS * 1_000_000)
            rows = self._statements.expired_leases(connection, proven_us=proven, limit=limit).fetchall()
            keys = [row[0] for row in rows]
            self._statements.claim_blobs(connection, keys=json_array(keys), lease_us=lease_seconds * 1_000_000)
            self._release_quota(connection, used=used, reserved=_sum_by_project(row[1:] for row in rows))
            self._statements.delete_expired_idempotency_records(
                connection, proven_us=proven, limit=IDEMPOTENCY_RECORDS_PER_SWEEP
            )
            self._statements.delete_expired_tombstones(connection, proven_us=proven, limit=TOMBSTONES_PER_SWEEP)
            return keys

        return await self._database.write(operation)

    def _delete_expired_files(self, connection: Connection) -> None:
        """Delete expired files; of those that another is just sweeping, wait for the end."""
        proven = self._clock.proven_us(connection)
        self._release_quota(connection, used=self._expire(connection, proven), reserved=Counter())

    def _expire(self, connection: Connection, proven_us: int) -> Counter[str]:
        """Delete for good what has expired by the proven time; returns the bytes to be released, by project."""
        rows = self._statements.expired_files(connection, proven_us=proven_us, limit=EXPIRED_FILES_PER_SWEEP).fetchall()
        if rows:
            keys = json_array(row[2] for row in rows)
            self._statements.add_tombstones(connection, proven_us=proven_us, keys=keys)
            self._statements.delete_files(connection, keys=keys)
            self._statements.mark_blobs_for_deletion(connection, keys=keys)
        return _sum_by_project(row[:2] for row in rows)

    def _release_quota(self, connection: Connection, *, used: Counter[str], reserved: Counter[str]) -> None:
        for project_id in sorted(used | reserved):
            self._statements.release_quota(
                connection, project_id=project_id, used=used[project_id], reserved=reserved[project_id]
            )

    async def delete_blob_rows(self, blob_keys: Sequence[str]) -> None:
        """Drop blobs whose bytes are gone from the ledger."""

        def operation(connection: Connection) -> None:
            rows = self._statements.delete_blob_rows(connection, keys=json_array(blob_keys)).fetchall()
            self._release_quota(connection, used=Counter(), reserved=_sum_by_project(rows))

        await self._database.write(operation)

    async def release_leases(self) -> int:
        """End every lease."""
        return await self._database.write(lambda connection: self._statements.release_leases(connection).rowcount)

    # --- looking ------------------------------------------------------------------------------------------------

    async def usage(self, project_id: str) -> Usage:
        """The project's ledger."""
        row = await self._database.read(
            lambda connection: self._statements.project_usage(connection, project_id=project_id).fetchone()
        )
        return Usage(*_require_row(row))

    async def scan_files(self, after: str, limit: int) -> list[File]:
        """Files of every project by id."""
        rows = await self._database.read(
            lambda connection: self._statements.scan_files(connection, id=after, limit=limit).fetchall()
        )
        return [File(*row) for row in rows]

    async def blob_states(self, blob_keys: Sequence[str]) -> dict[str, BlobState]:
        """The states of those keys that have a row."""

        def operation(connection: Connection) -> dict[str, BlobState]:
            rows = self._statements.blob_states(connection, keys=json_array(blob_keys)).fetchall()
            return {key: BlobState(state) for key, state in rows}

        return await self._database.read(operation)

    async def check(self) -> list[Violation]:
        """Findings about the rows themselves."""
        return await self._database.read(audit.find_violations(self._database.dialect))


def _sum_by_project(rows: Iterable[tuple[Any, ...]]) -> Counter[str]:
    """The sum of (project, bytes) for each project."""
    sums: Counter[str] = Counter()
    for project_id, size in rows:
        sums[project_id] += size
    return sums


def _require_row(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """A row that must exist, by a foreign key or by the form of the statement."""
    if row is None:
        raise LookupError("a row that is referenced is missing")
    return row
