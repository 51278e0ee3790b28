"""`filestead backup` and `filestead restore`."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from filestead import installation, settings
from filestead.cli.terminal.progress import progress_bar
from filestead.installation import EmbeddedInstallation, SharedInstallation
from filestead.installation.backup import back_up
from filestead.installation.backup_format import Manifest
from filestead.installation.restore import check as check_backup
from filestead.installation.restore import restore as run_restore
from filestead.settings import Settings

Flag = Annotated[bool, Parameter(negative="")]


def backup(
    destination: Path,
    /,
    *,
    base: Path | None = None,
    json: Flag = False,
    no_progress: Flag = False,
    data_dir: str | None = None,
) -> int:
    """Write a backup of the installation into a new directory. Servers may run, and take uploads and deletes.

    The backup has every file that was uploaded before it began, with keys, vector stores, batches and jobs. Contents
    are compared with the digests of their uploads. A backup that was interrupted lacks the file COMPLETE, and is
    refused by `restore`. Of a shared installation, uploads in parts that are in progress are left out.

    Exit status: 0, or 1 if the content of a file is damaged: the backup is complete except for it.

    Parameters
    ----------
    destination
        A directory that does not exist, or is empty.
    base
        An earlier backup on the same file system. Contents that it has are not read and take no space again (hard
        links); each of the two backups may be deleted.
    json
        Print the manifest as JSON.
    no_progress
        Do not show a progress bar.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    """
    loaded = settings.load(data_dir=data_dir)

    async def run() -> Manifest:
        with progress_bar("backup", enabled=not (no_progress or json)) as report:
            progress = report or (lambda done, total: None)
            return await back_up(_installation(loaded), loaded, destination, base=base, progress=progress)

    manifest = asyncio.run(run())
    _print(manifest, "in the backup", json=json)
    return 1 if manifest.damaged else 0


def restore(
    source: Path, /, *, check: Flag = False, json: Flag = False, no_progress: Flag = False, data_dir: str | None = None
) -> int:
    """Restore a backup to an empty data directory, or to an empty shared installation. Stop the servers before.

    The target is what the settings name, whatever kind of installation the backup was made of. A database in PostgreSQL
    must have been migrated (`filestead migrate`) and its bucket be empty. IDs and keys stay valid. All contents are
    compared with their digests. A data directory whose restoration was interrupted cannot be served: delete it, and
    restore again.

    Exit status: 0, or 1 if the backup is damaged, or names files that were damaged when it was made.

    Parameters
    ----------
    source
        A directory that `filestead backup` has written.
    check
        Only read the backup and compare all digests; restore nothing.
    json
        Print the manifest of the backup as JSON.
    no_progress
        Do not show a progress bar.
    data_dir
        The data directory (FILESTEAD_DATA_DIR).
    """
    loaded = settings.load(data_dir=data_dir)

    async def run() -> Manifest:
        with progress_bar("checking" if check else "restoring", enabled=not (no_progress or json)) as report:
            progress = report or (lambda done, total: None)
            if check:
                return await check_backup(source, loaded, progress=progress)
            return await run_restore(source, _installation(loaded), loaded, progress=progress)

    manifest = asyncio.run(run())
    _print(manifest, "intact" if check else "restored", json=json)
    return 1 if manifest.damaged else 0


def _installation(loaded: Settings) -> EmbeddedInstallation | SharedInstallation:
    found = installation.from_settings(loaded)
    assert isinstance(found, EmbeddedInstallation | SharedInstallation)
    return found


def _print(manifest: Manifest, done: str, *, json: bool) -> None:
    if json:
        print(msgspec.json.encode(asdict(manifest)).decode())
        return
    print(f"{manifest.files} files, {manifest.blobs} blobs, {manifest.bytes} bytes {done}")
    for owner in manifest.damaged:
        print(f"the content of {owner} is damaged in the installation, and not in the backup")
