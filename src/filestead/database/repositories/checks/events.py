"""Checks of the audit log: each change has one event. The hash chain is checked by `domain.audit.chain`.

What the log does not have any more, or never had, is left out: what was created before the oldest event, or before
events were deleted because of their age.
"""

from typing import Any

from sqlalchemy import ColumnElement, Subquery, Table, and_, case, func, literal, or_, select

from filestead.database.repositories.checks.check import Check
from filestead.database.tables import (
    audit_chain,
    audit_events,
    batches,
    files,
    keys,
    organizations,
    projects,
    uploads,
    vector_stores,
)
from filestead.domain.audit.events import EventType
from filestead.domain.batches.model import TERMINAL
from filestead.domain.uploads.model import UploadStatus

REMEDY = "report this: a change has no event in the audit log, or two"
CREATED = {
    organizations: EventType.ORGANIZATION_CREATED,
    projects: EventType.PROJECT_CREATED,
    keys: EventType.KEY_CREATED,
    uploads: EventType.UPLOAD_CREATED,
    batches: EventType.BATCH_CREATED,
    vector_stores: EventType.STORE_CREATED,
}
OF_UPLOAD = (EventType.UPLOAD_COMPLETED, EventType.UPLOAD_CANCELLED, EventType.UPLOAD_EXPIRED)
OF_BATCH = tuple(EventType(f"batch.{status.value}") for status in sorted(TERMINAL))
event = audit_events.c


def event_checks() -> list[Check]:
    """Of files, uploads, batches, vector stores, keys, projects and organizations."""
    is_batch_over = batches.c.status.in_([literal(status.value) for status in sorted(TERMINAL)])
    return [
        *_file_checks(),
        *(
            _of_rows(table, "the creation", (kind,), literal(True), literal(kind.value))
            for table, kind in CREATED.items()
        ),
        _of_rows(
            keys,
            "the end",
            (EventType.KEY_DELETED,),
            keys.c.revoked_at.is_not(None),
            literal(EventType.KEY_DELETED.value),
        ),
        _of_rows(
            uploads, "the end", OF_UPLOAD, uploads.c.status != UploadStatus.PENDING.value, "upload." + uploads.c.status
        ),
        _of_rows(batches, "the end", OF_BATCH, is_batch_over, "batch." + batches.c.status),
        _deleted_stores(),
    ]


def _counts(*kinds: EventType) -> Subquery:
    """By what they are about, the number of events of these types, and the type of one of them."""
    return (
        select(event.resource_id.label("id"), func.count().label("number"), func.max(event.type).label("kind"))
        .where(or_(*(event.type == kind.value for kind in kinds)))
        .group_by(event.resource_id)
        .subquery()
    )


def _since(created_at: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the log has all events of what was created then."""
    oldest = select(func.min(event.effective_at)).scalar_subquery()
    return and_(created_at > select(audit_chain.c.complete_since).scalar_subquery(), created_at >= oldest)


def _of_rows(
    table: Table, change: str, kinds: tuple[EventType, ...], happened: ColumnElement[bool], kind: ColumnElement[str]
) -> Check:
    """Rows without exactly one event of a change that has `happened`, and of that `kind`; or with one if it has not."""
    counts = _counts(*kinds)
    number = func.coalesce(counts.c.number, 0)
    return Check(
        "I-16",
        "A",
        f"the audit log has not one event of {change}, or one of something that has not happened",
        REMEDY,
        select(table.c.id)
        .select_from(table.outerjoin(counts, counts.c.id == table.c.id))
        .where(_since(table.c.created_at), or_(number != case((happened, 1), else_=0), counts.c.kind != kind)),
    )


def _deleted_stores() -> Check:
    """Its expiry is left out: an empty store ends without an event."""
    created, deleted = _counts(EventType.STORE_CREATED), _counts(EventType.STORE_DELETED)
    both = created.outerjoin(deleted, deleted.c.id == created.c.id)
    there_is = case((vector_stores.c.id.is_not(None), 1), else_=0)
    return Check(
        "I-16",
        "A",
        "the vector store is gone, and the audit log has not one event of its deletion, or it has one and is there",
        REMEDY,
        select(created.c.id)
        .select_from(both.outerjoin(vector_stores, vector_stores.c.id == created.c.id))
        .where(func.coalesce(deleted.c.number, 0) + there_is != 1),
    )


def _file_checks() -> list[Check]:
    """Each file has one event of its creation, and one of its end if it has ended."""
    has_event = and_(event.resource_id == files.c.id, event.type == EventType.FILE_CREATED.value)
    kinds = (EventType.FILE_CREATED, EventType.FILE_DELETED, EventType.FILE_EXPIRED)
    created = func.count(case((event.type == EventType.FILE_CREATED.value, 1)))
    ended = func.count(case((event.type != EventType.FILE_CREATED.value, 1)))
    counts = (
        select(event.resource_id, created.label("created"), ended.label("ended"))
        .where(or_(*(event.type == kind.value for kind in kinds)))
        .group_by(event.resource_id)
        .subquery("counts")
    )
    exists_still = case((files.c.id.is_not(None), 1), else_=0)
    return [
        Check(
            "I-16",
            "A",
            "the file has no event of its creation in the audit log",
            REMEDY,
            select(files.c.id)
            .select_from(files.outerjoin(audit_events, has_event))
            .where(files.c.created_at > select(audit_chain.c.complete_since).scalar_subquery(), event.id.is_(None)),
        ),
        Check(
            "I-16",
            "A",
            "the events of the file in the audit log are not one of its creation, and one of its end if it has ended",
            REMEDY,
            select(counts.c.resource_id)
            .select_from(counts.outerjoin(files, files.c.id == counts.c.resource_id))
            .where(or_(counts.c.created > 1, counts.c.ended + exists_still != 1)),
        ),
    ]
