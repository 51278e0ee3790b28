"""Attaching files to a vector store, within the caller's transaction.

Rows are locked in this order: the store, files, attached files by number, jobs, the organization.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Dialect, Text, bindparam, case, delete, func, insert, select, update

from filestead.database.engines.statements import (
    Connection,
    Statement,
    int_param,
    json_array,
    now,
    now_us,
    text_array_param,
)
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.repositories.files.rows import is_visible, require_row
from filestead.database.repositories.jobs import JobQueue
from filestead.database.repositories.vector_stores.rows import encode
from filestead.database.tables import file_batches, files, organizations, vector_store_files
from filestead.domain import rate_limit
from filestead.domain.audit.events import Event, EventType, current_origin
from filestead.domain.errors import AttachRateLimited, FilesNotAttachable, UnsupportedFileType
from filestead.domain.jobs import JobKind
from filestead.domain.rate_limit import RateDecision
from filestead.domain.vector_stores.file_types import UNSUPPORTED_FILE, unsupported_extension
from filestead.domain.vector_stores.model import IndexingError, IndexStatus, NewAttachment

table, attached = vector_store_files, vector_store_files.c


class AttachRate:
    """The GCRA state of each organization's rate of attached files."""

    def __init__(self, dialect: Dialect) -> None:
        organization = organizations.c.id == bindparam("organization_id")
        stored = organizations.c.attach_arrival_us
        # An arrival more than a period ahead was stored before the clock was set back.
        ahead = stored.between(now_us() + 1, now_us() + rate_limit.PERIOD)
        arrival = case((ahead, stored), else_=now_us())
        self._count = Statement(
            update(organizations)
            .where(organization, arrival <= now_us() + int_param("ahead"))
            .values(attach_arrival_us=arrival + int_param("cost"))
            .returning(stored, now_us()),
            dialect,
        )
        self._arrival = Statement(select(stored, now_us()).where(organization), dialect)

    def count(self, connection: Connection, organization_id: str, number: int, rate: int) -> RateDecision:
        """Count so many files at once; raises `AttachRateLimited` if they exceed the rate."""
        if not rate or not number:
            return rate_limit.UNLIMITED
        interval = rate_limit.interval(rate)
        cost = interval * min(number, rate)  # more at once than a minute allows wait for a full minute
        ahead = rate_limit.PERIOD - cost
        row = self._count(connection, organization_id=organization_id, cost=cost, ahead=ahead).fetchone()
        if row is not None:
            return rate_limit.allowed(rate, row[0], row[1])
        arrival, now_ = require_row(self._arrival(connection, organization_id=organization_id).fetchone())
        raise AttachRateLimited(rate_limit.refused(rate, arrival, now_, cost=cost))


@dataclass(frozen=True, slots=True)
class _Visible:
    """A file that can be attached."""

    filename: str
    expires_at: int | None


class Attaching:
    """Statements that attach files."""

    def __init__(self, dialect: Dialect, queue: JobQueue, events: AuditEvents) -> None:
        compiled = partial(Statement, dialect=dialect)
        self._queue = queue
        self._events = events
        self._rate = AttachRate(dialect)
        ids = text_array_param("file_ids")
        # The lock keeps the files from being deleted until the attachments are committed.
        self._visible = compiled(
            select(files.c.id, files.c.filename, files.c.expires_at)
            .where(files.c.id.in_(ids), files.c.project_id == bindparam("project_id"), is_visible())
            .order_by(files.c.id)
            .with_for_update(read=True, key_share=True)
        )
        in_store = attached.vector_store_id == bindparam("store_id")
        self._existing = compiled(
            select(
                attached.file_id,
                attached.seq,
                attached.status,
                attached.chunk_tokens,
                attached.chunk_overlap_tokens,
            )
            .where(in_store, attached.file_id.in_(ids))
            .order_by(attached.seq)
            .with_for_update()
        )
        self._renew = compiled(
            update(table)
            .where(attached.seq == int_param("seq"))
            .values(
                attributes=bindparam("attributes"),
                file_batch_id=func.coalesce(bindparam("batch_id", type_=Text), attached.file_batch_id),
            )
        )
        self._delete = compiled(delete(table).where(attached.seq == int_param("seq")))
        texts = ("file_id", "project_id", "status", "error_code", "error_message", "attributes")
        self._insert = compiled(
            insert(table)
            .values(
                **{name: bindparam(name) for name in texts},
                vector_store_id=bindparam("store_id"),
                file_batch_id=bindparam("batch_id"),
                created_at=now(),
                expires_at=int_param("expires_at"),
                chunk_tokens=int_param("chunk_tokens"),
                chunk_overlap_tokens=int_param("chunk_overlap_tokens"),
            )
            .returning(attached.seq)
        )
        self._add_batch = compiled(
            insert(file_batches).values(
                id=bindparam("batch_id"), vector_store_id=bindparam("store_id"), created_at=now()
            )
        )

    def attach(
        self,
        connection: Connection,
        project_id: str,
        organization_id: str,
        store_id: str,
        new: Sequence[NewAttachment],
        *,
        rate: int,
        batch_id: str | None,
    ) -> RateDecision:
        """Attach files to a store whose row the caller has locked. See `VectorStoreRepository`."""
        by_id = {attachment.file_id: attachment for attachment in new}
        ids = json_array(by_id)
        found = {
            file_id: _Visible(*columns)
            for file_id, *columns in self._visible(connection, file_ids=ids, project_id=project_id).fetchall()
        }
        if missing := [file_id for file_id in by_id if file_id not in found]:
            raise FilesNotAttachable(missing)
        if batch_id is not None:
            self._add_batch(connection, batch_id=batch_id, store_id=store_id)
        existing = {row[0]: row[1:] for row in self._existing(connection, file_ids=ids, store_id=store_id).fetchall()}
        added: list[Event] = []
        for file_id, attachment in by_id.items():
            error = _type_error(file_id, found[file_id].filename, refuse=batch_id is None)
            if file_id in existing and self._keep(connection, existing[file_id], attachment, batch_id):
                continue
            expires_at = found[file_id].expires_at
            self._add(
                connection, project_id, store_id, attachment, expires_at=expires_at, error=error, batch_id=batch_id
            )
            data = {"vector_store_id": store_id}
            added.append(Event(EventType.FILE_ATTACHED, file_id, project_id, data, organization_id))
        self._events.add(connection, current_origin(), *added)
        return self._rate.count(connection, organization_id, len(by_id), rate)

    def _keep(self, connection: Connection, row: Any, attachment: NewAttachment, batch_id: str | None) -> bool:
        """Keep an attachment whose index is what the new one would have; otherwise make room for the new one."""
        seq, status, tokens, overlap = row
        same = (tokens, overlap) == (attachment.chunking.max_tokens, attachment.chunking.overlap_tokens)
        if same and status in (IndexStatus.IN_PROGRESS, IndexStatus.COMPLETED):
            self._renew(connection, seq=seq, attributes=encode(attachment.attributes), batch_id=batch_id)
            return True
        self._delete(connection, seq=seq)
        return False

    def _add(
        self,
        connection: Connection,
        project_id: str,
        store_id: str,
        attachment: NewAttachment,
        *,
        expires_at: int | None,
        error: IndexingError | None,
        batch_id: str | None,
    ) -> None:
        row = self._insert(
            connection,
            store_id=store_id,
            file_id=attachment.file_id,
            project_id=project_id,
            batch_id=batch_id,
            expires_at=expires_at,
            status=(IndexStatus.FAILED if error else IndexStatus.IN_PROGRESS).value,
            error_code=error.code if error else None,
            error_message=error.message if error else None,
            chunk_tokens=attachment.chunking.max_tokens,
            chunk_overlap_tokens=attachment.chunking.overlap_tokens,
            attributes=encode(attachment.attributes),
        ).fetchone()
        if error is None:
            self._queue.add(connection, JobKind.INDEX, str(require_row(row)[0]), project_id)


def _type_error(file_id: str, filename: str, *, refuse: bool) -> IndexingError | None:
    extension = unsupported_extension(filename)
    if extension is None:
        return None
    if refuse:
        raise UnsupportedFileType(file_id, extension)
    return UNSUPPORTED_FILE
