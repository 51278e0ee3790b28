"""Copying an installation, rows, keys and bytes, to another: from a data directory to PostgreSQL and S3, or back.

Of a page of files the ledger hears first; then come the bytes, compared with the digest of their upload on the way;
then the files, in one transaction. So what is visible is whole, and a copy that was cut off goes on where it was.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from filestead.database.repositories.table_copier import TABLES_AFTER_FILES, TABLES_BEFORE_FILES, Row
from filestead.domain.blobs import BlobState
from filestead.domain.clock import LONGEST_LEASE_SECONDS
from filestead.domain.errors import BlobNotFound, CannotStart, DomainError, FileNotFound
from filestead.domain.files.sweep import Sweeper
from filestead.installation.backends import Backends

PAGE = 50
"""Files, and so how many a copy that was cut off brings again at most."""

AT_ONCE = 4
LEASE_SECONDS = LONGEST_LEASE_SECONDS
"""A page may take hours; what a copy that nobody resumes has left goes after a day."""

Progress = Callable[[int, int | None], None]


class CopyFailed(DomainError):
    """The copy cannot go on; the target holds no more than whole files."""


@dataclass(slots=True)
class Copied:
    """How far a copy is."""

    files: int = 0
    bytes: int = 0
    skipped: int = 0


async def copy(source: Backends, target: Backends, *, progress: Progress = lambda done, total: None) -> Copied:
    """Make the target the same as the source; nobody may be serving either. Raises `CopyFailed`, `CannotStart`."""
    gone = await _no_longer_there(source, target)
    for table in TABLES_BEFORE_FILES:
        await _copy_table(source, target, table)
    copied = Copied()
    total = await _total(source)
    after: Row | None = None
    while page := await source.tables.files(after, PAGE):
        await _copy_page(source, target, page, copied, lambda: progress(copied.bytes, total))
        after = page[-1]
    await target.tables.finalize(await source.tables.last_seq())
    for file in gone:
        with contextlib.suppress(FileNotFound):  # it has expired, too
            await target.files.delete(file["project_id"], file["id"])
    for table in TABLES_AFTER_FILES:  # which include what the source remembers of the files that are gone
        await _copy_table(source, target, table)
    await Sweeper(target.files, target.blobs).sweep()
    return copied


async def _no_longer_there(source: Backends, target: Backends) -> list[Row]:
    """Files that an earlier copy brought over and that the source has lost since. `CannotStart` for any other's."""
    for table in TABLES_BEFORE_FILES:  # of which nothing is ever removed
        async for page in _pages(target, table):
            if len(await source.tables.matching_rows(table, page)) < len(page):
                raise CannotStart(
                    "the target already has an installation of its own: copy to an empty one, or to one that holds "
                    "nothing but an earlier copy of the same source"
                )
    gone: list[Row] = []
    own = await target.tables.last_seq() > await source.tables.last_seq()
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


async def _total(source: Backends) -> int:
    total = 0
    async for page in _pages(source, "projects"):
        total += sum(row["bytes_used"] for row in page)
    return total


async def _copy_page(
    source: Backends, target: Backends, page: list[Row], copied: Copied, report: Callable[[], None]
) -> None:
    states = await target.files.blob_states([row["blob_key"] for row in page])
    lane = asyncio.Semaphore(AT_ONCE)

    async def is_there(row: Row) -> bool:
        async with lane:
            return (
                states.get(row["blob_key"]) is BlobState.LIVE
                and await target.blobs.size(row["blob_key"]) == row["bytes"]
            )

    async def bring(row: Row) -> None:
        async with lane:
            if row["blob_key"] in states:  # a copy that was cut off may have left anything
                await target.blobs.delete(row["blob_key"])
            await _copy_blob(source, target, row, copied, report)

    there = await asyncio.gather(*map(is_there, page))
    missing = [row for row, known in zip(page, there, strict=True) if not known]
    if missing:
        await target.tables.register_pending_blobs(missing, lease_seconds=LEASE_SECONDS)
    try:
        async with asyncio.TaskGroup() as tasks:
            for row in missing:
                tasks.create_task(bring(row))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    await target.tables.publish(page)
    copied.files += len(page)
    copied.skipped += len(page) - len(missing)
    copied.bytes += sum(row["bytes"] for row, known in zip(page, there, strict=True) if known)
    report()


async def _copy_blob(source: Backends, target: Backends, row: Row, copied: Copied, report: Callable[[], None]) -> None:
    digest = hashlib.sha256()

    async def chunks() -> AsyncIterator[bytes]:
        async for block in source.blobs.read(row["blob_key"]):
            digest.update(block)
            copied.bytes += len(block)
            report()
            yield block
        if digest.hexdigest() != row["sha256"]:
            raise _damaged(row)

    try:
        stored = await target.blobs.put(row["blob_key"], chunks())
    except CopyFailed:
        raise
    except BlobNotFound:
        raise _damaged(row) from None
    except DomainError as error:
        raise CopyFailed(f"{row['id']} could not be copied: {error}") from error
    if stored != row["bytes"]:
        raise CopyFailed(f"{row['id']} has {stored} bytes in the target instead of {row['bytes']}")


def _damaged(row: Row) -> CopyFailed:
    return CopyFailed(
        f"the bytes of {row['id']} in the source are not those that were uploaded: restore them from the backup or "
        "delete the file, then copy again (`filestead verify --deep` names all such files)"
    )
