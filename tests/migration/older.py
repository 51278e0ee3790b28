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
        _insert(connection, table, values)


def _insert(connection: sqlite3.Connection | Marks, table: str, values: dict[str, object]) -> None:
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


LATER_ROWS: dict[str, list[tuple[str, dict[str, object]]]] = {
    "0005": [
        ("vector_stores", {"id": "vs_1", "project_id": "proj_1", "created_at": CREATED_AT, "last_active_at": CREATED_AT}),
        ("vector_store_files", {"vector_store_id": "vs_1", "file_id": "file-a", "project_id": "proj_1", "created_at": CREATED_AT, "status": "in_progress", "chunk_tokens": 800, "chunk_overlap_tokens": 400}),
        ("vector_store_chunks", {"id": 1, "text": "old", "overlap": 0, "tokens": 1}),
        ("jobs", {"kind": "index", "subject": "1", "project_id": "proj_1", "due_us": 1, "created_us": 1}),
    ],
    "0007": [
        ("batches", {"seq": 7, "id": "batch_1", "project_id": "proj_1", "organization_id": "org-1", "user_id": "user-1", "endpoint": "/v1/chat/completions", "completion_window": "24h", "status": "in_progress", "input_file_id": "file-a", "input_blob_key": "blob-a", "input_bytes": 1, "output_lifetime": 1, "created_at": CREATED_AT, "expires_at": CREATED_AT, "total": 2, "completed": 1}),
        ("batch_results", {"batch": 7, "kind": "output", "offset_start": 0, "first_line": 0, "lines": b"\0\0\0\0", "data": b"{}\n"}),
        ("jobs", {"kind": "batch", "subject": "batch_1", "project_id": "proj_1", "due_us": 1, "created_us": 1}),
    ],
    "0008": [
        ("uploads", {"id": "upload_1", "project_id": "proj_1", "filename": "part", "purpose": "user_data", "bytes": 2, "created_at": CREATED_AT, "expires_at": CREATED_AT, "status": "pending"}),
        ("blobs", {"key": "blob-p", "project_id": "proj_1", "state": "live"}),
        ("upload_parts", {"id": "part_1", "upload_id": "upload_1", "blob_key": "blob-p", "bytes": 2, "sha256": "2", "created_at": CREATED_AT}),
    ],
}  # fmt: skip
"""What a revision can hold beside the rows of `fill` for a file `file-a`: revision -> table and values."""


def fill_later(connection: sqlite3.Connection | Marks, revision: str) -> None:
    """Add the rows of `LATER_ROWS` that a database of this revision has tables for."""
    for table, values in rows_until(revision):
        _insert(connection, table, values)


def rows_until(revision: str) -> list[tuple[str, dict[str, object]]]:
    """Those of `LATER_ROWS` that a database has which was upgraded from this revision."""
    return [row for since, rows in LATER_ROWS.items() if since <= revision for row in rows]


def names(connection: sqlite3.Connection) -> set[str]:
    """The tables and indexes of a database."""
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
