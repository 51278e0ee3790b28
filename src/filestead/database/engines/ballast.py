"""Disk space that the database keeps in hand, so that files can still be deleted when something has filled the disk."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic

BALLAST_BYTES = 4 * 1024 * 1024
RETRY_SECONDS = 5.0


class Ballast:
    """A file of zeros beside the database. Dropped when a write finds no room, taken in again when there is some."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._next_try = 0.0
        self.allocate()

    def allocate(self, clock: Callable[[], float] = monotonic) -> None:
        """Fill the file, if it is empty and there is room; looks at the disk only now and then."""
        if clock() < self._next_try or os.fstat(self._fd).st_size:
            return
        self._next_try = clock() + RETRY_SECONDS
        try:
            os.posix_fallocate(self._fd, 0, BALLAST_BYTES)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)

    def release(self) -> bool:
        """Give the space back to the disk; False if there was none left to give."""
        if not os.fstat(self._fd).st_size:
            return False
        os.ftruncate(self._fd, 0)
        self._next_try = monotonic() + RETRY_SECONDS
        return True

    def close(self) -> None:
        """The file stays, and with it the space."""
        os.close(self._fd)
