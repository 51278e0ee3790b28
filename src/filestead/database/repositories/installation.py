"""The id of the installation, which the blob store repeats, so that the two are known to belong together."""

import sqlite3

from filestead.database.engines.statements import Connection


def installation_id(connection: Connection) -> str | None:
    """The id of the installation; None in a new one."""
    row = connection.execute("SELECT id FROM installation").fetchone()
    return str(row[0]) if row else None


def add_installation(connection: Connection, installation_id: str) -> None:
    """Store the id of a new installation, as the last step of creating it."""
    mark = "?" if isinstance(connection, sqlite3.Connection) else "%s"
    connection.execute(f"INSERT INTO installation (id) VALUES ({mark})", (installation_id,))  # noqa: S608 - a constant
