"""A download to a path: a file beside the target that replaces it when the download is complete.

`.NAME.ID.part` (mode 0600) holds the bytes and `.NAME.ID.part.etag` their validator, for a later download to resume.
Only the process that holds the lock on the part writes to it. Any other process uses a unique name, and so does one
that finds a file under this name which is not the user's alone (see `owned_files`). Blocking.
"""

import contextlib
import errno
import hashlib
import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from filestead.client._download import owned_files
from filestead.client._download.filenames import NAME_MAX
from filestead.client._download.headers import STRONG_ETAG
from filestead.client._transport.requests import escape_path_segment

if TYPE_CHECKING:
    from hashlib import _Hash

try:
    import fcntl
except ImportError:  # Windows: every download has a unique name, and none is resumed by a later call.
    fcntl = None  # type: ignore[assignment]

MAX_ETAG_BYTES = 8192
LONGEST_SUFFIX = ".part.etag"


class PartialFile:
    """An open part; `commit` puts it in place, `close` keeps or removes it."""

    restartable = True

    def __init__(self, target: Path, file_id: str, *, resume: bool) -> None:
        # A symbolic link is followed: the file it points to is replaced, not the link.
        self._target = owned_files.resolve_path(Path(target))
        shared_path = self._target.with_name(_part_name(self._target.name, file_id))
        descriptor = _open_and_lock(shared_path)
        self._is_shared = descriptor is not None
        if descriptor is None:
            self._path = shared_path.with_name(_part_name(self._target.name, os.urandom(8).hex()))
            descriptor = owned_files.create(self._path)
        else:
            self._path = shared_path
        self._etag_path = self._path.with_name(self._path.name + ".etag")
        self._file = io.FileIO(descriptor, "r+")
        self.etag = self._read_etag() if resume and self._is_shared else None
        self._etag_saved = self.etag is not None
        self.size = self._file.seek(0, os.SEEK_END) if self.etag else 0

    def digest(self) -> "_Hash":
        """SHA-256 of the bytes already in the part."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256")

    def _read_etag(self) -> str | None:
        descriptor = owned_files.open_owned(self._etag_path, os.O_RDONLY)
        if descriptor is None:
            return None
        with open(descriptor, encoding="latin-1", newline="") as file:
            etag = file.read(MAX_ETAG_BYTES)
        return etag if STRONG_ETAG.fullmatch(etag) else None

    def restart(self, etag: str | None) -> None:
        """Truncate the part; the bytes that follow have the validator `etag`."""
        self._file.seek(0)
        self._file.truncate()
        # After the old bytes are removed and before new ones are written: the ETag always matches the bytes.
        self._remove_etag()
        if etag is not None and self._is_shared:
            with (
                contextlib.suppress(OSError),
                open(owned_files.create(self._etag_path), "w", encoding="latin-1") as file,
            ):
                file.write(etag)
                self._etag_saved = True

    def write(self, data: bytes) -> None:
        """Append all of `data`."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def commit(self) -> None:
        """Replace the target by the part; the target's mode is kept."""
        mode = self._target_mode()
        with contextlib.suppress(AttributeError):  # Windows: the mode is inherited from the directory.
            os.fchmod(self._file.fileno(), mode)
        if not owned_files.is_linked_at(self._file.fileno(), self._path):
            raise FileNotFoundError(errno.ENOENT, "moved or replaced during the download", str(self._path))
        os.replace(self._path, self._target)
        self._remove_etag()
        self._file.close()

    def close(self, *, keep_partial: bool) -> None:
        """Close without a commit; the part is kept if it can be resumed. Does nothing after a commit."""
        if self._file.closed:
            return
        # The lock is held until both files are removed: no other process sees one without the other.
        if not (keep_partial and self._etag_saved and self._file.seek(0, os.SEEK_END) > 0):
            self._remove_etag()
            if owned_files.is_linked_at(self._file.fileno(), self._path):
                self._path.unlink(missing_ok=True)
        self._file.close()

    def _remove_etag(self) -> None:
        self._etag_saved = False
        if self._is_shared:
            with contextlib.suppress(OSError):  # A file that the user may not remove is not the user's, and not read.
                self._etag_path.unlink(missing_ok=True)

    def _target_mode(self) -> int:
        if (mode := owned_files.owned_mode(self._target)) is not None:
            return mode
        # Reading the umask means setting it, for all threads; the mode of a new file shows it without that.
        probe = self._path.with_name(_part_name("mode", os.urandom(8).hex()))
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            return stat.S_IMODE(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)
            probe.unlink()


def _part_name(name: str, file_id: str) -> str:
    readable = f".{name}.{escape_path_segment(file_id)}"
    if len(os.fsencode(readable)) + len(LONGEST_SUFFIX) > NAME_MAX:
        readable = "." + hashlib.sha256(os.fsencode(readable)).hexdigest()[:32]
    return readable + ".part"


def _open_and_lock(path: Path) -> int | None:
    """Create a part, or open the user's own; None if that is impossible or another process holds its lock."""
    if fcntl is None:
        return None
    while True:
        try:
            descriptor: int | None = owned_files.create(path)
        except FileExistsError:
            descriptor = owned_files.open_owned(path, os.O_RDWR)
            if descriptor is None and not os.path.lexists(path):
                continue  # Another process has just committed it.
        if descriptor is None:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        # Another process may have committed it between the opening and the locking: then it is not a part any more.
        if owned_files.is_linked_at(descriptor, path):
            return descriptor
        os.close(descriptor)
