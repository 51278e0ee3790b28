"""The JSON shapes of the audit log. Member order is that of the official description.

Source: `AuditLog` and `ListAuditLogsResponse`. The details of an event are the member that is named like its type.
Additions: the types of events on files, uploads, vector stores and batches, and `access.denied`; `ip_address` and
`request_id` of an actor.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType


class AuditLogProject(msgspec.Struct, frozen=True, kw_only=True):
    """The project of an event, with its name of today."""

    id: str
    name: str | None


class AuditLogServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The owner of the key."""

    id: str | None


class AuditLogApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """The key of the request."""

    id: str | None
    type: Literal["service_account"] = "service_account"
    service_account: AuditLogServiceAccount


class AuditLogActor(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent the request."""

    type: Literal["api_key"] = "api_key"
    api_key: AuditLogApiKey
    ip_address: str | None
    request_id: str | None


class AuditLogDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What an event is about: the id of a resource, and data that depend on the type of the event."""

    id: str | None
    data: dict[str, Any] | None


def _of(name: str) -> Any:
    return msgspec.field(default=UNSET, name=name)


class AuditLog(msgspec.Struct, frozen=True, kw_only=True):
    """An event. `actor` is null if no request caused it."""

    id: str
    type: str
    effective_at: int
    project: AuditLogProject | None
    actor: AuditLogActor | None
    api_key_created: AuditLogDetails | UnsetType = _of("api_key.created")
    api_key_deleted: AuditLogDetails | UnsetType = _of("api_key.deleted")
    organization_created: AuditLogDetails | UnsetType = _of("organization.created")
    project_created: AuditLogDetails | UnsetType = _of("project.created")
    service_account_created: AuditLogDetails | UnsetType = _of("service_account.created")
    service_account_deleted: AuditLogDetails | UnsetType = _of("service_account.deleted")
    file_created: AuditLogDetails | UnsetType = _of("file.created")
    file_deleted: AuditLogDetails | UnsetType = _of("file.deleted")
    file_expired: AuditLogDetails | UnsetType = _of("file.expired")
    upload_created: AuditLogDetails | UnsetType = _of("upload.created")
    upload_completed: AuditLogDetails | UnsetType = _of("upload.completed")
    upload_cancelled: AuditLogDetails | UnsetType = _of("upload.cancelled")
    upload_expired: AuditLogDetails | UnsetType = _of("upload.expired")
    vector_store_created: AuditLogDetails | UnsetType = _of("vector_store.created")
    vector_store_deleted: AuditLogDetails | UnsetType = _of("vector_store.deleted")
    vector_store_expired: AuditLogDetails | UnsetType = _of("vector_store.expired")
    vector_store_file_attached: AuditLogDetails | UnsetType = _of("vector_store.file.attached")
    vector_store_file_detached: AuditLogDetails | UnsetType = _of("vector_store.file.detached")
    batch_created: AuditLogDetails | UnsetType = _of("batch.created")
    batch_cancelling: AuditLogDetails | UnsetType = _of("batch.cancelling")
    batch_completed: AuditLogDetails | UnsetType = _of("batch.completed")
    batch_failed: AuditLogDetails | UnsetType = _of("batch.failed")
    batch_expired: AuditLogDetails | UnsetType = _of("batch.expired")
    batch_cancelled: AuditLogDetails | UnsetType = _of("batch.cancelled")
    access_denied: AuditLogDetails | UnsetType = _of("access.denied")


EVENT_TYPES: dict[str, str] = {
    field.encode_name: field.name for field in msgspec.structs.fields(AuditLog) if field.default is UNSET
}
"""The types of events, and the members with their details."""


class ListAuditLogs(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the audit log, newest first."""

    object: Literal["list"] = "list"
    data: list[AuditLog]
    first_id: str | None
    last_id: str | None
    has_more: bool
