"""Files and uploads. Sizes are in bytes and times in Unix seconds, unless a name says otherwise."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from filestead.domain.attempts import IdempotencyRecord, RetryRecord
from filestead.domain.quota import Quota
from filestead.domain.rate_limit import RateDecision


class FileStatus(StrEnum):
    """`status` of the file object (deprecated by OpenAI, but required on the wire)."""

    UPLOADED = "uploaded"
    PROCESSED = "processed"
    ERROR = "error"  # of files with faulty lines that an earlier version has stored


class File(NamedTuple):
    """A visible file: its complete blob is stored and its row is committed.

    A tuple, since a page has 10,000 of them: a frozen dataclass takes four times as long to make.
    """

    id: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None
    status: str
    status_details: str | None
    sha256: str
    """Hexadecimal digest of the content; empty until the content of a file in several parts has been read."""
    blob_key: str
    parts: int | None = None
    """Number of blobs that hold its content, in order; None if `blob_key` is the one blob that does."""


@dataclass(frozen=True, slots=True)
class ContentPart:
    """A blob that holds a part of the content of a file."""

    blob_key: str
    bytes: int
    sha256: str


SHORT_PAGE = 200
"""Longest page that is cheap. Longer ones are limited in number (`fair_share`)."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, in the requested order."""

    files: list[File]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """The configured limits of uploads."""

    max_file_bytes: int
    max_batch_file_bytes: int
    quota: Quota
    uploads_per_minute: int
    """Per user; 0 means no limit."""
    batch_expiry_seconds: int | None
    """Default lifetime of a batch file without `expires_after`; None means no expiry."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a project has stored and reserved."""

    bytes_used: int
    bytes_reserved: int
    files: int


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An upload before it streams. It is recorded before its first byte is written, so that every blob has a row."""

    blob_key: str
    project_id: str
    organization_id: str
    user_id: str
    min_size: int
    """Lower bound of the size, which must fit into the quota; 0 if the request declares none."""
    idempotency_key: str | None = None
    """The client's `Idempotency-Key`."""
    reserve_bytes: int = 0
    """Bytes to reserve, if they fit into the quota."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The decision on an upload before it streams."""

    rate: RateDecision
    reserved_bytes: int
    repeats: bool
    """Whether its idempotency key already has a file, so that its bytes are not stored."""


@dataclass(frozen=True, slots=True)
class CompletedUpload:
    """A stored upload that has passed every check and is ready to be published."""

    id: str
    blob_key: str
    project_id: str
    organization_id: str
    filename: str
    purpose: str
    bytes: int
    sha256: str
    expires_after_seconds: int | None
    status: FileStatus
    status_details: str | None
    idempotency: IdempotencyRecord | None = None
    """None for an upload without an idempotency key."""
    retry: RetryRecord | None = None
    """None with an idempotency key, or if the client does not count its attempts."""

    @property
    def may_repeat(self) -> bool:
        """Whether an earlier upload may have its file already."""
        return self.idempotency is not None or (self.retry is not None and self.retry.is_retry)


@dataclass(frozen=True, slots=True)
class InlineUpload:
    """A small upload that has passed every check, with its content."""

    completed: CompletedUpload
    content: bytes
    user_id: str


@dataclass(frozen=True, slots=True)
class ExpiresAfter:
    """`expires_after` as the client sent it; `expiry` checks the range."""

    anchor: str | None
    seconds: int | None

    @property
    def complete(self) -> bool:
        """Whether both members are known."""
        return self.anchor is not None and self.seconds is not None


@dataclass(frozen=True, slots=True)
class FieldsBeforeFile:
    """The form up to the first byte of the file. Fields that follow the file are None."""

    filename: str
    purpose: str | None
    expires_after: ExpiresAfter | None


@dataclass(frozen=True, slots=True)
class UploadForm:
    """The form without its file."""

    purpose: str
    expires_after: ExpiresAfter | None


class UploadSource(Protocol):
    """An upload as it is received. `head`, `chunks` and `form` are called once each, in this order."""

    @property
    def min_size(self) -> int:
        """Lower bound of the file's size from the declared length of the request, 0 if unknown."""

    @property
    def max_size(self) -> int | None:
        """Upper bound of the file's size: the declared length of the request, None if unknown."""

    async def head(self) -> FieldsBeforeFile:
        """Read the form up to the first byte of the file."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the file."""

    async def form(self) -> UploadForm:
        """Read the rest of the form."""


@dataclass(frozen=True, slots=True)
class Created:
    """A published upload and the rate limiter's decision."""

    file: File
    rate: RateDecision
    replayed: bool
    """Whether an earlier upload created the file, of which this one is a repetition."""
