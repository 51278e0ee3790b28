"""The JSON shapes of projects, their keys and their usage. Member order is that of the official description.

Source: `Project`, `ProjectApiKey`, `ProjectApiKeyDeleteResponse`, `ProjectServiceAccount` with its responses,
`UsageTimeBucket` and `UsageVectorStoresResult`.
Additions: `scopes` of a key, `value` of a new one, and `Usage`.
"""

from typing import Literal

import msgspec


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project. Projects cannot be archived here."""

    id: str
    object: Literal["organization.project"] = "organization.project"
    name: str
    created_at: int
    archived_at: None = None
    status: Literal["active"] = "active"


class ListProjects(msgspec.Struct, frozen=True, kw_only=True):
    """A page of projects."""

    object: Literal["list"] = "list"
    data: list[Project]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The owner of a key: a name by which uploads are limited."""

    id: str
    object: Literal["organization.project.service_account"] = "organization.project.service_account"
    name: str
    created_at: int
    role: Literal["owner", "member"]


class ServiceAccountApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a service account that was just created, with its secret."""

    object: Literal["organization.project.service_account.api_key"] = "organization.project.service_account.api_key"
    value: str
    name: str
    created_at: int
    id: str
    expires_at: int | None


class NewServiceAccount(ServiceAccount, frozen=True, kw_only=True):
    """A service account that was just created."""

    api_key: ServiceAccountApiKey


class ListServiceAccounts(msgspec.Struct, frozen=True, kw_only=True):
    """A page of service accounts."""

    object: Literal["list"] = "list"
    data: list[ServiceAccount]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ServiceAccountDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """The response to the deletion of a service account."""

    object: Literal["organization.project.service_account.deleted"] = "organization.project.service_account.deleted"
    id: str
    deleted: bool = True


class KeyOwner(msgspec.Struct, frozen=True, kw_only=True):
    """The owner of a key, by its type."""

    type: Literal["service_account"] = "service_account"
    service_account: ServiceAccount


class ProjectApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its secret."""

    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    redacted_value: str
    name: str
    created_at: int
    last_used_at: None = None
    expires_at: int | None
    id: str
    owner: KeyOwner
    owner_project_access: Literal["active"] = "active"
    scopes: list[str]


class NewProjectApiKey(ProjectApiKey, frozen=True, kw_only=True):
    """A key that was just created, with its secret."""

    value: str


class ListProjectApiKeys(msgspec.Struct, frozen=True, kw_only=True):
    """A page of keys."""

    object: Literal["list"] = "list"
    data: list[ProjectApiKey]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ProjectApiKeyDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """The response to the deletion of a key."""

    object: Literal["organization.project.api_key.deleted"] = "organization.project.api_key.deleted"
    id: str
    deleted: bool = True


class VectorStoresUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the index of vector stores, of one project or of all."""

    object: Literal["organization.usage.vector_stores.result"] = "organization.usage.vector_stores.result"
    usage_bytes: int
    project_id: str | None = None


class UsageBucket(msgspec.Struct, frozen=True, kw_only=True):
    """Usage within a time."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[VectorStoresUsage]


class UsagePage(msgspec.Struct, frozen=True, kw_only=True):
    """Usage by time."""

    object: Literal["page"] = "page"
    data: list[UsageBucket]
    has_more: bool = False
    next_page: None = None


class PurposeUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Files of one purpose."""

    purpose: str
    files: int
    bytes: int


class ExpiringSoon(msgspec.Struct, frozen=True, kw_only=True):
    """Files that expire within so many seconds."""

    within_seconds: int
    files: int
    bytes: int


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The usage of a project beside its limits; null means no limit."""

    object: Literal["usage"] = "usage"
    project_id: str
    project_name: str
    bytes_used: int
    bytes_reserved: int
    bytes_limit: int | None
    uploads_per_minute: int | None
    uploads_remaining: int | None
    files: list[PurposeUsage]
    expiring_soon: ExpiringSoon
