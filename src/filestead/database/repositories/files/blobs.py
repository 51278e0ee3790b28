"""The ledger of blobs: pending, live and marked for deletion, with their reservations and leases."""

from functools import cache, partial

from sqlalchemy import Dialect, bindparam, case, delete, insert, null, or_, select, update

from filestead.database.engines.statements import (
    RowLock,
    Statement,
    StatementSet,
    dialect_insert,
    int_param,
    now_us,
    rows_of,
    text_array_param,
)
from filestead.database.repositories.pins import is_pinned
from filestead.database.tables import DELETED, LIVE, PENDING, blob_parts, blobs


class BlobStatements(StatementSet):
    """Statements on the ledger of blobs."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        key = blobs.c.key == bindparam("key")
        keys = blobs.c.key.in_(text_array_param("keys"))
        pending = blobs.c.state == PENDING
        lease = now_us() + int_param("lease_us")
        longest = now_us() + int_param("longest_us")
        self.lock = RowLock(select(blobs.c.key).where(key), dialect)
        self.add_pending = compiled(
            insert(blobs).values(
                key=bindparam("key"),
                project_id=bindparam("project_id"),
                state=PENDING,
                bytes_reserved=int_param("bytes_reserved"),
                lease_until_us=lease,
            )
        )
        # Waits for a transaction that adds the same key, and adds nothing if that is committed.
        self.add_live = compiled(
            dialect_insert(blobs, dialect)
            .values(key=bindparam("key"), project_id=bindparam("project_id"), state=LIVE)
            .on_conflict_do_nothing(index_elements=[blobs.c.key])
        )
        self.add_many_live = cache(
            lambda count: compiled(
                dialect_insert(blobs, dialect)
                .values(rows_of(("key", "project_id"), count, state=lambda _: LIVE))
                .on_conflict_do_nothing(index_elements=[blobs.c.key])
            )
        )
        self.take_back = compiled(delete(blobs).where(key))
        self.extend_reservation = compiled(
            update(blobs).where(key, pending).values(bytes_reserved=blobs.c.bytes_reserved + int_param("more"))
        )
        self.clear_reservation = compiled(update(blobs).where(key).values(bytes_reserved=0))
        self.renew = compiled(update(blobs).where(keys, pending).values(lease_until_us=lease))
        # RETURNING shows the row as it is afterwards, so the reservation stays on the row of a live blob.
        self.activate = compiled(
            update(blobs)
            .where(key, pending)
            .values(state=LIVE, lease_until_us=null())
            .returning(blobs.c.bytes_reserved)
        )
        self.abort_pending = compiled(
            update(blobs)
            .where(key, pending)
            .values(state=DELETED, lease_until_us=now_us())
            .returning(blobs.c.project_id, blobs.c.bytes_reserved)
        )
        marked = update(blobs).values(state=DELETED, lease_until_us=now_us(), bytes_reserved=0)
        self.mark_for_deletion = compiled(marked.where(key))
        self.mark_all_for_deletion = compiled(marked.where(keys))
        parts_of_it = select(blob_parts.c.part_key).where(blob_parts.c.blob_key == bindparam("key"))
        self.restart_leases = compiled(
            update(blobs)
            .where(or_(key, blobs.c.key.in_(parts_of_it)), blobs.c.state == DELETED)
            .values(lease_until_us=now_us())
        )
        pinned = is_pinned()
        self.is_pinned = compiled(select(blobs.c.key).where(key, pinned))
        of_these = blob_parts.c.blob_key.in_(text_array_param("keys"))
        self.mark_parts_for_deletion = compiled(
            marked.where(blobs.c.key.in_(select(blob_parts.c.part_key).where(of_these)))
        )
        self.parts = compiled(
            select(blob_parts.c.part_key, blob_parts.c.bytes, blob_parts.c.sha256)
            .where(blob_parts.c.blob_key == bindparam("key"))
            .order_by(blob_parts.c.number)
        )
        self.state = compiled(select(blobs.c.state).where(key))
        self.states = compiled(select(blobs.c.key, blobs.c.state).where(keys))
        self.expired_leases = compiled(
            select(blobs.c.key, blobs.c.project_id, blobs.c.bytes_reserved)
            .where(
                # A blob marked for deletion stays so after a clock jump; an upload may still be in progress.
                blobs.c.lease_until_us <= case((blobs.c.state == DELETED, now_us()), else_=int_param("proven_us")),
                blobs.c.lease_until_us <= now_us(),
                ~pinned,
            )
            .order_by(blobs.c.lease_until_us)
            .limit(int_param("limit"))
            .with_for_update(skip_locked=True)
        )
        self.claim = compiled(update(blobs).where(keys).values(state=DELETED, lease_until_us=lease, bytes_reserved=0))
        self.cap_leases = compiled(update(blobs).where(blobs.c.lease_until_us > longest).values(lease_until_us=longest))
        self.delete = compiled(
            delete(blobs).where(keys, blobs.c.state != LIVE).returning(blobs.c.project_id, blobs.c.bytes_reserved)
        )
        self.release_leases = compiled(update(blobs).where(blobs.c.state != LIVE).values(lease_until_us=0))
