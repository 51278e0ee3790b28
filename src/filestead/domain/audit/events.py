"""Events of the audit log, and on whose behalf a change is made.

Events name things by their ids. They never hold keys, contents or names of files.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

ID_PREFIX = "audit_log-"


def event_id(sequence: int) -> str:
    """The id that the API shows of an event, by its place in the chain."""
    return f"{ID_PREFIX}{sequence:016x}"


class EventType(StrEnum):
    """What has happened; those that the hosted service has bear its names."""

    FILE_CREATED = "file.created"
    FILE_DELETED = "file.deleted"
    FILE_EXPIRED = "file.expired"
    UPLOAD_CREATED = "upload.created"
    UPLOAD_COMPLETED = "upload.completed"
    UPLOAD_CANCELLED = "upload.cancelled"
    UPLOAD_EXPIRED = "upload.expired"
    STORE_CREATED = "vector_store.created"
    STORE_DELETED = "vector_store.deleted"
    STORE_EXPIRED = "vector_store.expired"
    FILE_ATTACHED = "vector_store.file.attached"
    FILE_DETACHED = "vector_store.file.detached"
    BATCH_CREATED = "batch.created"
    BATCH_CANCELLING = "batch.cancelling"
    BATCH_COMPLETED = "batch.completed"
    BATCH_FAILED = "batch.failed"
    BATCH_EXPIRED = "batch.expired"
    BATCH_CANCELLED = "batch.cancelled"
    ORGANIZATION_CREATED = "organization.created"
    PROJECT_CREATED = "project.created"
    ACCOUNT_CREATED = "service_account.created"
    ACCOUNT_DELETED = "service_account.deleted"
    KEY_CREATED = "api_key.created"
    KEY_DELETED = "api_key.deleted"
    ACCESS_DENIED = "access.denied"


@dataclass(frozen=True, slots=True)
class Origin:
    """The request that makes a change: its key, and where it came from."""

    key_id: str | None = None
    user_id: str | None = None
    request_id: str | None = None
    address: str | None = None
    """IPv4 address or IPv6 network of the client."""


_current: ContextVar[Callable[[], Origin] | None] = ContextVar("current_origin", default=None)


def current_origin() -> Origin | None:
    """The origin of the request that the current task serves; None for background tasks and commands."""
    find = _current.get()
    return None if find is None else find()


def set_origin(find: Callable[[], Origin] | None) -> None:
    """Set how the origin of the current task is found: most requests change nothing, and need none."""
    _current.set(find)


@dataclass(frozen=True, slots=True)
class Event:
    """An event to be recorded. Without `organization_id` it is that of the project."""

    type: EventType
    resource_id: str | None
    project_id: str | None = None
    data: Mapping[str, Any] | None = None
    organization_id: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as it is stored; all of it but `hash` is protected by the chain."""

    type: str
    effective_at: int
    """Unix seconds."""
    organization_id: str | None
    project_id: str | None
    resource_id: str | None
    key_id: str | None
    user_id: str | None
    request_id: str | None
    address: str | None
    data: str | None
    """JSON."""
    sequence: int | None = None
    """The place in the chain, from 1; None until the event is sealed."""
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """The state of the chain: its last link, and the anchor, which is the last link that was pruned."""

    last_sequence: int
    last_hash: str
    anchor_sequence: int
    anchor_hash: str


@dataclass(frozen=True, slots=True)
class Filters:
    """Which events are listed; None means all."""

    after_time: int | None = None
    """`effective_at` is greater; Unix seconds."""
    before_time: int | None = None
    """`effective_at` is less."""
    types: Collection[str] | None = None
    projects: Collection[str] | None = None
    actors: Collection[str] | None = None
    """Ids of keys and users."""
    resources: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first, with the names of their projects."""

    events: Sequence[tuple[RecordedEvent, str | None]]
    has_more: bool


class AuditLog(Protocol):
    """The stored events."""

    async def record(self, events: Sequence[tuple[Origin | None, Event]]) -> None:
        """Record events that belong to no other change: denials."""

    async def seal(self) -> int:
        """Chain events that are not sealed yet, in their order; return how many. Any number of nodes may call it.

        A call while another node seals does nothing.
        """

    async def prune(self, older_than_seconds: int) -> int:
        """Delete the oldest sealed events, up to the first that is younger; return how many, 0 at the end."""

    async def page(
        self, organization_id: str, filters: Filters, *, after: int | None, before: int | None, limit: int
    ) -> EventPage:
        """Sealed events of an organization, newest first, between two places of the chain.

        Raises `ItemCursorNotFound`.
        """

    async def scan(self, after: int, limit: int) -> list[RecordedEvent]:
        """Sealed events of all organizations in the order of the chain."""

    async def tail(self, limit: int) -> list[RecordedEvent]:
        """The newest events of all organizations, newest first, also those that are not sealed yet."""

    async def chain(self) -> Chain:
        """The state of the chain."""

    async def foreign(self, suspects: Mapping[str, Collection[str]]) -> dict[str, tuple[str, str]]:
        """Of ids by kind (`file`, `upload`, `vector_store`, `batch`), those that exist: project and organization."""
