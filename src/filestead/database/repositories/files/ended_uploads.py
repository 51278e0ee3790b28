"""The end of uploads in parts that become no file: their quota is released, their blobs are deleted."""

from collections import Counter
from functools import partial

from sqlalchemy import Dialect, bindparam, delete, select, update

from filestead.database.engines.statements import (
    Connection,
    Statement,
    StatementSet,
    int_param,
    json_array,
    now_us,
    text_array_param,
)
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.repositories.files.rows import sum_by_project
from filestead.database.tables import DELETED, blobs, upload_parts, uploads
from filestead.domain.audit.events import Event, EventType, current_origin
from filestead.domain.uploads.model import KEPT_SECONDS, UploadStatus

EXPIRED_PER_SWEEP = 50
"""Each has up to 10,000 parts."""


class EndedUploads(StatementSet):
    """Operations on uploads that end, each within the caller's transaction."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        self._events = AuditEvents.of(dialect)
        ids = text_array_param("ids")
        # Waits for uploads that another sweep is ending: the bytes it releases count, too.
        self._expired = compiled(
            select(uploads.c.id)
            .where(
                uploads.c.status == UploadStatus.PENDING.value,
                uploads.c.expires_at <= int_param("proven_us") // 1_000_000,
            )
            .order_by(uploads.c.expires_at)
            .limit(int_param("limit"))
            .with_for_update()
        )
        self._end = compiled(
            update(uploads)
            .where(uploads.c.id.in_(ids), uploads.c.status == UploadStatus.PENDING.value)
            .values(status=bindparam("new_status"))
            .returning(uploads.c.project_id, uploads.c.bytes, uploads.c.id)
        )
        of_these = upload_parts.c.upload_id.in_(ids)
        self._mark_parts = compiled(
            update(blobs)
            .where(blobs.c.key.in_(select(upload_parts.c.blob_key).where(of_these)))
            .values(state=DELETED, lease_until_us=now_us(), bytes_reserved=0)
            .returning(blobs.c.key)
        )
        self._delete_parts = compiled(delete(upload_parts).where(of_these))
        old = (
            select(uploads.c.id)
            .where(
                uploads.c.expires_at <= int_param("proven_us") // 1_000_000 - KEPT_SECONDS,
                uploads.c.status != UploadStatus.PENDING.value,
            )
            .order_by(uploads.c.expires_at)
            .limit(int_param("limit"))
            .with_for_update(skip_locked=True)
        )
        self.delete_old = compiled(delete(uploads).where(uploads.c.id.in_(old)))

    def expire(self, connection: Connection, proven_us: int) -> Counter[str]:
        """End uploads whose hour is over; returns the reserved bytes to be released, by project."""
        rows = self._expired(connection, proven_us=proven_us, limit=EXPIRED_PER_SWEEP).fetchall()
        if not rows:
            return Counter()
        return self.end(connection, [row[0] for row in rows], UploadStatus.EXPIRED)[0]

    def end(
        self, connection: Connection, upload_ids: list[str], status: UploadStatus
    ) -> tuple[Counter[str], list[str]]:
        """End pending uploads; returns the reserved bytes to be released, by project, and the blobs of the parts."""
        ids = json_array(upload_ids)
        ended = self._end(connection, ids=ids, new_status=status.value).fetchall()
        is_cancelled = status is UploadStatus.CANCELLED
        kind, origin = (
            (EventType.UPLOAD_CANCELLED, current_origin()) if is_cancelled else (EventType.UPLOAD_EXPIRED, None)
        )
        self._events.add(connection, origin, *(Event(kind, row[2], row[0]) for row in ended))
        reserved = sum_by_project(row[:2] for row in ended)
        keys = [row[0] for row in self._mark_parts(connection, ids=ids).fetchall()]
        self._delete_parts(connection, ids=ids)
        return reserved, keys
