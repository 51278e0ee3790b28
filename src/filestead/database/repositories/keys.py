"""Organizations, projects, users and keys: `KeyRepository` in SQL."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import and_, bindparam, insert, or_, select, update

from filestead.database.engines.statements import Connection, Database, Statement, int_param, now
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.tables import keys, organizations, projects, users
from filestead.domain.access import Key, Principal, Scope
from filestead.domain.audit.events import Event, EventType, current_origin
from filestead.domain.errors import KeyNotFound

NewId = Callable[[str], str]
"""Makes a fresh id with the given prefix."""

KEY_COLUMNS = (
    *(keys.c.id, keys.c.hint, organizations.c.name, projects.c.name, users.c.name),
    *(keys.c.scopes, keys.c.created_at, keys.c.expires_at, keys.c.revoked_at),
)


class SqlKeyRepository:
    """See `KeyRepository` for the contract."""

    def __init__(self, database: Database, new_id: NewId) -> None:
        self._database = database
        self._new_id = new_id
        self._events = AuditEvents.of(database.dialect)

        def compiled(statement: Any) -> Statement:
            return Statement(statement, database.dialect)

        joined = keys.join(projects, keys.c.project_id == projects.c.id)
        joined = joined.join(organizations, projects.c.organization_id == organizations.c.id)
        joined = joined.join(users, keys.c.user_id == users.c.id)
        usable = and_(keys.c.revoked_at.is_(None), or_(keys.c.expires_at.is_(None), keys.c.expires_at > now()))
        key_rows = select(*KEY_COLUMNS).select_from(joined)
        self._find = compiled(
            select(
                *(keys.c.id, keys.c.user_id, projects.c.id, projects.c.name),
                *(organizations.c.id, organizations.c.name, keys.c.scopes, keys.c.expires_at),
            )
            .select_from(joined)
            .where(keys.c.digest == bindparam("digest"), usable)
        )
        self._list = compiled(key_rows.order_by(keys.c.created_at, keys.c.id))
        self._by_id = compiled(key_rows.where(keys.c.id == bindparam("id")))
        self._by_digest = compiled(key_rows.where(keys.c.digest == bindparam("digest")))
        self._revoke = compiled(
            update(keys)
            .where(keys.c.id == bindparam("id"), keys.c.revoked_at.is_(None))
            .values(revoked_at=now())
            .returning(keys.c.project_id)
        )
        self._add_key = compiled(
            insert(keys).values(
                **{name: bindparam(name) for name in ("id", "digest", "hint", "project_id", "user_id", "scopes")},
                created_at=now(),
                expires_at=now() + int_param("lifetime"),
            )
        )
        self._organization = compiled(select(organizations.c.id).where(organizations.c.name == bindparam("name")))
        self._add_organization = compiled(
            insert(organizations).values(id=bindparam("id"), name=bindparam("name"), created_at=now())
        )
        organization_id: Any = bindparam("organization_id")
        self._project = compiled(
            select(projects.c.id).where(
                projects.c.organization_id == organization_id, projects.c.name == bindparam("name")
            )
        )
        self._add_project = compiled(
            insert(projects).values(
                id=bindparam("id"), organization_id=organization_id, name=bindparam("name"), created_at=now()
            )
        )
        self._user = compiled(
            select(users.c.id).where(users.c.organization_id == organization_id, users.c.name == bindparam("name"))
        )
        self._add_user = compiled(
            insert(users).values(id=bindparam("id"), organization_id=organization_id, name=bindparam("name"))
        )

    async def create(
        self,
        *,
        key_id: str,
        digest: str,
        hint: str,
        organization: str,
        project: str,
        user: str | None,
        scopes: frozenset[Scope],
        expires_after_seconds: int | None,
    ) -> Key:
        """Store a key; creates its organization, project and user if they do not exist."""

        def operation(connection: Connection) -> Key:
            existing = self._by_digest(connection, digest=digest).fetchone()
            if existing is not None:
                return _key(existing)
            events: list[Event] = []
            organization_id, is_new = self._get_or_create(
                connection, self._organization, self._add_organization, "org-", name=organization
            )
            if is_new:
                events.append(Event(EventType.ORGANIZATION_CREATED, organization_id, organization_id=organization_id))
            project_id, is_new = self._get_or_create(
                connection, self._project, self._add_project, "proj_", name=project, organization_id=organization_id
            )
            if is_new:
                events.append(Event(EventType.PROJECT_CREATED, project_id, project_id))
            user_id, is_new = self._get_or_create(
                connection, self._user, self._add_user, "user-", name=user or key_id, organization_id=organization_id
            )
            if is_new:
                events.append(Event(EventType.ACCOUNT_CREATED, user_id, project_id))
            self._add_key(
                connection,
                id=key_id,
                digest=digest,
                hint=hint,
                project_id=project_id,
                user_id=user_id,
                scopes=" ".join(sorted(scopes)),
                lifetime=expires_after_seconds,
            )
            created = {"scopes": sorted(scopes), "user_id": user_id}
            events.append(Event(EventType.KEY_CREATED, key_id, project_id, created))
            self._events.add(connection, current_origin(), *events)
            return _key(self._by_id(connection, id=key_id).fetchone())

        return await self._database.write(operation)

    def _get_or_create(
        self, connection: Connection, find: Statement, add: Statement, prefix: str, **values: str
    ) -> tuple[str, bool]:
        """The id of the named row, and whether it was created because it did not exist."""
        row = find(connection, **values).fetchone()
        if row is not None:
            return str(row[0]), False
        new = self._new_id(prefix)
        add(connection, id=new, **values)
        return new, True

    async def find(self, digest: str) -> Principal | None:
        """The principal of a usable key."""
        row = await self._database.read_row(self._find, digest=digest)
        if row is None:
            return None
        key_id, user_id, project_id, project, organization_id, organization, scopes, expires_at = row
        return Principal(
            key_id=key_id,
            user_id=user_id,
            project_id=project_id,
            project_name=project,
            organization_id=organization_id,
            organization_name=organization,
            scopes=frozenset(map(Scope, scopes.split())),
            expires_at=expires_at,
        )

    async def list(self) -> list[Key]:
        """Every key, oldest first; keys of the same second are ordered by id."""
        rows = await self._database.read(lambda connection: self._list(connection).fetchall())
        return [_key(row) for row in rows]

    async def revoke(self, key_id: str) -> Key:
        """Revoke a key."""

        def operation(connection: Connection) -> Key:
            for (project_id,) in self._revoke(connection, id=key_id).fetchall():
                self._events.record(connection, EventType.KEY_DELETED, key_id, project_id)
            row = self._by_id(connection, id=key_id).fetchone()
            if row is None:
                raise KeyNotFound(key_id)
            return _key(row)

        return await self._database.write(operation)


def _key(row: Any) -> Key:
    key_id, hint, organization, project, user, scopes, created_at, expires_at, revoked_at = row
    return Key(
        id=key_id,
        hint=hint,
        organization=organization,
        project=project,
        user=user,
        scopes=frozenset(map(Scope, scopes.split())),
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )
