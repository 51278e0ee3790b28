"""Deleted vector stores and detached files, so that a deletion that is sent again succeeds; files leave tombstones."""

from filestead.database.engines.statements import Connection, Database
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.files.idempotency import IdempotencyRecords
from filestead.domain.clock import ClockWatch
from filestead.domain.files import retries


class Deletions:
    """Records of deleted vector stores, by their id, and of detached files, by the ids of store and file."""

    def __init__(self, database: Database, watch: ClockWatch | None) -> None:
        self._database = database
        self._records = IdempotencyRecords(database.dialect, SqlClock(database, watch or ClockWatch()))

    def add(self, connection: Connection, project_id: str, *ids: str) -> None:
        """Record a deletion, in its transaction."""
        self._records.save_latest(connection, project_id, [(retries.deletion(*ids), ids[-1])])

    async def contains(self, project_id: str, *ids: str) -> bool:
        """Whether there is a record."""
        key = retries.deletion(*ids).key
        return await self._database.read(lambda connection: self._records.get(connection, project_id, key) is not None)
