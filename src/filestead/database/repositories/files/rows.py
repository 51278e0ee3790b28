"""Rows of files: which of them are visible, and how they are read, added and deleted."""

from collections import Counter
from collections.abc import Iterable
from functools import cache, partial
from typing import Any

from sqlalchemy import Dialect, and_, bindparam, delete, func, insert, or_, select

from filestead.database.engines.statements import (
    RowLock,
    Statement,
    StatementSet,
    int_param,
    now,
    rows_of,
    text_array_param,
)
from filestead.database.tables import files, projects, vector_store_files

FILE_COLUMNS = (
    *(files.c.id, files.c.filename, files.c.purpose, files.c.bytes, files.c.created_at, files.c.expires_at),
    *(files.c.status, files.c.status_details, files.c.sha256, files.c.blob_key),
    files.c.parts,
)
"""In the order of the fields of `File`."""

_TEXTS = ("id", "project_id", "filename", "purpose", "sha256", "status", "status_details", "blob_key")


def is_visible() -> Any:
    """The condition that a file has not expired."""
    return or_(files.c.expires_at.is_(None), files.c.expires_at > now())


def visible_in_project() -> Any:
    """The condition that a file is visible and belongs to the project. Every query by id includes the owner."""
    return and_(files.c.id == bindparam("id"), files.c.project_id == bindparam("project_id"), is_visible())


def sum_by_project(rows: Iterable[tuple[Any, ...]]) -> Counter[str]:
    """The sum of (project, bytes) for each project."""
    sums: Counter[str] = Counter()
    for project_id, size in rows:
        sums[project_id] += size
    return sums


def require_row(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """Return a row that must exist, by a foreign key or by the form of the statement."""
    if row is None:
        raise LookupError("a row that is referenced is missing")
    return row


class FileStatements(StatementSet):
    """Statements on rows of files."""

    def __init__(self, dialect: Dialect) -> None:
        compiled = partial(Statement, dialect=dialect)
        self.add = compiled(
            insert(files)
            .values(
                **{name: bindparam(name) for name in _TEXTS},
                bytes=int_param("bytes"),
                created_at=now(),
                expires_at=now() + int_param("lifetime"),  # null plus anything is null
            )
            .returning(*FILE_COLUMNS)
        )
        self.add_many = cache(
            lambda count: compiled(
                insert(files)
                .values(
                    rows_of(
                        _TEXTS,
                        count,
                        bytes=lambda number: int_param(f"bytes_{number}"),
                        created_at=lambda _: now(),
                        expires_at=lambda number: now() + int_param(f"lifetime_{number}"),
                    )
                )
                .returning(*FILE_COLUMNS)
            )
        )
        self.get = compiled(select(*FILE_COLUMNS).where(visible_in_project()))
        # Their attachments to vector stores are deleted with them. These are locked by number, as everywhere, so that
        # no deadlock arises; the files come first, so that none is attached meanwhile.
        doomed = select(files.c.id).where(visible_in_project()).with_for_update().cte("doomed")
        attached = vector_store_files.c
        by_number = select(attached.seq).order_by(attached.seq)
        self.lock_attachments = RowLock(by_number.where(attached.file_id.in_(select(doomed.c.id))), dialect)
        expired = select(files.c.id).where(files.c.blob_key.in_(text_array_param("keys")))
        self.lock_attachments_by_blobs = RowLock(by_number.where(attached.file_id.in_(expired)), dialect)
        self.delete = compiled(delete(files).where(visible_in_project()).returning(*FILE_COLUMNS, files.c.seq))
        # Waits for rows that another sweep is deleting: the bytes it releases count, too.
        self.expired = compiled(
            select(files.c.project_id, files.c.bytes, files.c.blob_key, files.c.id)
            .where(files.c.expires_at <= int_param("proven_us") // 1_000_000)
            .order_by(files.c.expires_at)
            .limit(int_param("limit"))
            .with_for_update()
        )
        self.delete_by_blobs = compiled(delete(files).where(files.c.blob_key.in_(text_array_param("keys"))))
        self.usage = compiled(
            select(
                projects.c.bytes_used,
                projects.c.bytes_reserved,
                select(func.count()).where(files.c.project_id == projects.c.id, is_visible()).scalar_subquery(),
            ).where(projects.c.id == bindparam("project_id"))
        )
        self.scan = compiled(
            select(*FILE_COLUMNS).where(files.c.id > bindparam("id")).order_by(files.c.id).limit(int_param("limit"))
        )
