"""The folders of a local blob store: their layout, which installation they belong to, and what they may contain.

Layout: `staging/<key>` while a blob is written, `blobs/<first two characters>/<key>` once it is complete; the file
`VOLUME` holds the id of the installation. Permissions: folders 0700, files 0600. These functions block.

Paths that have the key of a blob are strings: `pathlib` interns the parts of each path, and early releases of Python
3.12 never free an interned string (python/cpython#113993).
"""

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from filestead.blobs.disk import sync_directory, translate_disk_errors
from filestead.blobs.inspection import (
    FILE,
    FOLDER,
    FOREIGN,
    FOREIGN_EVIDENCE,
    check_entry,
    check_folder,
    list_entries,
    require_entry_types,
    violation,
)
from filestead.blobs.keys import KEY
from filestead.domain.errors import CannotStart, StorageFailed, StorageFull
from filestead.domain.integrity import Violation

log = logging.getLogger("filestead")

MARKER = "VOLUME"
SHARDS = tuple(f"{n:02x}" for n in range(256))
PROBE_PREFIX = "0" * 24
"""Prefix of the keys of probes, which have no row: opening the volume deletes what a killed probe left."""

MAX_WARNINGS = 5
"""Findings that are logged when a server starts."""


class LocalVolume:
    """The folder `root`; `neighbours` are the other files that belong in it."""

    def __init__(self, root: Path, *, reserve_bytes: int, neighbours: Iterable[str] = ()) -> None:
        self.staging = root / "staging"
        self._root = root
        self._blobs = root / "blobs"
        self._folders = (self.staging, *(self._blobs / shard for shard in SHARDS))
        self._entries = dict.fromkeys((MARKER, *neighbours), FILE) | dict.fromkeys(("staging", "blobs"), FOLDER)
        self._reserve_bytes = reserve_bytes

    # --- opening ------------------------------------------------------------------------------------------------

    def open(self, installation: str, *, fresh: bool) -> None:
        """Create the folders of a fresh installation, or check that they belong to `installation`. `CannotStart`."""
        marker = self._root / MARKER
        # Before any of them is opened, created or emptied: they may be links to something that is not ours.
        require_entry_types(self._root, {MARKER: FILE, "staging": FOLDER, "blobs": FOLDER})
        require_entry_types(self._blobs, dict.fromkeys(SHARDS, FOLDER))
        if fresh and not any(map(list_names, self._folders)):
            # A marker that exists already was written by a first start that was interrupted.
            self._create(marker, installation)
        elif not marker.exists():
            raise CannotStart(
                f"{self._root} holds no blobs of this database (the file {MARKER} is missing): the volume is the wrong "
                "one or was emptied. Mount the right volume, or restore the blobs from the backup"
            )
        found = marker.read_text().strip()
        if found != installation:
            raise CannotStart(
                f"{self._root} holds the blobs of another installation ({found} instead of {installation}): "
                "mount the volume that belongs to this database"
            )
        if not self.staging.is_dir():  # a backup need not contain it
            self.staging.mkdir(mode=0o700)
        self._delete_probes()
        missing = sum(not folder.is_dir() for folder in self._folders)
        if missing:
            raise CannotStart(
                f"{self._blobs} is incomplete ({missing} of {len(SHARDS)} folders are missing): restore it from the "
                "backup; `filestead verify` lists the lost files"
            )
        self._log_findings()

    def _create(self, marker: Path, installation: str) -> None:
        with translate_disk_errors("creating the blob folders"):
            for folder in (self.staging, self._blobs, *self._folders[1:]):
                folder.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._blobs)
            fd = os.open(marker, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, f"{installation}\n".encode())
                os.fsync(fd)
            finally:
                os.close(fd)
            sync_directory(self._root)

    def _delete_probes(self) -> None:
        for folder in (self.staging, self._blobs / PROBE_PREFIX[:2]):
            for name in list_names(folder):
                if name.startswith(PROBE_PREFIX):
                    os.unlink(f"{folder}/{name}")

    def _log_findings(self) -> None:
        """Warn about what other users could read or change; foreign names are left to `filestead verify`."""
        found = [one for one in self._inspect_folders(os.geteuid()) if not one.evidence.endswith(FOREIGN_EVIDENCE)]
        for finding in found[:MAX_WARNINGS]:
            log.warning("%s: %s; %s", finding.subject, finding.evidence, finding.remedy)
        if len(found) > MAX_WARNINGS:
            log.warning("%d more findings like these: run `filestead verify`", len(found) - MAX_WARNINGS)

    # --- paths --------------------------------------------------------------------------------------------------

    def blob_folder(self, key: str) -> str:
        """The folder of the complete blob."""
        return f"{self._blobs}/{_checked(key)[:2]}"

    def blob_path(self, key: str) -> str:
        """Where the complete blob is."""
        return f"{self.blob_folder(key)}/{key}"

    def staging_path(self, key: str) -> str:
        """Where the blob is while it is being written."""
        return f"{self.staging}/{_checked(key)}"

    def blob_folders(self) -> Iterator[Path]:
        """The folders of complete blobs; none if they could only be reached through a link."""
        return iter(()) if self._blobs.is_symlink() else (self._blobs / shard for shard in SHARDS)

    # --- checks -------------------------------------------------------------------------------------------------

    def require_no_links(self, *folders: Path | str) -> None:
        """Raise `StorageFailed` if a folder is a link. `open` checks it, too, but it may have changed since."""
        for folder in (self._blobs, *folders):
            if os.path.islink(folder):
                raise StorageFailed(f"{folder} is a symbolic link")

    def require_free_space(self, size: int) -> None:
        """Raise `StorageFull` unless `size` more bytes fit beside the database's reserve."""
        disk = os.statvfs(self._root)
        if disk.f_bavail * disk.f_frsize < size + self._reserve_bytes:
            raise StorageFull(f"not enough disk space ({self._reserve_bytes} bytes are reserved for the database)")

    def inspect(self) -> list[Violation]:
        """Links, foreign names, and wrong types, modes and owners anywhere in the data directory."""
        owner = self._root.stat().st_uid
        found = list(self._inspect_folders(owner))
        for folder in (self.staging, *self.blob_folders()):
            for name, status in list_entries(folder):
                found += check_entry(f"{folder}/{name}", status, FILE if KEY.fullmatch(name) else FOREIGN, owner)
        return found

    def _inspect_folders(self, owner: int) -> Iterator[Violation]:
        """Findings about everything except the contents of the blob folders."""
        yield from check_entry(self._root, self._root.stat(), FOLDER, owner)
        yield from check_folder(self._root, owner, self._entries)
        yield from check_folder(self._blobs, owner, dict.fromkeys(SHARDS, FOLDER))
        for folder in self._folders:
            if not os.path.lexists(folder):
                yield violation(folder, "the folder is missing", "restore it from the backup")


def _checked(key: str) -> str:
    """The key, unless a tampered row would become a path: `StorageFailed`."""
    if not KEY.fullmatch(key):
        raise StorageFailed("not a blob key")
    return key


def list_names(folder: Path) -> list[str]:
    """The names in a folder, other than those of folders; none if the folder is missing or a link."""
    with translate_disk_errors("listing blobs"):
        return [name for name, status in list_entries(folder) if not stat.S_ISDIR(status.st_mode)]
