"""Databases as earlier versions made them: the first so many migrations, and rows that were valid then."""

import sqlite3
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from filestead.database import schema
from filestead.domain import access

REVISIONS = [script.revision for script in ScriptDirectory(str(schema.MIGRATIONS)).walk_revisions()][::-1]
"""Every migration, oldest first."""

OLDER = REVISIONS[:-1]
INSTALLATION = "inst-older"
CREATED_AT = 1_700_000_000


def migrate_to(connection: Any, revision: str) -> None:
    """Bring an empty or older database of either kind to a migration, and no further."""
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with schema.sqlalchemy_connection(connection) as config.attributes["connection"]:
        command.upgrade(config, revision)
        config.attributes["connection"].commit()


class Marks:
    """A connection of psycopg that takes the parameters of `fill`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: tuple[object, ...]) -> None:
        self._connection.execute(sql.replace("?", "%s"), parameters)


def fill(connection: sqlite3.Connection | Marks, secret: str, contents: dict[str, tuple[str, bytes, str]]) -> None:
    """One project with a key and files, in the tables of the first migration: file id -> blob key, content, SHA-256."""
    size = sum(len(content) for _, content, _ in contents.values())
    rows: list[tuple[str, dict[str, object]]] = [
        ("installation", {"id": INSTALLATION}),
        ("organizations", {"id": "org-1", "name": "default", "created_at": CREATED_AT}),
        ("projects", {"id": "proj_1", "organization_id": "org-1", "name": "default", "created_at": CREATED_AT, "bytes_used": size}),
        ("users", {"id": "user-1", "organization_id": "org-1", "name": "ada"}),
        ("keys", {"id": "key_1", "digest": access.digest_of(secret), "hint": "sk-...", "project_id": "proj_1", "user_id": "user-1", "scopes": "files:read files:write", "created_at": CREATED_AT}),
    ]  # fmt: skip
    for file_id, (blob_key, content, sha256) in contents.items():
        rows.append(("blobs", {"key": blob_key, "project_id": "proj_1", "state": "live"}))
        rows.append(
            ("files", {"id": file_id, "project_id": "proj_1", "filename": "old.txt", "purpose": "user_data", "bytes": len(content), "created_at": CREATED_AT, "status": "processed", "sha256": sha256, "blob_key": blob_key})
        )  # fmt: skip
    for table, values in rows:
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def names(connection: sqlite3.Connection) -> set[str]:
    """The tables and indexes of a database."""
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
