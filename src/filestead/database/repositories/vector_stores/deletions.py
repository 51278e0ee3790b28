"""Deleted vector stores and detached files, so that a deletion that is sent again succeeds; files leave tombstones."""

from filestead.database.engines.statements import Connection, Database
from filestead.database.repositories.idempotency import IdempotencyRecords
from filestead.domain import attempts


class Deletions:
    """Records of deleted vector stores, by their id, and of detached files, by the ids of store and file."""

    def __init__(self, database: Database, records: IdempotencyRecords) -> None:
        self._database = database
        self._records = records

    def add(self, connection: Connection, project_id: str, *ids: str) -> None:
        """Record a deletion, in its transaction."""
        self._records.save_latest(connection, project_id, [(attempts.deletion(*ids), ids[-1])])

    async def contains(self, project_id: str, *ids: str) -> bool:
        """Whether there is a record."""
        key = attempts.deletion(*ids).key
        return await self._database.read(lambda connection: self._records.get(connection, project_id, key) is not None)
