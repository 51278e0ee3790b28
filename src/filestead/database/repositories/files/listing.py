"""The listing of a project's files, and the positions in it that deleted and expired files leave as tombstones."""

from functools import cache, partial
from typing import Any

from sqlalchemy import Dialect, Select, asc, bindparam, delete, desc, exists, insert, or_, select, tuple_

from filestead.database.engines.statements import Connection, Statement, int_param, text_array_param
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.files.rows import FILE_COLUMNS, is_visible
from filestead.database.tables import file_tombstones, files
from filestead.domain.errors import CursorNotFound
from filestead.domain.files.interfaces import CURSOR_SECONDS
from filestead.domain.files.model import File, Page


class FileListing:
    """Pages of files in the order (`created_at`, `seq`), and the cursors between them."""

    def __init__(self, dialect: Dialect, clock: SqlClock) -> None:
        compiled = partial(Statement, dialect=dialect)
        self._clock = clock
        table = file_tombstones
        columns = ("project_id", "file_id", "created_at", "seq", "kept_until_us")
        # An expired file keeps its position for as long as a deleted one.
        keeps_position = files.c.expires_at > int_param("proven_us") // 1_000_000 - CURSOR_SECONDS
        self.page_statement = cache(lambda *variant: compiled(_page_query(*variant)))
        self.position = compiled(
            select(files.c.created_at, files.c.seq).where(
                files.c.id == bindparam("id"),
                files.c.project_id == bindparam("project_id"),
                or_(files.c.expires_at.is_(None), keeps_position),
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
        # A copied installation may have some of them already.
        exists_already = exists().where(table.c.project_id == files.c.project_id, table.c.file_id == files.c.id)
        until = (files.c.expires_at + CURSOR_SECONDS) * 1_000_000
        self.add_tombstones = compiled(
            insert(table).from_select(
                columns,
                select(files.c.project_id, files.c.id, files.c.created_at, files.c.seq, until).where(
                    files.c.blob_key.in_(text_array_param("keys")), keeps_position, ~exists_already
                ),
            )
        )
        self.late_tombstone = compiled(
            select(table.c.file_id).where(
                table.c.project_id == bindparam("project_id"),
                table.c.file_id == bindparam("id"),
                table.c.kept_until_us > int_param("after_us"),
            )
        )
        expired = (
            select(table.c.project_id, table.c.file_id)
            .where(table.c.kept_until_us <= int_param("proven_us"))
            .order_by(table.c.kept_until_us)
            .limit(int_param("limit"))
            .with_for_update(skip_locked=True)
        )
        self.delete_expired_tombstones = compiled(
            delete(table).where(tuple_(table.c.project_id, table.c.file_id).in_(expired))
        )

    def page(
        self,
        connection: Connection,
        project_id: str,
        limit: int,
        *,
        purpose: str | None,
        after: str | None,
        newest: bool,
    ) -> Page:
        """Visible files in order, starting after the file `after`."""
        statement = self.page_statement(purpose is not None, after is not None, newest)
        values: dict[str, object] = {"project_id": project_id, "limit": limit + 1}
        if purpose is not None:
            values["purpose"] = purpose
        if after is not None:
            values["created_at"], values["seq"] = self._position_of(connection, project_id, after)
        rows = statement(connection, **values).fetchall()
        return Page(list(map(File._make, rows[:limit])), has_more=len(rows) > limit)

    def was_deleted(self, connection: Connection, project_id: str, file_id: str, within_seconds: int) -> bool:
        """Whether the tombstone of a file is at most so old, by the proven time."""
        after = self._clock.proven_us(connection) + (CURSOR_SECONDS - within_seconds) * 1_000_000
        return bool(self.late_tombstone(connection, project_id=project_id, id=file_id, after_us=after).fetchall())

    def _position_of(self, connection: Connection, project_id: str, file_id: str) -> tuple[int, int]:
        """The position of a file in the listing, present or former.

        Tombstones are read last: a file that is deleted between the two statements has one by then.
        """
        proven = self._clock.proven_us(connection)
        for statement in (self.position, self.tombstone_position):
            row = statement(connection, project_id=project_id, id=file_id, proven_us=proven).fetchone()
            if row is not None:
                created_at, seq = row
                return created_at, seq
        raise CursorNotFound(file_id)


def _page_query(by_purpose: bool, after: bool, newest_first: bool) -> Select[Any]:
    """(`created_at`, `seq`) is a total order, and each variant has an index in that order."""
    statement = select(*FILE_COLUMNS).where(files.c.project_id == bindparam("project_id"), is_visible())
    if by_purpose:
        statement = statement.where(files.c.purpose == bindparam("purpose"))
    if after:
        position = tuple_(files.c.created_at, files.c.seq)
        cursor = tuple_(int_param("created_at"), int_param("seq"))
        statement = statement.where(position < cursor if newest_first else position > cursor)
    direction = desc if newest_first else asc
    return statement.order_by(direction(files.c.created_at), direction(files.c.seq)).limit(int_param("limit"))
