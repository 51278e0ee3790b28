"""The HTTP client of endpoints: framings, limits, kept connections, failures, and what leaves the process."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from filestead.egress import Egress, Origin, origin_of
from filestead.http_client import pools
from filestead.http_client.client import Client
from filestead.http_client.connections import Response
from filestead.http_client.errors import (
    EndpointBroken,
    EndpointFailure,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnreachable,
)
from filestead.http_client.framing import MAX_HEAD_BYTES
from tests.client.test_tls import certificate  # noqa: F401 - a fixture
from tests.support.model_server import Fault, ModelServer
from tests.support.model_server.server import reset

pytestmark = pytest.mark.anyio
KEY = "sk-canary-of-the-client"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class RawServer:
    """Sends the next of `responses` to each request, in the given pieces.

    None closes, an exception class resets, and at a number it waits for so many seconds.
    """

    def __init__(self) -> None:
        self.responses: list[list[bytes | float | type[Exception] | None]] = []
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.closed = asyncio.Event()
        """Whether a client closed a connection."""
        self.ssl: ssl.SSLContext | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.ssl)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if self.ssl else ''}://127.0.0.1:{self.port}/base/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("Content-Length:")), 0)
                self.bodies.append(await reader.readexactly(length))
                self.heads.append(head)
                for piece in self.responses.pop(0):
                    if piece is None:
                        writer.close()
                        return
                    if isinstance(piece, float):
                        await asyncio.sleep(piece)
                        continue
                    if not isinstance(piece, bytes):
                        reset(writer.transport)
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.005)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
            writer.close()

    async def stop(self) -> None:
        self._server.close()


@pytest.fixture
async def raw() -> AsyncIterator[RawServer]:
    server = RawServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def connect(raw: RawServer) -> AsyncIterator[Callable[..., Client]]:
    made: list[Client] = []

    def new(**options: Any) -> Client:
        made.append(Client(raw.url, KEY, Egress([origin_of(raw.url)]), **options))
        return made[-1]

    yield new
    for client in made:
        client.close()


async def get(client: Client, seconds: float = 30) -> Response:
    return await client.request("GET", "/models", seconds=seconds)


FRAMINGS: dict[str, list[bytes | None]] = {
    "length": [OK],
    "length in pieces": [OK[:5], OK[5:20], OK[20:-1], OK[-1:]],
    "length twice": [b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"],
    "no reason": [b"HTTP/1.1 200\r\nContent-Length:2\r\n\r\nok"],
    "interim": [b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" + OK],
    "chunks": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n"],
    "chunks in bytes": [
        bytes([byte])
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n02\r\nok\r\n0\r\nTrailer: a\r\nB: c\r\n\r\n"
    ],
    "until the end": [b"HTTP/1.1 200 OK\r\n\r\no", b"k", None],
    "HTTP/1.0": [b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"],
}


@pytest.mark.parametrize("name", FRAMINGS)
async def test_every_framing(raw: RawServer, connect: Callable[..., Client], name: str) -> None:
    client = connect()
    raw.responses = [list(FRAMINGS[name]), [OK]]
    response = await get(client)
    assert (response.status, response.body) == (200, b"ok")
    assert (await get(client)).body == b"ok"  # nothing is left over that the next response would begin with
    assert raw.connections == (2 if name in {"until the end", "HTTP/1.0"} else 1)


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_body(raw: RawServer, connect: Callable[..., Client], status: int) -> None:
    raw.responses = [[f"HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n".encode()], [OK]]
    client = connect()
    assert (await get(client)).body == b""
    assert (await get(client)).body == b"ok"


async def test_a_request_as_it_is_sent(raw: RawServer, connect: Callable[..., Client]) -> None:
    raw.responses = [[OK], [OK]]
    client = connect()
    await client.request("POST", "/chat/completions", b"{}", headers={"Idempotency-Key": "batch_req_1"}, seconds=5)
    assert raw.bodies == [b"{}"]
    lines = raw.heads[0].split("\r\n")
    assert lines[0] == "POST /base/v1/chat/completions HTTP/1.1"
    assert {
        f"Host: 127.0.0.1:{raw.port}",
        f"Authorization: Bearer {KEY}",
        "Accept-Encoding: identity",
        "Content-Type: application/json",
        "Content-Length: 2",
        "Idempotency-Key: batch_req_1",
    } < set(lines)
    large = b"x" * 5_000_000
    await client.request("POST", "/chat/completions", large, seconds=5)
    assert raw.bodies[1] == large
    assert "Idempotency-Key" not in raw.heads[1]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("models", {}),
        ("/mo dels", {}),
        ("/a\r\nX: y", {}),
        ("/é", {}),
        ("/m", {"A": "b\r\nC: d"}),
        ("/m", {"A\n": "b"}),
    ],
)
async def test_nothing_can_be_added_to_a_head(
    connect: Callable[..., Client], path: str, headers: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="must"):
        await connect().request("GET", path, headers=headers, seconds=1)


HEAD = b"HTTP/1.1 200 OK\r\n"
BROKEN: dict[str, list[bytes | type[Exception] | None]] = {
    "not HTTP": [b"SSH-2.0-OpenSSH\r\n\r\n"],
    "HTTP/2": [b"HTTP/2 200 OK\r\n\r\n"],
    "status": [b"HTTP/1.1 20 OK\r\n\r\n"],
    "header without colon": [HEAD + b"abc\r\n\r\n"],
    "folded header": [HEAD + b"A: b\r\n c\r\n\r\n"],
    "space before colon": [HEAD + b"Content-Length : 2\r\n\r\nok"],
    "lengths": [HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"],
    "negative length": [HEAD + b"Content-Length: -2\r\n\r\nok"],
    "compressed": [HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok"],
    "coding": [HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n"],
    "chunk size": [HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n"],
    "chunk size with sign": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n+2\r\nok\r\n0\r\n\r\n"],
    "chunk end": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n"],
    "chunk line": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"x" * 2000],
    "trailer": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 20_000],
    "head": [HEAD + b"A: b\r\n" * (MAX_HEAD_BYTES // 6)],
    "switch": [b"HTTP/1.1 101 Switching\r\n\r\n"],
    "end in the head": [HEAD, None],
    "end in the body": [HEAD + b"Content-Length: 3\r\n\r\nok", None],
    "end in chunks": [HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", None],
    "end at once": [None],
    "reset": [ConnectionError],
    "reset in the body": [HEAD + b"Content-Length: 3\r\n\r\nok", ConnectionError],
    "reset of a body without length": [HEAD + b"\r\nok", ConnectionError],
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_response(raw: RawServer, connect: Callable[..., Client], name: str) -> None:
    client = connect()
    raw.responses = [BROKEN[name], [OK]]
    with pytest.raises(EndpointBroken):
        await get(client)
    assert (await get(client)).body == b"ok"
    assert raw.connections == 2


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"Content-Length: 1001\r\n\r\n"],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"2f8\r\n" + b"x" * 0x2F8 + b"\r\n", b"2f8\r\n"],
        [HEAD + b"\r\n" + b"x" * 500, b"x" * 501],
    ],
)
async def test_a_large_response_is_refused_with_its_limit(
    raw: RawServer, connect: Callable[..., Client], pieces: list[Any]
) -> None:
    raw.responses = [pieces, [HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000]]
    client = connect(max_response_bytes=1000)
    with pytest.raises(EndpointBroken, match="larger than the limit of 1000 bytes"):
        await get(client)
    assert len((await get(client)).body) == 1000


async def test_connections_are_kept_and_shared(raw: RawServer, connect: Callable[..., Client]) -> None:
    raw.responses = [[OK]] * 7
    client = connect()
    for _ in range(3):
        await get(client)
    assert raw.connections == 1
    await asyncio.gather(*(get(client) for _ in range(4)))
    assert raw.connections == 4


@pytest.mark.parametrize("end", [None, ConnectionError])
async def test_a_kept_connection_that_ended_is_replaced_once(
    raw: RawServer, connect: Callable[..., Client], end: Any
) -> None:
    client = connect()
    raw.responses = [[OK], [end], [OK]]
    await get(client)
    assert (await get(client)).body == b"ok"
    assert (raw.connections, len(raw.heads)) == (2, 3)
    raw.responses = [[end], [end], [OK]]
    with pytest.raises(EndpointBroken, match="before a response"):
        await get(client)
    assert len(raw.heads) == 5


async def test_a_response_that_began_is_not_asked_for_again(raw: RawServer, connect: Callable[..., Client]) -> None:
    client = connect()
    raw.responses = [[OK], [b"HTTP/1.1 2", None], [OK]]
    await get(client)
    with pytest.raises(EndpointBroken, match="in the head"):
        await get(client)
    assert len(raw.heads) == 2


@pytest.mark.parametrize("rest", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"x"])
async def test_bytes_behind_a_response_are_no_response(
    raw: RawServer, connect: Callable[..., Client], rest: bytes
) -> None:
    client = connect()
    for pieces in ([OK + rest], [OK, rest]):
        raw.responses = [pieces, [OK]]
        raw.closed.clear()
        await get(client)
        async with asyncio.timeout(30):
            await raw.closed.wait()
        assert (await get(client)).body == b"ok"
    assert raw.connections == 3


async def test_an_expired_connection_is_not_used(
    raw: RawServer, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect()
    raw.responses = [[OK]] * 2
    await get(client)
    monkeypatch.setattr(pools, "IDLE_SECONDS", 0.01)
    await asyncio.sleep(0.03)
    await get(client)
    assert raw.connections == 2


async def test_the_time_for_a_response(raw: RawServer, connect: Callable[..., Client]) -> None:
    client = connect()
    for pieces in ([], [HEAD + b"Content-Length: 3\r\n\r\nok"]):
        raw.closed.clear()
        raw.responses = [list(pieces)]
        with pytest.raises(EndpointTimeout, match=r"within 0\.1 seconds"):
            await get(client, 0.1)
        async with asyncio.timeout(30):
            await raw.closed.wait()


async def exchange(client: Client, seconds: float) -> bytes:
    """A request whose response comes in parts."""
    response = await client.open("GET", "/models", seconds=seconds)
    try:
        body = b""
        while part := await response.read():
            body += part
        return body
    finally:
        response.close()


async def test_silence_is_that_of_one_exchange(raw: RawServer, connect: Callable[..., Client]) -> None:
    """The timer of a kept connection outlives its exchanges, and ends none that is younger."""
    client = connect()
    raw.responses = [[0.6, OK] for _ in range(4)]
    began = asyncio.get_running_loop().time()
    for _ in range(4):
        assert await exchange(client, 2) == b"ok"
    assert asyncio.get_running_loop().time() - began > 2
    raw.responses = [[]]
    with pytest.raises(EndpointTimeout, match="nothing came for 2 seconds"):
        await exchange(client, 2)
    assert raw.connections == 1


async def test_reads_of_a_least_size(raw: RawServer, connect: Callable[..., Client]) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"
    raw.responses = [[head, *[bytes(1000)] * 300], [head, *[bytes(1000)] * 150, None]]
    client = connect()
    whole = await client.open("GET", "/models", seconds=5)
    sizes = []
    while part := await whole.read(200_000):
        sizes.append(len(part))
    whole.close()
    assert len(sizes) == 2
    assert sizes[0] >= 200_000, "more than waits without a reader"
    assert sum(sizes) == 300_000
    cut = await client.open("GET", "/models", seconds=5)
    assert 100_000 < len(await cut.read(200_000)) < 200_000, "what came before the connection ended"
    with pytest.raises(EndpointBroken, match="in the middle of the response"):
        await cut.read(200_000)
    cut.close()


async def test_a_shorter_time_limit_counts_at_once(raw: RawServer, connect: Callable[..., Client]) -> None:
    client = connect()
    raw.responses = [[OK], []]
    assert await exchange(client, 600) == b"ok"
    async with asyncio.timeout(30):
        with pytest.raises(EndpointTimeout, match=r"nothing came for 0\.1 seconds"):
            await exchange(client, 0.1)
    assert raw.connections == 1


async def test_a_cancelled_request_closes_its_connection(raw: RawServer, connect: Callable[..., Client]) -> None:
    raw.responses = [[]]
    task = asyncio.create_task(get(connect()))
    while not raw.heads:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(30):
        await raw.closed.wait()


async def test_closing_ends_idle_connections(raw: RawServer, connect: Callable[..., Client]) -> None:
    raw.responses = [[OK]]
    client = connect()
    await get(client)
    client.close()
    async with asyncio.timeout(30):
        await raw.closed.wait()


async def test_an_early_response_to_a_large_body(connect: Callable[..., Client], raw: RawServer) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    client = Client(url, None, Egress([origin_of(url)]))
    response = await client.request("POST", "/chat/completions", b"x" * 20_000_000, seconds=5)
    assert (response.status, response.body) == (413, b"no")
    assert client._pool.take_idle() is None
    server.close()


async def test_unreachable(raw: RawServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        for url, reason in {
            f"http://127.0.0.1:{port}/v1": "refused",
            f"http://localhost:{port}/v1": "refused",
            "http://nowhere.invalid/v1": "nowhere.invalid:80: ",
            f"https://127.0.0.1:{raw.port}/v1": "",
        }.items():
            with pytest.raises(EndpointUnreachable, match=f"(?i){reason}") as caught:
                await get(Client(url, KEY, Egress([origin_of(url)])))
            assert KEY not in str(caught.value)


async def test_the_time_to_connect() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            url = f"http://127.0.0.1:{port}/v1"
            client = Client(url, None, Egress([origin_of(url)]), connect_seconds=0.1)
            with pytest.raises(EndpointFailure, match=r"no connection within 0\.1"):
                await get(client)


async def test_the_policy_of_destinations(raw: RawServer) -> None:
    for url, egress, reason in (
        (raw.url, Egress([Origin("127.0.0.1", 1)]), "not configured"),
        ("http://169.254.169.254/v1", Egress([Origin("169.254.169.254", 80)]), "link-local"),
    ):
        with pytest.raises(EndpointRefused, match=reason):
            await get(Client(url, KEY, egress))
    assert raw.connections == 0


async def test_redirects_are_not_followed(raw: RawServer, connect: Callable[..., Client]) -> None:
    raw.responses = [[b"HTTP/1.1 307 X\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"]]
    response = await get(connect())
    assert (response.status, response.headers["location"]) == (307, "/other")
    assert len(raw.heads) == 1


async def test_tls_with_a_checked_certificate(
    raw: RawServer,
    certificate: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secured = RawServer()
    secured.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secured.ssl.load_cert_chain(certificate)
    await secured.start()
    secured.responses = [[OK]]
    with pytest.raises(EndpointUnreachable, match="(?i)certificate"):
        await get(Client(secured.url, KEY, Egress([origin_of(secured.url)])))
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(pools, "tls_context", lambda: trusting)
    assert (await get(Client(secured.url, KEY, Egress([origin_of(secured.url)])))).body == b"ok"
    await secured.stop()


async def test_a_key_or_url_that_cannot_be_sent() -> None:
    for url, key in (("http://a/v1", "sk-é"), ("http://a/v1", "sk\r\nX: y"), ("http://münchen/v1", None)):
        with pytest.raises(ValueError, match="must consist") as caught:
            Client(url, key, Egress([]))
        assert key is None or key not in str(caught.value)


async def test_the_model_server_stops_when_a_client_goes_away() -> None:
    async with ModelServer() as server:
        client = Client(server.url, None, Egress([origin_of(server.url)]))
        body = b'{"model":"m","messages":[{"content":"x"}],"max_tokens":100000}'
        task = asyncio.create_task(client.request("POST", "/chat/completions", body, seconds=60))
        while not server.engine.running:
            await asyncio.sleep(0.001)
        task.cancel()
        while server.engine.running:
            await asyncio.sleep(0.001)
        assert server.aborted == 1
        server.faults.append(Fault.raw(OK))
        assert (await client.request("POST", "/chat/completions", body, seconds=5)).body == b"ok"
