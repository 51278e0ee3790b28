"""Files in a directory where others may write, such as /tmp: opened only if they belong to the user alone.

Another user can create a link, a FIFO, a device or a file under a predictable name. The kernel refuses to open such
names in sticky directories (protected_symlinks, protected_fifos). This module also refuses to resolve them without
opening, and does so on every kernel.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | NOFOLLOW | getattr(os, "O_CLOEXEC", 0)
# O_NONBLOCK: a FIFO or a device that replaces the file between `lstat` and `open` must not block.
OPEN_FLAGS = NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
MAX_SYMLINKS = 40


def create(path: Path) -> int:
    """Create a file of mode 0600. Raises `FileExistsError` if the name exists."""
    return os.open(path, CREATE_FLAGS, 0o600)


def open_owned(path: Path, flags: int) -> int | None:
    """Open an existing file; None for one that is not the user's alone, and for any but a regular file."""
    try:
        if not _is_private(os.lstat(path)):
            return None  # Not even opened: opening a FIFO or a device has effects.
        descriptor = os.open(path, flags | OPEN_FLAGS)
    except OSError:
        return None
    if _is_private(os.fstat(descriptor)):
        return descriptor
    os.close(descriptor)
    return None


def is_linked_at(descriptor: int, path: Path) -> bool:
    """Whether the path still names the open file."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    return False


def owned_mode(path: Path) -> int | None:
    """The permissions of a file that the user owns; None if there is none."""
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        if status.st_uid == _user_id(status):
            return stat.S_IMODE(status.st_mode)
    return None


def resolve_path(path: Path) -> Path:
    """The path without symbolic links. Raises `PermissionError` for a link, FIFO or device planted by another user."""
    path = Path(os.path.realpath(path.parent)) / path.name
    for _ in range(MAX_SYMLINKS):
        try:
            status = os.lstat(path)
        except OSError:
            break
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            _check_not_planted(path, status)
        if not stat.S_ISLNK(status.st_mode):
            break
        target = path.parent / os.readlink(path)
        path = Path(os.path.realpath(target.parent)) / target.name
    return Path(os.path.realpath(path))


def _is_private(status: os.stat_result) -> bool:
    """Whether it is a regular file of the user's, with one name, which others cannot write."""
    exclusive = status.st_nlink == 1 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(status.st_mode) and status.st_uid == _user_id(status) and exclusive


def _check_not_planted(path: Path, status: os.stat_result) -> None:
    directory = os.stat(path.parent)
    shared = directory.st_mode & stat.S_ISVTX and directory.st_mode & (stat.S_IWOTH | stat.S_IWGRP)
    if shared and status.st_uid not in {_user_id(status), directory.st_uid}:
        raise PermissionError(errno.EACCES, "in a shared directory, and created by another user", str(path))


def _user_id(status: os.stat_result) -> int:
    return os.geteuid() if hasattr(os, "geteuid") else status.st_uid  # Windows has no user ids.
