"""Rows of vector stores and attached files as objects of the domain, and the conditions of what is visible."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import and_, bindparam, case, func, or_, select, update

from filestead.database.engines.statements import int_param, now
from filestead.database.tables import vector_store_files, vector_stores
from filestead.domain.vector_stores.model import (
    AttachedFile,
    Chunking,
    FileCounts,
    IndexingError,
    IndexStatus,
    VectorStore,
)

DAY_SECONDS = 86_400

stores, attached = vector_stores.c, vector_store_files.c

EXPIRED = case((stores.expires_at <= now(), 1), else_=0)

STORE_COLUMNS = (
    stores.id,
    stores.name,
    stores.description,
    stores.created_at,
    stores.last_active_at,
    stores.expires_after_days,
    EXPIRED,
    stores.metadata,
)

FILE_COLUMNS = (
    attached.file_id,
    attached.vector_store_id,
    attached.created_at,
    attached.status,
    attached.usage_bytes,
    attached.error_code,
    attached.error_message,
    attached.chunk_tokens,
    attached.chunk_overlap_tokens,
    attached.attributes,
)


def in_project() -> Any:
    """The condition that a vector store has the id and belongs to the project."""
    return and_(stores.id == bindparam("store_id"), stores.project_id == bindparam("project_id"))


def update_of_store() -> Any:
    """The statement that changes an unexpired store; `set_name` and so on say what."""
    changed = int_param("set_expires") == 1
    return (
        update(vector_stores)
        .where(in_project(), EXPIRED == 0)
        .values(
            name=case((bindparam("set_name") == 1, bindparam("name")), else_=stores.name),
            expires_after_days=case((changed, int_param("expires_after_days")), else_=stores.expires_after_days),
            expires_at=case(
                (changed, stores.last_active_at + int_param("expires_after_days") * DAY_SECONDS),
                else_=stores.expires_at,
            ),
            metadata=case((bindparam("set_metadata") == 1, bindparam("metadata")), else_=stores.metadata),
        )
    )


def unexpired() -> Any:
    """The condition that the file of an attachment has not expired."""
    # The subquery is run once; PostgreSQL would call the function for each row.
    return or_(attached.expires_at.is_(None), attached.expires_at > select(now()).scalar_subquery())


def counts_query() -> Any:
    """Number and usage of attached files by status."""
    return (
        select(attached.status, func.count(), func.coalesce(func.sum(attached.usage_bytes), 0))
        .where(unexpired())
        .group_by(attached.status)
    )


def to_counts(rows: Iterable[tuple[Any, ...]]) -> FileCounts:
    """(status, number, usage) of one store or batch."""
    return FileCounts(**{status: count for status, count, _ in rows})


def to_store(row: tuple[Any, ...], counts: list[tuple[Any, ...]]) -> VectorStore:
    """A row of `STORE_COLUMNS` and the (status, number, usage) of its files."""
    store_id, name, description, created_at, active_at, days, expired, metadata = row
    usage = sum(int(size) for _, _, size in counts)
    return VectorStore(
        store_id,
        name,
        description,
        created_at,
        active_at,
        days,
        bool(expired),
        json.loads(metadata),
        usage,
        to_counts(counts),
    )


def to_attached_file(row: tuple[Any, ...]) -> AttachedFile:
    """A row of `FILE_COLUMNS`."""
    file_id, store_id, created_at, status, usage, code, message, tokens, overlap, attributes = row
    error = None if code is None else IndexingError(code, message)
    return AttachedFile(
        file_id,
        store_id,
        created_at,
        IndexStatus(status),
        usage,
        error,
        Chunking(tokens, overlap),
        json.loads(attributes),
    )


def encode(mapping: Mapping[str, Any]) -> str:
    """JSON for a column; equal mappings give equal text."""
    return json.dumps(mapping, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
