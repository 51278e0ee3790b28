"""What a backup is: a directory with the layout of a data directory, a manifest, and a marker that is written last.

Layout: `filestead.db` (SQLite, of either kind of installation), `VOLUME`, `blobs/`, `manifest.json`, `COMPLETE`. The
marker holds the SHA-256 of the manifest, the manifest that of the database, and the database those of all contents.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filestead.blobs.disk import sync_directory
from filestead.domain.errors import CannotStart
from filestead.installation.embedded import DATABASE

FORMAT = 1
MANIFEST = "manifest.json"
MARKER = "COMPLETE"
BLOCK_BYTES = 1024 * 1024


@dataclass(slots=True)
class Manifest:
    """The description of a backup. Times are Unix seconds."""

    filestead: str
    schema: str
    started_at: int
    finished_at: int
    files: int
    blobs: int
    bytes: int
    database_sha256: str
    damaged: list[str] = field(default_factory=list)
    """Files, uploads and batches whose content could not be read intact, and is not in the backup."""
    format: int = FORMAT


def digest_of_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(backup: Path, manifest: Manifest) -> None:
    """Write the manifest and then the marker, each durably, after everything else. Blocks."""
    text = json.dumps(asdict(manifest), indent=2).encode() + b"\n"
    _write(backup / MANIFEST, text)
    sync_directory(backup)
    _write(backup / MARKER, hashlib.sha256(text).hexdigest().encode() + b"\n")
    sync_directory(backup)


def read_manifest(backup: Path) -> Manifest:
    """The manifest of a complete backup. Raises `CannotStart` for anything else. Blocks."""
    if not (backup / MARKER).is_file():
        if (backup / DATABASE).is_file():
            raise CannotStart(
                f"{backup} is no complete backup (the file {MARKER} is missing): it was interrupted or is a data "
                "directory. Use another backup"
            )
        raise CannotStart(
            f"{backup} is no backup (the file {MARKER} is missing): name a directory of `filestead backup`"
        )
    try:
        text = (backup / MANIFEST).read_bytes()
        if hashlib.sha256(text).hexdigest() != (backup / MARKER).read_text().strip():
            raise ValueError
        fields = json.loads(text)
        if fields["format"] != FORMAT:
            raise CannotStart(f"{backup} has format {fields['format']}: restore it with the Filestead that wrote it")
        return Manifest(**fields)
    except (OSError, ValueError, KeyError, TypeError):
        raise CannotStart(f"{backup} is damaged: {MANIFEST} is not as it was written. Use another backup") from None


def copy_database(backup: Path, manifest: Manifest, target: Path) -> None:
    """Copy the database of a backup to a new file. Raises `CannotStart` if it is damaged. Blocks."""
    try:
        shutil.copyfile(backup / DATABASE, target)
    except FileNotFoundError:
        raise CannotStart(f"{backup} is damaged: {DATABASE} is missing. Use another backup") from None
    target.chmod(0o600)
    if digest_of_file(target) != manifest.database_sha256:
        target.unlink()
        raise CannotStart(f"{backup} is damaged: {DATABASE} is not as it was written. Use another backup")


def require_empty(directory: Path, allowed: Callable[[str], bool] = lambda name: name == "lost+found") -> None:
    """Raise `CannotStart` if the directory holds anything else."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise CannotStart(f"{directory} is not a directory: name a new or an empty one")
    if found := sorted(entry.name for entry in directory.iterdir() if not allowed(entry.name)):
        raise CannotStart(f"{directory} is not empty (it holds {found[0]}): name a new or an empty directory")


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
