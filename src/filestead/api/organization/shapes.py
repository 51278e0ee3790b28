"""JSON shapes of projects, keys, service accounts and usage, from the objects of the domain."""

from collections.abc import Callable
from typing import Any

from filestead.domain.access import Scope
from filestead.domain.administration import SOON_SECONDS, Page, Project, ProjectKey, ServiceAccount, Usage
from filestead.wire import organization as wire


def page_to_wire(shape: Callable[..., Any], page: Page[Any], to_wire: Callable[[Any], Any]) -> Any:
    """Build a page of a list, whose items have an `id`."""
    data = [to_wire(item) for item in page.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return shape(data=data, first_id=first, last_id=last, has_more=page.has_more)


def project_to_wire(project: Project) -> wire.Project:
    """Build a project."""
    return wire.Project(id=project.id, name=project.name, created_at=project.created_at)


def key_members(key: ProjectKey) -> dict[str, Any]:
    """Build the members of a key, with or without its secret."""
    role: Any = "owner" if Scope.ADMIN in key.scopes else "member"
    owner = wire.ServiceAccount(id=key.user_id, name=key.user, created_at=key.created_at, role=role)
    return {
        "id": key.id,
        "redacted_value": key.hint,
        "name": key.user,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "owner": wire.KeyOwner(service_account=owner),
        "scopes": sorted(key.scopes),
    }


def usage_to_wire(usage: Usage) -> wire.Usage:
    """Build the usage of a project."""
    stored = usage.stored
    return wire.Usage(
        project_id=stored.project.id,
        project_name=stored.project.name,
        bytes_used=stored.bytes_used,
        bytes_reserved=stored.bytes_reserved,
        bytes_limit=usage.bytes_limit,
        uploads_per_minute=usage.uploads_per_minute,
        uploads_remaining=usage.uploads_remaining,
        files=[wire.PurposeUsage(purpose=one.purpose, files=one.files, bytes=one.bytes) for one in stored.by_purpose],
        expiring_soon=wire.ExpiringSoon(
            within_seconds=SOON_SECONDS, files=stored.expiring_files, bytes=stored.expiring_bytes
        ),
    )


def account_members(account: ServiceAccount) -> dict[str, Any]:
    """Build the members of a service account, with or without its key."""
    role = "owner" if account.is_owner else "member"
    return {"id": account.id, "name": account.name, "created_at": account.created_at, "role": role}


def account_to_wire(account: ServiceAccount) -> wire.ServiceAccount:
    """Build a service account."""
    return wire.ServiceAccount(**account_members(account))


def account_key_to_wire(key: ProjectKey, secret: str) -> wire.ServiceAccountApiKey:
    """Build a new key of a service account."""
    return wire.ServiceAccountApiKey(
        value=secret, name=key.user, created_at=key.created_at, id=key.id, expires_at=key.expires_at
    )
