"""Idempotency records: which file an idempotency key of a project has created."""

from functools import partial
from typing import Any

from sqlalchemy import Dialect, and_, bindparam, delete, insert, select, tuple_

from filestead.database.engines.statements import Connection, Statement, int_param, now_us
from filestead.database.repositories.clock import SqlClock
from filestead.database.tables import idempotency_keys
from filestead.domain.files.model import IdempotencyRecord


class IdempotencyRecords:
    """Operations on idempotency records. Their lifetime ends by the proven time."""

    def __init__(self, dialect: Dialect, clock: SqlClock) -> None:
        compiled = partial(Statement, dialect=dialect)
        self._clock = clock
        table = idempotency_keys
        one = and_(table.c.project_id == bindparam("project_id"), table.c.key == bindparam("key"))
        has_expired = table.c.bound_until_us <= int_param("proven_us")
        columns = (table.c.project_id, table.c.key)
        expired = select(*columns).where(has_expired).order_by(table.c.bound_until_us).limit(int_param("limit"))
        self.select = compiled(select(table.c.fingerprint, table.c.file_id).where(one, ~has_expired))
        self._delete_expired_one = compiled(delete(table).where(one, has_expired))
        self._insert = compiled(
            insert(table).values(
                **{name: bindparam(name) for name in ("project_id", "key", "fingerprint", "file_id")},
                bound_until_us=now_us() + int_param("lifetime_us"),
            )
        )
        self.delete_expired = compiled(
            delete(table).where(tuple_(*columns).in_(expired.with_for_update(skip_locked=True)))
        )

    def get(self, connection: Connection, project_id: str, key: str) -> tuple[Any, ...] | None:
        """The fingerprint and the file id of a key, if it has a record."""
        proven = self._clock.proven_us(connection)
        return self.select(connection, project_id=project_id, key=key, proven_us=proven).fetchone()

    def save(self, connection: Connection, project_id: str, record: IdempotencyRecord, file_id: str) -> None:
        """Record that the key has created the file."""
        # An expired record of the same key may not have been swept yet.
        proven = self._clock.proven_us(connection)
        self._delete_expired_one(connection, project_id=project_id, key=record.key, proven_us=proven)
        self._insert(
            connection,
            project_id=project_id,
            key=record.key,
            fingerprint=record.fingerprint,
            file_id=file_id,
            lifetime_us=record.lifetime_seconds * 1_000_000,
        )
