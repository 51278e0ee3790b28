"""A download on its way to a path: a file beside the target that takes its place when it is whole.

`.NAME.ID.part` (mode 0600) holds the bytes and `.NAME.ID.part.etag` the validator they belong to, so that a later
download can go on. Who holds the lock on the part may write it; a second process takes a name of its own. Blocking.
"""

import contextlib
import hashlib
import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from filestead.client.downloads import NAME_MAX
from filestead.client.requests import path_segment

if TYPE_CHECKING:
    from hashlib import _Hash

try:
    import fcntl
except ImportError:  # Windows: every download has a name of its own, and none is resumed later.
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".part.etag"


class PartFile:
    """An open part; `leave` it with the file in place, kept for later, or removed."""

    restartable = True

    def __init__(self, target: Path, file_id: str, *, resume: bool) -> None:
        # Through a symbolic link the file it names is replaced, not the link.
        self._target = Path(os.path.realpath(target))
        shared = self._target.with_name(_part_name(self._target.name, file_id))
        descriptor = _claim(shared)
        self._shared = descriptor is not None
        if descriptor is None:
            self._path = shared.with_name(_part_name(self._target.name, os.urandom(8).hex()))
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        else:
            self._path = shared
        self._note = self._path.with_name(self._path.name + ".etag")
        self._file = io.FileIO(descriptor, "r+")
        self.etag = self._read_note() if resume and self._shared else None
        self.size = self._file.seek(0, os.SEEK_END) if self.etag else 0

    def digest(self) -> "_Hash":
        """SHA-256 of what is there."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256")

    def _read_note(self) -> str | None:
        try:
            return self._note.read_text("latin-1") or None
        except OSError:
            return None

    def restart(self, etag: str | None) -> None:
        """Empty the part; what follows belongs to `etag`."""
        self._file.seek(0)
        self._file.truncate()
        # After the old bytes are gone and before the new ones come: the note is true of every byte that is there.
        self._forget_note()
        if etag is not None and self._shared:
            self._note.write_text(etag, "latin-1")

    def write(self, chunk: bytes) -> None:
        """Append."""
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]

    def commit(self) -> None:
        """Put the file in place; the mode of the file it replaces is kept."""
        os.chmod(self._path, self._final_mode())
        os.replace(self._path, self._target)
        self._forget_note()
        self._file.close()

    def leave(self, *, keep: bool) -> None:
        """End without a file: the part stays if it can be resumed. Nothing happens after a commit."""
        if self._file.closed:
            return
        # Removed while the lock is still held: another process must not find it half gone.
        if not (keep and self._shared and self._file.seek(0, os.SEEK_END) > 0):
            self._forget_note()
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _forget_note(self) -> None:
        if self._shared:
            self._note.unlink(missing_ok=True)

    def _final_mode(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return stat.S_IMODE(os.stat(self._target).st_mode)
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
    """Open a part that no other process is writing; None if one is."""
    if fcntl is None:
        return None
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        # Between opening and locking, its writer may have made it the target: then this is no part any more.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)
