"""The shared installation: rows in PostgreSQL, bytes in an S3-compatible store or a shared folder, any number of nodes.

Nothing here is owned by one process: nodes come and go while others serve. `filestead migrate` makes the schema.
"""

import contextlib
import importlib
import time
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from filestead.blobs.health import HealthCheckedBlobs
from filestead.blobs.local.store import LocalBlobs
from filestead.blobs.s3.opening import open_blob_store
from filestead.database import schema
from filestead.database.repositories.files import SqlFileRepository
from filestead.database.repositories.keys import SqlKeyRepository
from filestead.database.repositories.transfer import SqlTransfer
from filestead.domain.clock import ClockWatch
from filestead.domain.errors import CannotStart, DomainError
from filestead.installation.stores import Stores, new_id
from filestead.settings import Settings, cloud_environment

if TYPE_CHECKING:
    from filestead.blobs.s3.store import S3Blobs

WAIT_STEP_SECONDS = 1.0

PATIENT_SECONDS = 3600.0
"""How long a command may look at millions of rows; a server gives up long before."""


def prepare(settings: Settings) -> None:
    """Check that rows and bytes are there, of this version, and belong together. `CannotStart` says what to do."""
    server = _driver("postgres_server")
    with server.connected(_url(settings)) as connection:
        server.check_server(connection)
        schema.require_head(connection)
        installation = server.installation(connection)
    if installation is None:
        raise CannotStart("the database holds no installation yet: run `filestead migrate`")
    with contextlib.closing(_blobs(settings)) as blobs:
        blobs.open(installation, fresh=False)


@contextlib.contextmanager
def starting(settings: Settings) -> Iterator[None]:
    """Around what a node does before it serves; of all nodes one at a time is in the block."""
    server = _driver("postgres_server")
    with server.exclusively(_url(settings)) as connection:
        server.warn(connection)
        yield


def migrate(settings: Settings, *, wait_seconds: float) -> str:
    """Bring the schema to this version and make the installation, waiting for database and store to come up."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return _migrate(settings)
        except DomainError as error:
            if time.monotonic() > deadline:
                raise error if isinstance(error, CannotStart) else CannotStart(str(error)) from error
        time.sleep(WAIT_STEP_SECONDS)


def _migrate(settings: Settings) -> str:
    server = _driver("postgres_server")
    with server.exclusively(_url(settings)) as connection:
        server.check_server(connection, migrates=True)
        schema.upgrade(connection)
        installation = server.installation(connection)
        with contextlib.closing(_blobs(settings)) as blobs:
            fresh = installation is None
            installation = installation or new_id("inst-")
            blobs.open(installation, fresh=fresh)
        if fresh:
            # Last, so that a first migration that was cut off is a first one again.
            server.add_installation(connection, installation)
    return f"the database is at schema {schema.HEAD}; the bytes of its files are in {settings.bytes_place}"


def open_stores(settings: Settings, *, patient: bool) -> Stores:
    """The stores of an installation that has been prepared."""
    with _driver("postgres_server").connected(_url(settings)) as connection:
        schema.require_head(connection)
    driver = _driver("postgres")
    database = driver.PostgresDatabase(
        _url(settings),
        connections=settings.database_connections,
        seconds=PATIENT_SECONDS if patient else driver.SECONDS,
    )
    blobs = _blobs(settings)

    def close() -> None:
        database.close()
        blobs.close()

    direct = None if isinstance(blobs, LocalBlobs) else blobs
    return Stores(
        SqlFileRepository(database, ClockWatch(settings.sweep_quarantine)),
        SqlKeyRepository(database, new_id),
        HealthCheckedBlobs(blobs),
        SqlTransfer(database),
        close,
        direct,
    )


def _driver(name: str) -> ModuleType:
    """A module that needs the extra."""
    try:
        return importlib.import_module(f"filestead.database.engines.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "psycopg":
            raise
        raise CannotStart(
            "FILESTEAD_DATABASE_URL needs the PostgreSQL driver: pip install 'filestead[postgres]'"
        ) from None


def _url(settings: Settings) -> str:
    assert settings.database_url is not None, "otherwise it is an embedded one"
    return settings.database_url.get_secret_value()


def _blobs(settings: Settings) -> "LocalBlobs | S3Blobs":
    if settings.blob_url is None:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LocalBlobs(settings.data_dir, reserve_bytes=int(settings.reserve_bytes))
    return open_blob_store(
        settings.blob_url,
        endpoint=settings.s3_endpoint,
        region=None,
        environ=cloud_environment(),
        allow_link_local=settings.allow_link_local,
    )
