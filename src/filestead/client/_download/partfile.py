"""A download on its way to a path: a file beside the target that takes its place when it is whole.

`.NAME.ID.part` (mode 0600) holds the bytes and `.NAME.ID.part.etag` the validator they belong to, so that a later
download can go on. Who holds the lock on the part may write it; a second process takes a name of its own, and so does
one that finds under this name what is not the user's alone (see `ownfiles`). Blocking.
"""

import contextlib
import errno
import hashlib
import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from filestead.client._download import ownfiles
from filestead.client._download.downloads import NAME_MAX, STRONG
from filestead.client._transport.requests import path_segment

if TYPE_CHECKING:
    from hashlib import _Hash

try:
    import fcntl
except ImportError:  # Windows: every download has a name of its own, and none is resumed later.
    fcntl = None  # type: ignore[assignment]

NOTE_BYTES = 8192
SUFFIX = ".part.etag"


class PartFile:
    """An open part; `leave` it with the file in place, kept for later, or removed."""

    restartable = True

    def __init__(self, target: Path, file_id: str, *, resume: bool) -> None:
        # Through a symbolic link the file it names is replaced, not the link.
        self._target = ownfiles.resolved(Path(target))
        shared = self._target.with_name(_part_name(self._target.name, file_id))
        descriptor = _claim(shared)
        self._shared = descriptor is not None
        if descriptor is None:
            self._path = shared.with_name(_part_name(self._target.name, os.urandom(8).hex()))
            descriptor = ownfiles.create(self._path)
        else:
            self._path = shared
        self._note = self._path.with_name(self._path.name + ".etag")
        self._file = io.FileIO(descriptor, "r+")
        self.etag = self._read_note() if resume and self._shared else None
        self._noted = self.etag is not None
        self.size = self._file.seek(0, os.SEEK_END) if self.etag else 0

    def digest(self) -> "_Hash":
        """SHA-256 of what is there."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256")

    def _read_note(self) -> str | None:
        descriptor = ownfiles.open_own(self._note, os.O_RDONLY)
        if descriptor is None:
            return None
        with open(descriptor, encoding="latin-1", newline="") as note:
            etag = note.read(NOTE_BYTES)
        return etag if STRONG.fullmatch(etag) else None

    def restart(self, etag: str | None) -> None:
        """Empty the part; what follows belongs to `etag`."""
        self._file.seek(0)
        self._file.truncate()
        # After the old bytes are gone and before the new ones come: the note is true of every byte that is there.
        self._forget_note()
        if etag is not None and self._shared:
            with contextlib.suppress(OSError), open(ownfiles.create(self._note), "w", encoding="latin-1") as note:
                note.write(etag)
                self._noted = True

    def write(self, chunk: bytes) -> None:
        """Append."""
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]

    def commit(self) -> None:
        """Put the file in place; the mode of the file it replaces is kept."""
        mode = self._final_mode()
        with contextlib.suppress(AttributeError):  # Windows: the mode is that of the folder.
            os.fchmod(self._file.fileno(), mode)
        if not ownfiles.is_at(self._file.fileno(), self._path):
            raise FileNotFoundError(errno.ENOENT, "moved or replaced during the download", str(self._path))
        os.replace(self._path, self._target)
        self._forget_note()
        self._file.close()

    def leave(self, *, keep: bool) -> None:
        """End without a file: the part stays if it can be resumed. Nothing happens after a commit."""
        if self._file.closed:
            return
        # Removed while the lock is still held: another process must not find it half gone.
        if not (keep and self._noted and self._file.seek(0, os.SEEK_END) > 0):
            self._forget_note()
            if ownfiles.is_at(self._file.fileno(), self._path):
                self._path.unlink(missing_ok=True)
        self._file.close()

    def _forget_note(self) -> None:
        self._noted = False
        if self._shared:
            with contextlib.suppress(OSError):  # Not ours to remove: then it is not ours to use either.
                self._note.unlink(missing_ok=True)

    def _final_mode(self) -> int:
        if (mode := ownfiles.mode_of_own(self._target)) is not None:
            return mode
        # The umask can only be read by setting it, for all threads at once; a new file shows it.
        probe = self._path.with_name(_part_name("mode", os.urandom(8).hex()))
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            return stat.S_IMODE(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)
            probe.unlink()


def _part_name(name: str, file_id: str) -> str:
    readable = f".{name}.{path_segment(file_id)}"
    if len(os.fsencode(readable)) + len(SUFFIX) > NAME_MAX:
        readable = "." + hashlib.sha256(os.fsencode(readable)).hexdigest()[:32]
    return readable + ".part"


def _claim(path: Path) -> int | None:
    """Open a part of the user's own that no other process is writing, or make one; None if neither can be."""
    if fcntl is None:
        return None
    while True:
        try:
            descriptor: int | None = ownfiles.create(path)
        except FileExistsError:
            descriptor = ownfiles.open_own(path, os.O_RDWR)
            if descriptor is None and not os.path.lexists(path):
                continue  # Its writer has just put it in place.
        if descriptor is None:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        # Between opening and locking, its writer may have made it the target: then this is no part any more.
        if ownfiles.is_at(descriptor, path):
            return descriptor
        os.close(descriptor)
