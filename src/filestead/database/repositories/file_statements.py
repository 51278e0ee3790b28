"""Every statement on files, the ledger of blobs and idempotency keys. What they are for is in `files`."""

from functools import cache
from typing import Any

from sqlalchemy import (
    Select,
    and_,
    asc,
    bindparam,
    case,
    delete,
    desc,
    exists,
    func,
    insert,
    null,
    or_,
    select,
    tuple_,
    update,
)

from filestead.database.engines.statements import (
    Database,
    RowLock,
    Statement,
    int_param,
    now,
    now_us,
    text_array_param,
)
from filestead.database.tables import (
    DELETED,
    LIVE,
    PENDING,
    blobs,
    file_tombstones,
    files,
    idempotency_keys,
    organizations,
    projects,
    users,
)
from filestead.domain.files.interfaces import CURSOR_SECONDS
from filestead.domain.rate_limit import PERIOD

FILE_COLUMNS = (
    *(files.c.id, files.c.filename, files.c.purpose, files.c.bytes, files.c.created_at, files.c.expires_at),
    *(files.c.status, files.c.status_details, files.c.sha256, files.c.blob_key),
)


def is_visible() -> Any:
    """The condition under which a row of `files` may be seen."""
    return or_(files.c.expires_at.is_(None), files.c.expires_at > now())


def visible_in_project(file_id: str = "id") -> Any:
    """The condition that a file is visible and of the asking project; ownership is always part of the query itself."""
    return and_(files.c.id == bindparam(file_id), files.c.project_id == bindparam("project_id"), is_visible())


def keeps_position() -> Any:
    """The condition that a file that has expired did so no longer ago than its place in the listing is to be known."""
    return files.c.expires_at > int_param("proven_us") // 1_000_000 - CURSOR_SECONDS


class FileStatements:
    """Every statement on files, blobs and idempotency keys, compiled once."""

    def __init__(self, database: Database) -> None:
        def compiled(statement: Any) -> Statement:
            return Statement(statement, database.dialect)

        self._compiled = compiled
        key = blobs.c.key == bindparam("key")
        keys = blobs.c.key.in_(text_array_param("keys"))
        pending = blobs.c.state == PENDING
        # One that is more than a period ahead was stored by a clock that has gone back since.
        ahead = users.c.upload_arrival_us.between(now_us() + 1, now_us() + PERIOD)
        arrival = case((ahead, users.c.upload_arrival_us), else_=now_us())
        taken = projects.c.bytes_used + projects.c.bytes_reserved
        project = projects.c.id == bindparam("project_id")
        lease = now_us() + int_param("lease_us")

        self.count_upload = compiled(
            update(users)
            .where(users.c.id == bindparam("user_id"), arrival <= now_us() + int_param("ahead"))
            .values(upload_arrival_us=arrival + int_param("interval"))
            .returning(users.c.upload_arrival_us, now_us())
        )
        self.upload_arrival = compiled(
            select(users.c.upload_arrival_us, now_us()).where(users.c.id == bindparam("user_id"))
        )
        self.charge_project = compiled(
            update(projects)
            .where(
                project,
                or_(
                    int_param("needed") == 0,
                    taken + int_param("needed") - int_param("settle") <= int_param("quota"),
                ),
            )
            .values(
                bytes_used=projects.c.bytes_used + int_param("use"),
                bytes_reserved=projects.c.bytes_reserved + int_param("reserve") - int_param("settle"),
            )
        )
        self.lock_organization = RowLock(
            select(organizations.c.id).where(organizations.c.id == bindparam("organization_id")), database.dialect
        )
        self.lock_project = RowLock(select(projects.c.id).where(project), database.dialect)
        self.lock_blob = RowLock(select(blobs.c.key).where(key), database.dialect)
        self.organization_usage = compiled(
            select(func.coalesce(func.sum(taken), 0)).where(projects.c.organization_id == bindparam("organization_id"))
        )
        self.release_quota = compiled(
            update(projects)
            .where(project)
            .values(
                bytes_used=projects.c.bytes_used - int_param("used"),
                bytes_reserved=projects.c.bytes_reserved - int_param("reserved"),
            )
        )
        self.add_pending_blob = compiled(
            insert(blobs).values(
                key=bindparam("key"),
                project_id=bindparam("project_id"),
                state=PENDING,
                bytes_reserved=int_param("bytes_reserved"),
                lease_until_us=lease,
            )
        )
        self.extend_reservation = compiled(
            update(blobs).where(key, pending).values(bytes_reserved=blobs.c.bytes_reserved + int_param("more"))
        )
        self.renew_leases = compiled(update(blobs).where(keys, pending).values(lease_until_us=lease))
        # RETURNING shows the row as it is afterwards, so the reservation stays on the row of a live blob.
        self.activate_blob = compiled(
            update(blobs)
            .where(key, pending)
            .values(state=LIVE, lease_until_us=null())
            .returning(blobs.c.bytes_reserved)
        )
        self.mark_pending_for_deletion = compiled(
            update(blobs)
            .where(key, pending)
            .values(state=DELETED, lease_until_us=now_us())
            .returning(blobs.c.project_id, blobs.c.bytes_reserved)
        )
        self.mark_blob_for_deletion = compiled(
            update(blobs).where(key).values(state=DELETED, lease_until_us=now_us(), bytes_reserved=0)
        )
        self.mark_blobs_for_deletion = compiled(
            update(blobs).where(keys).values(state=DELETED, lease_until_us=now_us(), bytes_reserved=0)
        )
        self.clear_reservation = compiled(update(blobs).where(key).values(bytes_reserved=0))
        self.blob_state = compiled(select(blobs.c.state).where(key))
        self.blob_states = compiled(select(blobs.c.key, blobs.c.state).where(keys))
        self.expired_leases = compiled(
            select(blobs.c.key, blobs.c.project_id, blobs.c.bytes_reserved)
            .where(
                # What is doomed stays so whatever the clock says; an upload may be alive if the clock has jumped.
                blobs.c.lease_until_us <= case((blobs.c.state == DELETED, now_us()), else_=int_param("proven_us")),
                blobs.c.lease_until_us <= now_us(),
            )
            .order_by(blobs.c.lease_until_us)
            .limit(int_param("limit"))
            .with_for_update(skip_locked=True)
        )
        self.claim_blobs = compiled(
            update(blobs).where(keys).values(state=DELETED, lease_until_us=lease, bytes_reserved=0)
        )
        self.cap_leases = compiled(
            update(blobs)
            .where(blobs.c.lease_until_us > now_us() + int_param("longest_us"))
            .values(lease_until_us=now_us() + int_param("longest_us"))
        )
        self.delete_blob_rows = compiled(
            delete(blobs).where(keys, blobs.c.state != LIVE).returning(blobs.c.project_id, blobs.c.bytes_reserved)
        )
        self.release_leases = compiled(update(blobs).where(blobs.c.state != LIVE).values(lease_until_us=0))
        self._compile_files(compiled)
        self._compile_idempotency(compiled)
        self._compile_positions(compiled)

    def _compile_files(self, compiled: Any) -> None:
        self.add_file = compiled(
            insert(files)
            .values(
                **{
                    name: bindparam(name)
                    for name in ("id", "project_id", "filename", "purpose", "sha256", "status", "blob_key")
                },
                bytes=int_param("bytes"),
                status_details=bindparam("status_details"),
                created_at=now(),
                expires_at=now() + int_param("lifetime"),  # null plus anything is null
            )
            .returning(files.c.created_at, files.c.expires_at)
        )
        self.get_file = compiled(select(*FILE_COLUMNS).where(visible_in_project()))
        self.delete_file = compiled(delete(files).where(visible_in_project()).returning(*FILE_COLUMNS, files.c.seq))
        # Waits for those that another is just sweeping: what they leave is room, too.
        self.expired_files = compiled(
            select(files.c.project_id, files.c.bytes, files.c.blob_key)
            .where(files.c.expires_at <= int_param("proven_us") // 1_000_000)
            .order_by(files.c.expires_at)
            .limit(int_param("limit"))
            .with_for_update()
        )
        self.delete_files = compiled(delete(files).where(files.c.blob_key.in_(text_array_param("keys"))))
        self.project_usage = compiled(
            select(
                projects.c.bytes_used,
                projects.c.bytes_reserved,
                select(func.count()).where(files.c.project_id == projects.c.id, is_visible()).scalar_subquery(),
            ).where(projects.c.id == bindparam("project_id"))
        )
        self.scan_files = compiled(
            select(*FILE_COLUMNS).where(files.c.id > bindparam("id")).order_by(files.c.id).limit(int_param("limit"))
        )
        self.list_files = cache(lambda *variant: compiled(_listing(*variant)))

    def _compile_idempotency(self, compiled: Any) -> None:
        table = idempotency_keys
        one = and_(table.c.project_id == bindparam("project_id"), table.c.key == bindparam("key"))
        place = tuple_(table.c.project_id, table.c.key)
        lapsed = (
            select(table.c.project_id, table.c.key)
            .where(table.c.bound_until_us <= int_param("proven_us"))
            .order_by(table.c.bound_until_us)
            .limit(int_param("limit"))
            .with_for_update(skip_locked=True)
        )
        self.get_idempotency_record = compiled(
            select(table.c.fingerprint, table.c.file_id).where(one, table.c.bound_until_us > int_param("proven_us"))
        )
        self.delete_expired_idempotency_record = compiled(
            delete(table).where(one, table.c.bound_until_us <= int_param("proven_us"))
        )
        self.save_idempotency_record = compiled(
            insert(table).values(
                **{name: bindparam(name) for name in ("project_id", "key", "fingerprint", "file_id")},
                bound_until_us=now_us() + int_param("lifetime_us"),
            )
        )
        self.delete_expired_idempotency_records = compiled(delete(table).where(place.in_(lapsed)))

    def _compile_positions(self, compiled: Any) -> None:
        """Where a cursor stands in the listing: a file, or what is left of one."""
        table = file_tombstones
        names = ("project_id", "file_id", "created_at", "seq", "kept_until_us")
        mine = files.c.project_id == bindparam("project_id")
        self.position = compiled(
            select(files.c.created_at, files.c.seq).where(
                files.c.id == bindparam("id"), mine, or_(files.c.expires_at.is_(None), keeps_position())
            )
        )
        self.tombstone_position = compiled(
            select(table.c.created_at, table.c.seq).where(
                table.c.project_id == bindparam("project_id"),
                table.c.file_id == bindparam("id"),
                table.c.kept_until_us > int_param("proven_us"),
            )
        )
        self.add_tombstone = compiled(
            insert(table).values(
                project_id=bindparam("project_id"),
                file_id=bindparam("id"),
                created_at=int_param("created_at"),
                seq=int_param("seq"),
                kept_until_us=int_param("proven_us") + CURSOR_SECONDS * 1_000_000,
            )
        )
        # An installation that was copied may have some already.
        known = exists().where(table.c.project_id == files.c.project_id, table.c.file_id == files.c.id)
        until = (files.c.expires_at + CURSOR_SECONDS) * 1_000_000
        self.add_tombstones = compiled(
            insert(table).from_select(
                names,
                select(files.c.project_id, files.c.id, files.c.created_at, files.c.seq, until).where(
                    files.c.blob_key.in_(text_array_param("keys")), keeps_position(), ~known
                ),
            )
        )
        lapsed = (
            select(table.c.project_id, table.c.file_id)
            .where(table.c.kept_until_us <= int_param("proven_us"))
            .order_by(table.c.kept_until_us)
            .limit(int_param("limit"))
            .with_for_update(skip_locked=True)
        )
        self.delete_expired_tombstones = compiled(
            delete(table).where(tuple_(table.c.project_id, table.c.file_id).in_(lapsed))
        )


def _listing(by_purpose: bool, after: bool, newest_first: bool) -> Select[Any]:
    """The listing. (`created_at`, `seq`) is a total order that an index of each form follows."""
    statement = select(*FILE_COLUMNS).where(files.c.project_id == bindparam("project_id"), is_visible())
    if by_purpose:
        statement = statement.where(files.c.purpose == bindparam("purpose"))
    if after:
        place = tuple_(files.c.created_at, files.c.seq)
        cursor = tuple_(int_param("created_at"), int_param("seq"))
        statement = statement.where(place < cursor if newest_first else place > cursor)
    direction = desc if newest_first else asc
    return statement.order_by(direction(files.c.created_at), direction(files.c.seq)).limit(int_param("limit"))
