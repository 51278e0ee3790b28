"""The audit log: `AuditLog` in SQL.

The row of `audit_chain` is locked by whoever seals or prunes, so that one node at a time does.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, or_, select, update

from filestead.database.engines.statements import (
    Connection,
    Database,
    Statement,
    int_param,
    json_array,
    text_array_param,
)
from filestead.database.repositories.audit_events import AuditEvents
from filestead.database.repositories.clock import SqlClock
from filestead.database.tables import audit_chain, audit_events, batches, files, projects, uploads, vector_stores
from filestead.domain.audit.chain import link
from filestead.domain.audit.events import Chain, Event, EventPage, Filters, Origin, RecordedEvent, event_id
from filestead.domain.clock import ClockWatch
from filestead.domain.errors import ItemCursorNotFound

SEALED_AT_ONCE = 500
PRUNED_AT_ONCE = 1_000

table = audit_events.c
COLUMNS = (
    *(table.type, table.effective_at, table.organization_id, table.project_id, table.resource_id, table.key_id),
    *(table.user_id, table.request_id, table.address, table.data, table.sequence, table.hash),
)
"""In the order of the fields of `RecordedEvent`."""

CHAIN = (
    *(audit_chain.c.last_sequence, audit_chain.c.last_hash, audit_chain.c.anchor_sequence, audit_chain.c.anchor_hash),
)
"""In the order of the fields of `Chain`."""

RESOURCES = {"file": files, "upload": uploads, "vector_store": vector_stores, "batch": batches}


class SqlAuditLog:
    """See `AuditLog` for the contract."""

    def __init__(self, database: Database, watch: ClockWatch | None = None) -> None:
        """`watch` decides whether the database's clock is trusted."""
        self._database = database
        self._clock = SqlClock(database, watch or ClockWatch())
        self._events = AuditEvents.of(database.dialect)

        def compiled(statement: Any) -> Statement:
            return Statement(statement, database.dialect)

        self._compiled = compiled
        unsealed = select(table.id, *COLUMNS).where(table.sequence.is_(None)).order_by(table.id)
        self._unsealed = compiled(unsealed.limit(int_param("limit")))
        self._is_unsealed = compiled(select(table.id).where(table.sequence.is_(None)).limit(1))
        self._chain = compiled(select(*CHAIN))
        self._lock_chain = compiled(select(*CHAIN).with_for_update(skip_locked=True))
        self._seal = compiled(
            update(audit_events)
            .where(table.id == int_param("event"))
            .values(sequence=int_param("place"), hash=bindparam("link"))
        )
        self._advance = compiled(
            update(audit_chain).values(last_sequence=int_param("place"), last_hash=bindparam("link"))
        )
        self._oldest = compiled(
            select(table.sequence, table.hash, table.effective_at, (table.effective_at <= int_param("cutoff")))
            .where(table.sequence > int_param("after"))
            .order_by(table.sequence)
            .limit(int_param("limit"))
        )
        self._delete = compiled(delete(audit_events).where(table.sequence <= int_param("last")))
        self._move_anchor = compiled(
            update(audit_chain).values(
                anchor_sequence=int_param("place"), anchor_hash=bindparam("link"), complete_since=int_param("time")
            )
        )
        self._complete_since = compiled(select(audit_chain.c.complete_since))
        self._scan = compiled(
            select(*COLUMNS)
            .where(table.sequence > int_param("after"))
            .order_by(table.sequence)
            .limit(int_param("limit"))
        )
        self._tail = compiled(select(*COLUMNS).order_by(table.id.desc()).limit(int_param("limit")))
        in_organization = table.organization_id == bindparam("organization_id")
        self._position = compiled(select(table.sequence).where(in_organization, table.sequence == int_param("place")))
        self._foreign = {
            kind: compiled(
                select(rows.c.id, rows.c.project_id, projects.c.organization_id)
                .join(projects, projects.c.id == rows.c.project_id)
                .where(rows.c.id.in_(text_array_param("ids")))
            )
            for kind, rows in RESOURCES.items()
        }

    async def record(self, events: Sequence[tuple[Origin | None, Event]]) -> None:
        """Record events that belong to no other change."""
        if events:
            await self._database.write(lambda connection: self._events.add_all(connection, events))

    async def seal(self) -> int:
        """Chain events that are not sealed yet."""
        # Mostly there is nothing, and a read costs no sync.
        if not await self._database.read(lambda connection: self._is_unsealed(connection).fetchall()):
            return 0
        return await self._database.write(self._seal_some)

    def _seal_some(self, connection: Connection) -> int:
        row = self._lock_chain(connection).fetchone()
        if row is None:  # another node seals
            return 0
        sequence, previous, *_ = row
        rows = self._unsealed(connection, limit=SEALED_AT_ONCE).fetchall()
        for row_id, *columns in rows:
            sequence += 1
            columns[-2] = sequence
            previous = link(previous, RecordedEvent(*columns))
            self._seal(connection, event=row_id, place=sequence, link=previous)
        if rows:
            self._advance(connection, place=sequence, link=previous)
        return len(rows)

    async def prune(self, older_than_seconds: int) -> int:
        """Delete the oldest sealed events."""

        def oldest(connection: Connection, chain: Chain) -> list[tuple[Any, ...]]:
            cutoff = self._clock.proven_us(connection) // 1_000_000 - older_than_seconds
            found = self._oldest(
                connection, after=chain.anchor_sequence, cutoff=cutoff, limit=PRUNED_AT_ONCE
            ).fetchall()
            return list(takewhile(lambda row: row[3], found))

        def operation(connection: Connection) -> int:
            row = self._lock_chain(connection).fetchone()
            rows = [] if row is None else oldest(connection, Chain(*row))
            if not rows:
                return 0
            (complete_since,) = self._complete_since(connection).fetchall()[0]
            self._delete(connection, last=rows[-1][0])
            latest = max(complete_since, *(at for _, _, at, _ in rows))
            self._move_anchor(connection, place=rows[-1][0], link=rows[-1][1], time=latest)
            return len(rows)

        # Mostly there is nothing, and a read costs no sync.
        if not await self._database.read(lambda connection: oldest(connection, self._read_chain(connection))[:1]):
            return 0
        return await self._database.write(operation)

    async def page(
        self, organization_id: str, filters: Filters, *, after: int | None, before: int | None, limit: int
    ) -> EventPage:
        """Sealed events of an organization, newest first."""
        conditions, values = _conditions(filters)
        query = (
            select(*COLUMNS, projects.c.name)
            .select_from(audit_events.outerjoin(projects, projects.c.id == table.project_id))
            .where(table.organization_id == bindparam("organization_id"), table.sequence.is_not(None), *conditions)
            .limit(int_param("limit"))
        )
        if after is not None:
            query = query.where(table.sequence < int_param("after"))
        if before is not None:
            query = query.where(table.sequence > int_param("before"))
        backwards = before is not None and after is None  # the page that ends at the cursor
        statement = self._compiled(query.order_by(table.sequence if backwards else table.sequence.desc()))
        values |= {"organization_id": organization_id, "limit": limit + 1}
        values |= {name: place for name, place in (("after", after), ("before", before)) if place is not None}

        def operation(connection: Connection) -> list[tuple[Any, ...]]:
            for param, place in (("after", after), ("before", before)):
                if (
                    place is not None
                    and not self._position(connection, organization_id=organization_id, place=place).fetchall()
                ):
                    raise ItemCursorNotFound(param, event_id(place))
            return statement(connection, **values).fetchall()

        rows = await self._database.read(operation, long=True)
        events = [(RecordedEvent(*columns), name) for *columns, name in rows[:limit]]
        return EventPage(events[::-1] if backwards else events, len(rows) > limit)

    async def scan(self, after: int, limit: int) -> list[RecordedEvent]:
        """Sealed events of all organizations in the order of the chain."""
        rows = await self._database.read(
            lambda connection: self._scan(connection, after=after, limit=limit).fetchall(), long=True
        )
        return [RecordedEvent(*row) for row in rows]

    async def tail(self, limit: int) -> list[RecordedEvent]:
        """The newest events of all organizations, newest first."""
        rows = await self._database.read(lambda connection: self._tail(connection, limit=limit).fetchall(), long=True)
        return [RecordedEvent(*row) for row in rows]

    async def chain(self) -> Chain:
        """The state of the chain."""
        return await self._database.read(self._read_chain)

    def _read_chain(self, connection: Connection) -> Chain:
        return Chain(*self._chain(connection).fetchall()[0])

    async def foreign(self, suspects: Mapping[str, Collection[str]]) -> dict[str, tuple[str, str]]:
        """Of ids by kind, those that exist."""

        def operation(connection: Connection) -> list[tuple[Any, ...]]:
            return [
                row
                for kind, ids in suspects.items()
                for row in self._foreign[kind](connection, ids=json_array(sorted(ids))).fetchall()
            ]

        return {found: (project, owner) for found, project, owner in await self._database.read(operation)}


def _conditions(filters: Filters) -> tuple[list[ColumnElement[bool]], dict[str, object]]:
    """The conditions of the filters that are set, and their parameters."""
    conditions: list[ColumnElement[bool]] = []
    values: dict[str, object] = {}
    for name, time, condition in (
        ("after_time", filters.after_time, table.effective_at > int_param("after_time")),
        ("before_time", filters.before_time, table.effective_at < int_param("before_time")),
    ):
        if time is not None:
            conditions.append(condition)
            values[name] = time
    in_actors = text_array_param("actors")
    for name, texts, condition in (
        ("types", filters.types, table.type.in_(text_array_param("types"))),
        ("projects", filters.projects, table.project_id.in_(text_array_param("projects"))),
        ("actors", filters.actors, or_(table.key_id.in_(in_actors), table.user_id.in_(in_actors))),
        ("resources", filters.resources, table.resource_id.in_(text_array_param("resources"))),
    ):
        if texts is not None:
            conditions.append(condition)
            values[name] = json_array(texts)
    return conditions, values
