"""Makes a backup while servers work: the rows as of one moment, then the contents that they need.

A content may be deleted between the two. Then the rows are read again, and what was stored stays: blobs never change.
Each round is shorter than the one before. What is still deleted under way after `ROUNDS` of them is deleted from the
rows of the backup, too, as it is from the installation.
"""

import asyncio
import contextlib
import os
import time
from pathlib import Path

from filestead import __version__
from filestead.blobs.disk import sync_directory
from filestead.blobs.keys import KEY
from filestead.database import schema
from filestead.database.engines import sqlite
from filestead.domain.blobs import BlobState, ContentOwner, StoredContent
from filestead.domain.errors import CannotStart, DomainError, FileNotFound
from filestead.installation.backends import Backends
from filestead.installation.backup_format import (
    Manifest,
    digest_of_file,
    read_manifest,
    require_empty,
    write_manifest,
)
from filestead.installation.contents import Transferred, report_sum, transfer
from filestead.installation.copy import Progress, total_bytes
from filestead.installation.embedded import DATABASE, EmbeddedInstallation
from filestead.installation.shared import SharedInstallation
from filestead.settings import Settings

ROUNDS = 3
LEFT_OUT = ("lock", "ballast", "first-key")
"""Files that opening a data directory creates, and a backup does not need."""


class BackupFailed(DomainError):
    """There is no backup; the message includes the remedy."""


async def back_up(
    source: EmbeddedInstallation | SharedInstallation,
    settings: Settings,
    backup: Path,
    *,
    base: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Manifest:
    """Write a backup into a new or empty directory. Raises `CannotStart` and `BackupFailed`.

    Contents that the earlier backup `base` has are linked to it, not read.
    """
    started_at = int(time.time())
    require_empty(backup)
    if base is not None:
        read_manifest(base)
    place = EmbeddedInstallation.at(backup, settings)
    with contextlib.closing(source.open_for_command()) as live:
        _create(backup)
        for number in range(1, ROUNDS + 1):
            await source.snapshot_rows(backup)
            with contextlib.closing(place.open()) as copy:
                done = await _store_contents(
                    live, copy, backup, base, progress, has_inline_rows=isinstance(source, EmbeddedInstallation)
                )
                gone, damaged = await _sort(live, done.not_intact)
                if gone and number < ROUNDS:
                    continue
                await _delete_gone(copy, gone)
                for content in damaged:
                    await copy.blobs.delete(content.key)  # inline bytes came with the rows
                await _prune(copy)
                files = await _count_files(copy)
                break
    await asyncio.to_thread(_finish, backup)
    manifest = Manifest(
        filestead=__version__,
        schema=schema.HEAD,
        started_at=started_at,
        finished_at=int(time.time()),
        files=files,
        blobs=done.blobs - len(done.not_intact),
        bytes=done.bytes - sum(content.bytes for content in done.not_intact),
        database_sha256=await asyncio.to_thread(digest_of_file, backup / DATABASE),
        damaged=sorted({content.owner_id for content in damaged}),
    )
    await asyncio.to_thread(write_manifest, backup, manifest)
    return manifest


async def _store_contents(
    live: Backends, copy: Backends, backup: Path, base: Path | None, progress: Progress, *, has_inline_rows: bool
) -> Transferred:
    report = report_sum(progress, await total_bytes(copy))

    def is_stored(content: StoredContent) -> bool:
        return _is_stored(content, backup, base)

    rows = copy.blobs if has_inline_rows else None
    return await transfer(copy.contents, live.blobs, copy.blobs, rows=rows, is_stored=is_stored, report=report)


def _create(backup: Path) -> None:
    os.umask(0o077)
    try:
        backup.mkdir(mode=0o700, parents=True, exist_ok=True)
        backup.chmod(0o700)
        sync_directory(backup.parent)
    except OSError as error:
        raise CannotStart(f"cannot write to {backup} ({error.strerror}): name another directory") from None


def _is_stored(content: StoredContent, backup: Path, base: Path | None) -> bool:
    """Whether an earlier round has stored it; link it to the earlier backup if that has it."""
    if not KEY.fullmatch(content.key):  # a tampered row must not become a path
        return False
    name = Path("blobs", content.key[:2], content.key)
    with contextlib.suppress(FileNotFoundError):
        return (backup / name).lstat().st_size == content.bytes
    if base is None:
        return False
    try:
        if (base / name).lstat().st_size != content.bytes:
            return False
        os.link(base / name, backup / name, follow_symlinks=False)
    except OSError:  # not there, or on another file system: it is read
        return False
    return True


async def _sort(live: Backends, contents: list[StoredContent]) -> tuple[list[StoredContent], list[StoredContent]]:
    """Contents that were deleted meanwhile, and those that are damaged."""
    states = await live.files.blob_states([content.key for content in contents])
    gone: list[StoredContent] = []
    damaged: list[StoredContent] = []
    for content in contents:
        is_needed = states.get(content.key) is BlobState.LIVE or await live.blobs.exists(content.key)
        (damaged if is_needed else gone).append(content)
    return gone, damaged


async def _delete_gone(copy: Backends, gone: list[StoredContent]) -> None:
    for content in gone:
        if content.kind is ContentOwner.FILE:
            with contextlib.suppress(FileNotFound):  # it has expired, or this is another part of the same file
                await copy.files.delete(content.project_id, content.owner_id)
        elif content.kind is ContentOwner.UPLOAD:
            await copy.uploads.cancel(content.project_id, content.owner_id)
        else:
            raise BackupFailed(f"{content.owner_id} ended and released its input during the backup: start it again")


async def _prune(copy: Backends) -> None:
    """Delete blobs of earlier rounds that the rows do not need any more."""
    needed: set[str] = set()
    after = ""
    while contents := await copy.contents.page(after, 1_000):
        needed |= {content.key for content in contents}
        after = contents[-1].key
    for key in [key async for key in copy.blobs.stored_keys() if key not in needed]:
        await copy.blobs.delete(key)


async def _count_files(copy: Backends) -> int:
    count, after = 0, ""
    while page := await copy.files.scan_files(after, 1_000):
        count += len(page)
        after = page[-1].id
    return count


def _finish(backup: Path) -> None:
    sqlite.make_single_file(backup / DATABASE)
    for name in LEFT_OUT:
        (backup / name).unlink(missing_ok=True)
    for folder in (backup / "blobs").iterdir():
        sync_directory(folder)  # links are not durable before
    sync_directory(backup)
