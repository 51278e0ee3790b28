"""What short requests cost, as counted work: it does not depend on the machine, as a time would.

Statements and commits of SQLite, switches of threads, tasks, and writes to the socket, from the bytes of a request to
those of its response. A count that grows is a decision to make, and then to write down here.
"""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.lifespan.on import LifespanOn
from uvicorn.server import ServerState

from filestead.app import web
from filestead.app.signals import Signals
from filestead.database.engines import sqlite
from filestead.installation import from_settings
from filestead.metrics.board import Board
from filestead.server.http1.limits import ConnectionLimits
from filestead.server.http1.protocol import protocol_class
from filestead.settings import Settings
from tests.support.servers import KEY

pytestmark = pytest.mark.anyio

HEAD = f"Host: t\r\nAuthorization: Bearer {KEY}\r\n"


def form(content: bytes) -> bytes:
    return (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n' + content + b"\r\n--b--\r\n"
    )


FORM = form(b"hello")
STORED_FORM = form(bytes(20_000))
"""Too large for a row."""
CHAT = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'


class Transport(asyncio.Transport):
    """A connection of which only the writes are of interest."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def is_closing(self) -> bool:
        return False

    def set_protocol(self, protocol: Any) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...


class ModelServer(asyncio.Protocol):
    """Responds to each piece that comes; a request in two pieces would get two responses."""

    pieces = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        ModelServer.pieces += 1
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")


class Counted:
    """A server in this process, with one connection."""

    def __init__(self, connection: Any, transport: Transport, work: Counter[str]) -> None:
        self._connection = connection
        self._transport = transport
        self._work = work

    async def send(self, request_line: str, body: bytes = b"", content_type: str = "") -> tuple[bytes, Counter[str]]:
        """Send a request; returns the body of the response and what it cost."""
        head = f"{request_line} HTTP/1.1\r\n{HEAD}"
        if body:
            head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        before = self._work.copy()
        self._transport.written.clear()
        self._connection.data_received(head.encode() + b"\r\n" + body)
        async with asyncio.timeout(30):
            while self._connection.owes_response:
                await asyncio.sleep(0)
        status, _, content = b"".join(self._transport.written).partition(b"\r\n\r\n")
        assert status.startswith(b"HTTP/1.1 200"), status
        self._work["write"] += len(self._transport.written)
        return content, self._work - before

    async def cost(self, *request: Any) -> dict[str, int]:
        """What a request costs when the key and the connections are known.

        The least of several times: what the server does beside them, such as its first sweep, is not counted.
        """
        await self.send(*request)
        cost = (await self.send(*request))[1]
        for _ in range(4):
            cost &= (await self.send(*request))[1]
        return dict(cost)


async def has_settled(work: Counter[str]) -> None:
    """Wait until the first sweep has ended: nothing happens for a while."""
    before = None
    async with asyncio.timeout(30):
        while before != work:
            before = work.copy()
            await asyncio.sleep(0.1)


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counted]:
    work: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    connect, threadsafe = sqlite.connect, loop.call_soon_threadsafe

    def note(statement: str) -> None:
        kind = statement.split()[0]
        work[{"SELECT": "read", "COMMIT": "commit"}.get(kind, "other statement")] += 1

    def traced(*arguments: Any) -> sqlite3.Connection:
        connection = connect(*arguments)
        connection.set_trace_callback(note)
        return connection

    def hop(*arguments: Any, **options: Any) -> asyncio.Handle:
        work["hop"] += 1
        return threadsafe(*arguments, **options)

    def new_task(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        work["task"] += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    models = await loop.create_server(ModelServer, "127.0.0.1", 0)
    monkeypatch.setenv("FILESTEAD_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FILESTEAD_BOOTSTRAP_KEY", KEY)
    monkeypatch.setenv("FILESTEAD_UPSTREAM_URL", f"http://127.0.0.1:{models.sockets[0].getsockname()[1]}/v1")
    monkeypatch.setenv("FILESTEAD_ROLE", "api")  # nothing runs beside the requests
    monkeypatch.setattr(sqlite, "connect", traced)
    monkeypatch.setattr(loop, "call_soon_threadsafe", hop)
    settings = Settings()
    installation = from_settings(settings)
    with installation.prepare():
        await asyncio.to_thread(installation.bootstrap, None)
        signals = Signals(settings, Board())
        app = web.build(settings, installation.open(observer=signals.observer), signals)
        limits = protocol_class(ConnectionLimits(), web.error_response)
        config = uvicorn.Config(app, http=limits, ws="none", lifespan="on", log_config=None)
        config.load()
        lifespan = LifespanOn(config)
        await lifespan.startup()
        loop.set_task_factory(new_task)
        transport = Transport()
        state: Any = {"config": config, "server_state": ServerState(), "app_state": lifespan.state}
        connection: Any = config.http_protocol_class(**state)
        connection.connection_made(transport)
        await has_settled(work)
        try:
            yield Counted(connection, transport, work)
        finally:
            loop.set_task_factory(None)
            connection.connection_lost(None)
            await lifespan.shutdown()
            models.close()


async def test_a_file_object_is_one_read_one_task_and_one_write(server: Counted) -> None:
    uploaded, _ = await server.send("POST /v1/files", FORM, "multipart/form-data; boundary=b")
    path = f"/v1/files/{json.loads(uploaded)['id']}"
    assert await server.cost(f"GET {path}") == {"read": 1, "task": 1, "write": 1}


async def test_content_in_the_database_is_read_on_the_event_loop(server: Counted) -> None:
    uploaded, _ = await server.send("POST /v1/files", FORM, "multipart/form-data; boundary=b")
    cost = await server.cost(f"GET /v1/files/{json.loads(uploaded)['id']}/content")
    assert cost == {"read": 2, "task": 1, "write": 1}


async def test_stored_content_is_read_on_a_thread_and_sent_with_its_head(server: Counted) -> None:
    uploaded, _ = await server.send("POST /v1/files", STORED_FORM, "multipart/form-data; boundary=b")
    cost = await server.cost(f"GET /v1/files/{json.loads(uploaded)['id']}/content")
    assert cost.pop("hop") <= 2, "open and read, close"
    assert cost == {"read": 1, "task": 1, "write": 1}


async def test_a_list_is_read_on_one_thread(server: Counted) -> None:
    await server.send("POST /v1/files", FORM, "multipart/form-data; boundary=b")
    assert await server.cost("GET /v1/files?limit=20") == {"read": 1, "hop": 1, "task": 1, "write": 1}


async def test_an_upload_has_a_bounded_number_of_steps(server: Counted) -> None:
    cost = await server.cost("POST /v1/files", STORED_FORM, "multipart/form-data; boundary=b")
    assert cost["commit"] <= 2 and cost["hop"] <= 6 and cost["write"] == 1


async def test_a_small_upload_is_one_transaction(server: Counted) -> None:
    cost = await server.cost("POST /v1/files", FORM, "multipart/form-data; boundary=b")
    assert cost["commit"] == 1 and cost["hop"] <= 2 and cost["write"] == 1


async def test_a_request_that_is_passed_on_uses_no_thread_and_no_database(server: Counted) -> None:
    request = ("POST /v1/chat/completions", CHAT, "application/json")
    assert await server.cost(*request) == {"task": 1, "write": 1}
    pieces = ModelServer.pieces
    await server.send(*request)
    assert ModelServer.pieces == pieces + 1, "head and body leave together"


async def test_a_key_is_looked_up_once(server: Counted) -> None:
    _, first = await server.send("GET /v1/files?limit=1")
    assert first["read"] >= 2, "the key and the page"
    assert (await server.cost("GET /v1/files?limit=1"))["read"] == 1
