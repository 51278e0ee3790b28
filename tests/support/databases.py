"""Record stores over real databases, with the database's clock in the test's hand."""

import asyncio
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from filestead.database import schema
from filestead.database.engines.postgres import database as postgres_database
from filestead.database.engines.postgres.database import PostgresDatabase, connect, connection_parameters
from filestead.database.engines.sqlite import SqliteDatabase
from filestead.database.engines.sqlite import connect as connect_sqlite
from filestead.database.engines.statements import Connection, Database
from filestead.database.repositories.audit_log import SqlAuditLog
from filestead.database.repositories.batches.events import SqlWebhookEventRepository
from filestead.database.repositories.batches.repository import SqlBatchRepository
from filestead.database.repositories.batches.runs import SqlBatchRunRepository
from filestead.database.repositories.files.repository import SqlFileRepository
from filestead.database.repositories.jobs import SqlJobRepository
from filestead.database.repositories.keys import SqlKeyRepository
from filestead.database.repositories.projects import SqlProjectRepository
from filestead.database.repositories.table_copier import TableCopier
from filestead.database.repositories.uploads.repository import SqlUploadRepository
from filestead.database.repositories.vector_stores.index import SqlIndexRepository
from filestead.database.repositories.vector_stores.pgvector import PgvectorSearch
from filestead.database.repositories.vector_stores.repository import SqlVectorStoreRepository
from filestead.database.repositories.vector_stores.vector_tables import SqlVectorBlocks
from filestead.database.repositories.vector_stores.vectors import SqlVectorRepository
from filestead.domain.access import DEFAULT_SCOPES, KeyRepository, Principal
from filestead.domain.administration import ProjectRepository
from filestead.domain.audit.events import AuditLog
from filestead.domain.batches.interfaces import BatchRepository, BatchRunRepository, WebhookEventRepository
from filestead.domain.files.interfaces import FileRepository
from filestead.domain.jobs import JobRepository
from filestead.domain.uploads.interfaces import UploadRepository
from filestead.domain.vector_stores.embeddings import NearestChunks, VectorRepository
from filestead.domain.vector_stores.interfaces import IndexRepository, VectorStoreRepository
from filestead.domain.vector_stores.scan import ScannedVectors
from filestead.installation import new_id
from tests.support.pgbouncer import shared_pgbouncer
from tests.support.postgres import PostgresServer


class Clock:
    """The database's clock, in the test's hand; `show` is called when it has been set."""

    def __init__(self) -> None:
        self._now = 1_700_000_000.0
        self.show: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        return self._now

    @property
    def now(self) -> float:
        return self._now

    @now.setter
    def now(self, seconds: float) -> None:
        self._now = seconds
        self.show()

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Rows:
    """The record stores over one database, and the clock it goes by."""

    files: FileRepository
    keys: KeyRepository
    clock: Clock
    tables: TableCopier
    jobs: JobRepository
    vector_stores: VectorStoreRepository
    index: IndexRepository
    database: Database
    vectors: VectorRepository
    nearest: NearestChunks
    projects: ProjectRepository
    batches: BatchRepository
    batch_runs: BatchRunRepository
    webhook_events: WebhookEventRepository
    uploads: UploadRepository
    audit: AuditLog
    principals: dict[str, Principal] = field(default_factory=dict)

    async def run(self, sql: str, *, long: bool = False) -> list[tuple[Any, ...]]:
        """Run a statement without parameters; returns its rows, if it has any. A `long` one may take a minute."""
        if long and self.database.dialect.name == "postgresql":
            sql = f"SET LOCAL statement_timeout = 60000; {sql}"

        def operation(connection: Connection) -> list[tuple[Any, ...]]:
            cursor = connection.execute(sql, {})
            return cursor.fetchall() if getattr(cursor, "description", None) else []

        return await self.database.write(operation)

    async def principal(self, project: str = "one", *, organization: str = "default", user: str = "ada") -> Principal:
        """A principal of the named project; the same name gives the same principal."""
        name = f"{organization}/{project}/{user}"
        if name not in self.principals:
            digest = hashlib.sha256(name.encode()).hexdigest()
            await self.keys.create(
                key_id=f"key_{name.replace('/', '-')}",
                digest=digest,
                hint="",
                organization=organization,
                project=project,
                user=user,
                scopes=DEFAULT_SCOPES,
                expires_after_seconds=None,
            )
            found = await self.keys.find(digest)
            assert found is not None
            self.principals[name] = found
        return self.principals[name]


def over(database: Database, clock: Clock) -> Rows:
    return Rows(
        SqlFileRepository(database),
        SqlKeyRepository(database, new_id),
        clock,
        TableCopier(database),
        SqlJobRepository(database),
        SqlVectorStoreRepository(database),
        SqlIndexRepository(database),
        database,
        SqlVectorRepository(database),
        PgvectorSearch(database) if database.dialect.name == "postgresql" else scan_of(database),
        SqlProjectRepository(database),
        SqlBatchRepository(database),
        SqlBatchRunRepository(database, new_id, webhook=True),
        SqlWebhookEventRepository(database),
        SqlUploadRepository(database),
        SqlAuditLog(database),
    )


def scan_of(database: Database) -> NearestChunks:
    """What searches by vectors where the database cannot."""
    from filestead.search.dense import VectorCache

    cache = VectorCache(2**20)
    return ScannedVectors(SqlVectorBlocks(database), lambda: cache, run_in_thread=asyncio.to_thread)


@contextmanager
def on_sqlite(folder: Path) -> Iterator[Rows]:
    clock = Clock()
    path = folder / "rows.db"
    with closing(connect_sqlite(path, clock)) as connection:
        schema.upgrade(connection)
    with closing(SqliteDatabase(path, clock)) as database:
        yield over(database, clock)


@contextmanager
def on_postgres(folder: Path, *, pooled: bool = False) -> Iterator[Rows]:
    with fresh_database() as (server, name), held_clock(server, name) as clock:
        url = shared_pgbouncer(server).url_of(name) if pooled else server.url_of(name)
        # The time limits of a server would end a test on a busy machine, above all one that sends much at once.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(postgres_database, "QUEUE_TIMEOUT_SECONDS", 60)
            with closing(PostgresDatabase(url, operation_timeout=60)) as database:
                yield over(database, clock)


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[Rows]]] = {
    "sqlite": on_sqlite,
    "postgres": on_postgres,
    "pgbouncer": functools.partial(on_postgres, pooled=True),
}


def deadlocks(rows: Rows) -> int:
    """How many deadlocks the server has found so far; the repositories try again, so that no caller sees them."""
    return shared_postgres().log.count("deadlock detected") if rows.database.dialect.name == "postgresql" else 0


async def slow_detaching(rows: Rows) -> None:
    """Let attachments be deleted and changed one by one, with a pause, so that other transactions come in between."""
    if rows.database.dialect.name == "postgresql":
        await rows.run(
            "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_sleep(0.002); RETURN coalesce(NEW, OLD); END'"
        )
        await rows.run(
            "CREATE TRIGGER pause BEFORE DELETE OR UPDATE ON vector_store_files FOR EACH ROW EXECUTE FUNCTION pause()"
        )


TEMPLATE = "template_of_tests"
_numbers = itertools.count()


@functools.cache
def shared_postgres() -> PostgresServer:
    """One server for every test of this process that leaves it running, with a template database at our schema.

    Without fsync, which is for power cuts only: with it, the suite takes four times as long.
    """
    server = PostgresServer(fsync="off")
    with closing(connect(connection_parameters(server.create(TEMPLATE)))) as connection:
        schema.upgrade(connection)
        connection.execute("CREATE EXTENSION vector")
    return server


@contextmanager
def fresh_database() -> Iterator[tuple[PostgresServer, str]]:
    """A database at our schema on the shared server."""
    server = shared_postgres()
    name = f"rows_{next(_numbers)}"
    server.create(name, TEMPLATE)
    yield server, name
    server.drop(name)


@contextmanager
def held_clock(server: PostgresServer, name: str) -> Iterator[Clock]:
    """The clock of a database, which stands still until the test moves it."""
    clock = Clock()
    with server.session(name) as session:
        session.execute("CREATE TABLE test_clock (us bigint)")
        session.execute("INSERT INTO test_clock VALUES (0)")
        session.execute(
            "CREATE OR REPLACE FUNCTION filestead_now() RETURNS bigint LANGUAGE plpgsql STABLE "
            "AS 'BEGIN RETURN (SELECT us FROM test_clock); END'"
        )
        clock.show = lambda: session.execute("UPDATE test_clock SET us = %s", (int(clock.now * 1e6),))
        clock.show()
        yield clock
