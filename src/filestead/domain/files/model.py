"""The nouns of the product as frozen dataclasses. Sizes are bytes and times Unix seconds, unless a name says more."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from filestead.domain.quota import Quota
from filestead.domain.rate_limit import RateDecision


class FileStatus(StrEnum):
    """`status` of the file object (deprecated by OpenAI, but required on the wire)."""

    UPLOADED = "uploaded"
    PROCESSED = "processed"
    ERROR = "error"  # of files with faulty lines that an earlier version has stored


@dataclass(frozen=True, slots=True)
class File:
    """A visible file: its whole blob is stored and its row is committed."""

    id: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None
    status: str
    status_details: str | None
    sha256: str
    """Hexadecimal digest of the content."""
    blob_key: str


SHORT_PAGE = 200
"""A page of up to so many files costs little more than one file; longer ones wait for one another."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, in the asked order."""

    files: list[File]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """The configured limits that the domain enforces."""

    max_file_bytes: int
    max_batch_file_bytes: int
    quota: Quota
    uploads_per_minute: int
    """Per user; 0 switches the limit off."""
    batch_expiry_seconds: int | None
    """Lifetime of a batch file that names none; None means it never expires."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The ledger of one project."""

    bytes_used: int
    bytes_reserved: int
    files: int


@dataclass(frozen=True, slots=True)
class Intent:
    """An upload that is about to stream: recorded before its first byte is written, so that no blob is ever unknown."""

    blob_key: str
    project_id: str
    organization_id: str
    user_id: str
    at_least_bytes: int
    """Lower bound of the size, which must fit into the quota; 0 when the client did not say."""
    idempotency_key: str | None = None
    """Chosen by the client, to name this upload and its repetitions."""
    reserve_bytes: int = 0
    """To be reserved from the quota if it fits."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What was decided about an upload before it streams."""

    rate: RateDecision
    reserved_bytes: int
    repeats: bool
    """Whether its idempotency key already stands for a file, so that its bytes will not be kept."""


@dataclass(frozen=True, slots=True)
class Binding:
    """An idempotency key and the form that it is to stand for."""

    key: str
    fingerprint: str
    """Equal for equal forms, and only for those."""
    lifetime_seconds: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A fully stored upload that has passed every check and only waits to become visible."""

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
    binding: Binding | None = None
    """None for an upload without an idempotency key."""


@dataclass(frozen=True, slots=True)
class ExpiresAfter:
    """`expires_after` as the client sent it; ranges are judged in `expiry`."""

    anchor: str | None
    seconds: int | None

    @property
    def complete(self) -> bool:
        """Whether both members have arrived."""
        return self.anchor is not None and self.seconds is not None


@dataclass(frozen=True, slots=True)
class UploadHead:
    """What is known when the file's first byte arrives. Fields that follow the file are still None."""

    filename: str
    purpose: str | None
    expires_after: ExpiresAfter | None


@dataclass(frozen=True, slots=True)
class UploadTerms:
    """What is known when the whole form has been read."""

    purpose: str
    expires_after: ExpiresAfter | None


class UploadSource(Protocol):
    """An upload as it comes off the wire; called in this order, once each."""

    @property
    def at_least_bytes(self) -> int:
        """Lower bound of the file's size from the declared length of the request, 0 if unknown."""

    @property
    def at_most_bytes(self) -> int | None:
        """Upper bound of the file's size: the declared length of the request, None if unknown."""

    async def head(self) -> UploadHead:
        """Read up to the file's first byte."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The file's bytes."""

    async def terms(self) -> UploadTerms:
        """Read what follows the file."""


@dataclass(frozen=True, slots=True)
class Created:
    """A published upload and the rate limiter's word on it."""

    file: File
    rate: RateDecision
    replayed: bool
    """Whether an earlier upload with the same idempotency key had already made the file."""
