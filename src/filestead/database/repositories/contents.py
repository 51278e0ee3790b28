"""All content that the rows need, blob by blob: of files, of their parts, of pending uploads, and inputs of batches."""

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, exists, func, literal, select, union_all

from filestead.database.engines.statements import Database, Statement, int_param
from filestead.database.tables import batches, blob_parts, files, upload_parts, uploads
from filestead.domain.blobs import ContentOwner, StoredContent

Condition = Callable[[Any], ColumnElement[bool]]
"""A condition on the column with the key of the blob."""


class SqlContentRepository:
    """Reads which blobs there should be."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Each of them is limited by itself, so that it ends early in the order of its index.
        some = [
            select(query.subquery()).order_by("key").limit(int_param("limit")).subquery().select()
            for query in _queries(lambda key: key > bindparam("after"))
        ]
        self._page = Statement(union_all(*some).order_by("key").limit(int_param("limit")), database.dialect)
        self._owners = Statement(union_all(*_queries(lambda key: key == bindparam("key"))), database.dialect)

    async def page(self, after: str, limit: int) -> list[StoredContent]:
        """Contents by key, from after the key `after`. Two uploads may share a blob: it is returned once."""
        rows = await self._database.read(
            lambda connection: self._page(connection, after=after, limit=limit).fetchall(), long=True
        )
        found: dict[str, StoredContent] = {}
        for content in _contents(rows):
            found.setdefault(content.key, content)
        return list(found.values())

    async def owners(self, key: str) -> list[StoredContent]:
        """The content of one blob, once for each owner."""
        rows = await self._database.read(lambda connection: self._owners(connection, key=key).fetchall(), long=True)
        return sorted(_contents(rows), key=lambda content: content.owner_id)


def _contents(rows: Iterable[tuple[Any, ...]]) -> list[StoredContent]:
    return [
        StoredContent(key, size, sha256, ContentOwner(kind), project_id, owner_id)
        for key, size, sha256, kind, project_id, owner_id in rows
    ]


def _queries(condition: Condition) -> list[Select[tuple[object, ...]]]:
    return [_of_files(condition), _of_parts(condition), _of_uploads(condition), _of_inputs(condition)]


def _of_files(condition: Condition) -> Select[tuple[object, ...]]:
    return select(
        files.c.blob_key.label("key"),
        files.c.bytes,
        files.c.sha256,
        literal(ContentOwner.FILE.value).label("kind"),
        files.c.project_id,
        files.c.id.label("owner"),
    ).where(files.c.parts.is_(None), condition(files.c.blob_key))


def _of_parts(condition: Condition) -> Select[tuple[object, ...]]:
    return (
        select(
            blob_parts.c.part_key.label("key"),
            blob_parts.c.bytes,
            blob_parts.c.sha256,
            literal(ContentOwner.FILE.value).label("kind"),
            files.c.project_id,
            files.c.id.label("owner"),
        )
        .join(files, files.c.blob_key == blob_parts.c.blob_key)
        .where(condition(blob_parts.c.part_key))
    )


def _of_uploads(condition: Condition) -> Select[tuple[object, ...]]:
    return (
        select(
            upload_parts.c.blob_key.label("key"),
            upload_parts.c.bytes,
            upload_parts.c.sha256,
            literal(ContentOwner.UPLOAD.value).label("kind"),
            uploads.c.project_id,
            uploads.c.id.label("owner"),
        )
        .join(uploads, uploads.c.id == upload_parts.c.upload_id)
        .where(uploads.c.status == "pending", condition(upload_parts.c.blob_key))
    )


def _of_inputs(condition: Condition) -> Select[tuple[object, ...]]:
    """Of batches that run while their files have been deleted."""
    key = func.coalesce(blob_parts.c.part_key, batches.c.input_blob_key)
    return (
        select(
            key.label("key"),
            func.coalesce(blob_parts.c.bytes, batches.c.input_bytes).label("bytes"),
            func.coalesce(blob_parts.c.sha256, batches.c.input_sha256).label("sha256"),
            literal(ContentOwner.BATCH.value).label("kind"),
            batches.c.project_id,
            batches.c.id.label("owner"),
        )
        .join(blob_parts, blob_parts.c.blob_key == batches.c.input_blob_key, isouter=True)
        .where(
            batches.c.input_blob_key.is_not(None),
            ~exists().where(files.c.blob_key == batches.c.input_blob_key),
            condition(key),
        )
    )
