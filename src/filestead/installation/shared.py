"""The shared installation: rows in PostgreSQL, blobs in an S3-compatible store or a shared directory, many nodes.

No process owns it: nodes come and go while others serve. `filestead migrate` creates the schema.
"""

import asyncio
import contextlib
import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from filestead.blobs.local.store import LocalBlobs
from filestead.blobs.s3.opening import open_blob_store
from filestead.database import schema
from filestead.database.engines.statements import Connection
from filestead.database.repositories.installation import add_installation, installation_id
from filestead.database.repositories.vector_stores.pgvector import create_tables, lacks_tables
from filestead.domain.errors import CannotStart, DomainError
from filestead.domain.observation import UNOBSERVED, Observer
from filestead.domain.vector_stores.embeddings import LOCAL_DIMENSIONS, LOCAL_MODEL
from filestead.installation.backends import Backends, build_backends, new_id
from filestead.installation.child import in_a_child
from filestead.installation.copy import copy
from filestead.installation.embedded import EmbeddedInstallation
from filestead.installation.keys import create_initial_key
from filestead.installation.scrub_state import SCRUB_STATE
from filestead.settings import Settings, aws_environment

if TYPE_CHECKING:
    from filestead.blobs.s3.store import S3Blobs

MIGRATION_RETRY_SECONDS = 1.0

COMMAND_TIMEOUT_SECONDS = 3600.0
"""How long an operation of a command may take, which may read millions of rows; that of a request ends long before."""


class SharedInstallation:
    """See `Installation` for the contract."""

    location = "shared"

    def __init__(self, settings: Settings) -> None:
        if settings.database_url is None:
            raise CannotStart("`shared` is the installation of FILESTEAD_DATABASE_URL, which is not set")
        self._settings = settings
        self._url = settings.database_url.get_secret_value()
        self._server = _postgres_module("server")

    def is_locked(self) -> bool:
        """Never: any number of nodes may serve it."""
        return False

    @contextlib.contextmanager
    def prepare(self, *, create: bool = True) -> Iterator[None]:
        """Check that rows and blobs are there, have this version, and belong together."""
        self._check()
        yield

    def _check(self) -> None:
        with self._server.maintenance_connection(self._url) as connection:
            self._server.check_server(connection)
            schema.require_head(connection)
            installation = installation_id(connection)
            lacks_vectors = self._settings.embeddings != "off" and lacks_tables(connection, *self._local_model())
        if lacks_vectors:
            with self._server.exclusive_connection(self._url) as connection:
                self._prepare_vectors(connection)
        if installation is None:
            raise CannotStart("the database holds no installation yet: run `filestead migrate`")
        if self._settings.workers > 1:
            in_a_child(lambda: self._check_blobs(installation))
        else:
            self._check_blobs(installation)

    def _check_blobs(self, installation: str) -> None:
        with contextlib.closing(self._blobs()) as blobs:
            blobs.open(installation, fresh=False)

    def _local_model(self) -> tuple[str | None, int]:
        """The model whose dimensions are known before it is used."""
        return (LOCAL_MODEL if self._settings.embeddings == "local" else None), LOCAL_DIMENSIONS

    def _prepare_vectors(self, connection: Connection) -> None:
        self._server.require_pgvector(connection)
        create_tables(connection, *self._local_model())

    def migrate(self, *, wait_seconds: float = 0) -> str:
        """Migrate the schema and create the installation; wait until the database and the blob store are available."""
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                return self._migrate()
            except DomainError as error:
                if time.monotonic() > deadline:
                    raise error if isinstance(error, CannotStart) else CannotStart(str(error)) from error
            time.sleep(MIGRATION_RETRY_SECONDS)

    def _migrate(self) -> str:
        with self._server.exclusive_connection(self._url) as connection:
            self._server.check_server(connection, may_migrate=True)
            schema.upgrade(connection)
            if self._settings.embeddings != "off":
                self._prepare_vectors(connection)
            installation = installation_id(connection)
            with contextlib.closing(self._blobs()) as blobs:
                fresh = installation is None
                installation = installation or new_id("inst-")
                blobs.open(installation, fresh=fresh)
            if fresh:
                # Last, so that a first migration that was interrupted is a first one again.
                add_installation(connection, installation)
        return (
            f"the database is at schema {schema.HEAD}; the bytes of its files are in {self._settings.storage_location}"
        )

    def bootstrap(self, key_file: Path | None = None) -> str | None:
        """Create the initial key, one node at a time. Leases of other nodes' uploads stay."""

        async def run() -> str | None:
            with contextlib.closing(self.open()) as backends:
                return await create_initial_key(backends.keys, self._settings, key_file)

        with self._server.exclusive_connection(self._url) as connection:
            self._server.warn_of_unsafe_settings(connection)
            return asyncio.run(run())

    def open(self, *, operation_timeout: float | None = None, observer: Observer = UNOBSERVED) -> Backends:
        """Connect to the database and the blob store."""
        with self._server.maintenance_connection(self._url) as connection:
            schema.require_head(connection)
        driver = _postgres_module("database")
        database = driver.PostgresDatabase(
            self._url,
            connections=self._settings.database_connections,
            operation_timeout=operation_timeout or driver.OPERATION_TIMEOUT_SECONDS,
            observer=observer,
        )
        return build_backends(self._settings, database, self._blobs(observer), observer)

    def open_for_command(self, *, create: bool = False) -> Backends:
        """Check the installation and open it."""
        self._check()
        return self.open(operation_timeout=COMMAND_TIMEOUT_SECONDS)

    async def snapshot_rows(self, directory: Path) -> None:
        """Write the rows as of now into a data directory without contents, or what has changed since the last call.

        Uploads in parts that are in progress are left out.
        """
        place = EmbeddedInstallation.at(directory, self._settings)
        with (
            place.prepare(),
            _postgres_module("snapshot").open_snapshot(self._url) as database,
            contextlib.closing(build_backends(self._settings, database, self._blobs())) as source,
            contextlib.closing(place.open()) as target,
        ):
            await copy(source, target, contents=False)

    def _blobs(self, observer: Observer = UNOBSERVED) -> "LocalBlobs | S3Blobs":
        settings = self._settings
        if settings.blob_url is None:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            return LocalBlobs(
                settings.data_dir,
                reserve_bytes=int(settings.reserve_bytes),
                neighbours={SCRUB_STATE},
                observer=observer,
            )
        return open_blob_store(
            settings.blob_url,
            endpoint=settings.s3_endpoint,
            region=None,
            environ=aws_environment(),
            allow_link_local=settings.allow_link_local,
            observer=observer,
        )


def _postgres_module(name: str) -> ModuleType:
    """A module that needs the extra."""
    try:
        return importlib.import_module(f"filestead.database.engines.postgres.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "psycopg":
            raise
        raise CannotStart(
            "FILESTEAD_DATABASE_URL needs the PostgreSQL driver: pip install 'filestead[postgres]'"
        ) from None
