"""Files in a folder that others may write to, such as /tmp: opened only if they are the user's own.

Whoever may make files there can put a link, a FIFO, a device or a file of his own under a name that he can guess. What
the kernel refuses when it opens such names in sticky folders (protected_symlinks, protected_fifos), this module refuses
too where a name is resolved and not opened, and on every kernel.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | NOFOLLOW | getattr(os, "O_CLOEXEC", 0)
# A FIFO or a device that takes the place of a file between two looks must not block.
EXISTING = NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
MOST_LINKS = 40


def create(path: Path) -> int:
    """Make a file of mode 0600. Raises `FileExistsError` if anything has that name."""
    return os.open(path, CREATE, 0o600)


def open_own(path: Path, flags: int) -> int | None:
    """Open a file that is there; None for one that is not the user's alone, and for what is no plain file."""
    try:
        if not _is_own(os.lstat(path)):
            return None  # Not even opened: that alone has effects on a FIFO or a device.
        descriptor = os.open(path, flags | EXISTING)
    except OSError:
        return None
    if _is_own(os.fstat(descriptor)):
        return descriptor
    os.close(descriptor)
    return None


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is what has that name now."""
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    return False


def mode_of_own(path: Path) -> int | None:
    """The permissions of a file of the user's; None if there is none."""
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        if found.st_uid == _user(found):
            return stat.S_IMODE(found.st_mode)
    return None


def resolved(path: Path) -> Path:
    """The path without symbolic links. Raises `PermissionError` for a link, FIFO or device planted by another user."""
    path = Path(os.path.realpath(path.parent)) / path.name
    for _ in range(MOST_LINKS):
        try:
            found = os.lstat(path)
        except OSError:
            break
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            _check_planted(path, found)
        if not stat.S_ISLNK(found.st_mode):
            break
        following = path.parent / os.readlink(path)
        path = Path(os.path.realpath(following.parent)) / following.name
    return Path(os.path.realpath(path))


def _is_own(found: os.stat_result) -> bool:
    """A plain file of the user's, with this one name, which nobody else may write."""
    alone = found.st_nlink == 1 and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(found.st_mode) and found.st_uid == _user(found) and alone


def _check_planted(path: Path, found: os.stat_result) -> None:
    folder = os.stat(path.parent)
    shared = folder.st_mode & stat.S_ISVTX and folder.st_mode & (stat.S_IWOTH | stat.S_IWGRP)
    if shared and found.st_uid not in {_user(found), folder.st_uid}:
        raise PermissionError(errno.EACCES, "in a shared folder, and made by another user", str(path))


def _user(found: os.stat_result) -> int:
    return os.geteuid() if hasattr(os, "geteuid") else found.st_uid  # Windows has no numbers of users.
