"""Uploads and their parts. Sizes are in bytes, times in Unix seconds."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from filestead.domain.files.model import ContentPart, File, FileStatus

LIFETIME_SECONDS = 3_600
"""An upload expires this long after its creation. Parts do not extend it."""

KEPT_SECONDS = 86_400
"""How long the row of an upload that is no longer pending is kept, from its expiry on."""

MAX_PART_BYTES = 64 * 1024 * 1024
MAX_PARTS = 10_000
"""Parts of an upload. The official clients need 128 for 8 GiB."""


class UploadStatus(StrEnum):
    """`status` of an upload. The values are stored."""

    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload. A pending one whose hour is over is `expired`, swept or not."""

    id: str
    bytes: int
    """As declared at its creation."""
    created_at: int
    filename: str
    purpose: str
    status: UploadStatus
    expires_at: int


@dataclass(frozen=True, slots=True)
class NewUpload:
    """An upload to create."""

    random: str
    """The end of its id, which begins with the time of creation."""
    project_id: str
    organization_id: str
    user_id: str
    filename: str
    purpose: str
    bytes: int
    file_lifetime: int | None
    """Lifetime of the file in seconds, from the creation of the upload; None means that it never expires."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stored part, as the client sees it."""

    id: str
    upload_id: str
    created_at: int


@dataclass(frozen=True, slots=True)
class PendingPart:
    """A part before it streams."""

    project_id: str
    upload_id: str
    blob_key: str
    idempotency_key: str | None = None


class PartSource(Protocol):
    """A part as it is received. `begin`, `chunks` and `finish` are called once each, in this order."""

    @property
    def min_size(self) -> int:
        """Lower bound of its size from the declared length of the request, 0 if unknown."""

    async def begin(self) -> None:
        """Read the form up to the first byte of the part."""

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes of the part."""

    async def finish(self) -> None:
        """Read the rest of the form."""


@dataclass(frozen=True, slots=True)
class Room:
    """What an upload can take."""

    declared: int
    received: int
    is_known: bool = False
    """Whether the part's idempotency key has a stored part already."""

    @property
    def left(self) -> int:
        """Bytes that no stored part has yet."""
        return self.declared - self.received


@dataclass(frozen=True, slots=True)
class ReceivedPart:
    """A part whose bytes are stored."""

    random: str
    """The end of its id."""
    project_id: str
    upload_id: str
    blob_key: str
    bytes: int
    sha256: str
    repeated: bool
    """Whether the client says that it sends the part again, since it lost the response."""
    idempotency_key: str | None = None
    """Names the part within its upload; then `repeated` says nothing."""


@dataclass(frozen=True, slots=True)
class AcceptedPart:
    """The part that a received one has become. Unless `stored`, its bytes were there, and the new ones are not used."""

    part: Part
    stored: bool


@dataclass(frozen=True, slots=True)
class Completion:
    """An upload to complete."""

    project_id: str
    upload_id: str
    part_ids: Sequence[str]
    file_id: str
    blob_key: str
    """A new key for the blob of the file, which is used unless the file has exactly one part."""
    sha256: str | None = None
    """Of the whole content, if it is known; a single part has its own."""
    check_purposes: frozenset[str] = frozenset()
    """Purposes whose lines a job checks afterwards."""


@dataclass(frozen=True, slots=True)
class CompletedUpload:
    """A completed upload with its file, and the blobs of parts that the file does not need."""

    upload: Upload
    file: File
    unused: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EndedUpload:
    """A cancelled or expired upload, and the blobs of its parts."""

    upload: Upload
    unused: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Checked:
    """What reading the whole content of a file has shown."""

    sha256: str
    status: FileStatus
    status_details: str | None


@dataclass(frozen=True, slots=True)
class ScannedPart:
    """A stored part of a pending upload, for `verify`."""

    seq: int
    id: str
    content: ContentPart
