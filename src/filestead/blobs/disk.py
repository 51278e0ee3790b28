"""What the local store and the temporary files of S3 uploads share: errors of the disk, syncing of directories."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from filestead.domain.errors import StorageFailed, StorageFull

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def translate_disk_errors(what: str) -> Iterator[None]:
    """Turn the system's errors into the domain's."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull(f"{what}: {error.strerror}") from error
        raise StorageFailed(f"{what}: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
