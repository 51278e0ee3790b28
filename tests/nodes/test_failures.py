"""A database that goes away, loses answers or keeps silent: what was answered is true, and nobody waits for long."""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from filestead.blobs.keys import new_inline_key, new_key
from filestead.blobs.local.store import LocalBlobs
from filestead.database import schema
from filestead.database.engines.postgres import database as postgres
from filestead.database.engines.postgres.database import PostgresDatabase, connect, connection_parameters
from filestead.database.engines.statements import Connection
from filestead.decoders import DECODERS
from filestead.domain import retry
from filestead.domain.attempts import Attempt
from filestead.domain.errors import DatabaseUnavailable, FileNotFound, OutcomeUnknown, StorageFailed
from filestead.domain.files.model import FieldsBeforeFile, File, Limits, UploadForm
from filestead.domain.files.service import Files
from filestead.domain.files.validation import UploadPolicy
from filestead.domain.quota import Quota
from filestead.installation import new_id
from tests.nodes.nodes import NO_QUOTA, Cluster, Node, cluster, completed
from tests.support.databases import fresh_database
from tests.support.postgres import PostgresServer, Proxy
from tests.support.promises import Trials
from tests.support.waiting import wait_until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server that these tests may stop."""
    server = PostgresServer()
    with closing(connect(connection_parameters(server.create("rows")))) as connection:
        schema.upgrade(connection)
    yield server
    server.remove()


@pytest.fixture(autouse=True)
def _up_again(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that failed while its server was down leaves it running, for the next one and for its own repetition."""
    yield
    if "own" in request.fixturenames:
        own: PostgresServer = request.getfixturevalue("own")
        if not own.is_up:
            own.start()


async def within(seconds: float, outcome: Awaitable[object]) -> object:
    """The result or failure, which is to come in time."""
    start = time.monotonic()
    (found,) = await asyncio.gather(outcome, return_exceptions=True)
    assert time.monotonic() - start <= seconds
    return found


def one(connection: Connection) -> object:
    return connection.execute("SELECT 1").fetchone()


# --- a server that comes and goes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["stop", "kill9"])
@pytest.mark.promise("R-11")
@pytest.mark.timing
async def test_operations_survive_a_database_restart_under_load(own: PostgresServer, end: str) -> None:
    with closing(PostgresDatabase(own.url_of("rows"))) as database:
        made = Cluster(own, "rows", [Node(database)])
        who = await made.principal(end)
        answered: list[File] = []
        failures: list[BaseException] = []
        busy = True

        async def publish() -> None:
            while busy:
                try:
                    answered.append(await made.nodes[0].add(who))
                except Exception as error:
                    failures.append(error)
                    await asyncio.sleep(0.05)

        publishers = [asyncio.create_task(publish()) for _ in range(16)]
        try:
            await asyncio.sleep(0.5)
            before = len(answered)
            await asyncio.to_thread(getattr(own, end))
            await asyncio.sleep(1)
            assert isinstance(await within(2, database.read(one)), DatabaseUnavailable)
            away = len(answered)
            await asyncio.to_thread(own.start)
            start = time.monotonic()
            while len(answered) < away + 50:
                assert time.monotonic() - start < 5, "it does not recover"
                await asyncio.sleep(0.05)
        finally:  # also if it is to be repeated: on a database that is closed, publishers would wait for ever
            busy = False
            await asyncio.gather(*publishers)
        assert before > 0 and failures
        assert {type(error) for error in failures} <= {DatabaseUnavailable, OutcomeUnknown}
        assert {file.id for file in answered} <= set(await made.ids(who)), "what was answered is there"
        assert await made.is_sound()


@pytest.mark.parametrize("end", ["stop", "kill9"])
@pytest.mark.promise("R-11")
async def test_a_dead_idle_connection_is_replaced_transparently(own: PostgresServer, end: str) -> None:
    with closing(PostgresDatabase(own.url_of("rows"), connections=3)) as database:
        await asyncio.gather(*(database.read(one) for _ in range(30)))
        getattr(own, end)()
        own.start()
        for _ in range(6):
            assert await database.read(one) == (1,)
            assert await database.write(one) == (1,)


@pytest.mark.promise("R-11")
@pytest.mark.timing
async def test_operations_time_out_while_the_server_is_silent(own: PostgresServer) -> None:
    with closing(PostgresDatabase(own.url_of("rows"), connections=2)) as database:
        await asyncio.gather(*(database.read(one) for _ in range(10)))
        own.pause()
        try:
            kinds = [database.read, database.write] * 5
            found = await asyncio.gather(*(within(6, kind(one)) for kind in kinds))
        finally:
            own.resume()
        assert {type(outcome) for outcome in found} == {DatabaseUnavailable}
        start = time.monotonic()
        while isinstance(await within(6, database.read(one)), DatabaseUnavailable):
            assert time.monotonic() - start < 5
        await asyncio.gather(*(database.write(one) for _ in range(10)))


@pytest.mark.timing
async def test_operations_fail_fast_when_connections_are_busy_or_the_queue_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres, "QUEUE_SIZE", 50)
    with cluster(1, connections=2) as made:
        database = made.nodes[0].database

        def slow(connection: Connection) -> object:
            return connection.execute("SELECT pg_sleep(2.5)").fetchone()

        holders = [asyncio.create_task(database.read(slow)) for _ in range(2)]
        await asyncio.sleep(0.1)
        waiting = [asyncio.create_task(within(2, database.read(one))) for _ in range(postgres.QUEUE_SIZE)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert isinstance(await within(0.1, database.read(one)), DatabaseUnavailable), "the queue has an end"
        assert {type(outcome) for outcome in await asyncio.gather(*waiting)} == {DatabaseUnavailable}
        await asyncio.gather(*holders)
        assert await database.read(one) == (1,)


@pytest.mark.timing
async def test_locks_and_statements_have_timeouts() -> None:
    with cluster() as two:
        who = await two.principal()
        with two.server.session(two.name) as session:
            session.execute("BEGIN; SELECT 1 FROM projects FOR UPDATE")
            database = two.nodes[0].database

            def endless(connection: Connection) -> object:
                return connection.execute("SELECT pg_sleep(60)").fetchone()

            outcomes = await asyncio.gather(
                within(4, two.nodes[0].begin(who, 5)),
                within(6, database.read(endless)),
                within(6, database.write(endless)),
            )
        assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
        assert await two.nodes[0].add(who)
        running = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
        with two.server.session(two.name) as session:
            wait_until(lambda: not session.execute(running).fetchall(), "the server goes on for nobody", 20)


@pytest.mark.promise("R-11")
async def test_operations_survive_randomly_terminated_backends(trials: Trials) -> None:
    chance = random.Random(7)
    with cluster() as two:
        who = await two.principal()
        busy = True
        terminated = 0

        async def terminate() -> None:
            nonlocal terminated
            with two.server.session() as session:
                while busy:
                    backends = session.execute(
                        "SELECT pid FROM pg_stat_activity WHERE datname = %s", (two.name,)
                    ).fetchall()
                    if backends:
                        terminated += 1
                        session.execute("SELECT pg_terminate_backend(%s)", chance.choice(backends))
                    await asyncio.sleep(chance.uniform(0, 0.03))

        terminator = asyncio.create_task(terminate())
        few = asyncio.Semaphore(8)

        async def publish(n: int) -> tuple[str, File | None]:
            node = two.nodes[n % 2]
            async with few:
                while True:
                    try:
                        blob = await node.begin(who, 3)
                        break
                    except DatabaseUnavailable:
                        pass
                made = completed(who, blob)
                for _ in range(20):
                    with contextlib.suppress(DatabaseUnavailable):
                        return blob, await node.files.publish(made, quota=NO_QUOTA)
                return blob, None

        outcomes: list[tuple[str, File | None]] = []
        while len(outcomes) < 200 or terminated <= 20:  # the faster the machine, the more files it takes
            outcomes += await asyncio.gather(*(publish(n) for n in range(50)))
        busy = False
        await terminator
        trials(terminated)
        visible = await two.ids(who)
        assert sorted(visible) == sorted(file.id for _, file in outcomes if file), "each that was answered, once"
        usage = await two.nodes[0].files.usage(who.project_id)
        assert usage.bytes_used == 5 * len(visible)
        assert await two.is_sound()


# --- a lost COMMIT ----------------------------------------------------------------------------------------------------


class Judge:
    """Loses the next so many COMMITs; passes everything else."""

    def __init__(self) -> None:
        self.verdict = "pass"
        self.left = 0

    def lose(self, verdict: str, times: int = 1) -> None:
        self.verdict, self.left = verdict, times

    def __call__(self, message: bytes) -> str:
        if message.endswith(b"COMMIT\0") and self.left:
            self.left -= 1
            return self.verdict
        return "pass"


@contextlib.contextmanager
def behind_a_proxy() -> Iterator[tuple[Cluster, Judge, Proxy]]:
    judge = Judge()
    with (
        fresh_database() as (server, name),
        closing(Proxy(server.port, judge)) as proxy,
        closing(PostgresDatabase(server.url_of(name, proxy.port), connections=3)) as database,
    ):
        yield Cluster(server, name, [Node(database)]), judge, proxy


@pytest.mark.parametrize("verdict", ["drop before", "drop after"])
@pytest.mark.promise("R-11", "R-16")
async def test_a_connection_lost_during_commit_raises_outcome_unknown_and_a_retry_finds_the_outcome(
    verdict: str,
) -> None:
    with behind_a_proxy() as (made, judge, _):
        node = made.nodes[0]
        who = await made.principal()
        blob = await node.begin(who, 3)
        upload = completed(who, blob)
        judge.lose(verdict)
        with pytest.raises(OutcomeUnknown) as unknown:
            await node.files.publish(upload, quota=NO_QUOTA)
        assert isinstance(unknown.value.result, File)
        if verdict == "drop after":
            async with asyncio.timeout(20):
                while not await made.ids(who):
                    await asyncio.sleep(0.01)
        assert await made.ids(who) == ([upload.id] if verdict == "drop after" else [])
        file = await node.files.publish(upload, quota=NO_QUOTA)
        assert (
            file == await node.files.publish(upload, quota=NO_QUOTA) == await node.files.get(who.project_id, upload.id)
        )
        assert await node.files.abandon(blob) is False
        assert (await node.files.usage(who.project_id)).bytes_used == 5
        assert await made.is_sound()


@pytest.mark.promise("R-11")
async def test_publish_and_abandon_wait_for_a_commit_in_progress() -> None:
    """It reaches the server only after everybody has given up on it: `publish` and `abandon` wait for the row."""
    with behind_a_proxy() as (made, judge, proxy):
        who = await made.principal()
        for late in (True, False):
            blob = await made.nodes[0].begin(who, 3)
            upload = completed(who, blob)
            proxy.released.clear()
            judge.lose("hold")
            with pytest.raises(OutcomeUnknown):
                await made.nodes[0].files.publish(upload, quota=NO_QUOTA)
            step = asyncio.create_task(
                made.nodes[0].files.publish(upload, quota=NO_QUOTA) if late else made.nodes[0].files.abandon(blob)
            )
            await asyncio.sleep(0.3)
            assert not step.done()
            proxy.released.set()
            outcome = await step
            if late:
                assert isinstance(outcome, File) and outcome.id == upload.id
            else:
                assert outcome is False, "it is visible, and its bytes stay"
        assert len(await made.ids(who)) == 2
        assert await made.is_sound()


class Upload:
    """A form with a small file."""

    min_size = 4
    max_size = None

    async def head(self) -> FieldsBeforeFile:
        return FieldsBeforeFile("a.txt", "user_data", None)

    async def chunks(self):  # type: ignore[no-untyped-def]
        yield b"hello"

    async def form(self) -> UploadForm:
        return UploadForm("user_data", None)


def files_service(made: Cluster, folder: Path) -> tuple[Files, LocalBlobs]:
    """The service over the repository of a node and a real disk."""

    def submit(function: Callable[..., object], *args: object) -> "asyncio.Future[object]":
        return asyncio.get_running_loop().run_in_executor(None, function, *args)

    store = LocalBlobs(folder, reserve_bytes=0)
    store.open("inst-test", fresh=True)
    limits = Limits(10**6, 10**6, Quota(None, None), 0, None)
    files = Files(
        made.nodes[0].files,
        store,
        UploadPolicy(limits, "openai", True),
        new_file_id=lambda: new_id("file-"),
        new_blob_key=new_key,
        new_inline_key=lambda: new_inline_key(0),
        line_decoders=DECODERS,
        run_in_thread=submit,
        run_line_checks=submit,
    )
    return files, store


async def stored(store: LocalBlobs) -> list[str]:
    return [key async for key in store.stored_keys()]


@pytest.mark.parametrize("verdict", ["drop before", "drop after"])
@pytest.mark.parametrize("idempotency_key", [None, "k"])
@pytest.mark.promise("R-11", "R-16")
async def test_an_upload_whose_commit_outcome_is_lost_returns_the_actual_outcome(
    tmp_path: Path, verdict: str, idempotency_key: str | None
) -> None:
    with behind_a_proxy() as (made, judge, _):
        files, store = files_service(made, tmp_path)
        who = await made.principal()

        class Cut(Upload):
            async def form(self) -> UploadForm:
                judge.lose(verdict, 3)
                return await super().form()

        created = await files.create(who, Cut(), attempt=Attempt(idempotency_key))
        assert judge.left < 3
        assert not created.replayed
        assert await made.ids(who) == [created.file.id]
        assert await stored(store) == [created.file.blob_key]
        assert b"".join([block async for block in files.read(created.file, 0, 5)]) == b"hello"
        assert await made.is_sound()
        store.close()


@pytest.mark.promise("R-11")
async def test_an_upload_waits_for_the_database_to_recover(own: PostgresServer, tmp_path: Path) -> None:
    with closing(PostgresDatabase(own.url_of("rows"))) as database:
        made = Cluster(own, "rows", [Node(database)])
        files, store = files_service(made, tmp_path)
        who = await made.principal(new_id("patient"))
        stopped = asyncio.Event()

        class Slow(Upload):
            async def chunks(self):  # type: ignore[no-untyped-def]
                yield b"hel"
                await asyncio.to_thread(own.stop)
                stopped.set()
                yield b"lo"

        task = asyncio.create_task(files.create(who, Slow()))
        await asyncio.wait_for(stopped.wait(), 60)
        await asyncio.sleep(2)
        assert not task.done()
        await asyncio.to_thread(own.start)
        created = await asyncio.wait_for(task, 30)
        assert await made.ids(who) == [created.file.id]
        store.close()


@pytest.mark.promise("R-11")
async def test_the_blob_is_kept_while_the_outcome_is_unknown(
    own: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The COMMIT arrives, its answer does not, and the database is gone until the upload has given up."""
    monkeypatch.setattr(retry, "RETRY_SECONDS", 1)
    judge = Judge()
    with (
        closing(Proxy(own.port, judge)) as proxy,
        closing(PostgresDatabase(own.url_of("rows", proxy.port), connections=2)) as database,
    ):
        made = Cluster(own, "rows", [Node(database)])
        files, store = files_service(made, tmp_path)
        who = await made.principal(new_id("unlucky"))

        class Cut(Upload):
            async def form(self) -> UploadForm:
                judge.lose("drop after")
                return await super().form()

        def away(message: bytes) -> str:
            verdict = judge(message)
            if verdict == "drop after":
                proxy.judge = lambda _: "drop before"
            return verdict

        proxy.judge = away
        with pytest.raises(DatabaseUnavailable):
            await files.create(who, Cut())
        kept = await stored(store)
        assert len(kept) == 1, "nobody knows yet whether there is a file with them"
        proxy.judge = lambda _: "pass"
        (file_id,) = await made.ids(who)
        file = await made.nodes[0].files.get(who.project_id, file_id)
        assert file.blob_key == kept[0]
        assert b"".join([block async for block in files.read(file, 0, 5)]) == b"hello"
        store.close()


@pytest.mark.parametrize("verdict", ["drop before", "drop after"])
@pytest.mark.promise("R-11", "R-16")
async def test_a_delete_whose_commit_outcome_is_lost_takes_effect_once(tmp_path: Path, verdict: str) -> None:
    with behind_a_proxy() as (made, judge, _):
        files, store = files_service(made, tmp_path)
        who = await made.principal()
        created = await files.create(who, Upload())
        judge.lose(verdict)
        assert await files.delete(who, created.file.id) == created.file
        assert await made.ids(who) == []
        with pytest.raises(FileNotFound):
            await files.delete(who, created.file.id)
        await files.delete_content(created.file)
        assert await stored(store) == []
        assert (await made.nodes[0].files.usage(who.project_id)).bytes_used == 0
        store.close()


async def test_an_operation_that_raises_is_rolled_back() -> None:
    with cluster(1, connections=1) as made:
        await made.principal()
        database = made.nodes[0].database

        def half(connection: Connection) -> None:
            connection.execute("UPDATE projects SET name = 'changed'")
            raise FileNotFound("x")

        def wrong(connection: Connection) -> None:
            connection.execute("UPDATE projects SET name = 'changed'")
            connection.execute("SELEC")

        for operation, kind in ((half, FileNotFound), (wrong, StorageFailed), (half, FileNotFound)):
            with pytest.raises(kind):
                await database.write(operation)
        names = await database.read(lambda connection: connection.execute("SELECT name FROM projects").fetchall())
        assert names == [("one",)]


async def test_a_deadlock_is_retried_transparently() -> None:
    with cluster(1, connections=2) as made:
        database = made.nodes[0].database
        await made.principal("one")
        await made.principal("two")

        def both(*names: str) -> Callable[[Connection], int]:
            def operation(connection: Connection) -> int:
                for name in names:
                    connection.execute("UPDATE projects SET bytes_used = bytes_used + 1 WHERE name = %s", (name,))
                    connection.execute("SELECT pg_sleep(0.3)")
                return 1

            return operation

        done = await asyncio.gather(database.write(both("one", "two")), database.write(both("two", "one")))
        assert done == [1, 1]
        used = await database.read(lambda connection: connection.execute("SELECT bytes_used FROM projects").fetchall())
        assert used == [(2,), (2,)]
