"""Idempotency records: what a key of a project has created; `file_id` is the id of a file, a batch or a store."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from sqlalchemy import Dialect, and_, bindparam, delete, insert, select, tuple_

from filestead.database.engines.statements import (
    Connection,
    Statement,
    dialect_insert,
    in_powers,
    int_param,
    now_us,
    rows_of,
)
from filestead.database.repositories.clock import SqlClock
from filestead.database.tables import idempotency_keys
from filestead.domain.attempts import IdempotencyRecord, RetryRecord


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
        self._add_latest = cache(lambda count: compiled(_upsert(dialect, count)))
        self._hold = cache(lambda: compiled(_hold(dialect)))
        self.delete_expired = compiled(
            delete(table).where(tuple_(*columns).in_(expired.with_for_update(skip_locked=True)))
        )

    def get(self, connection: Connection, project_id: str, key: str) -> tuple[Any, ...] | None:
        """The fingerprint and the id of what a key has created, if it has a record."""
        proven = self._clock.proven_us(connection)
        return self.select(connection, project_id=project_id, key=key, proven_us=proven).fetchone()

    def save(self, connection: Connection, project_id: str, record: IdempotencyRecord, file_id: str) -> None:
        """Record that the key has created the file."""
        # An expired record of the same key may not have been swept yet.
        proven = self._clock.proven_us(connection)
        self._delete_expired_one(connection, project_id=project_id, key=record.key, proven_us=proven)
        self._insert(connection, **_values(project_id, record, file_id))

    def save_latest(
        self, connection: Connection, project_id: str, made: Sequence[tuple[IdempotencyRecord, str]]
    ) -> None:
        """Record what attempts have done to the objects of these ids. The latest of equal records counts."""
        rows = {record.key: _values(project_id, record, object_id) for record, object_id in made}
        in_powers(self._add_latest, connection, list(rows.values()), lambda cursor: None)

    def claim(self, connection: Connection, project_id: str, retry: RetryRecord, object_id: str) -> str | None:
        """Record that an attempt creates this object. One that is sent again gets the id that is recorded, if any.

        The attempts that are sent again wait for one another, and for a first one in progress, until it has committed.
        """
        values = _values(project_id, retry.record, object_id)
        if retry.is_retry:
            ((recorded,),) = self._hold()(connection, **values).fetchall()
            if recorded == object_id:
                return None
            if (found := self.get(connection, project_id, retry.record.key)) is not None:
                return str(found[1])
        self.save_latest(connection, project_id, [(retry.record, object_id)])
        return None


def _values(project_id: str, record: IdempotencyRecord, object_id: str) -> dict[str, object]:
    return {
        "project_id": project_id,
        "key": record.key,
        "fingerprint": record.fingerprint,
        "file_id": object_id,
        "lifetime_us": record.lifetime_seconds * 1_000_000,
    }


def _hold(dialect: Dialect) -> Any:
    """Insert a record unless there is one; lock it and return what it says."""
    new = dialect_insert(idempotency_keys, dialect).values(
        **{name: bindparam(name) for name in ("project_id", "key", "fingerprint", "file_id")},
        bound_until_us=now_us() + int_param("lifetime_us"),
    )
    unchanged = new.on_conflict_do_update(
        index_elements=["project_id", "key"], set_={"fingerprint": idempotency_keys.c.fingerprint}
    )
    return unchanged.returning(idempotency_keys.c.file_id)


def _upsert(dialect: Dialect, count: int) -> Any:
    new = dialect_insert(idempotency_keys, dialect).values(
        rows_of(
            ("project_id", "key", "fingerprint", "file_id"),
            count,
            bound_until_us=lambda number: now_us() + int_param(f"lifetime_us_{number}"),
        )
    )
    changed = {name: new.excluded[name] for name in ("fingerprint", "file_id", "bound_until_us")}
    return new.on_conflict_do_update(index_elements=["project_id", "key"], set_=changed)
