"""The schema version: numbered migrations, each one transaction, the same for every database.

They run when the embedded server starts; `filestead migrate` runs them on a shared PostgreSQL. Functions
here take a driver's connection and raise the driver's exceptions: `maintenance_connection` of each engine translates.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from filestead.database.engines.statements import Connection
from filestead.domain.errors import CannotStart

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0014"
"""The newest migration; a test compares it with the directory."""


@dataclass(frozen=True)
class _SchemaDialect:
    """The differences between the databases."""

    url: str
    has_version: str
    begin: str | None
    remedy: str


SQLITE = _SchemaDialect(
    "sqlite://",
    "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'",
    # Makes each migration one transaction: by default the driver commits before each DDL statement.
    "BEGIN IMMEDIATE",
    "start `filestead serve` once to migrate it",
)
POSTGRES = _SchemaDialect(
    "postgresql+psycopg://",
    "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL",
    "BEGIN",
    "run `filestead migrate`",
)


def current_version(connection: Connection) -> str | None:
    """The newest applied migration; None for an empty database."""
    if not connection.execute(_dialect_of(connection).has_version).fetchone():
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def upgrade(connection: Connection) -> None:
    """Migrate the database to `HEAD`. Raises `CannotStart` if a newer Filestead has migrated it further."""
    if _supported_version(connection) != HEAD:
        _migrate(connection)


def require_head(connection: Connection) -> None:
    """Raise `CannotStart` unless the database is at `HEAD`."""
    current = _supported_version(connection)
    if current != HEAD:
        remedy = _dialect_of(connection).remedy
        raise CannotStart(f"the database is at schema {current or 'none'} instead of {HEAD}: {remedy}")


def _supported_version(connection: Connection) -> str | None:
    current = current_version(connection)
    if current is not None and current > HEAD:
        raise CannotStart(
            f"the database is at schema {current}, which is newer than this Filestead knows ({HEAD}): "
            "install the version that wrote it, or a newer one"
        )
    return current


def _dialect_of(connection: Connection) -> _SchemaDialect:
    return SQLITE if isinstance(connection, sqlite3.Connection) else POSTGRES


def _migrate(connection: Connection) -> None:
    # Importing Alembic takes a quarter of a second, which a start without migrations avoids.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with _raise_driver_errors(), sqlalchemy_connection(connection) as config.attributes["connection"]:
        command.upgrade(config, "head")
        config.attributes["connection"].commit()


@contextlib.contextmanager
def sqlalchemy_connection(connection: Connection) -> Iterator[sa.Connection]:
    """Wrap a driver's connection in autocommit mode as a connection of SQLAlchemy."""
    dialect = _dialect_of(connection)
    engine = sa.create_engine(dialect.url, creator=lambda: connection, poolclass=sa.StaticPool)
    sa.event.listen(engine, "begin", lambda begun: begun.exec_driver_sql(dialect.begin))
    with engine.connect() as wrapped:
        yield wrapped


@contextlib.contextmanager
def _raise_driver_errors() -> Iterator[None]:
    """Raise the driver's own exceptions, which the caller translates."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        original: Any = error.orig
        raise original from None
