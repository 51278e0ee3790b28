"""Restores a backup into an empty place; every content is compared with its digest on the way.

An embedded installation gets its database last, by a rename: before that no server starts on it. A shared one is
filled like any other copy, see `copy.py`.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from filestead.blobs.disk import sync_directory
from filestead.blobs.local.store import LocalBlobs
from filestead.database import schema
from filestead.database.engines import sqlite
from filestead.database.repositories.installation import installation_id
from filestead.domain.errors import CannotStart, DomainError
from filestead.domain.files.sweep import Sweeper
from filestead.installation.backends import Backends, build_backends
from filestead.installation.backup_format import Manifest, copy_database, read_manifest, require_empty
from filestead.installation.contents import Transferred, report_sum, transfer
from filestead.installation.copy import Progress, copy
from filestead.installation.embedded import ALLOWED_BEFORE_CREATION, DATABASE, EmbeddedInstallation
from filestead.installation.shared import COMMAND_TIMEOUT_SECONDS, SharedInstallation
from filestead.settings import Settings

RESTORING = "restoring.db"


class RestoreFailed(DomainError):
    """The backup is damaged; nothing can be served from the target. The message includes the remedy."""


async def check(backup: Path, settings: Settings, *, progress: Progress = lambda done, total: None) -> Manifest:
    """Read the whole backup and compare it with its digests. Raises `CannotStart` and `RestoreFailed`."""
    manifest = await asyncio.to_thread(read_manifest, backup)
    with tempfile.TemporaryDirectory(prefix="filestead-") as scratch:
        async with _opened(backup, manifest, Path(scratch, DATABASE), settings) as (source, blobs):
            done = await transfer(
                source.contents, blobs, None, rows=source.blobs, report=report_sum(progress, manifest.bytes)
            )
            _require_intact(backup, manifest, done)
    return manifest


async def restore(
    backup: Path,
    target: EmbeddedInstallation | SharedInstallation,
    settings: Settings,
    *,
    progress: Progress = lambda done, total: None,
) -> Manifest:
    """Fill an empty installation from a backup. Raises `CannotStart` and `RestoreFailed`."""
    manifest = await asyncio.to_thread(read_manifest, backup)
    if isinstance(target, EmbeddedInstallation):
        await _restore_embedded(backup, manifest, target, settings, progress)
    else:
        await _restore_shared(backup, manifest, target, settings, progress)
    return manifest


async def _restore_embedded(
    backup: Path, manifest: Manifest, target: EmbeddedInstallation, settings: Settings, progress: Progress
) -> None:
    directory = Path(target.location)
    require_empty(directory, allowed=ALLOWED_BEFORE_CREATION.__contains__)
    with target.reserve():
        async with _opened(backup, manifest, directory / RESTORING, settings) as (source, blobs):
            with sqlite.maintenance_connection(directory / RESTORING) as connection:
                installation = installation_id(connection)
            if installation is None:
                raise CannotStart(f"{backup} is damaged: its database holds no installation. Use another backup")
            with contextlib.closing(LocalBlobs(directory, reserve_bytes=int(settings.reserve_bytes))) as store:
                store.open(installation, fresh=True)
                report = report_sum(progress, manifest.bytes)
                done = await transfer(source.contents, blobs, store, rows=source.blobs, report=report)
                _require_intact(backup, manifest, done)
            # No upload and no job can be under way, and what was being deleted has no content.
            await source.files.release_leases()
            await source.jobs.release_leases()
            await Sweeper(source.files, source.blobs).sweep()
        await asyncio.to_thread(_publish, directory)


def _publish(directory: Path) -> None:
    sqlite.make_single_file(directory / RESTORING)
    (directory / RESTORING).rename(directory / DATABASE)
    sync_directory(directory)


async def _restore_shared(
    backup: Path, manifest: Manifest, target: SharedInstallation, settings: Settings, progress: Progress
) -> None:
    if manifest.damaged:
        raise RestoreFailed(
            f"the backup lacks the content of {manifest.damaged[0]}, which was damaged when it was made: restore it to "
            "a data directory, delete the file there, and `filestead copy --to shared`"
        )
    with tempfile.TemporaryDirectory(prefix="filestead-") as scratch, target.prepare():
        async with _opened(backup, manifest, Path(scratch, DATABASE), settings) as (source, _):
            with contextlib.closing(target.open(operation_timeout=COMMAND_TIMEOUT_SECONDS)) as filled:
                await copy(source, filled, progress=progress)


@asynccontextmanager
async def _opened(
    backup: Path, manifest: Manifest, scratch: Path, settings: Settings
) -> AsyncIterator[tuple[Backends, LocalBlobs]]:
    """The rows of a backup, in a copy of its database that is migrated, and its blobs."""
    await asyncio.to_thread(copy_database, backup, manifest, scratch)
    with sqlite.maintenance_connection(scratch) as connection:
        schema.upgrade(connection)
    blobs = LocalBlobs(backup, reserve_bytes=0)
    backends = build_backends(settings, sqlite.SqliteDatabase(scratch), blobs)
    try:
        yield backends, blobs
    finally:
        backends.close()  # closes the blobs, too


def _require_intact(backup: Path, manifest: Manifest, done: Transferred) -> None:
    known = set(manifest.damaged)
    lost = sorted({content.owner_id for content in done.not_intact} - known)
    if lost:
        others = f" and of {len(lost) - 1} others" if len(lost) > 1 else ""
        raise RestoreFailed(
            f"{backup} is damaged: the content of {lost[0]}{others} is not as it was written. Use another backup"
        )
