"""Projects of an organization, their keys and their usage: what a key with the scope `admin` may see and change.

Source of the objects: `Project`, `ProjectApiKey`, `ProjectServiceAccount` and `UsageVectorStoresResult` of the official
description. Creating a key without a service account, and the usage of files, are additions.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from filestead.domain import access
from filestead.domain.access import DEFAULT_SCOPES, KeyRepository, Principal, Scope
from filestead.domain.quota import Quota

T = TypeVar("T")

SOON_SECONDS = 86_400
"""Files that expire within this time are counted as expiring soon."""

USAGE_KEPT = 10
"""The usage of a project is kept so many times as long as it took to count: with a million files, some seconds."""

GRANTABLE_SCOPES = (Scope.READ, Scope.WRITE, Scope.INFERENCE, Scope.SYSTEM, Scope.ADMIN)
"""Scopes within an organization. Others concern the whole server, and only its operator may grant them."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project; `created_at` in Unix seconds."""

    id: str
    name: str
    created_at: int


@dataclass(frozen=True, slots=True)
class ProjectKey:
    """A key of a project that is not revoked. The secret is never stored; `hint` shows its ends."""

    id: str
    hint: str
    user_id: str
    user: str
    scopes: frozenset[Scope]
    created_at: int
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A user that has keys in a project. It exists as long as one of them is not revoked."""

    id: str
    name: str
    created_at: int
    """When its first key in the project was created."""
    is_owner: bool
    """Whether one of its keys has the scope `admin`."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items of a list, oldest first."""

    items: Sequence[T]
    has_more: bool


@dataclass(frozen=True, slots=True)
class PurposeUsage:
    """Visible files of one purpose, and their bytes."""

    purpose: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StoredUsage:
    """What a project has stored. `bytes_used` also counts the index of its vector stores."""

    project: Project
    bytes_used: int
    bytes_reserved: int
    by_purpose: Sequence[PurposeUsage]
    expiring_files: int
    expiring_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of a project beside its limits; None means no limit."""

    stored: StoredUsage
    bytes_limit: int | None
    uploads_per_minute: int | None
    uploads_remaining: int | None
    """How many uploads the user of the key may begin now."""


class ProjectRepository(Protocol):
    """Projects, their keys and their usage. A project of another organization does not exist."""

    async def list(self, organization_id: str, *, after: str | None, limit: int) -> Page[Project]:
        """Projects, oldest first. Raises `ItemCursorNotFound`."""

    async def create(self, organization_id: str, project_id: str, name: str) -> Project:
        """Create a project. Raises `ProjectExists` if the organization has one of this name."""

    async def get(self, organization_id: str, project_id: str) -> Project:
        """A project. Raises `ProjectNotFound`."""

    async def list_keys(self, project_id: str, *, after: str | None, limit: int) -> Page[ProjectKey]:
        """Keys that are not revoked, oldest first. Raises `ItemCursorNotFound`."""

    async def get_key(self, project_id: str, key_id: str) -> ProjectKey:
        """A key that is not revoked. Raises `KeyNotFound`."""

    async def list_accounts(self, project_id: str, *, after: str | None, limit: int) -> Page[ServiceAccount]:
        """Service accounts, oldest first. Raises `ItemCursorNotFound`."""

    async def get_account(self, project_id: str, account_id: str) -> ServiceAccount:
        """A service account. Raises `ServiceAccountNotFound`."""

    async def delete_account(self, project_id: str, account_id: str) -> None:
        """Revoke all keys that the account has in the project. Raises `ServiceAccountNotFound`."""

    async def usage(self, organization_id: str, project_id: str, *, soon_seconds: int) -> StoredUsage:
        """What the project has stored now. Raises `ProjectNotFound`."""

    async def uploads_remaining(self, user_id: str, limit: int) -> int:
        """How many uploads the user may begin now, at `limit` per minute."""

    async def index_bytes(self, organization_id: str) -> Sequence[tuple[str, int]]:
        """Id of each project with vector stores, and the bytes of their index."""


class Administration:
    """The operations on an organization. Every one is limited to the organization of the principal."""

    def __init__(
        self,
        projects: ProjectRepository,
        keys: KeyRepository,
        *,
        new_id: Callable[[str], str],
        monotonic: Callable[[], float],
        quota: Quota,
        uploads_per_minute: int,
    ) -> None:
        """`uploads_per_minute` is the limit of each user; 0 means none."""
        self._projects = projects
        self._keys = keys
        self._new_id = new_id
        self._monotonic = monotonic
        self._counting = asyncio.Lock()
        self._counted: dict[str, tuple[StoredUsage, float]] = {}
        self._quota = quota
        self._uploads_per_minute = uploads_per_minute

    async def list_projects(self, principal: Principal, *, after: str | None, limit: int) -> Page[Project]:
        """The projects, oldest first. Raises `ItemCursorNotFound`."""
        return await self._projects.list(principal.organization_id, after=after, limit=limit)

    async def create_project(self, principal: Principal, name: str) -> Project:
        """Create a project. Raises `BadName`, `ProjectExists`."""
        access.require_name("project", name)
        return await self._projects.create(principal.organization_id, self._new_id("proj_"), name)

    async def get_project(self, principal: Principal, project_id: str) -> Project:
        """A project. Raises `ProjectNotFound`."""
        return await self._projects.get(principal.organization_id, project_id)

    async def list_keys(
        self, principal: Principal, project_id: str, *, after: str | None, limit: int
    ) -> Page[ProjectKey]:
        """The keys of a project, oldest first. Raises `ProjectNotFound`, `ItemCursorNotFound`."""
        project = await self.get_project(principal, project_id)
        return await self._projects.list_keys(project.id, after=after, limit=limit)

    async def get_key(self, principal: Principal, project_id: str, key_id: str) -> ProjectKey:
        """A key of a project. Raises `ProjectNotFound`, `KeyNotFound`."""
        project = await self.get_project(principal, project_id)
        return await self._projects.get_key(project.id, key_id)

    async def create_key(
        self,
        principal: Principal,
        project_id: str,
        *,
        name: str | None = None,
        scopes: Collection[Scope] = DEFAULT_SCOPES,
        expires_after_seconds: int | None = None,
    ) -> tuple[ProjectKey, str]:
        """Create a key; returns it with its secret, which is shown only this once. `name` is that of its user.

        Raises `ProjectNotFound`, `BadName`.
        """
        project = await self.get_project(principal, project_id)
        if name is not None:
            access.require_name("user", name)
        secret = access.new_secret()
        created = await self._keys.create(
            key_id=self._new_id("key_"),
            digest=access.digest_of(secret),
            hint=access.hint_of(secret),
            organization=principal.organization_name,
            project=project.name,
            user=name,
            scopes=frozenset(scopes),
            expires_after_seconds=expires_after_seconds,
        )
        return await self._projects.get_key(project.id, created.id), secret

    async def revoke_key(self, principal: Principal, project_id: str, key_id: str) -> None:
        """Revoke a key of a project; servers refuse it within two seconds. Raises `ProjectNotFound`, `KeyNotFound`."""
        key = await self.get_key(principal, project_id, key_id)
        await self._keys.revoke(key.id)

    async def list_accounts(
        self, principal: Principal, project_id: str, *, after: str | None, limit: int
    ) -> Page[ServiceAccount]:
        """The service accounts of a project, oldest first. Raises `ProjectNotFound`, `ItemCursorNotFound`."""
        project = await self.get_project(principal, project_id)
        return await self._projects.list_accounts(project.id, after=after, limit=limit)

    async def get_account(self, principal: Principal, project_id: str, account_id: str) -> ServiceAccount:
        """A service account of a project. Raises `ProjectNotFound`, `ServiceAccountNotFound`."""
        project = await self.get_project(principal, project_id)
        return await self._projects.get_account(project.id, account_id)

    async def create_account(
        self, principal: Principal, project_id: str, name: str, *, expires_after_seconds: int | None = None
    ) -> tuple[ServiceAccount, ProjectKey, str]:
        """Create a service account; returns it with its key and the secret of that.

        A name stands for one user of the organization: where there is one, the account is that user with another key.
        Raises `ProjectNotFound`, `BadName`.
        """
        key, secret = await self.create_key(
            principal, project_id, name=name, expires_after_seconds=expires_after_seconds
        )
        return await self._projects.get_account(project_id, key.user_id), key, secret

    async def create_account_key(
        self,
        principal: Principal,
        project_id: str,
        account_id: str,
        *,
        scopes: Collection[Scope] = DEFAULT_SCOPES,
        expires_after_seconds: int | None = None,
    ) -> tuple[ProjectKey, str]:
        """Create another key of a service account; returns it with its secret.

        Raises `ProjectNotFound`, `ServiceAccountNotFound`.
        """
        account = await self.get_account(principal, project_id, account_id)
        return await self.create_key(
            principal,
            project_id,
            name=account.name,
            scopes=scopes,
            expires_after_seconds=expires_after_seconds,
        )

    async def delete_account(self, principal: Principal, project_id: str, account_id: str) -> None:
        """Revoke all keys of a service account in a project. Raises `ProjectNotFound`, `ServiceAccountNotFound`."""
        project = await self.get_project(principal, project_id)
        await self._projects.delete_account(project.id, account_id)

    async def own_usage(self, principal: Principal) -> Usage:
        """The usage of the principal's own project, and what its user may upload now."""
        limit = self._uploads_per_minute or None
        remaining = None if limit is None else await self._projects.uploads_remaining(principal.user_id, limit)
        return Usage(await self._stored(principal, principal.project_id), self._quota.project_bytes, limit, remaining)

    async def project_usage(self, principal: Principal, project_id: str) -> Usage:
        """The usage of any project of the organization. Raises `ProjectNotFound`."""
        return Usage(await self._stored(principal, project_id), self._quota.project_bytes, None, None)

    async def index_bytes(self, principal: Principal) -> Sequence[tuple[str, int]]:
        """Id of each project with vector stores, and the bytes of their index now."""
        return await self._projects.index_bytes(principal.organization_id)

    async def _stored(self, principal: Principal, project_id: str) -> StoredUsage:
        """Count what a project has stored, one project at a time; a recent result is used again."""
        async with self._counting:
            await self._projects.get(principal.organization_id, project_id)
            started = self._monotonic()
            self._counted = {key: entry for key, entry in self._counted.items() if entry[1] > started}
            if project_id not in self._counted:
                usage = await self._projects.usage(principal.organization_id, project_id, soon_seconds=SOON_SECONDS)
                ended = self._monotonic()
                self._counted[project_id] = usage, ended + USAGE_KEPT * (ended - started)
                return usage
            return self._counted[project_id][0]
