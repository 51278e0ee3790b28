"""The embedded installation: SQLite and a local disk in one data directory, and one server that owns it.

Layout of the data directory (0700): `lock`, `filestead.db` (with its -wal, -shm and `ballast`), `VOLUME`, `staging/`,
`blobs/`, and `first-key` (0600) until the user removes it.
"""

import contextlib
import fcntl
import os
import sqlite3
import stat
import time
from pathlib import Path

from filestead.blobs.disk import sync_directory
from filestead.blobs.health import HealthCheckedBlobs
from filestead.blobs.inspection import require_entry_types
from filestead.blobs.local.store import LocalBlobs
from filestead.database import schema
from filestead.database.engines.sqlite import SqliteDatabase, connect, translate_sqlite_errors
from filestead.database.repositories.files import SqlFileRepository
from filestead.database.repositories.keys import SqlKeyRepository
from filestead.database.repositories.transfer import SqlTransfer
from filestead.domain.clock import ClockWatch
from filestead.domain.errors import CannotStart, DomainError
from filestead.installation.first_key import FIRST_KEY
from filestead.installation.stores import Stores, new_id
from filestead.settings import Settings

DATABASE = "filestead.db"
LOCK = "lock"
OPENED = {LOCK, "ballast", *(f"{DATABASE}{end}" for end in ("", "-wal", "-shm", "-journal"))}
"""What a server opens or makes in the data directory, besides the blobs. (The first key replaces what is there.)"""

MAY_BE_THERE = {LOCK, FIRST_KEY, "lost+found"}


class Lock:
    """Held by the one server of a data directory, from before it touches anything until it has ended."""

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise CannotStart(
                f"another Filestead (process {holder or 'unknown'}) serves {directory}: stop it first, or give this "
                "one another --data-dir"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another server in."""
        os.close(self._fd)


def prepare(settings: Settings) -> Lock:
    """Make or check the installation, migrate it, and keep the lock. `CannotStart` says what to do."""
    directory = settings.data_dir
    try:
        os.umask(0o077)
        made = [path for path in (directory, *directory.parents) if not path.exists()]
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in made:  # the way to the data must survive a power cut, too
            sync_directory(path.parent)
        require_entry_types(directory, dict.fromkeys(OPENED, "file"))
        if stat.S_IMODE(directory.stat().st_mode) != 0o700:
            directory.chmod(0o700)
        lock = Lock(directory)
    except OSError as error:
        raise CannotStart(
            f"the data directory {directory} cannot be used ({error.strerror}): make it writable for this user, or "
            "give another --data-dir"
        ) from None
    try:
        _prepare_database(settings)
    except DomainError as error:
        lock.release()
        raise CannotStart(str(error)) from error
    except BaseException:
        lock.release()
        raise
    return lock


def _prepare_database(settings: Settings) -> None:
    directory = settings.data_dir
    path = directory / DATABASE
    if not path.exists():
        strangers = {entry.name for entry in directory.iterdir()} - MAY_BE_THERE
        if strangers & {"VOLUME", "blobs"}:
            raise CannotStart(
                f"{directory} holds blobs but the database {DATABASE} is missing: restore it from the backup, or give "
                "another --data-dir"
            )
        if strangers:
            raise CannotStart(
                f"{directory} is not empty and is not a data directory of Filestead (it holds {min(strangers)}): give "
                "an empty directory or one that Filestead has made"
            )
    with contextlib.closing(_connect(path)) as connection:
        schema.upgrade(connection)
        with translate_sqlite_errors():
            row = connection.execute("SELECT id FROM installation").fetchone()
            installation = str(row[0]) if row else new_id("inst-")
            _blobs(settings).open(installation, fresh=row is None)
            if row is None:
                # Last, so that a first start that was cut off is a first start again.
                connection.execute("INSERT INTO installation (id) VALUES (?)", (installation,))


def _connect(path: Path) -> sqlite3.Connection:
    with translate_sqlite_errors():
        return connect(path, time.time)


def _blobs(settings: Settings) -> LocalBlobs:
    return LocalBlobs(settings.data_dir, reserve_bytes=int(settings.reserve_bytes), neighbours={*OPENED, FIRST_KEY})


def open_stores(settings: Settings) -> Stores:
    """The stores of an installation that has been prepared."""
    path = settings.data_dir / DATABASE
    if not is_made(settings):
        raise CannotStart(
            f"{settings.data_dir} holds no installation: start `filestead serve` on it, or name another --data-dir"
        )
    with contextlib.closing(_connect(path)) as connection:
        schema.require_head(connection)
    database = SqliteDatabase(path)
    local = _blobs(settings)

    def close() -> None:
        database.close()
        local.close()

    return Stores(
        SqlFileRepository(database, ClockWatch(settings.sweep_quarantine)),
        SqlKeyRepository(database, new_id),
        HealthCheckedBlobs(local),
        SqlTransfer(database),
        close,
    )


def is_made(settings: Settings) -> bool:
    """Whether the data directory holds an installation, if only one whose first start was cut off."""
    return (settings.data_dir / DATABASE).is_file()


def is_served(settings: Settings) -> bool:
    """Whether a server owns the data directory now."""
    try:
        Lock(settings.data_dir).release()
    except CannotStart:
        return True
    except OSError:
        return False
    return False
