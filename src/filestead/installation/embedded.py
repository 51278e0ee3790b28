"""The embedded installation: SQLite and a local disk in one data directory, owned by one server.

Layout of the data directory (0700): `lock`, `filestead.db` (with its -wal, -shm and `ballast`), `VOLUME`, `staging/`,
`blobs/`, `scrub.json` (see `scrub_state.py`), and `first-key` (0600) until the user removes it.
"""

import asyncio
import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from filestead.blobs.disk import sync_directory
from filestead.blobs.inspection import require_entry_types
from filestead.blobs.local.store import LocalBlobs
from filestead.database import schema
from filestead.database.engines import sqlite
from filestead.database.repositories.installation import add_installation, installation_id
from filestead.domain.errors import CannotStart, DomainError
from filestead.domain.observation import UNOBSERVED, Observer
from filestead.installation.backends import Backends, build_backends, new_id
from filestead.installation.keys import FIRST_KEY_FILE, create_initial_key
from filestead.installation.scrub_state import SCRUB_STATE
from filestead.settings import Settings

DATABASE = "filestead.db"
LOCK = "lock"
OWN_FILES = {LOCK, "ballast", SCRUB_STATE, *(f"{DATABASE}{suffix}" for suffix in ("", "-wal", "-shm", "-journal"))}
"""Files that a server opens or creates in the data directory, besides the blobs and the first key (always replaced)."""

ALLOWED_BEFORE_CREATION = {LOCK, FIRST_KEY_FILE, DATABASE, f"{DATABASE}-journal", "lost+found"}
"""What a first start leaves that was killed before it wrote the database, and what is no sign of other use."""


class EmbeddedInstallation:
    """See `Installation` for the contract."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory = settings.data_dir
        self._database = settings.data_dir / DATABASE

    @classmethod
    def at(cls, directory: Path, settings: Settings) -> Self:
        """One in another data directory, whatever kind of installation the settings name."""
        return cls(settings.model_copy(update={"data_dir": directory, "database_url": None, "blob_url": None}))

    @property
    def location(self) -> str:
        """The path of the data directory."""
        return str(self._directory.resolve())

    def is_locked(self) -> bool:
        """Whether a server owns the data directory. A server that starts at the same moment may be refused."""
        if not self._database.is_file():
            return False
        try:
            with _directory_lock(self._directory):
                return False
        except CannotStart:
            return True
        except OSError:
            return False

    @contextlib.contextmanager
    def prepare(self, *, create: bool = True) -> Iterator[None]:
        """Create or check the data directory, migrate the database, and hold the lock within the block."""
        if not create:
            self._require_database()
        with contextlib.ExitStack() as held:
            held.enter_context(self.reserve())
            try:
                self._prepare_database()
            except DomainError as error:
                raise CannotStart(str(error)) from error
            yield

    @contextlib.contextmanager
    def reserve(self) -> Iterator[None]:
        """Create the data directory, and hold its lock within the block, for a caller who fills it."""
        with contextlib.ExitStack() as held:
            with self._explained():
                self._prepare_directory()
                held.enter_context(_directory_lock(self._directory))
            yield

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CannotStart(
                f"cannot use the data directory {self._directory} ({error.strerror}): make it writable for this "
                "user, or choose another --data-dir"
            ) from None

    async def snapshot_rows(self, directory: Path) -> None:
        """Write the rows as of now into a data directory without contents, in place of those of an earlier call."""
        await asyncio.to_thread(self._snapshot_rows, directory)

    def _snapshot_rows(self, directory: Path) -> None:
        target = directory / DATABASE
        for suffix in ("", "-wal", "-shm"):
            (directory / f"{DATABASE}{suffix}").unlink(missing_ok=True)
        sqlite.snapshot(self._database, target)
        with sqlite.maintenance_connection(target) as connection:
            installation = installation_id(connection)
        if installation is None:
            raise CannotStart(f"{self._directory} holds no installation yet: start `filestead serve` on it")
        with contextlib.closing(LocalBlobs(directory, reserve_bytes=0, neighbours=OWN_FILES)) as blobs:
            blobs.open(installation, fresh=True)

    def _prepare_directory(self) -> None:
        os.umask(0o077)
        missing = [path for path in (self._directory, *self._directory.parents) if not path.exists()]
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in missing:  # The directories above the data must survive a power failure, too.
            sync_directory(path.parent)
        require_entry_types(self._directory, dict.fromkeys(OWN_FILES, "file"))
        if stat.S_IMODE(self._directory.stat().st_mode) != 0o700:
            self._directory.chmod(0o700)

    def _prepare_database(self) -> None:
        if not self._database.exists() or not self._database.stat().st_size:
            _require_empty(self._directory)
        with sqlite.maintenance_connection(self._database) as connection:
            schema.upgrade(connection)
            found = installation_id(connection)
            installation = found or new_id("inst-")
            self._blobs().open(installation, fresh=found is None)
            if found is None:
                # Last, so that a first start that was interrupted is a first start again.
                add_installation(connection, installation)

    def migrate(self, *, wait_seconds: float = 0) -> str:
        """Migrate the database, which every start of a server does, too."""
        with self.prepare():
            return f"the embedded installation in {self._directory} has the schema of this version"

    def bootstrap(self, key_file: Path | None = None) -> str | None:
        """End all leases, since no upload and no job can be under way, and create the initial key."""

        async def run() -> str | None:
            with contextlib.closing(self.open()) as backends:
                await backends.files.release_leases()
                await backends.jobs.release_leases()
                return await create_initial_key(backends.keys, self._settings, key_file)

        return asyncio.run(run())

    def open(self, *, operation_timeout: float | None = None, observer: Observer = UNOBSERVED) -> Backends:
        """Open the database and the blobs. Operations have no time limit here."""
        self._require_database()
        with sqlite.maintenance_connection(self._database) as connection:
            schema.require_head(connection)
        database = sqlite.SqliteDatabase(self._database, observer=observer)
        return build_backends(self._settings, database, self._blobs(observer), observer)

    def open_for_command(self, *, create: bool = False) -> Backends:
        """Prepare the installation, unless a server owns it, and open it."""
        if not self.is_locked() and (create or self._database.is_file()):
            with self.prepare():
                pass
        return self.open()

    def _require_database(self) -> None:
        if not self._database.is_file():
            raise CannotStart(
                f"{self._directory} holds no installation: start `filestead serve` on it, or name another --data-dir"
            )

    def _blobs(self, observer: Observer = UNOBSERVED) -> LocalBlobs:
        return LocalBlobs(
            self._directory,
            reserve_bytes=int(self._settings.reserve_bytes),
            neighbours={*OWN_FILES, FIRST_KEY_FILE},
            observer=observer,
        )


@contextlib.contextmanager
def _directory_lock(directory: Path) -> Iterator[None]:
    """Held by the one server of a data directory, from before it changes anything until it has ended."""
    descriptor = os.open(directory / LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise CannotStart(
                f"another Filestead (process {holder or 'unknown'}) serves {directory}: stop it first, or choose "
                "another --data-dir"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _require_empty(directory: Path) -> None:
    """`CannotStart` for a directory without a database that holds anything which a first start does not leave."""
    unexpected_entries = {entry.name for entry in directory.iterdir()} - ALLOWED_BEFORE_CREATION
    if unexpected_entries & {"VOLUME", "blobs"}:
        raise CannotStart(
            f"{directory} holds blobs but the database {DATABASE} is missing or empty: restore it from the backup, or "
            "choose another --data-dir"
        )
    if unexpected_entries:
        raise CannotStart(
            f"{directory} is not empty and not a Filestead data directory (it holds {min(unexpected_entries)}): choose "
            "an empty directory, or one that Filestead created"
        )
