"""Migrations: the folder, the tables, and what happens to a database that is older, newer or half done."""

import sqlite3
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from filestead.database import schema
from filestead.database.engines.sqlite import connect
from filestead.database.indexes import metadata
from filestead.domain.errors import CannotStart
from tests.migration.older import OLDER, REVISIONS, migrate_to, names


def test_head_is_the_last_migration_of_the_folder() -> None:
    script = ScriptDirectory(str(schema.MIGRATIONS))
    assert script.get_heads() == [schema.HEAD]


def test_the_migrations_make_the_tables(tmp_path: Path) -> None:
    connection = connect(tmp_path / "a.db", time.time)
    schema.upgrade(connection)
    assert schema.current_version(connection) == schema.HEAD
    schema.upgrade(connection)
    engine = create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with engine.connect() as bound:
        assert compare_metadata(MigrationContext.configure(bound), metadata) == []


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    connection = connect(tmp_path / "a.db", time.time)
    schema.upgrade(connection)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CannotStart, match="newer than this Filestead"):
        schema.upgrade(connection)
    assert schema.current_version(connection) == "9999"


def test_a_migration_is_all_or_nothing(tmp_path: Path) -> None:
    """Whatever statement fails, the next start finds the database as one of the migrations left it."""
    statements = _statements_of_a_migration(tmp_path / "count.db")
    assert statements > 10
    whole: dict[str | None, set[str]] = {None: set()}
    connection = connect(tmp_path / "whole.db", time.time)
    for revision in REVISIONS:
        migrate_to(connection, revision)
        whole[revision] = names(connection)
    found = set()
    for allowed in range(statements):
        path = tmp_path / f"{allowed}.db"
        connection = connect(path, time.time)
        _fail_after(connection, allowed)
        with pytest.raises(Exception, match="not authorized|prohibited|failed"):
            schema.upgrade(connection)
        connection.close()
        again = connect(path, time.time)
        version = schema.current_version(again)
        assert names(again) == whole[version]
        found.add(version)
        schema.upgrade(again)
        assert schema.current_version(again) == schema.HEAD
        assert names(again) == whole[schema.HEAD]
    assert found == {None, *OLDER}


def _statements_of_a_migration(path: Path) -> int:
    connection = connect(path, time.time)
    count = 0

    def authorize(*action: object) -> int:
        nonlocal count
        count += _changes(*action)
        return sqlite3.SQLITE_OK

    connection.set_authorizer(authorize)
    schema.upgrade(connection)
    return count


def _changes(kind: object, table: object = None, *_: object) -> bool:
    """Whether an action changes the schema, or rows that a migration changes."""
    creates = kind in (sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_ALTER_TABLE)
    return creates or (kind == sqlite3.SQLITE_UPDATE and table == "keys")


def _fail_after(connection: sqlite3.Connection, allowed: int) -> None:
    count = 0

    def authorize(*action: object) -> int:
        nonlocal count
        count += _changes(*action)
        return sqlite3.SQLITE_DENY if count > allowed else sqlite3.SQLITE_OK

    connection.set_authorizer(authorize)


def test_the_settings_that_durability_needs(tmp_path: Path) -> None:
    connection = connect(tmp_path / "a.db", time.time)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL: NORMAL loses commits in a power cut"
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert (tmp_path / "a.db").stat().st_mode & 0o777 == 0o600
