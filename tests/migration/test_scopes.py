"""Keys of earlier versions that may read and write files may use models, and others may not."""

import contextlib
import time
from pathlib import Path

from filestead.database import schema
from filestead.database.engines.sqlite import connect
from filestead.domain.access import DEFAULT_SCOPES, Scope
from tests.migration.older import fill, migrate_to


def test_the_scope_for_models_is_added_to_keys_with_the_default_scopes(tmp_path: Path) -> None:
    given = {
        "default": "files:read files:write",
        "system": "files:read files:system files:write",
        "reader": "files:read",
        "writer": "files:write",
    }
    with contextlib.closing(connect(tmp_path / "old.db", time.time)) as connection:
        migrate_to(connection, "0007")
        fill(connection, "sk-any", {})
        for name, scopes in given.items():
            connection.execute(
                "INSERT INTO keys (id, digest, hint, project_id, user_id, scopes, created_at)"
                " VALUES (?, ?, 'h', 'proj_1', 'user-1', ?, 1)",
                (name, name, scopes),
            )
        schema.upgrade(connection)
        found = dict(connection.execute("SELECT id, scopes FROM keys").fetchall())
    assert {name: frozenset(map(Scope, found[name].split())) for name in given} == {
        "default": DEFAULT_SCOPES,
        "system": DEFAULT_SCOPES | {Scope.SYSTEM},
        "reader": {Scope.READ},
        "writer": {Scope.WRITE},
    }
    assert found["default"] == " ".join(sorted(DEFAULT_SCOPES))
