"""The first key as a file, for a server whose standard output goes to a log: mode 0600 in the data directory."""

import contextlib
import os
from pathlib import Path

from filestead.blobs.disk import sync_directory

FIRST_KEY = "first-key"


def write(path: Path, secret: str) -> None:
    """Write the key and a newline to a new file, durably. Raises `OSError`.

    What is there under the name is of a first start that was cut off before it stored its key: it is replaced, and a
    link is not followed.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    sync_directory(path.parent)
