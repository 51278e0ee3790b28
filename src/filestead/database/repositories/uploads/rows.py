"""Rows of uploads and parts: how they are read, added and changed; and the rows of files that they become."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from sqlalchemy import Dialect, Insert, and_, bindparam, case, delete, func, insert, literal_column, select, update

from filestead.database.engines.statements import (
    Connection,
    RowLock,
    Statement,
    int_param,
    now,
    now_us,
    text_array_param,
)
from filestead.database.repositories.files.rows import FILE_COLUMNS, visible_in_project
from filestead.database.tables import DELETED, LIVE, blob_parts, blobs, files, upload_parts, uploads
from filestead.domain.files.model import ContentPart
from filestead.domain.uploads.model import UploadStatus

_ROWS_PER_INSERT = 500
"""A statement has at most 32,766 parameters in SQLite."""

_PENDING = uploads.c.status == UploadStatus.PENDING.value
_SHOWN_STATUS: Any = case(
    (and_(_PENDING, uploads.c.expires_at <= now()), UploadStatus.EXPIRED.value), else_=uploads.c.status
)

UPLOAD_COLUMNS = (
    *(uploads.c.id, uploads.c.bytes, uploads.c.created_at, uploads.c.filename, uploads.c.purpose),
    *(_SHOWN_STATUS.label("shown_status"), uploads.c.expires_at),
)
"""In the order of the fields of `Upload`."""

_PART_COLUMNS = (upload_parts.c.id, upload_parts.c.blob_key, upload_parts.c.bytes, upload_parts.c.sha256)


class UploadStatements:
    """Statements on rows of uploads."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        one = and_(uploads.c.id == bindparam("id"), uploads.c.project_id == bindparam("project_id"))
        self.lock = RowLock(select(uploads.c.id).where(one), dialect)
        self.now = compiled(select(now()))
        texts = ("id", "project_id", "filename", "purpose")
        numbers = ("bytes", "created_at", "expires_at", "file_lifetime")
        self.add = compiled(
            insert(uploads)
            .values(
                **{name: bindparam(name) for name in texts},
                **{name: int_param(name) for name in numbers},
                status=UploadStatus.PENDING.value,
            )
            .returning(*UPLOAD_COLUMNS)
        )
        self.get = compiled(
            select(
                *UPLOAD_COLUMNS,
                uploads.c.bytes_received,
                uploads.c.file_lifetime,
                uploads.c.file_id,
                uploads.c.completed_with,
            ).where(one)
        )
        self.receive = compiled(
            update(uploads)
            .where(one, uploads.c.bytes_received + int_param("more") <= uploads.c.bytes)
            .values(bytes_received=uploads.c.bytes_received + int_param("more"))
        )
        self.complete = compiled(
            update(uploads)
            .where(one)
            .values(
                status=UploadStatus.COMPLETED.value,
                file_id=bindparam("new_file_id"),
                completed_with=bindparam("new_completed_with"),
            )
        )


class PartStatements:
    """Statements on rows of parts."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        of_upload = upload_parts.c.upload_id == bindparam("upload_id")
        self.count = compiled(select(func.count()).select_from(upload_parts).where(of_upload))
        self.add = compiled(
            insert(upload_parts)
            .values(
                **{name: bindparam(name) for name in ("id", "upload_id", "blob_key", "sha256")},
                **{name: int_param(name) for name in ("bytes", "created_at", "first_copy_due")},
                idempotency_key=bindparam("idempotency_key"),
            )
            .returning(upload_parts.c.id, upload_parts.c.upload_id, upload_parts.c.created_at)
        )
        self.of_upload = compiled(select(*_PART_COLUMNS).where(of_upload).order_by(upload_parts.c.seq))
        shown = (upload_parts.c.id, upload_parts.c.upload_id, upload_parts.c.created_at)
        # The first one has stored the blob; others share it.
        of_blob = select(*shown).where(of_upload, upload_parts.c.blob_key == bindparam("blob_key"))
        self.of_blob = compiled(of_blob.order_by(upload_parts.c.seq).limit(1))
        compared = (upload_parts.c.blob_key, upload_parts.c.bytes, upload_parts.c.sha256, upload_parts.c.first_copy_due)
        stored = select(*shown, *compared).where(of_upload)
        self.of_key = compiled(stored.where(upload_parts.c.idempotency_key == bindparam("idempotency_key")))
        equal = stored.where(
            upload_parts.c.idempotency_key.is_(None),
            upload_parts.c.bytes == int_param("bytes"),
            upload_parts.c.sha256 == bindparam("sha256"),
        )
        self.equal = compiled(equal.order_by(upload_parts.c.seq.desc()).limit(2))
        self.late = compiled(equal.where(upload_parts.c.first_copy_due == 1).order_by(upload_parts.c.seq).limit(1))
        self.first_copy_came = compiled(
            update(upload_parts).where(upload_parts.c.id == bindparam("id_of_part")).values(first_copy_due=0)
        )
        self.delete = compiled(delete(upload_parts).where(of_upload))
        self.scan = compiled(
            select(upload_parts.c.seq, *_PART_COLUMNS)
            .where(upload_parts.c.seq > int_param("seq"))
            .order_by(upload_parts.c.seq)
            .limit(int_param("limit"))
        )


class CompletionStatements:
    """Statements that make a file of an upload, and those that record what reading it has shown."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        texts = ("id", "project_id", "filename", "purpose", "sha256", "status", "blob_key")
        numbers = ("bytes", "created_at", "expires_at", "parts")
        self.add_file = compiled(
            insert(files)
            .values(
                **{name: bindparam(name) for name in texts},
                **{name: int_param(name) for name in numbers},
            )
            .returning(*FILE_COLUMNS)
        )
        self.add_live_blob = compiled(
            insert(blobs).values(
                key=bindparam("key"), project_id=bindparam("project_id"), state=LIVE, bytes_reserved=literal_column("0")
            )
        )
        self._add_blob_parts = cache(lambda rows: compiled(_insert_blob_parts(rows)))
        self.mark_unused = compiled(
            update(blobs)
            .where(blobs.c.key.in_(text_array_param("keys")))
            .values(state=DELETED, lease_until_us=now_us(), bytes_reserved=0)
        )
        self.file = compiled(select(*FILE_COLUMNS).where(visible_in_project()))
        # Also one that has expired: if that was a jump of the clock, the file needs its check when it is visible again.
        self.file_to_check = compiled(
            select(*FILE_COLUMNS).where(files.c.id == bindparam("id"), files.c.project_id == bindparam("project_id"))
        )
        self.record_check = compiled(
            update(files)
            .where(files.c.id == bindparam("id_of_file"))
            .values(
                sha256=bindparam("new_sha256"),
                status=bindparam("new_status"),
                status_details=bindparam("new_status_details"),
            )
        )

    def add_blob_parts(self, connection: Connection, key: str, parts: Sequence[ContentPart]) -> None:
        """Add the list of parts of a blob, many rows at once to save round trips."""
        for start in range(0, len(parts), _ROWS_PER_INSERT):
            some = parts[start : start + _ROWS_PER_INSERT]
            values: dict[str, object] = {"key": key}
            for row, part in enumerate(some):
                values |= {
                    f"number_{row}": start + row,
                    f"part_key_{row}": part.blob_key,
                    f"bytes_{row}": part.bytes,
                    f"sha256_{row}": part.sha256,
                }
            self._add_blob_parts(len(some))(connection, **values)


def _insert_blob_parts(rows: int) -> Insert:
    return insert(blob_parts).values(
        [
            {
                "blob_key": bindparam("key"),
                "number": int_param(f"number_{row}"),
                "part_key": bindparam(f"part_key_{row}"),
                "bytes": int_param(f"bytes_{row}"),
                "sha256": bindparam(f"sha256_{row}"),
            }
            for row in range(rows)
        ]
    )
