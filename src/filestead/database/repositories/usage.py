"""What the sums that are kept in rows must be, computed from the rows that they stand for."""

from typing import Any

from sqlalchemy import ColumnElement, func, literal_column, select

from filestead.database.tables import (
    LIVE,
    batches,
    blobs,
    detached_files,
    files,
    projects,
    upload_parts,
    uploads,
    vector_store_files,
)


def used_bytes() -> ColumnElement[int]:
    """What `bytes_used` of a row of `projects` must be: its files, and the index of those in vector stores.

    The index of a detached file counts until the sweep has deleted it.
    """
    project = projects.c.id
    parts = (
        select(func.sum(files.c.bytes)).where(files.c.project_id == project),
        select(func.sum(vector_store_files.c.usage_bytes)).where(vector_store_files.c.project_id == project),
        select(func.sum(detached_files.c.usage_bytes)).where(detached_files.c.project_id == project),
    )
    one, two, three = map(_or_zero, parts)
    return one + two + three


def reserved_bytes() -> ColumnElement[int]:
    """What `bytes_reserved` of a row of `projects` must be: pending blobs, pending uploads, and journals."""
    of_blobs = select(func.sum(blobs.c.bytes_reserved)).where(
        blobs.c.project_id == projects.c.id, blobs.c.state != LIVE
    )
    of_uploads = select(func.sum(uploads.c.bytes)).where(
        uploads.c.project_id == projects.c.id, uploads.c.status == "pending"
    )
    return _or_zero(of_blobs) + _or_zero(of_uploads) + journal_bytes()


def journal_bytes() -> ColumnElement[int]:
    """What the batches of a row of `projects` have reserved for their results."""
    return _or_zero(
        select(func.sum(batches.c.bytes_reserved)).where(
            batches.c.project_id == projects.c.id, batches.c.bytes_reserved > literal_column("0")
        )
    )


def received_bytes() -> ColumnElement[int]:
    """What `bytes_received` of a pending row of `uploads` must be: its parts, those that share a blob once."""
    stored = (
        select(upload_parts.c.upload_id, upload_parts.c.blob_key, upload_parts.c.bytes).distinct().subquery("stored")
    )
    return _or_zero(select(func.sum(stored.c.bytes)).where(stored.c.upload_id == uploads.c.id))


def _or_zero(total: Any) -> ColumnElement[int]:
    return func.coalesce(total.scalar_subquery(), literal_column("0"))
