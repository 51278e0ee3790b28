"""What `verify --repair` changes in the rows: sums that are kept beside them, and parts of what does not exist."""

from functools import partial

from sqlalchemy import Dialect, and_, delete, exists, literal, or_, select, update

from filestead.database.engines.statements import (
    Connection,
    RowLock,
    Statement,
    StatementSet,
    dialect_insert,
    int_array_param,
    json_array,
)
from filestead.database.repositories.checks.stores import is_orphaned, orphaned_attachments
from filestead.database.repositories.usage import received_bytes, reserved_bytes, used_bytes
from filestead.database.tables import (
    PART_BITS,
    detached_files,
    index_documents,
    index_postings,
    index_segments,
    projects,
    uploads,
    vector_blocks,
    vector_store_chunks,
    vector_values,
)
from filestead.domain.vector_stores.embeddings import ROWS_PER_BLOCK


class RowRepairs(StatementSet):
    """Statements of the repair; rows are locked in the order of `files/repository.py`."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        received, used, reserved = received_bytes(), used_bytes(), reserved_bytes()
        wrong_upload = and_(
            uploads.c.status == "pending", uploads.c.bytes_received != received, received <= uploads.c.bytes
        )
        wrong_project = or_(projects.c.bytes_used != used, projects.c.bytes_reserved != reserved)
        self._locks_and_updates = (
            (
                RowLock(select(uploads.c.id).where(wrong_upload).order_by(uploads.c.id), dialect),
                compiled(update(uploads).where(wrong_upload).values(bytes_received=received)),
            ),
            (
                RowLock(select(projects.c.id).where(wrong_project).order_by(projects.c.id), dialect),
                compiled(update(projects).where(wrong_project).values(bytes_used=used, bytes_reserved=reserved)),
            ),
        )
        chunk, vector = vector_store_chunks.c.id // (1 << PART_BITS), vector_blocks.c.attachment
        self._orphans = (
            compiled(select(chunk).where(is_orphaned(chunk)).distinct()),
            compiled(select(vector).where(is_orphaned(vector)).distinct()),
        )
        self._detach = compiled(
            dialect_insert(detached_files, dialect)
            .from_select(["attachment"], int_array_param("ids").where(literal(1) == literal(1)))
            .on_conflict_do_nothing()
        )
        block = vector_values.c.id // ROWS_PER_BLOCK
        self._deletions = [
            compiled(delete(parts).where(~exists().where(index_segments.c.id == parts.c.id // (1 << PART_BITS))))
            for parts in (index_postings, index_documents)
        ]
        self._deletions.append(compiled(delete(vector_values).where(~exists().where(vector_blocks.c.seq == block))))
        self._has_pgvector = dialect.name == "postgresql"

    def detach_orphans(self, connection: Connection) -> int:
        """Record attachments that do not exist as detached, so that the sweep deletes their chunks and vectors."""
        found = {row[0] for statement in self._orphans for row in statement(connection).fetchall()}
        if self._has_pgvector:
            found |= set(orphaned_attachments(connection))
        self._detach(connection, ids=json_array(sorted(found)))
        return len(found)

    def delete_orphans(self, connection: Connection) -> int:
        """Delete blocks of index segments, and exact vectors of blocks, that do not exist; returns their number."""
        return sum(statement(connection).rowcount for statement in self._deletions)

    def recompute(self, connection: Connection) -> int:
        """Compute the received bytes of uploads and the ledgers of projects anew; returns how many were wrong.

        Whoever changes what such a sum is of changes the sum in the same transaction. So once the row is locked, the
        next statement sees all of it or nothing.
        """
        changed = 0
        for lock, statement in self._locks_and_updates:
            lock(connection)
            changed += statement(connection).rowcount
        return changed
