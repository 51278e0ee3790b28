"""Vector stores, attached files and file batches. Sizes are in bytes and times in Unix seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from filestead.domain.attempts import RetryRecord
from filestead.domain.files.model import File

T = TypeVar("T")

Attributes = Mapping[str, "str | float | bool"]


class IndexStatus(StrEnum):
    """`status` of an attached file, and of a file batch."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StoreStatus(StrEnum):
    """`status` of a vector store."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class FileCounts:
    """Attached files by status."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        """All attached files."""
        return self.in_progress + self.completed + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class VectorStore:
    """A vector store. It expires `expires_after_days` after its last activity: an attached file or a search."""

    id: str
    name: str | None
    description: str | None
    created_at: int
    last_active_at: int
    expires_after_days: int | None
    expired: bool
    metadata: Mapping[str, str]
    usage_bytes: int
    counts: FileCounts

    @property
    def expires_at(self) -> int | None:
        """When it expires, or expired."""
        days = self.expires_after_days
        return None if days is None else self.last_active_at + days * 86_400

    @property
    def status(self) -> StoreStatus:
        """`in_progress` while a file is being indexed."""
        if self.expired:
            return StoreStatus.EXPIRED
        return StoreStatus.IN_PROGRESS if self.counts.in_progress else StoreStatus.COMPLETED


@dataclass(frozen=True, slots=True)
class NewStore:
    """A vector store to create."""

    id: str
    name: str | None = None
    description: str | None = None
    expires_after_days: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry: RetryRecord | None = None
    """None if the client does not count its attempts."""


@dataclass(frozen=True, slots=True)
class StoreChanges:
    """Members of an update; the flags say which are present, since null is a value."""

    name: str | None = None
    set_name: bool = False
    expires_after_days: int | None = None
    set_expires_after: bool = False
    metadata: Mapping[str, str] | None = None
    """None leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Chunking:
    """The static chunking strategy. Source: `StaticChunkingStrategy` of the official description."""

    max_tokens: int = 800
    overlap_tokens: int = 400


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """A file to attach."""

    file_id: str
    chunking: Chunking = Chunking()
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IndexingError:
    """`last_error` of an attached file: why it failed."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file of a vector store."""

    file_id: str
    vector_store_id: str
    created_at: int
    status: IndexStatus
    usage_bytes: int
    last_error: IndexingError | None
    chunking: Chunking
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Files that were attached together."""

    id: str
    vector_store_id: str
    created_at: int
    cancelled: bool
    counts: FileCounts

    @property
    def status(self) -> IndexStatus:
        """`cancelled` once it was cancelled while files were in progress."""
        if self.cancelled:
            return IndexStatus.CANCELLED
        return IndexStatus.IN_PROGRESS if self.counts.in_progress else IndexStatus.COMPLETED


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page of a listing: after or before an item, in the order of creation."""

    limit: int = 20
    newest_first: bool = True
    after: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class ItemPage(Generic[T]):
    """One page of a listing, in the requested order; `has_more` items follow, or precede with `before`."""

    items: list[T]
    has_more: bool


@dataclass(frozen=True, slots=True)
class IndexTask:
    """What a job of indexing needs to know."""

    attachment: int
    vector_store_id: str
    file: File
    chunking: Chunking
    store: int = 0
    """The number of the store in this installation."""


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk of an attached file: `overlap` characters at its start repeat the end of the chunk before it."""

    text: str
    overlap: int
    tokens: int


@dataclass(frozen=True, slots=True)
class SegmentData:
    """An index segment as it is stored; `search/` defines the formats of its parts."""

    chunks: int
    length: int
    """Terms of all chunks."""
    postings: int
    """Pairs of a term and a chunk that contains it."""
    buckets: Sequence[bytes]
    documents: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """What a search knows of a segment before it reads parts."""

    id: int
    level: int
    chunks: int
    length: int
    postings: int
    buckets: int


ChunkRef = tuple[int, int]
"""The attachment and the ordinal of a chunk."""


@dataclass(frozen=True, slots=True)
class SearchableFile:
    """A file that a search may return: attached, indexed, visible and unexpired when it was read."""

    file_id: str
    filename: str
    attributes: Attributes
