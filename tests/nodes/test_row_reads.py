"""Rows that are read on the event loop, many at a time on one connection: each read has its own row, whatever happens."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from filestead.database.engines.postgres.database import PostgresDatabase, connect, connection_parameters
from filestead.database.engines.postgres.row_reader import NOT_READ, RowReader
from filestead.database.engines.statements import Statement, int_param
from filestead.domain.errors import DatabaseUnavailable, StorageFailed
from tests.support.databases import shared_postgres
from tests.support.pgbouncer import shared_pgbouncer
from tests.support.postgres import PostgresServer, Proxy
from tests.support.promises import Trials

pytestmark = pytest.mark.anyio

ROWS = 400
NAME = "row_reads"
TABLE = sa.table("numbered", *map(sa.column, ("id", "name", "data", "flag", "nothing")))
BY_ID = Statement(sa.select(TABLE).where(TABLE.c.id == int_param("id")), PostgresDatabase.dialect)
BY_NAME = Statement(
    sa.select(TABLE.c.id).where(TABLE.c.name == sa.bindparam("name", type_=sa.Text)), PostgresDatabase.dialect
)
MISSING = Statement(sa.select(sa.column("x")).select_from(sa.table("missing")), PostgresDatabase.dialect)
PID = Statement(sa.select(sa.func.pg_backend_pid()), PostgresDatabase.dialect)


def row(number: int) -> tuple[Any, ...]:
    return (number, f"row {number} %", bytes([number % 256, 0, 39]), number % 2 == 0, None)


@pytest.fixture(scope="module")
def own() -> Any:
    """A server that these tests may stop."""
    server = PostgresServer()
    fill(server)
    yield server
    server.remove()


def fill(server: PostgresServer) -> None:
    server.create(NAME)
    with server.session(NAME) as session:
        session.execute("CREATE TABLE numbered (id BIGINT PRIMARY KEY, name TEXT, data BYTEA, flag BOOL, nothing TEXT)")
        for number in range(ROWS):
            session.execute("INSERT INTO numbered VALUES (%s, %s, %s, %s, %s)", row(number))


@contextlib.asynccontextmanager
async def database(url: str) -> AsyncIterator[PostgresDatabase]:
    """One that has connected for reads of rows."""
    with closing(PostgresDatabase(url, connections=3)) as made:
        await connected(made)
        yield made


async def connected(made: PostgresDatabase) -> int:
    """The process of the server behind the connection for rows."""
    assert made._rows is not None
    until = time.monotonic() + 20
    while (found := await made._rows.read(PID.sql, {})) is NOT_READ:
        assert time.monotonic() < until
        await asyncio.sleep(0.01)
    return int(found[0])


async def read_all(made: PostgresDatabase) -> None:
    """Every row at once, and as many that there are not."""
    found = await asyncio.gather(*(made.read_row(BY_ID, id=number) for number in range(2 * ROWS)))
    assert found == [row(number) for number in range(ROWS)] + [None] * ROWS


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "PgBouncer"])
async def test_each_read_has_its_own_row(own: PostgresServer, pooled: bool) -> None:
    server = shared_postgres() if pooled else own
    if pooled:
        fill(server)
    async with database((shared_pgbouncer(server) if pooled else server).url_of(NAME)) as made:
        assert made._rows is not None
        await read_all(made)
        found = await asyncio.gather(*(made._rows.read(BY_ID.sql, {"id": number}) for number in range(100)))
        assert found == [row(number) for number in range(100)], "no thread was needed"
        assert await made.read_row(BY_ID, id=7) == await made.read(lambda connection: BY_ID.row(connection, id=7))
        assert await made.read_row(BY_NAME, name="row 7 %") == (7,)
        assert await made.read_row(BY_NAME, name="row 7 %\0") is None
        assert await made.read_row(BY_NAME, name="'; DROP TABLE numbered; --") is None


async def test_a_written_row_is_read_at_once(own: PostgresServer) -> None:
    async with database(own.url_of(NAME)) as made:
        for number in range(50):
            await made.write(
                lambda connection, number=number: (
                    connection.execute(  # type: ignore[misc]
                        "UPDATE numbered SET nothing = %(n)s WHERE id = 1", {"n": str(number)}
                    ).rowcount
                )
            )
            assert await made.read_row(BY_ID, id=1) == (*row(1)[:4], str(number))
        await made.write(lambda connection: connection.execute("UPDATE numbered SET nothing = NULL").rowcount)


async def test_a_failure_is_that_of_any_read_and_of_no_other(own: PostgresServer) -> None:
    async with database(own.url_of(NAME)) as made:
        before = await connected(made)
        reads = [made.read_row(MISSING) if number % 5 == 0 else made.read_row(BY_ID, id=number) for number in range(50)]
        found = await asyncio.gather(*reads, return_exceptions=True)
        for number, outcome in enumerate(found):
            assert isinstance(outcome, StorageFailed) if number % 5 == 0 else outcome == row(number)
        assert await connected(made) == before, "the connection is kept"


async def test_reads_that_nobody_waits_for_take_no_row_of_others(own: PostgresServer) -> None:
    async with database(own.url_of(NAME)) as made:
        for _ in range(20):
            tasks = [asyncio.create_task(made.read_row(BY_ID, id=number)) for number in range(30)]
            await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            for number, outcome in enumerate(found):
                assert isinstance(outcome, asyncio.CancelledError) if number % 3 == 0 else outcome == row(number)


@pytest.mark.promise("R-11")
async def test_reads_survive_connections_that_end(own: PostgresServer, trials: Trials) -> None:
    """Ended by the server, in the middle of reads."""
    async with database(own.url_of(NAME)) as made:
        for _ in range(10):
            process = await connected(made)
            reads = asyncio.gather(*(made.read_row(BY_ID, id=number) for number in range(200)))
            await asyncio.sleep(0)
            with own.session("postgres") as session:
                session.execute("SELECT pg_terminate_backend(%s)", [process])
            assert await reads == [row(number) for number in range(200)]
            assert await connected(made) != process
        trials(10)


@pytest.mark.promise("R-11")
async def test_an_answer_that_is_lost_is_asked_for_again(own: PostgresServer) -> None:
    """The connection ends between the statement and its answer."""
    lose = False

    def judge(data: bytes) -> str:
        nonlocal lose
        if lose and b"numbered" in data:
            lose = False
            return "drop after"
        return "pass"

    proxy = Proxy(own.port, judge)
    with closing(proxy):
        async with database(own.url_of(NAME).replace(f":{own.port}", f":{proxy.port}")) as made:
            for number in range(5):
                await connected(made)
                lose = True
                assert await made.read_row(BY_ID, id=number) == row(number)
                assert not lose


@pytest.mark.promise("R-11")
@pytest.mark.timing
async def test_a_silent_server_is_given_up_and_used_again(own: PostgresServer) -> None:
    async with database(own.url_of(NAME)) as made:
        own.pause()
        began = time.monotonic()
        try:
            found = await asyncio.gather(
                *(made.read_row(BY_ID, id=number) for number in range(20)), return_exceptions=True
            )
        finally:
            own.resume()
        assert {type(outcome) for outcome in found} == {DatabaseUnavailable}
        assert time.monotonic() - began < 6.5
        await connected(made)
        await read_all(made)


@pytest.mark.promise("R-11")
@pytest.mark.parametrize("end", ["stop", "kill9"])
async def test_a_server_that_was_restarted_is_used_again(own: PostgresServer, end: str) -> None:
    async with database(own.url_of(NAME)) as made:
        getattr(own, end)()
        with pytest.raises(DatabaseUnavailable):
            await made.read_row(BY_ID, id=1)
        own.start()
        until = time.monotonic() + 20
        while True:
            with contextlib.suppress(DatabaseUnavailable):
                assert await made.read_row(BY_ID, id=1) == row(1)
                break
            assert time.monotonic() < until
        await connected(made)
        await read_all(made)


async def test_another_server_may_be_the_primary_after_a_lost_connection(own: PostgresServer) -> None:
    """A thread that loses its connection, or finds that the server cannot write, gives up the one for rows, too."""
    async with database(own.url_of(NAME)) as made:
        before = await connected(made)

        def refused(connection: Any) -> object:
            connection.execute("SET LOCAL transaction_read_only = on")
            return connection.execute("UPDATE numbered SET flag = flag").rowcount

        with pytest.raises(DatabaseUnavailable):
            await made.write(refused)
        await read_all(made)
        until = time.monotonic() + 20
        while await connected(made) == before:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)


async def test_a_statement_that_the_socket_does_not_take_at_once(own: PostgresServer) -> None:
    async with database(own.url_of(NAME)) as made:
        assert made._rows is not None
        own.pause()
        read = asyncio.create_task(made._rows.read(BY_NAME.sql, {"name": "x" * 20_000_000}))
        await asyncio.sleep(0.2)
        own.resume()
        assert await read is None
        assert await made._rows.read(BY_ID.sql, {"id": 1}) == row(1)


def reader(own: PostgresServer) -> RowReader:

    return RowReader(lambda: connect(connection_parameters(own.url_of(NAME))))


def test_another_event_loop_is_served_when_the_first_has_ended(own: PostgresServer) -> None:
    async def use() -> None:
        until = time.monotonic() + 20
        while await made.read(BY_ID.sql, {"id": 3}) is NOT_READ:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        assert await made.read(BY_ID.sql, {"id": 4}) == row(4)

    made = reader(own)
    with closing(made):
        asyncio.run(use())
        asyncio.run(use())
