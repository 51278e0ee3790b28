"""Copying an installation to another: from a data directory to PostgreSQL and S3, or back.

For each page of files, the blobs are recorded as pending; then the contents are copied and compared with the digests
of their uploads; then the files are published in one transaction. So a visible file is complete, and an interrupted
copy can continue. Uploads in parts that are in progress are not copied.
"""

import asyncio
import contextlib
import hashlib
import importlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from filestead.database.repositories.table_copier import (
    AUDIT_TABLES,
    RESOURCE_TABLES,
    SEQUENCES,
    TABLES_AFTER_FILES,
    TABLES_BEFORE_FILES,
    VECTOR_TABLES,
    Row,
)
from filestead.database.repositories.vector_stores.parts import split_part_id
from filestead.domain.audit.events import Event, EventType
from filestead.domain.blobs import BlobState
from filestead.domain.clock import LONGEST_LEASE_SECONDS
from filestead.domain.errors import BlobNotFound, CannotStart, DomainError, FileNotFound
from filestead.domain.files.model import ContentPart
from filestead.domain.files.sweep import Sweeper
from filestead.installation.backends import Backends

log = logging.getLogger("filestead")

PAGE = 50
"""Files per page: an interrupted copy repeats at most so many."""

ROWS = 200
"""Rows of vector stores and batches that are copied at once."""

LARGE_ROWS = 8
"""The same, of a table whose rows have up to 256 KiB or one long line."""

CONCURRENT_BLOBS = 4
LEASE_SECONDS = LONGEST_LEASE_SECONDS
"""A page may take hours. Blobs of a copy that is not continued are swept after a day."""

Progress = Callable[[int, int | None], None]


class CopyFailed(DomainError):
    """The copy cannot continue; every file in the target is complete."""


@dataclass(slots=True)
class Copied:
    """Progress of a copy."""

    files: int = 0
    bytes: int = 0
    skipped: int = 0


async def copy(
    source: Backends, target: Backends, *, contents: bool = True, progress: Progress = lambda done, total: None
) -> Copied:
    """Make the target equal to the source. Neither may be served. Raises `CopyFailed`, `CannotStart`.

    Without `contents` only rows are copied: the caller stores the blobs that they name.
    """
    gone = await _deleted_since(source, target)
    for table in TABLES_BEFORE_FILES:
        await _copy_table(source, target, table)
    copied = Copied()
    total = await total_bytes(source)
    after: Row | None = None
    while page := await source.tables.files(after, PAGE):
        await _copy_page(source, target, page, copied, lambda: progress(copied.bytes, total), contents=contents)
        after = page[-1]
    await _copy_resources(source, target, contents=contents)
    await target.tables.clear("audit_events")  # of an earlier copy: their numbers may be given again
    await target.tables.finalize({table: await source.tables.last_number(table) for table in SEQUENCES})
    for file in gone:
        with contextlib.suppress(FileNotFound):  # it has expired, too
            await target.files.delete(file["project_id"], file["id"])
    for table in TABLES_AFTER_FILES:  # they include the tombstones of deleted files
        await _copy_table(source, target, table)
    await _copy_audit_log(source, target)
    await Sweeper(target.files, target.blobs).sweep()
    return copied


async def _deleted_since(source: Backends, target: Backends) -> list[Row]:
    """Files of an earlier copy that the source has deleted since. `CannotStart` if the target has files of its own."""
    for table in TABLES_BEFORE_FILES:  # from which no row is ever deleted
        async for page in _pages(target, table):
            if len(await source.tables.matching_rows(table, page)) < len(page):
                raise CannotStart(
                    "the target already has an installation of its own: copy to an empty one, or to one that holds "
                    "nothing but an earlier copy of the same source"
                )
    gone: list[Row] = []
    own = await target.tables.last_number() > await source.tables.last_number()
    async for page in _pages(target, "files"):
        there = {row["seq"]: row["id"] for row in await source.tables.matching_rows("files", page)}
        gone += [row for row in page if row["seq"] not in there]
        own = own or any(there.get(row["seq"], row["id"]) != row["id"] for row in page)
    if own:
        raise CannotStart(
            "the target was served after it was copied, and has taken files of its own, which copying again would "
            "delete: copy to an empty one"
        )
    return gone


async def _pages(backends: Backends, table: str) -> AsyncIterator[list[Row]]:
    after: Row | None = None
    while page := await backends.tables.rows(table, after, PAGE):
        yield page
        after = page[-1]


async def _copy_table(source: Backends, target: Backends, table: str) -> None:
    async for page in _pages(source, table):
        await target.tables.write(table, page)


async def _copy_audit_log(source: Backends, target: Backends) -> None:
    """Replace the audit log of the target. There, files that had expired and so were left out end with the copy."""
    await target.tables.clear("audit_events")  # copying has changed rows, which was no request of anyone
    for table in AUDIT_TABLES:
        await _copy_table(source, target, table)
    after: Row | None = None
    while page := await source.tables.expired_files(after, ROWS):
        there = {row["seq"] for row in await target.tables.matching_rows("files", page)}  # of an earlier copy
        left_out = [row for row in page if row["seq"] not in there]
        expired = [Event(EventType.FILE_EXPIRED, row["id"], row["project_id"]) for row in left_out]
        await target.audit.record([(None, event) for event in expired])
        after = page[-1]


async def _copy_resources(source: Backends, target: Backends, *, contents: bool) -> None:
    """Copy rows of vector stores, batches and jobs anew: they may have changed in any way since the last copy.

    Claims of jobs are not copied: no worker runs, so that they are due.
    """
    await target.vector_copier.clear()
    for table in ("detached_files", *VECTOR_TABLES, *reversed(RESOURCE_TABLES), "detached_files"):
        await target.tables.clear(table)
    for table in RESOURCE_TABLES:
        after: Row | None = None
        while page := await _rows(source, table, after):
            after = page[-1]
            if table == "jobs":
                page = [row | {"token": None, "due_us": row["created_us"]} if row["token"] else row for row in page]
            elif table == "vector_store_chunks":
                await _record_detached(source, target, page)
            elif table == "batches":
                await _copy_inputs(source, target, page, contents=contents)
            await target.tables.write(table, page)
    await _copy_vectors(source, target)


async def _copy_vectors(source: Backends, target: Backends) -> None:
    """Copy vectors as far as the target can keep them; otherwise jobs make them anew, when it can."""
    async with contextlib.aclosing(source.vector_copier.pages()) as pages:  # type: ignore[type-var]
        first = await anext(pages, None)
        if first is None:
            return
        if not await target.vector_copier.prepare():
            log.warning("vectors are not copied: the extension pgvector cannot be created in the target")
            await target.vector_copier.forget()
            return
        encode = importlib.import_module("filestead.search.dense").encode  # loads numpy
        await target.vector_copier.write(first, encode)
        async for page in pages:
            await target.vector_copier.write(page, encode)


async def _record_detached(source: Backends, target: Backends, chunks: list[Row]) -> None:
    """Let a sweep of the target delete chunks whose files are not attached there: the source has not swept them yet."""
    wanted = sorted({split_part_id(row["id"])[0] for row in chunks})
    rows = await target.tables.matching_rows("vector_store_files", [{"seq": number} for number in wanted])
    attached = {row["seq"] for row in rows}
    detached: list[Row] = [
        {"attachment": number, "project_id": None, "usage_bytes": 0} for number in wanted if number not in attached
    ]
    if detached:
        recorded = await source.tables.matching_rows("detached_files", detached)  # with what is in the quota until then
        known = {row["attachment"]: row for row in recorded}
        await target.tables.write("detached_files", [known.get(row["attachment"], row) for row in detached])


async def _copy_inputs(source: Backends, target: Backends, batches: list[Row], *, contents: bool) -> None:
    """Copy the inputs of batches whose files were deleted meanwhile: no file has them any more."""
    for batch in batches:
        key = batch["input_blob_key"]
        if key is None or (await target.files.blob_states([key])).get(key) is BlobState.LIVE:
            continue
        project_id = batch["project_id"]
        parts = await source.files.content_parts(key)
        content = parts or [ContentPart(key, batch["input_bytes"], batch["input_sha256"])]
        keys = sorted({key} | {part.blob_key for part in content})
        rows = [{"blob_key": each, "project_id": project_id} for each in keys]
        await target.tables.register_pending_blobs(rows, lease_seconds=LEASE_SECONDS)
        await target.tables.write_parts(_rows_of_parts(key, parts))
        for part in content if contents else ():
            if await target.blobs.size(part.blob_key) != part.bytes:
                await target.blobs.delete(part.blob_key)
                blob = _Blob(batch["input_file_id"], project_id, part)
                await _copy_blob(source, target, blob, Copied(), lambda: None)
        for each in keys:
            await target.files.abandon(each)  # as in the source: marked for deletion, and left as long as it is needed


async def _rows(source: Backends, table: str, after: Row | None) -> list[Row]:
    if table == "vector_store_files":
        return await source.tables.attached_files(after, ROWS)
    return await source.tables.rows(table, after, LARGE_ROWS if table == "batch_results" else ROWS)


async def total_bytes(source: Backends) -> int:
    """What all projects use: the total of the progress of whoever goes through the contents."""
    total = 0
    async for page in _pages(source, "projects"):
        total += sum(row["bytes_used"] for row in page)
    return total


@dataclass(frozen=True, slots=True)
class _Blob:
    """A blob to copy: of a file, or of one of its parts."""

    file_id: str
    project_id: str
    content: ContentPart


async def _copy_page(
    source: Backends,
    target: Backends,
    page: list[Row],
    copied: Copied,
    report: Callable[[], None],
    *,
    contents: bool,
) -> None:
    parts = {row["blob_key"]: await _content_of(source, row) for row in page}
    found = {
        part.blob_key: _Blob(row["id"], row["project_id"], part) for row in page for part in parts[row["blob_key"]]
    }
    states = await target.files.blob_states(list(found))
    slots = asyncio.Semaphore(CONCURRENT_BLOBS)

    async def is_there(blob: _Blob) -> bool:
        key = blob.content.blob_key
        if not contents:
            return True
        async with slots:
            return states.get(key) is BlobState.LIVE and await target.blobs.size(key) == blob.content.bytes

    async def transfer(blob: _Blob) -> None:
        async with slots:
            if blob.content.blob_key in states:  # an interrupted copy may have left part of it
                await target.blobs.delete(blob.content.blob_key)
            await _copy_blob(source, target, blob, copied, report)

    blobs = list(found.values())
    there = await asyncio.gather(*map(is_there, blobs))
    missing = [blob for blob, known in zip(blobs, there, strict=True) if not known]
    if missing:
        keys = [{"blob_key": blob.content.blob_key, "project_id": blob.project_id} for blob in missing]
        await target.tables.register_pending_blobs(keys, lease_seconds=LEASE_SECONDS)
    try:
        async with asyncio.TaskGroup() as tasks:
            for blob in missing:
                tasks.create_task(transfer(blob))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    in_parts = [row["blob_key"] for row in page if row["parts"] is not None]
    await target.tables.publish(page, [row for key in in_parts for row in _rows_of_parts(key, parts[key])])
    copied.files += len(page)
    copied.skipped += len({row["id"] for row in page} - {blob.file_id for blob in missing})
    copied.bytes += sum(blob.content.bytes for blob, known in zip(blobs, there, strict=True) if known)
    report()


def _rows_of_parts(key: str, parts: Sequence[ContentPart]) -> list[Row]:
    return [
        {"blob_key": key, "number": number, "part_key": part.blob_key, "bytes": part.bytes, "sha256": part.sha256}
        for number, part in enumerate(parts)
    ]


async def _content_of(source: Backends, row: Row) -> list[ContentPart]:
    """The blobs that hold the content of a file, in order."""
    if row["parts"] is None:
        return [ContentPart(row["blob_key"], row["bytes"], row["sha256"])]
    return await source.files.content_parts(row["blob_key"])


async def _copy_blob(
    source: Backends, target: Backends, blob: _Blob, copied: Copied, report: Callable[[], None]
) -> None:
    digest = hashlib.sha256()
    content = blob.content

    async def chunks() -> AsyncIterator[bytes]:
        async for block in source.blobs.read(content.blob_key):
            digest.update(block)
            copied.bytes += len(block)
            report()
            yield block
        if digest.hexdigest() != content.sha256:
            raise _damaged(blob.file_id)

    try:
        stored = await target.blobs.put(content.blob_key, chunks())
    except CopyFailed:
        raise
    except BlobNotFound:
        raise _damaged(blob.file_id) from None
    except DomainError as error:
        raise CopyFailed(f"{blob.file_id} could not be copied: {error}") from error
    if stored != content.bytes:
        raise CopyFailed(f"{blob.file_id} has {stored} bytes in the target instead of {content.bytes}")


def _damaged(file_id: str) -> CopyFailed:
    return CopyFailed(
        f"the bytes of {file_id} in the source are not those that were uploaded: restore them from the backup or "
        "delete the file, then copy again (`filestead verify --deep` names all such files)"
    )
