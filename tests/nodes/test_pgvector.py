"""What a start says of a PostgreSQL server without a usable pgvector."""

from contextlib import closing

import pytest

from filestead.database.engines.postgres import server as module
from filestead.database.engines.postgres.database import connect, connection_parameters
from filestead.domain.errors import CannotStart
from tests.support.databases import shared_postgres

pytestmark = pytest.mark.embedded("needs no server of ours")


def test_a_role_that_may_not_create_it_is_told_what_to_do() -> None:
    server = shared_postgres()
    url = server.create("without_pgvector")
    with server.session() as session:
        session.execute("DROP ROLE IF EXISTS limited")
        session.execute("CREATE ROLE limited LOGIN")
    try:
        with (
            closing(connect(connection_parameters(url.replace("postgres:secret-word@", "limited@")))) as connection,
            pytest.raises(CannotStart, match="run CREATE EXTENSION vector in this database as a superuser, or set"),
        ):
            module.require_pgvector(connection)
        with closing(connect(connection_parameters(url))) as connection:
            module.require_pgvector(connection)
            module.require_pgvector(connection)
    finally:
        server.drop("without_pgvector")


def test_an_old_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_PGVECTOR", (99, 1))
    server = shared_postgres()
    try:
        with (
            closing(connect(connection_parameters(server.create("old_pgvector")))) as connection,
            pytest.raises(CannotStart, match=r"needs pgvector 99\.1 or newer, but this database has \d"),
        ):
            module.require_pgvector(connection)
    finally:
        server.drop("old_pgvector")
