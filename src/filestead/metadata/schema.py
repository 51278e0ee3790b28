"""The schema's version: numbered migrations, each one transaction, run when the embedded server starts."""

import sqlite3
from pathlib import Path

import sqlalchemy as sa

from filestead.domain.errors import CannotStart
from filestead.metadata.sqlite import translated

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0002"
"""The newest migration; a test compares it with the folder."""


def version(connection: sqlite3.Connection) -> str | None:
    """The migration that the database stands at; None for an empty one."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the database to `HEAD`. `CannotStart` if a newer Filestead has worked on it."""
    with translated():
        at = version(connection)
    if at == HEAD:
        return
    if at is not None and at > HEAD:
        raise CannotStart(
            f"the database is at schema {at}, which is newer than this Filestead knows ({HEAD}): "
            "install the version that wrote it, or a newer one"
        )
    _migrate(connection)


def require_head(connection: sqlite3.Connection) -> None:
    """`CannotStart` unless the database is at `HEAD`."""
    with translated():
        at = version(connection)
    if at != HEAD:
        raise CannotStart(
            f"the database is at schema {at} instead of {HEAD}: start `filestead serve` once to migrate it"
        )


def _migrate(connection: sqlite3.Connection) -> None:
    # Alembic costs a quarter of a second to import; a start without migrations should not pay for it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    engine = sa.create_engine("sqlite://", creator=lambda: connection, poolclass=sa.StaticPool)
    # The driver would otherwise commit before each DDL statement; so each migration is one transaction.
    sa.event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with translated(), engine.connect() as bound:
        config.attributes["connection"] = bound
        command.upgrade(config, "head")
        bound.commit()
