"""Adds events to the audit log, within the transaction of the change that they tell of."""

import json
from collections.abc import Iterable
from functools import cache

from sqlalchemy import Dialect, Text, bindparam, func, insert, select

from filestead.database.engines.statements import Connection, Statement, StatementSet, in_powers, now, rows_of
from filestead.database.tables import audit_events, projects
from filestead.domain.audit.events import Event, EventType, Origin, current_origin

_TEXTS = ("type", "project_id", "resource_id", "key_id", "user_id", "request_id", "address", "data")
NO_ORIGIN = Origin()


class AuditEvents(StatementSet):
    """The statement that adds events."""

    def __init__(self, dialect: Dialect) -> None:
        def organization(number: int) -> object:
            of_project = select(projects.c.organization_id).where(projects.c.id == bindparam(f"project_id_{number}"))
            return func.coalesce(bindparam(f"organization_id_{number}", type_=Text), of_project.scalar_subquery())

        self._add = cache(
            lambda count: Statement(
                insert(audit_events).values(
                    rows_of(_TEXTS, count, effective_at=lambda _: now(), organization_id=organization)
                ),
                dialect,
            )
        )

    def record(
        self, connection: Connection, kind: EventType, resource_id: str, project_id: str | None, **data: object
    ) -> None:
        """Add an event of the request in whose context the transaction runs."""
        self.add(connection, current_origin(), Event(kind, resource_id, project_id, data or None))

    def add(self, connection: Connection, origin: Origin | None, *events: Event) -> None:
        """Add events of one request; without an `origin`, of a background task or a command."""
        self.add_all(connection, ((origin, event) for event in events))

    def add_all(self, connection: Connection, events: Iterable[tuple[Origin | None, Event]]) -> None:
        """Add events of several requests, in few statements."""
        in_powers(self._add, connection, [_row(origin or NO_ORIGIN, event) for origin, event in events], lambda _: None)


def _row(origin: Origin, event: Event) -> dict[str, object]:
    return {
        "type": event.type.value,
        "organization_id": event.organization_id,
        "project_id": event.project_id,
        "resource_id": event.resource_id,
        "key_id": origin.key_id,
        "user_id": origin.user_id,
        "request_id": origin.request_id,
        "address": origin.address,
        "data": None if event.data is None else json.dumps(event.data, sort_keys=True),
    }
