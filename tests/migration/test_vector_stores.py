"""The migration to vector stores: what was there stays, and the trigger follows the cascades, on both databases."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from filestead.database import schema
from filestead.database.engines.postgres.database import connect, connection_parameters
from filestead.database.engines.sqlite import connect as connect_sqlite
from tests.migration.older import Marks, fill, migrate_to
from tests.support.databases import shared_postgres

BEFORE = "0004"
FILES = {"file-a": ("blob-a", b"a", "0" * 64), "file-b": ("blob-b", b"bb", "1" * 64)}
TABLES = (
    "organizations",
    "projects",
    "users",
    "keys",
    "blobs",
    "files",
    "idempotency_keys",
    "file_tombstones",
    "clock",
)


@pytest.fixture(params=["sqlite", "postgres"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A database before vector stores, with files."""
    if request.param == "sqlite":
        with closing(connect_sqlite(tmp_path / "a.db", time.time)) as connection:
            migrate_to(connection, BEFORE)
            fill(connection, "sk-a", FILES)
            yield connection
        return
    server = shared_postgres()
    with closing(connect(connection_parameters(server.create("older")))) as connection:
        migrate_to(connection, BEFORE)
        fill(Marks(connection), "sk-a", FILES)
        yield connection
    server.drop("older")


def contents(connection: Any) -> dict[str, list[Any]]:
    return {table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall()) for table in TABLES}


def numbers(connection: Any, sql: str) -> list[int]:
    return [int(row[0]) for row in connection.execute(sql).fetchall()]


def test_everything_is_kept_and_files_can_be_attached(older: Any) -> None:
    connection = older
    before = contents(connection)
    assert len(before["files"]) == 2
    migrate_to(connection, schema.HEAD)
    after = contents(connection)
    ((*organization, arrival),) = after.pop("organizations")
    assert [tuple(organization)] == before.pop("organizations")
    assert arrival == 0
    assert [project[-1] for project in after["projects"]] == [0], "the arrival of batches"
    after["projects"] = [project[:-1] for project in after["projects"]]
    assert [file[-1] for file in after["files"]] == [None, None], "the number of parts"
    after["files"] = [file[:-1] for file in after["files"]]
    assert [key[5] for key in after["keys"]] == ["files:read files:write inference"]
    after["keys"] = [(*key[:5], "files:read files:write", *key[6:]) for key in after["keys"]]
    assert after == before
    assert schema.current_version(connection) == schema.HEAD


def test_the_trigger_follows_the_cascades(older: Any) -> None:
    connection = older
    migrate_to(connection, schema.HEAD)
    for store_id in ("vs_a", "vs_b"):
        connection.execute(
            "INSERT INTO vector_stores (id, project_id, created_at, last_active_at) "
            f"VALUES ('{store_id}', 'proj_1', 1, 1)"
        )
        connection.execute(
            "INSERT INTO vector_store_files (vector_store_id, file_id, project_id, created_at, status, chunk_tokens, "
            f"chunk_overlap_tokens) SELECT '{store_id}', id, project_id, 1, 'in_progress', 800, 400 FROM files ORDER BY id"
        )
    connection.execute(
        "INSERT INTO jobs (kind, subject, project_id, due_us, created_us) "
        "SELECT 'index', CAST(seq AS TEXT), 'proj_1', 1, 1 FROM vector_store_files"
    )
    connection.execute(
        "INSERT INTO jobs (kind, subject, project_id, due_us, created_us) VALUES ('merge', '1', 'proj_1', 1, 1)"
    )
    detached, left = "SELECT attachment FROM detached_files ORDER BY 1", "SELECT seq FROM vector_store_files ORDER BY 1"
    waiting = "SELECT CAST(subject AS INTEGER) FROM jobs WHERE kind = 'index' ORDER BY 1"
    connection.execute("INSERT INTO detached_files (attachment) VALUES (1)")  # of a cancelled one
    connection.execute("DELETE FROM files WHERE id = 'file-a'")
    assert [numbers(connection, sql) for sql in (detached, left, waiting)] == [[1, 3], [2, 4], [2, 4]]
    connection.execute("DELETE FROM vector_stores WHERE id = 'vs_b'")
    assert [numbers(connection, sql) for sql in (detached, left, waiting)] == [[1, 3, 4], [2], [2]]
    connection.execute("DELETE FROM vector_store_files")
    assert [numbers(connection, sql) for sql in (detached, left, waiting)] == [[1, 2, 3, 4], [], []]
    assert numbers(connection, "SELECT count(*) FROM jobs") == [1]
