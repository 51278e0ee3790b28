"""Reserved disk space, so that files can still be deleted when the disk is full."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic

BALLAST_BYTES = 4 * 1024 * 1024
RETRY_SECONDS = 5.0


class Ballast:
    """A file of zeros beside the database: released when a write fails on a full disk, allocated again later."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._next_try = 0.0
        self.allocate()

    def allocate(self, clock: Callable[[], float] = monotonic) -> None:
        """Fill the file if it is empty and the disk has space; at most one attempt per `RETRY_SECONDS`."""
        if clock() < self._next_try or os.fstat(self._fd).st_size:
            return
        self._next_try = clock() + RETRY_SECONDS
        try:
            os.posix_fallocate(self._fd, 0, BALLAST_BYTES)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)

    def release(self) -> bool:
        """Return the space to the disk; False if the file was already empty."""
        if not os.fstat(self._fd).st_size:
            return False
        os.ftruncate(self._fd, 0)
        self._next_try = monotonic() + RETRY_SECONDS
        return True

    def close(self) -> None:
        """Close the file, which keeps its space."""
        os.close(self._fd)
