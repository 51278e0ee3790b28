"""The JSON shapes of vector stores, their files and file batches. Member order is the order seen on the wire.

Source: `VectorStoreObject`, `VectorStoreFileObject`, `VectorStoreFileBatchObject` and the lists and pages of the
official description, and recorded responses: the object of a file batch is `vector_store.file_batch`.
"""

from typing import Literal

import msgspec


class FileCounts(msgspec.Struct, frozen=True):
    """Attached files by status."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class ExpiresAfter(msgspec.Struct, frozen=True):
    """The expiration policy of a vector store."""

    anchor: Literal["last_active_at"]
    days: int


class VectorStore(msgspec.Struct, frozen=True, kw_only=True):
    """A vector store; times are Unix seconds."""

    id: str
    object: Literal["vector_store"] = "vector_store"
    created_at: int
    name: str | None
    description: str | None
    usage_bytes: int
    file_counts: FileCounts
    status: str
    expires_after: ExpiresAfter | None
    expires_at: int | None
    last_active_at: int
    metadata: dict[str, str]


class Deleted(msgspec.Struct, frozen=True):
    """The response to a delete."""

    id: str
    object: str
    deleted: bool = True


class LastError(msgspec.Struct, frozen=True):
    """Why a file could not be indexed."""

    code: str
    message: str


class StaticStrategy(msgspec.Struct, frozen=True):
    """Sizes of chunks in tokens."""

    max_chunk_size_tokens: int
    chunk_overlap_tokens: int


class ChunkingStrategy(msgspec.Struct, frozen=True):
    """How a file is cut into chunks; `auto` is reported as the static strategy that it stands for."""

    type: Literal["static"]
    static: StaticStrategy


class VectorStoreFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file attached to a vector store."""

    id: str
    object: Literal["vector_store.file"] = "vector_store.file"
    usage_bytes: int
    created_at: int
    vector_store_id: str
    status: str
    last_error: LastError | None
    chunking_strategy: ChunkingStrategy
    attributes: dict[str, str | float | bool]


class FileBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Files attached together."""

    id: str
    object: Literal["vector_store.file_batch"] = "vector_store.file_batch"
    created_at: int
    status: str
    vector_store_id: str
    file_counts: FileCounts


class ListVectorStores(msgspec.Struct, frozen=True, kw_only=True):
    """A page of vector stores."""

    object: Literal["list"] = "list"
    data: list[VectorStore]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ListVectorStoreFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A page of attached files."""

    object: Literal["list"] = "list"
    data: list[VectorStoreFile]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Text(msgspec.Struct, frozen=True):
    """A piece of text."""

    type: Literal["text"]
    text: str


class FileContentPage(msgspec.Struct, frozen=True, kw_only=True):
    """The text that was extracted from a file."""

    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"
    data: list[Text]
    has_more: bool = False
    next_page: str | None = None


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that was found; `score` is from 0 to 1."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, str | float | bool]
    content: list[Text]


class SearchResultsPage(msgspec.Struct, frozen=True, kw_only=True):
    """What a search has found, the best first."""

    object: Literal["vector_store.search_results.page"] = "vector_store.search_results.page"
    search_query: list[str]
    data: list[SearchResult]
    has_more: bool = False
    next_page: str | None = None


def encode(value: msgspec.Struct) -> bytes:
    """Indented JSON without a trailing newline, as the hosted service writes it."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)
