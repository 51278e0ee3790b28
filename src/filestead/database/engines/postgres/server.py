"""Checks of a PostgreSQL server before it is used, and the lock under which nodes prepare a database."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import psycopg

from filestead.database.engines.postgres.database import (
    PostgresConnection,
    connect,
    connection_parameters,
    short_reason,
    translate_postgres_errors,
)
from filestead.database.engines.statements import Connection
from filestead.domain.errors import CannotStart

log = logging.getLogger("filestead")

MIN_MAJOR = 15
MIN_PGVECTOR = (0, 8)
"""It goes on until enough rows pass the condition of a query; older releases return fewer."""
LOCK_ID = 0x66696C657374  # "filest", among whatever else uses advisory locks of this database
LOCK_TIMEOUT = 60


@contextlib.contextmanager
def maintenance_connection(url: str) -> Iterator[PostgresConnection]:
    """A connection for checks and migrations. Raises `CannotStart` if the server cannot be reached.

    Within the block, driver exceptions are translated to errors of the domain.
    """
    parameters = connection_parameters(url)
    try:
        connection = connect(parameters)
    except psycopg.Error as error:
        raise CannotStart(
            f"{_describe(parameters)} cannot be reached ({short_reason(error)}): start the server, or correct the URL"
        ) from None
    with contextlib.closing(connection), translate_postgres_errors():
        yield connection


@contextlib.contextmanager
def exclusive_connection(url: str) -> Iterator[PostgresConnection]:
    """A `maintenance_connection` that only one process at a time can have for this database."""
    # The lock belongs to a transaction, and so works behind PgBouncer, where sessions are shared. It needs its own
    # connection, since the migrations commit on theirs.
    with maintenance_connection(url) as lock_holder, maintenance_connection(url) as connection:
        lock_holder.execute(
            f"BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'; SET LOCAL statement_timeout = 0; "
            "SET LOCAL idle_in_transaction_session_timeout = 0"
        )
        try:
            lock_holder.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_ID,))
        except psycopg.errors.LockNotAvailable:
            raise CannotStart(
                f"another process has been preparing the database for {LOCK_TIMEOUT} seconds: wait for it, or stop it"
            ) from None
        yield connection
        lock_holder.execute("ROLLBACK")


def check_server(connection: Connection, *, may_migrate: bool = False) -> None:
    """Raise `CannotStart` unless the server meets the requirements, with `may_migrate` including CREATE TABLE."""
    number, commit, encoding, role, schema, name, may_create = _server_facts(connection)
    if number < MIN_MAJOR * 10_000:
        raise CannotStart(
            f"the database runs on PostgreSQL {number // 10_000}, but Filestead needs {MIN_MAJOR} or newer: upgrade it"
        )
    if encoding != "UTF8":
        raise CannotStart(
            f"the database {name} is encoded in {encoding}, which cannot hold every file name: make one with "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    if commit == "off":
        raise CannotStart(
            f"synchronous_commit is off for the role {role}, so a crash could lose files whose upload was confirmed: "
            f"ALTER ROLE {role} IN DATABASE {name} SET synchronous_commit = on (or local, remote_write, remote_apply)"
        )
    if may_migrate and not may_create:
        place = f"the schema {schema} of the database {name}" if schema else f"any schema of the database {name}"
        raise CannotStart(
            f"the role {role} may not create tables in {place}: GRANT USAGE, CREATE ON SCHEMA {schema or 'public'} TO "
            f"{role}, or run `filestead migrate` as a role that may"
        )


def require_pgvector(connection: Connection) -> None:
    """Create the extension `vector` unless it is there. Raises `CannotStart` if that fails, or if it is too old."""
    version = _pgvector_version(connection)
    if version is None:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except psycopg.Error as error:
            raise CannotStart(
                f"FILESTEAD_EMBEDDINGS needs the extension pgvector, which cannot be created ({short_reason(error)}): "
                "install it on the PostgreSQL server and run CREATE EXTENSION vector in this database as a superuser, "
                "or set FILESTEAD_EMBEDDINGS=off"
            ) from None
        version = _pgvector_version(connection)
    if version is None or tuple(map(int, version.split(".")[:2])) < MIN_PGVECTOR:
        raise CannotStart(
            f"FILESTEAD_EMBEDDINGS needs pgvector {'.'.join(map(str, MIN_PGVECTOR))} or newer, but this database has "
            f"{version}: upgrade it and run ALTER EXTENSION vector UPDATE, or set FILESTEAD_EMBEDDINGS=off"
        )


def _pgvector_version(connection: Connection) -> str | None:
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    return None if row is None else str(row[0])


def warn_of_unsafe_settings(connection: Connection) -> None:
    """Log settings of the server that are unsafe in production."""
    if connection.execute("SELECT current_setting('fsync')").fetchone() == ("off",):
        log.warning(
            "fsync is off in PostgreSQL: a power failure can lose every row. Set fsync = on in its configuration"
        )


def _server_facts(connection: Connection) -> tuple[Any, ...]:
    row = connection.execute(
        "SELECT current_setting('server_version_num')::int, current_setting('synchronous_commit'), "
        "pg_encoding_to_char(encoding), quote_ident(current_user), quote_ident(current_schema()), "
        "quote_ident(datname), coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) "
        "FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    assert row is not None, "every connection has a database"
    return row


def _describe(parameters: dict[str, Any]) -> str:
    """The database, for messages: without the password."""
    place = f"{parameters.get('host', 'the local socket')}:{parameters.get('port', 5432)}"
    return f"the database {parameters.get('dbname', '')} at {place}".replace("  ", " ")
