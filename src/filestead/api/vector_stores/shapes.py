"""Objects of the domain as shapes of the wire."""

from collections.abc import Callable
from typing import Any, TypeVar

from filestead.domain.vector_stores.model import AttachedFile, FileBatch, FileCounts, ItemPage, VectorStore
from filestead.wire import vector_stores as wire

T = TypeVar("T")


def page_to_wire(page: ItemPage[T], shape: Callable[..., Any], to_wire: Callable[[T], Any]) -> Any:
    """Build a list of a page; `shape` is the list, `to_wire` builds an item."""
    data = [to_wire(item) for item in page.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return shape(data=data, first_id=first, last_id=last, has_more=page.has_more)


def _counts_to_wire(counts: FileCounts) -> wire.FileCounts:
    """Build the counts."""
    return wire.FileCounts(counts.in_progress, counts.completed, counts.failed, counts.cancelled, counts.total)


def store_to_wire(store: VectorStore) -> wire.VectorStore:
    """Build a vector store."""
    days = store.expires_after_days
    return wire.VectorStore(
        id=store.id,
        created_at=store.created_at,
        name=store.name,
        description=store.description,
        usage_bytes=store.usage_bytes,
        file_counts=_counts_to_wire(store.counts),
        status=store.status,
        expires_after=None if days is None else wire.ExpiresAfter("last_active_at", days),
        expires_at=store.expires_at,
        last_active_at=store.last_active_at,
        metadata=dict(store.metadata),
    )


def file_to_wire(attached: AttachedFile) -> wire.VectorStoreFile:
    """Build an attached file."""
    error = attached.last_error
    chunking = wire.StaticStrategy(attached.chunking.max_tokens, attached.chunking.overlap_tokens)
    return wire.VectorStoreFile(
        id=attached.file_id,
        usage_bytes=attached.usage_bytes,
        created_at=attached.created_at,
        vector_store_id=attached.vector_store_id,
        status=attached.status,
        last_error=None if error is None else wire.LastError(error.code, error.message),
        chunking_strategy=wire.ChunkingStrategy("static", chunking),
        attributes=dict(attached.attributes),
    )


def batch_to_wire(batch: FileBatch) -> wire.FileBatch:
    """Build a file batch."""
    return wire.FileBatch(
        id=batch.id,
        created_at=batch.created_at,
        status=batch.status,
        vector_store_id=batch.vector_store_id,
        file_counts=_counts_to_wire(batch.counts),
    )
