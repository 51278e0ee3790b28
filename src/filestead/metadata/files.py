"""The files and the ledger of blobs: `stores.FileRecords` in SQL."""

from collections.abc import Sequence
from typing import Any

from filestead.domain import ratelimit
from filestead.domain.errors import (
    CursorNotFound,
    FileNotFound,
    IdempotencyKeyReused,
    IdempotencyKeySpent,
    QuotaExceeded,
    RateLimited,
    UploadLost,
)
from filestead.domain.model import Binding, Draft, File, Intent, Page, Quota, RateDecision, Usage, Violation
from filestead.metadata import audit
from filestead.metadata.file_statements import FileStatements
from filestead.metadata.statements import Connection, Database

EXPIRE_AT_ONCE = 500
UNBIND_AT_ONCE = 5_000
_UNLIMITED = 1 << 62


class SqlFileRecords:
    """See `stores.FileRecords` for the contract. Each public method is one operation, and so one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._s = FileStatements(database)

    # --- uploads ------------------------------------------------------------------------------------------------

    async def begin(self, intent: Intent, *, rate: int, quota: Quota, lease_seconds: int) -> RateDecision:
        """Count the upload, reserve its bytes, record its blob as pending."""

        def operation(connection: Connection) -> RateDecision | QuotaExceeded:
            decision = self._count(connection, intent.user_id, rate)
            reserve = 0 if self._is_bound(connection, intent) else intent.at_least_bytes
            if exceeded := self._book(connection, intent.project_id, intent.organization_id, quota, reserve=reserve):
                return exceeded  # not raised: the request stays counted
            self._s.add_blob(
                connection,
                key=intent.blob_key,
                project_id=intent.project_id,
                bytes_reserved=reserve,
                lease_us=lease_seconds * 1_000_000,
            )
            return decision

        outcome = await self._database.write(operation)
        if isinstance(outcome, QuotaExceeded):
            raise outcome
        return outcome

    def _count(self, connection: Connection, user_id: str, rate: int) -> RateDecision:
        if not rate:
            return ratelimit.UNLIMITED
        interval = ratelimit.interval(rate)
        row = self._s.count_upload(
            connection, user_id=user_id, interval=interval, ahead=ratelimit.PERIOD - interval
        ).fetchone()
        if row is not None:
            return ratelimit.allowed(rate, row[0], row[1])
        arrival, now_ = _one(self._s.upload_arrival(connection, user_id=user_id).fetchone())
        raise RateLimited(ratelimit.refused(rate, arrival, now_))

    def _is_bound(self, connection: Connection, intent: Intent) -> bool:
        key = intent.idempotency_key
        if key is None:
            return False
        return self._s.bound(connection, project_id=intent.project_id, key=key).fetchone() is not None

    def _book(
        self,
        connection: Connection,
        project_id: str,
        organization_id: str,
        quota: Quota,
        *,
        use: int = 0,
        reserve: int = 0,
    ) -> QuotaExceeded | None:
        """Add to the ledger what fits into the quota. What has expired but is not swept yet makes room first."""
        for last_try in (False, True):
            exceeded = self._try_book(connection, project_id, organization_id, quota, use, reserve)
            if exceeded is None or last_try or not self._expire(connection):
                return exceeded
        return None

    def _try_book(  # noqa: PLR0917 - called once, right above
        self, connection: Connection, project_id: str, organization_id: str, quota: Quota, use: int, reserve: int
    ) -> QuotaExceeded | None:
        if quota.organization_bytes is not None and use + reserve > 0:
            (taken,) = _one(self._s.organization_taken(connection, organization_id=organization_id).fetchone())
            if taken + use + reserve > quota.organization_bytes:
                return QuotaExceeded("organization", quota.organization_bytes)
        limit = _UNLIMITED if quota.project_bytes is None else quota.project_bytes
        if self._s.book(connection, project_id=project_id, use=use, reserve=reserve, quota=limit).rowcount:
            return None
        return QuotaExceeded("project", limit)

    async def renew(self, blob_keys: Sequence[str], *, lease_seconds: int) -> None:
        """Extend the leases of pending blobs."""

        def operation(connection: Connection) -> None:
            for key in blob_keys:
                self._s.renew(connection, key=key, lease_us=lease_seconds * 1_000_000)

        await self._database.write(operation)

    async def publish(self, draft: Draft, *, quota: Quota) -> File:
        """Turn the pending blob into a visible file and its reservation into usage."""

        def operation(connection: Connection) -> File:
            binding = draft.binding
            if binding is not None and (earlier := self._bound_file(connection, draft.project_id, binding)):
                return earlier
            pending = self._s.enliven(connection, key=draft.blob_key).fetchone()
            if pending is None:
                raise UploadLost
            self._s.release(connection, project_id=draft.project_id, used=0, reserved=pending[0])
            if exceeded := self._book(connection, draft.project_id, draft.organization_id, quota, use=draft.bytes):
                raise exceeded
            if binding is not None:
                self._bind(connection, draft.project_id, binding, draft.id)
            return self._add_file(connection, draft)

        return await self._database.write(operation)

    def _bound_file(self, connection: Connection, project_id: str, binding: Binding) -> File | None:
        """The file that the key stands for; None if it stands for none (any more)."""
        bound = self._s.bound(connection, project_id=project_id, key=binding.key).fetchone()
        if bound is None:
            return None
        fingerprint, file_id = bound
        if fingerprint != binding.fingerprint:
            raise IdempotencyKeyReused(file_id)
        row = self._s.get(connection, project_id=project_id, id=file_id).fetchone()
        if row is None:
            raise IdempotencyKeySpent(file_id)
        return File(*row)

    def _bind(self, connection: Connection, project_id: str, binding: Binding, file_id: str) -> None:
        # What the key stood for a lifetime ago may not have been swept yet.
        self._s.unbind(connection, project_id=project_id, key=binding.key)
        self._s.bind(
            connection,
            project_id=project_id,
            key=binding.key,
            fingerprint=binding.fingerprint,
            file_id=file_id,
            lifetime_us=binding.lifetime_seconds * 1_000_000,
        )

    def _add_file(self, connection: Connection, draft: Draft) -> File:
        created_at, expires_at = _one(
            self._s.add_file(
                connection,
                id=draft.id,
                project_id=draft.project_id,
                filename=draft.filename,
                purpose=draft.purpose,
                bytes=draft.bytes,
                sha256=draft.sha256,
                status=str(draft.status),
                status_details=draft.status_details,
                blob_key=draft.blob_key,
                lifetime=draft.expires_after_seconds,
            ).fetchone()
        )
        return File(
            id=draft.id,
            filename=draft.filename,
            purpose=draft.purpose,
            bytes=draft.bytes,
            created_at=created_at,
            expires_at=expires_at,
            status=str(draft.status),
            status_details=draft.status_details,
            sha256=draft.sha256,
            blob_key=draft.blob_key,
        )

    async def abandon(self, blob_key: str) -> bool:
        """Give a pending upload up; False if its file is visible."""

        def operation(connection: Connection) -> bool:
            for project_id, reserved in self._s.doom_pending(connection, key=blob_key).fetchall():
                self._unreserve(connection, blob_key, project_id, reserved)
            row = self._s.blob_state(connection, key=blob_key).fetchone()
            return row is None or row[0] != "live"

        return await self._database.write(operation)

    # --- files --------------------------------------------------------------------------------------------------

    async def get(self, project_id: str, file_id: str) -> File:
        """The visible file."""
        row = await self._database.read(
            lambda connection: self._s.get(connection, project_id=project_id, id=file_id).fetchone()
        )
        if row is None:
            raise FileNotFound(file_id)
        return File(*row)

    async def page(
        self, project_id: str, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> Page:
        """Visible files in order, from behind `after`."""
        statement = self._s.page(purpose is not None, after is not None, newest_first)
        values: dict[str, object] = {"project_id": project_id, "limit": limit + 1}
        if purpose is not None:
            values["purpose"] = purpose

        def operation(connection: Connection) -> Page:
            if after is not None:
                cursor = self._s.position(connection, project_id=project_id, id=after).fetchone()
                if cursor is None:
                    raise CursorNotFound(after)
                values["created_at"], values["seq"] = cursor
            rows = statement(connection, **values).fetchall()
            return Page([File(*row) for row in rows[:limit]], has_more=len(rows) > limit)

        return await self._database.read(operation)

    async def delete(self, project_id: str, file_id: str) -> File:
        """Make the file invisible and hand its blob to the sweep."""

        def operation(connection: Connection) -> File:
            row = self._s.delete(connection, project_id=project_id, id=file_id).fetchone()
            if row is None:
                raise FileNotFound(file_id)
            file = File(*row)
            self._s.release(connection, project_id=project_id, used=file.bytes, reserved=0)
            self._s.doom(connection, key=file.blob_key)
            return file

        return await self._database.write(operation)

    # --- sweeping -----------------------------------------------------------------------------------------------

    async def leftovers(self, *, lease_seconds: int, limit: int) -> list[str]:
        """Claim blobs that nobody needs; forget idempotency keys that stand for nothing any more."""

        def operation(connection: Connection) -> list[str]:
            self._expire(connection)
            self._s.unbind_lapsed(connection, limit=UNBIND_AT_ONCE)
            rows = self._s.lapsed(connection, limit=limit).fetchall()
            for key, project_id, reserved in rows:
                self._s.claim(connection, key=key, lease_us=lease_seconds * 1_000_000)
                self._unreserve(connection, key, project_id, reserved)
            return [row[0] for row in rows]

        return await self._database.write(operation)

    def _expire(self, connection: Connection) -> int:
        """Delete expired files for good; returns how many."""
        rows = self._s.expired(connection, limit=EXPIRE_AT_ONCE).fetchall()
        for seq, project_id, size, blob_key in rows:
            self._s.drop_file(connection, seq=seq)
            self._s.release(connection, project_id=project_id, used=size, reserved=0)
            self._s.doom(connection, key=blob_key)
        return len(rows)

    def _unreserve(self, connection: Connection, key: str, project_id: str, reserved: int) -> None:
        if reserved:
            self._s.release(connection, project_id=project_id, used=0, reserved=reserved)
            self._s.clear_reservation(connection, key=key)

    async def forget(self, blob_keys: Sequence[str]) -> None:
        """Drop blobs whose bytes are gone from the ledger."""

        def operation(connection: Connection) -> None:
            for key in blob_keys:
                for project_id, reserved in self._s.forget(connection, key=key).fetchall():
                    self._s.release(connection, project_id=project_id, used=0, reserved=reserved)

        await self._database.write(operation)

    async def release_leases(self) -> int:
        """End every lease."""
        return await self._database.write(lambda connection: self._s.release_leases(connection).rowcount)

    # --- looking ------------------------------------------------------------------------------------------------

    async def usage(self, project_id: str) -> Usage:
        """The project's ledger."""
        row = await self._database.read(lambda connection: self._s.usage(connection, project_id=project_id).fetchone())
        return Usage(*_one(row))

    async def survey(self, after: str, limit: int) -> list[File]:
        """Files of every project by id."""
        rows = await self._database.read(
            lambda connection: self._s.survey(connection, id=after, limit=limit).fetchall()
        )
        return [File(*row) for row in rows]

    async def states(self, blob_keys: Sequence[str]) -> dict[str, str]:
        """Those of the keys that the ledger holds, with their states."""

        def operation(connection: Connection) -> dict[str, str]:
            rows = ((key, self._s.blob_state(connection, key=key).fetchone()) for key in blob_keys)
            return {key: row[0] for key, row in rows if row}

        return await self._database.read(operation)

    async def check(self) -> list[Violation]:
        """Findings about the rows themselves."""
        return await self._database.read(audit.findings(self._database.dialect))


def _one(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """A row that must exist, by a foreign key or by the form of the statement."""
    if row is None:
        raise LookupError("a row that is referenced is missing")
    return row
