"""What a node asks of a PostgreSQL server before it serves, and how migrations run where many nodes start at once."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from filestead.database import schema
from filestead.database.engines.postgres import server as postgres_server
from filestead.database.engines.postgres.database import PostgresDatabase, translate_postgres_errors
from filestead.database.indexes import metadata
from filestead.database.repositories.installation import add_installation, installation_id
from filestead.domain.errors import CannotStart, DatabaseUnavailable, StorageFailed, StorageFull
from filestead.installation import new_id
from tests.support.databases import shared_postgres
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer, Proxy

PASSWORD = "secret-word"


@pytest.fixture
def empty() -> Iterator[tuple[PostgresServer, str]]:
    server = shared_postgres()
    server.create("empty")
    yield server, server.url_of("empty")
    server.drop("empty")


Empty = tuple[PostgresServer, str]


# --- migrations -------------------------------------------------------------------------------------------------------


def test_the_migrations_create_the_tables(empty: Empty) -> None:
    with postgres_server.exclusive_connection(empty[1]) as connection:
        assert schema.current_version(connection) is None
        with pytest.raises(CannotStart, match="run `filestead migrate`"):
            schema.require_head(connection)
        schema.upgrade(connection)
        schema.upgrade(connection)
        schema.require_head(connection)
        with schema.sqlalchemy_connection(connection) as bound:
            differences = compare_metadata(MigrationContext.configure(bound), metadata)
            assert [found for found in differences if "modify_comment" not in str(found)] == []
        wrong = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
            "AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
        ).fetchall()
        assert wrong == [], "the order of text is not the locale's"


def test_a_newer_database_is_refused_unchanged(empty: Empty) -> None:
    with postgres_server.maintenance_connection(empty[1]) as connection:
        schema.upgrade(connection)
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        for step in (schema.upgrade, schema.require_head):
            with pytest.raises(CannotStart, match="newer than this Filestead"):
                step(connection)
        assert schema.current_version(connection) == "9999"


def prepare(url: str) -> str:
    """What each node does."""
    with postgres_server.exclusive_connection(url) as connection:
        postgres_server.check_server(connection, may_migrate=True)
        schema.upgrade(connection)
        found = installation_id(connection)
        if found is None:
            found = new_id("inst-")
            add_installation(connection, found)
        return found


def test_many_nodes_prepare_one_database_concurrently(empty: Empty) -> None:
    code = f"from tests.nodes.test_server import prepare; print(prepare({empty[1]!r}))"
    nodes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        ids = list(threads.map(prepare, [empty[1]] * 4))
    for node in nodes:
        output, _ = node.communicate(timeout=60)
        assert node.returncode == 0
        ids.append(output.decode().strip())
    assert len(set(ids)) == 1
    empty[0].wait_for_sessions_to_end("empty")  # a session ends after its client
    with postgres_server.maintenance_connection(empty[1]) as connection:
        assert connection.execute("SELECT count(*) FROM installation").fetchone() == (1,)
        locks = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
        assert locks == (0,)


def tables(session: psycopg.Connection[Any]) -> set[str]:
    return {
        name for (name,) in session.execute("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    }


def test_an_interrupted_migration_is_rolled_back(empty: Empty) -> None:
    server, url = empty
    with postgres_server.maintenance_connection(server.create("whole")) as whole:
        schema.upgrade(whole)
        complete = tables(whole)
    server.drop("whole")
    versions: list[str | None] = []
    for allowed in range(0, 120, 3):
        count = 0

        def judge(message: bytes, last: int = allowed) -> str:
            nonlocal count
            count += b"CREATE" in message or b"alembic_version" in message or message.endswith(b"COMMIT\0")
            return "drop before" if count > last else "pass"

        proxy = Proxy(server.port, judge)
        try:
            with postgres_server.maintenance_connection(server.url_of("empty", proxy.port)) as connection:
                schema.upgrade(connection)
        except DatabaseUnavailable:
            pass
        else:
            versions.append(schema.HEAD)
            break
        finally:
            proxy.close()
        with postgres_server.maintenance_connection(url) as connection:
            at = schema.current_version(connection)
            found = tables(connection)
            assert ("files" in found) == (at is not None)
            assert ("idempotency_keys" in found) == (at is not None and at >= "0002")
            versions.append(at)
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert set(versions) >= {None, "0001", schema.HEAD}
    with postgres_server.maintenance_connection(url) as connection:
        assert tables(connection) == complete


# --- refusals ---------------------------------------------------------------------------------------------------------


def refused(url: str, *, may_migrate: bool = False) -> str:
    with pytest.raises(CannotStart) as refusal, postgres_server.maintenance_connection(url) as connection:
        postgres_server.check_server(connection, may_migrate=may_migrate)
    assert PASSWORD not in str(refusal.value)
    return str(refusal.value)


def test_a_suitable_server_is_accepted(empty: Empty) -> None:
    with postgres_server.maintenance_connection(empty[1]) as connection:
        postgres_server.check_server(connection, may_migrate=True)


def test_a_server_with_synchronous_commit_off_is_refused(empty: Empty) -> None:
    server, url = empty
    with server.session() as session:
        session.execute("ALTER ROLE postgres IN DATABASE empty SET synchronous_commit = off")
    message = refused(url)
    assert "synchronous_commit is off" in message
    remedy = message[message.index("ALTER ROLE") : message.index(" (or")]
    with server.session() as session:
        session.execute(remedy)
    with postgres_server.maintenance_connection(url) as connection:
        postgres_server.check_server(connection)


def test_a_server_with_fsync_off_is_logged_as_unsafe(caplog: pytest.LogCaptureFixture, empty: Empty) -> None:
    for syncs in ("off", "on"):  # the server of the tests runs without
        server = empty[0] if syncs == "off" else PostgresServer()
        with postgres_server.maintenance_connection(server.url) as connection:
            caplog.clear()
            postgres_server.warn_of_unsafe_settings(connection)
        assert ("fsync is off" in caplog.text) == (syncs == "off")
        if server is not empty[0]:
            server.remove()


def test_a_database_that_is_not_utf8_is_refused() -> None:
    server = shared_postgres()
    with server.session() as session:
        session.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    assert "encoded in LATIN1" in refused(server.url_of("latin"))
    server.drop("latin")


def test_a_migration_requires_the_privilege_to_create_tables(empty: Empty) -> None:
    server, url = empty
    with server.session("empty") as session:
        session.execute("DROP ROLE IF EXISTS clerk; CREATE ROLE clerk LOGIN PASSWORD 'secret-word'")
    theirs = url.replace("postgres:secret-word@", f"clerk:{PASSWORD}@")
    message = refused(theirs, may_migrate=True)
    assert "the role clerk may not create tables in the schema public of the database empty" in message
    with postgres_server.maintenance_connection(theirs) as connection:
        postgres_server.check_server(connection)
    with server.session("empty") as session:
        session.execute(message[message.index("GRANT") : message.index(", or run")])
    with postgres_server.maintenance_connection(theirs) as connection:
        postgres_server.check_server(connection, may_migrate=True)
        schema.upgrade(connection)
    with server.session("empty") as session:
        session.execute("DROP OWNED BY clerk; DROP ROLE clerk")


def test_an_older_server_is_refused() -> None:
    class Old:
        """What version 14 says of itself."""

        def execute(self, *_: object) -> Any:
            return self

        def fetchone(self) -> tuple[object, ...]:
            return (140_012, "on", "UTF8", "r", "public", "d", True)

    with pytest.raises(CannotStart, match="runs on PostgreSQL 14, but Filestead needs 15 or newer"):
        postgres_server.check_server(Old())  # type: ignore[arg-type]


def test_an_unreachable_server_is_reported_without_the_password() -> None:
    message = refused(f"postgresql://me:{PASSWORD}@127.0.0.1:{free_port()}/rows")
    assert message.startswith("the database rows at 127.0.0.1:")
    assert "Connection refused" in message


@pytest.mark.parametrize(
    "url",
    [f"postgresql://me:{PASSWORD}%@h/d", f"postgresql://me:{PASSWORD}@[h/d", f"mysql://me:{PASSWORD}@h/d", f"{PASSWORD}", f"postgresql://me@h/d?pasword={PASSWORD}"],
)  # fmt: skip
def test_an_invalid_url_is_refused_without_the_password(url: str) -> None:
    assert "is invalid" in refused(url)
    with pytest.raises(CannotStart) as refusal:
        PostgresDatabase(url)
    assert PASSWORD not in str(refusal.value)


# --- the driver's exceptions ------------------------------------------------------------------------------------------


def every_exception() -> list[type[psycopg.Error]]:
    found: list[type[psycopg.Error]] = [psycopg.Error]
    for kind in found:
        found += [below for below in kind.__subclasses__() if below not in found]
    return found


WANTED = {
    "53100": StorageFull,
    **dict.fromkeys(("08006", "40001", "40P01", "55P03", "57014", "57P01", "57P03", "53300", "28P01", "25006", "25P03", "23505"), DatabaseUnavailable),
    **dict.fromkeys(("42501", "42P01", "58030", "XX001", "22021", "23514", "54000"), StorageFailed),
}  # fmt: skip


def test_every_driver_exception_is_translated() -> None:
    kinds = every_exception()
    assert len(kinds) > 200
    for kind in kinds:
        with (
            pytest.raises((StorageFull, StorageFailed, DatabaseUnavailable)) as translation,
            translate_postgres_errors(),
        ):
            raise kind("words")
        wanted = WANTED.pop(kind.sqlstate or "", None)
        assert wanted is None or type(translation.value) is wanted, kind
    assert not WANTED
    for kind in (psycopg.OperationalError, psycopg.InterfaceError):  # of the driver itself: a lost connection
        with pytest.raises(DatabaseUnavailable), translate_postgres_errors():
            raise kind("words")
