"""The state of an upload in parts in a file, so that another process can continue it after this one was killed.

The file is text: a line that describes the upload, then one line for each part that the server has acknowledged. Lines
are only added, each by one write, so that a kill leaves whole lines and at most one torn one, which is ignored. It has
mode 0600. Only the process that holds the lock on it uses it. Blocking.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from filestead.client._download import owned_files
from filestead.client._upload.sources import AsyncSource, Source
from filestead.client.config import Config, ExpiresAfter

try:
    import fcntl
except ImportError:  # Windows: nothing is recorded, and no upload is continued.
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
MAX_BYTES = 8 * 1024 * 1024
"""Of a file that is read: more than the lines of 10,000 parts."""

Identity = Mapping[str, object]
"""What the upload is of and to whom, as JSON values: an upload continues only if all of it is the same."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that the server has, and the SHA-256 of its bytes in hexadecimal."""

    id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """An upload that was begun. `matches` says whether it is of the same identity."""

    upload_id: str
    part_bytes: int
    matches: bool
    parts: dict[int, StoredPart] = field(default_factory=dict)
    """By the byte at which they begin."""


class UploadJournal:
    """An open journal. Close it: one in which no upload is recorded is deleted."""

    def __init__(self, file: io.FileIO, path: Path, identity: Identity) -> None:
        """For `open_journal`, which has locked the file."""
        self._file = file
        self._path = path
        self._identity = dict(identity)
        self.recorded = _read(file, self._identity)
        if self.recorded is not None:
            self._write(b"\n")  # ends a torn line

    def begin(self, upload_id: str, part_bytes: int) -> None:
        """Forget what was recorded, and record a new upload."""
        self.forget()
        self._append(
            {"format": FORMAT, "upload_id": upload_id, "part_bytes": part_bytes, "identity": self._identity},
        )

    def add(self, start: int, part_id: str, sha256: str) -> None:
        """Record a part that the server has acknowledged."""
        self._append({"start": start, "id": part_id, "sha256": sha256})

    def _append(self, members: Mapping[str, object]) -> None:
        self._write(json.dumps(members, separators=(",", ":")).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        # A journal that cannot be written costs the chance to continue, not the upload.
        with contextlib.suppress(OSError):
            self._file.write(data)

    def forget(self) -> None:
        """Record nothing: the upload has ended."""
        self.recorded = None
        with contextlib.suppress(OSError):
            self._file.seek(0)
            self._file.truncate()

    def close(self) -> None:
        """Release the lock."""
        empty = not self._file.closed and self._file.seek(0, os.SEEK_END) == 0
        if empty and owned_files.is_linked_at(self._file.fileno(), self._path):
            self._path.unlink(missing_ok=True)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def identity_of(
    config: Config, source: Source | AsyncSource, purpose: str, *, expires_after: ExpiresAfter, filename: str | None
) -> dict[str, object]:
    """What an upload is of and to whom. Credentials are in it as a digest."""
    credentials = sorted((name.lower(), value) for name, value in config.headers)
    return {
        "base_url": config.base_url,
        "credentials": hashlib.sha256(json.dumps(credentials).encode()).hexdigest(),
        "version": source.version,
        "bytes": source.size,
        "filename": source.filename if filename is None else filename,
        "purpose": purpose,
        "expires_after": expires_after if isinstance(expires_after, int | None) else dict(expires_after),
    }


def open_journal(path: Path, identity: Identity) -> UploadJournal | None:
    """Open or create a journal. None if another process uses it, or if the path is not a file of the user's alone.

    Raises `OSError` for a path that cannot be created.
    """
    if fcntl is None:
        return None
    try:
        descriptor: int | None = owned_files.create(path)
    except FileExistsError:
        descriptor = owned_files.open_owned(path, os.O_RDWR)
    if descriptor is None:
        return None
    file = io.FileIO(descriptor, "r+")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    if not owned_files.is_linked_at(descriptor, path):  # its upload has ended just now
        file.close()
        return None
    return UploadJournal(file, path, identity)


def _read(file: io.FileIO, identity: dict[str, object]) -> Recorded | None:
    file.seek(0)
    lines = file.read(MAX_BYTES).split(b"\n")
    recorded = _first_line(lines[0], identity)
    if recorded is None:
        return None
    for line in lines[1:]:
        members = _members(line)
        start, part_id, sha256 = members.get("start"), members.get("id"), members.get("sha256")
        if isinstance(start, int) and isinstance(part_id, str) and isinstance(sha256, str):
            recorded.parts[start] = StoredPart(part_id, sha256)
    return recorded


def _first_line(line: bytes, identity: dict[str, object]) -> Recorded | None:
    members = _members(line)
    upload_id, part_bytes = members.get("upload_id"), members.get("part_bytes")
    if members.get("format") != FORMAT or not isinstance(upload_id, str) or not isinstance(part_bytes, int):
        return None
    # As JSON: a tuple is read as a list.
    matches = members.get("identity") == json.loads(json.dumps(identity))
    return Recorded(upload_id, part_bytes, matches and part_bytes > 0)


def _members(line: bytes) -> dict[str, object]:
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}
