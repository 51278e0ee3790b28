"""Projects of an organization with their keys and usage: `ProjectRepository` in SQL."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, bindparam, case, func, insert, or_, select, update

from filestead.database.engines.statements import Connection, Database, Statement, int_param, now, now_us
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.tables import files, keys, projects, users, vector_store_files
from filestead.domain import rate_limit
from filestead.domain.access import Scope
from filestead.domain.administration import (
    Page,
    Project,
    ProjectKey,
    PurposeUsage,
    ServiceAccount,
    StoredUsage,
)
from filestead.domain.audit.events import Event, EventType, current_origin
from filestead.domain.errors import (
    ItemCursorNotFound,
    KeyNotFound,
    ProjectExists,
    ProjectNotFound,
    ServiceAccountNotFound,
)

KEY_COLUMNS = (keys.c.id, keys.c.hint, users.c.id, users.c.name, keys.c.scopes, keys.c.created_at, keys.c.expires_at)
PROJECT_COLUMNS = (projects.c.id, projects.c.name, projects.c.created_at)


def _behind(table: Table) -> ColumnElement[bool]:
    """Rows of a table that follow a position in the order of creation."""
    created = int_param("after_created_at")
    same = and_(table.c.created_at == created, table.c.id > bindparam("after_id"))
    return or_(table.c.created_at > created, same)


class SqlProjectRepository:
    """See `ProjectRepository` for the contract."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._events = AuditEvents.of(database.dialect)

        def compiled(statement: Any) -> Statement:
            return Statement(statement, database.dialect)

        organization = projects.c.organization_id == bindparam("organization_id")
        project_id: Any = bindparam("project_id")
        in_organization = select(*PROJECT_COLUMNS).where(organization)
        page = in_organization.order_by(projects.c.created_at, projects.c.id).limit(int_param("limit"))
        self._first = compiled(page)
        self._next = compiled(page.where(_behind(projects)))
        self._by_id = compiled(in_organization.where(projects.c.id == project_id))
        self._by_name = compiled(in_organization.where(projects.c.name == bindparam("name")))
        self._add = compiled(
            insert(projects).values(
                id=project_id, organization_id=bindparam("organization_id"), name=bindparam("name"), created_at=now()
            )
        )
        valid = select(*KEY_COLUMNS).select_from(keys.join(users, keys.c.user_id == users.c.id))
        valid = valid.where(keys.c.project_id == project_id, keys.c.revoked_at.is_(None))
        key_page = valid.order_by(keys.c.created_at, keys.c.id).limit(int_param("limit"))
        self._first_keys = compiled(key_page)
        self._next_keys = compiled(key_page.where(_behind(keys)))
        self._key_by_id = compiled(valid.where(keys.c.id == bindparam("id")))
        self._key_position = compiled(
            select(keys.c.created_at).where(keys.c.project_id == project_id, keys.c.id == bindparam("id"))
        )
        self._compile_accounts(compiled)
        self._bytes = compiled(
            select(*PROJECT_COLUMNS, projects.c.bytes_used, projects.c.bytes_reserved).where(
                organization, projects.c.id == project_id
            )
        )
        visible = and_(files.c.project_id == project_id, or_(files.c.expires_at.is_(None), files.c.expires_at > now()))
        self._by_purpose = compiled(
            select(files.c.purpose, func.count(), func.sum(files.c.bytes))
            .where(visible)
            .group_by(files.c.purpose)
            .order_by(files.c.purpose)
        )
        self._expiring = compiled(
            select(func.count(), func.coalesce(func.sum(files.c.bytes), 0)).where(
                visible, files.c.expires_at <= now() + int_param("seconds")
            )
        )
        self._arrival = compiled(select(users.c.upload_arrival_us, now_us()).where(users.c.id == bindparam("user_id")))
        index_bytes = func.sum(vector_store_files.c.usage_bytes)
        self._index_bytes = compiled(
            select(projects.c.id, index_bytes)
            .select_from(vector_store_files.join(projects, vector_store_files.c.project_id == projects.c.id))
            .where(organization)
            .group_by(projects.c.id)
            .order_by(projects.c.id)
        )

    def _compile_accounts(self, compiled: Callable[[Any], Statement]) -> None:
        """Accounts are users with a valid key; the revoked ones still say since when, so that pages stay in order."""
        valid = keys.c.revoked_at.is_(None)
        in_project = keys.c.project_id == bindparam("project_id")
        one = keys.c.user_id == bindparam("user_id")
        created, after = func.min(keys.c.created_at), int_param("after_created_at")
        is_owner = func.max(case((and_(valid, keys.c.scopes.like(f"%{Scope.ADMIN}%")), 1), else_=0))
        accounts = (
            select(users.c.id, users.c.name, created, is_owner)
            .select_from(keys.join(users, keys.c.user_id == users.c.id))
            .where(in_project)
            .group_by(users.c.id, users.c.name)
            .having(func.count(case((valid, 1))) > 0)
        )
        page = accounts.order_by(created, users.c.id).limit(int_param("limit"))
        behind = or_(created > after, and_(created == after, users.c.id > bindparam("after_id")))
        self._first_accounts = compiled(page)
        self._next_accounts = compiled(page.having(behind))
        self._account_by_id = compiled(accounts.where(one))
        self._account_position = compiled(select(created).where(in_project, one).having(func.count() > 0))
        self._revoke_account = compiled(
            update(keys).where(in_project, one, valid).values(revoked_at=now()).returning(keys.c.id)
        )

    async def list(self, organization_id: str, *, after: str | None, limit: int) -> Page[Project]:
        """Projects, oldest first."""

        def operation(connection: Connection) -> Page[Project]:
            scope = {"organization_id": organization_id, "limit": limit + 1}
            if after is None:
                rows = self._first(connection, **scope).fetchall()
            else:
                found = self._by_id(connection, organization_id=organization_id, project_id=after).fetchone()
                if found is None:
                    raise ItemCursorNotFound("after", after)
                rows = self._next(connection, **scope, after_created_at=found[2], after_id=after).fetchall()
            return Page([Project(*row) for row in rows[:limit]], len(rows) > limit)

        return await self._database.read(operation)

    async def create(self, organization_id: str, project_id: str, name: str) -> Project:
        """Create a project, unless the name is taken."""

        def operation(connection: Connection) -> Project:
            if self._by_name(connection, organization_id=organization_id, name=name).fetchone() is not None:
                raise ProjectExists(name)
            self._add(connection, organization_id=organization_id, project_id=project_id, name=name)
            self._events.record(connection, EventType.PROJECT_CREATED, project_id, project_id)
            row = self._by_id(connection, organization_id=organization_id, project_id=project_id).fetchone()
            assert row is not None, "inserted above"
            return Project(*row)

        return await self._database.write(operation)

    async def get(self, organization_id: str, project_id: str) -> Project:
        """A project of the organization."""

        def operation(connection: Connection) -> Project:
            row = self._by_id(connection, organization_id=organization_id, project_id=project_id).fetchone()
            if row is None:
                raise ProjectNotFound(project_id)
            return Project(*row)

        return await self._database.read(operation)

    async def list_keys(self, project_id: str, *, after: str | None, limit: int) -> Page[ProjectKey]:
        """Keys that are not revoked; `after` may have been revoked meanwhile."""

        def operation(connection: Connection) -> Page[ProjectKey]:
            scope = {"project_id": project_id, "limit": limit + 1}
            if after is None:
                rows = self._first_keys(connection, **scope).fetchall()
            else:
                found = self._key_position(connection, project_id=project_id, id=after).fetchone()
                if found is None:
                    raise ItemCursorNotFound("after", after)
                rows = self._next_keys(connection, **scope, after_created_at=found[0], after_id=after).fetchall()
            return Page([_key(row) for row in rows[:limit]], len(rows) > limit)

        return await self._database.read(operation)

    async def get_key(self, project_id: str, key_id: str) -> ProjectKey:
        """A key that is not revoked."""
        row = await self._database.read(
            lambda connection: self._key_by_id(connection, project_id=project_id, id=key_id).fetchone()
        )
        if row is None:
            raise KeyNotFound(key_id)
        return _key(row)

    async def list_accounts(self, project_id: str, *, after: str | None, limit: int) -> Page[ServiceAccount]:
        """Users with a valid key; `after` may have been deleted meanwhile."""

        def operation(connection: Connection) -> Page[ServiceAccount]:
            scope = {"project_id": project_id, "limit": limit + 1}
            if after is None:
                rows = self._first_accounts(connection, **scope).fetchall()
            else:
                found = self._account_position(connection, project_id=project_id, user_id=after).fetchone()
                if found is None:
                    raise ItemCursorNotFound("after", after)
                rows = self._next_accounts(connection, **scope, after_created_at=found[0], after_id=after).fetchall()
            return Page([_account(row) for row in rows[:limit]], len(rows) > limit)

        return await self._database.read(operation)

    async def get_account(self, project_id: str, account_id: str) -> ServiceAccount:
        """A user with a valid key."""
        row = await self._database.read(
            lambda connection: self._account_by_id(connection, project_id=project_id, user_id=account_id).fetchone()
        )
        if row is None:
            raise ServiceAccountNotFound(account_id)
        return _account(row)

    async def delete_account(self, project_id: str, account_id: str) -> None:
        """Revoke the keys of a user in one statement."""

        def operation(connection: Connection) -> None:
            revoked = self._revoke_account(connection, project_id=project_id, user_id=account_id).fetchall()
            if not revoked:
                raise ServiceAccountNotFound(account_id)
            self._events.add(
                connection,
                current_origin(),
                Event(EventType.ACCOUNT_DELETED, account_id, project_id),
                *(Event(EventType.KEY_DELETED, key_id, project_id) for (key_id,) in sorted(revoked)),
            )

        await self._database.write(operation)

    async def usage(self, organization_id: str, project_id: str, *, soon_seconds: int) -> StoredUsage:
        """What the project has stored now; reads every row of its files."""

        def operation(connection: Connection) -> StoredUsage:
            row = self._bytes(connection, organization_id=organization_id, project_id=project_id).fetchone()
            if row is None:
                raise ProjectNotFound(project_id)
            purposes = self._by_purpose(connection, project_id=project_id).fetchall()
            expiring = self._expiring(connection, project_id=project_id, seconds=soon_seconds).fetchone()
            assert expiring is not None, "an aggregate has a row"
            return StoredUsage(
                Project(*row[:3]),
                *(row[3], row[4]),
                [PurposeUsage(purpose, count, int(total)) for purpose, count, total in purposes],
                *(expiring[0], int(expiring[1])),
            )

        return await self._database.read(operation, long=True)

    async def uploads_remaining(self, user_id: str, limit: int) -> int:
        """How many uploads the user may begin now."""
        row = await self._database.read(lambda connection: self._arrival(connection, user_id=user_id).fetchone())
        if row is None:
            return limit
        arrival, now_ = row
        if arrival > now_ + rate_limit.PERIOD:
            return limit  # stored before the clock was set back
        return min(limit, rate_limit.allowed(limit, max(arrival, now_), now_).remaining)

    async def index_bytes(self, organization_id: str) -> Sequence[tuple[str, int]]:
        """Bytes of the index of each project with vector stores."""
        rows = await self._database.read(
            lambda connection: self._index_bytes(connection, organization_id=organization_id).fetchall(), long=True
        )
        return [(project_id, int(total)) for project_id, total in rows]


def _key(row: Any) -> ProjectKey:
    key_id, hint, user_id, user, scopes, created_at, expires_at = row
    return ProjectKey(key_id, hint, user_id, user, frozenset(map(Scope, scopes.split())), created_at, expires_at)


def _account(row: Any) -> ServiceAccount:
    account_id, name, created_at, is_owner = row
    return ServiceAccount(account_id, name, created_at, bool(is_owner))
