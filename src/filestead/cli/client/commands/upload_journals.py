"""Journals of `files create` in the user's cache directory: a killed upload continues when started again."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from filestead.client._parts.journal import UploadJournal, identity_of, open_journal
from filestead.client._parts.upload import NewFile
from filestead.client.config import Config

KEPT_SECONDS = 86_400
"""After this time a journal is deleted: an upload expires after an hour, and its completion is remembered for a day."""
SUFFIX = ".upload"


@contextlib.contextmanager
def journal_for(config: Config, file: NewFile, path: str) -> Iterator[UploadJournal | None]:
    """The journal for the upload of a path; None if there cannot be one, or if another process has it."""
    identity = identity_of(config, file.source, file.purpose, expires_after=file.expires_after, filename=file.filename)
    identity["path"] = os.path.abspath(path)
    journal = None
    # An upload does not depend on a cache: a directory that cannot be used costs the chance to continue.
    with contextlib.suppress(OSError, ValueError):
        directory = _directory()
        _delete_old(directory)
        journal = open_journal(directory / _name(identity), identity)
    try:
        yield journal
    finally:
        if journal is not None:
            journal.close()


def _name(identity: dict[str, object]) -> str:
    """The name for an upload. A changed file has the same, so that its new upload replaces the old one."""
    of_content = {"version", "bytes"}
    fixed = {name: value for name, value in identity.items() if name not in of_content}
    text = json.dumps(fixed, sort_keys=True).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest() + SUFFIX


def _directory() -> Path:
    """Create and return the directory: `filestead/uploads` in $XDG_CACHE_HOME, else in ~/.cache. Raises `OSError`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says that a relative path is invalid, and to be ignored.
    cache = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~"), ".cache")
    if not cache.is_absolute():
        raise OSError("no home directory")
    directory = cache / "filestead" / "uploads"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def _delete_old(directory: Path) -> None:
    oldest = time.time() - KEPT_SECONDS
    for path in directory.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime < oldest:
                path.unlink()
