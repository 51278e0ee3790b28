"""How the pieces of a request's body reach the application: in order, whole, and uncopied where nothing waits."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from filestead.server.http1.limits import ConnectionLimits
from filestead.server.http1.protocol import protocol_class
from tests.api.raw_http import error_response
from tests.api.test_counted_work import Transport

pytestmark = pytest.mark.anyio

PIECES = [b"first", b"x" * 70_000, b"", b"\r\n", bytes(range(256)) * 300]


class Connection:
    """A connection in this process, whose application keeps what it receives, each time that it may."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.bodies: list[bytes] = []
        """Of complete requests."""
        self.may_receive = asyncio.Event()
        self.may_receive.set()
        http = protocol_class(ConnectionLimits(), error_response)
        config = uvicorn.Config(self._app, http=http, ws="none", lifespan="off", log_config=None, interface="asgi3")
        config.load()
        self.protocol: Any = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=ServerState(), app_state={}
        )
        self.protocol.connection_made(Transport())

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            await self.may_receive.wait()
            message = await receive()
            assert isinstance(message["body"], bytes)
            self.received.append(message["body"])
            body, more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def begin(self, *headers: bytes) -> None:
        self.protocol.data_received(b"\r\n".join([b"POST / HTTP/1.1", b"Host: t", *headers, b"", b""]))
        await self.idle()

    async def idle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    def waiting(self) -> bytes | bytearray:
        """What the application has not received yet."""
        found: bytes | bytearray = self.protocol.cycle.body
        return found


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    made = Connection()
    yield made
    made.protocol.connection_lost(None)


def framed(piece: bytes, *, chunked: bool) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece


@pytest.mark.parametrize("reads", ["each piece", "all at once", "some"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_arrives_whole_whenever_it_is_read(connection: Connection, chunked: bool, reads: str) -> None:
    whole = b"".join(PIECES)
    for _ in range(2):  # the second request of the connection has a body of its own
        length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(whole)
        await connection.begin(length)
        for number, piece in enumerate(PIECES):
            connection.may_receive.clear()
            if piece:
                connection.protocol.data_received(framed(piece, chunked=chunked))
            if reads == "each piece" or (reads == "some" and number % 2):
                connection.may_receive.set()
            await connection.idle()
        connection.may_receive.set()
        if chunked:
            connection.protocol.data_received(b"0\r\n\r\n")
        await connection.idle()
    assert connection.bodies == [whole, whole]


async def test_a_piece_that_nothing_precedes_is_not_copied(connection: Connection) -> None:
    await connection.begin(b"Content-Length: 1000000")
    for number in range(4):
        piece = bytes([number]) * 100_000
        connection.protocol.on_body(piece)
        await connection.idle()
        assert connection.received[-1] is piece


async def test_further_pieces_are_appended_in_place(connection: Connection) -> None:
    """Copying all that waits for each piece would take time with the square of it."""
    await connection.begin(b"Content-Length: 1000000")
    connection.may_receive.clear()
    await connection.idle()
    connection.protocol.on_body(b"taken")  # the application waits for this one already
    await connection.idle()
    for piece in (b"one", b"two"):
        connection.protocol.on_body(piece)
    waiting = connection.waiting()
    for _ in range(1_000):
        connection.protocol.on_body(b"more")
    assert connection.waiting() is waiting
    assert waiting == b"onetwo" + b"more" * 1_000
