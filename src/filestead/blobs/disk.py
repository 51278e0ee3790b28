"""Disk helpers of the local store and of spooled S3 uploads: error translation, directory syncs."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from filestead.domain.errors import StorageFailed, StorageFull
from filestead.domain.observation import UNOBSERVED, Observer

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def translate_disk_errors(operation: str) -> Iterator[None]:
    """Raise errors of the operating system as errors of the domain; `operation` begins their message."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise StorageFull(f"{operation}: {error.strerror}") from error
        raise StorageFailed(f"{operation}: {error.strerror}") from error


def sync_directory(path: Path | str, observer: Observer = UNOBSERVED) -> None:
    """Make the directory's entries durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        started = perf_counter()
        os.fsync(fd)
        observer.sync("directory", perf_counter() - started)
    finally:
        os.close(fd)
