"""Where the last run of `filestead scrub` has stopped: a small file in the data directory, locked by a running one.

Nothing depends on it: a file that cannot be understood means that the pass starts again.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from filestead.domain.errors import CannotStart
from filestead.domain.scrub import ScrubPosition

SCRUB_STATE = "scrub.json"
MAX_BYTES = 64 * 1024 * 1024


class ScrubState:
    """The open file. `location` is that of the blobs: a position in others is ignored."""

    def __init__(self, descriptor: int, location: str) -> None:
        self._descriptor = descriptor
        self._location = location

    def load(self) -> ScrubPosition:
        """The position that was saved last. Blocks."""
        try:
            fields = json.loads(os.pread(self._descriptor, MAX_BYTES, 0))
            if fields.pop("location") == self._location:
                return ScrubPosition(**fields)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        return ScrubPosition()

    def save(self, position: ScrubPosition) -> None:
        """Replace what was saved. Blocks."""
        text = json.dumps({"location": self._location} | asdict(position)).encode() + b"\n"
        os.pwrite(self._descriptor, text, 0)
        os.ftruncate(self._descriptor, len(text))


@contextlib.contextmanager
def open_scrub_state(directory: Path, location: str) -> Iterator[ScrubState]:
    """Open or create the file in a data directory. Raises `CannotStart`, also if another run has it open. Blocks."""
    path = directory / SCRUB_STATE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(f"cannot write to {path} ({error.strerror}): run as the user of the server") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"another `filestead scrub` is running ({path} is locked): wait for its end") from None
        if os.geteuid() == 0:
            owner = directory.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        yield ScrubState(descriptor, location)
    finally:
        os.close(descriptor)
