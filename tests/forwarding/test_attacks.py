"""Hostile clients and hostile model servers."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.forwarding.conftest import UPSTREAM_KEY
from tests.support.event_server import Answer, EventServer, Heard
from tests.support.servers import KEY, Server, run_command

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
MIB = 1024 * 1024

pytestmark = pytest.mark.embedded("rows and bytes are not concerned")


def raw(server: Server, data: bytes, *, seconds: float = 30) -> bytes:
    """Everything that comes back until the server closes, or nothing more comes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        connection.sendall(data)
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except TimeoutError:
            pass
        return received


def head(*lines: str, body: bytes = b"", path: str = "/v1/chat/completions") -> bytes:
    common = ["Host: x", f"Authorization: Bearer {KEY}", "Content-Type: application/json", "Connection: close"]
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([f"POST {path} HTTP/1.1", *common, *length, *lines, "", ""]).encode("latin-1") + body


def test_neither_our_key_nor_cookies_nor_instructions_are_sent_on(server: Server, upstream: EventServer) -> None:
    smuggled = {
        "cookie": "session=1",
        "x-api-key": "sk-mine",
        "api-key": "sk-mine",
        "proxy-authorization": "Basic eA==",
        "x-litellm-api-base": "http://evil.example",
        "x-forwarded-for": "10.0.0.1",
        "x-forwarded-host": "evil.example",
        "forwarded": "host=evil.example",
        "openai-organization": "default",
        "referer": "http://evil.example",
        "te": "trailers",
        "upgrade": "websocket",
        "x-portkey-config": "{}",
    }
    body = json.dumps(CHAT).encode()
    lines = [f"{name}: {value}" for name, value in smuggled.items()]
    assert raw(server, head(*lines, body=body)).startswith(b"HTTP/1.1 200")
    [heard] = upstream.requests
    assert KEY not in heard.raw_head.decode()
    assert heard.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert heard.headers["host"] == f"127.0.0.1:{upstream.port}"
    assert not smuggled.keys() & heard.headers.keys()
    assert set(heard.headers) == {"host", "accept-encoding", "authorization", "content-type", "content-length"}


@pytest.mark.parametrize("name", ["api_key", "api_base", "base_url", "user_config"])
def test_a_body_cannot_name_another_server_or_key(server: Server, upstream: EventServer, name: str) -> None:
    response = server.client.post("/chat/completions", json=CHAT | {name: "http://evil.example"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, name)
    escaped = json.dumps(CHAT)[:-1] + ', "' + "".join(f"\\u{ord(letter):04x}" for letter in name) + '": 1}'
    assert server.client.post("/chat/completions", content=escaped).status_code == 400
    # The begin of an upload below may come after its refusal, and so after its test.
    assert not [request for request in upstream.requests if request.path == "/v1/chat/completions"]
    form = {"model": "m", name: "http://evil.example"}
    response = server.client.post("/audio/transcriptions", data=form, files={"file": ("a.wav", b"x" * MIB)})
    assert response.status_code == 400
    assert not any(request.complete for request in upstream.requests)


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: xchunked"],
        ["Content-Type: text/plain"],
        [f"Authorization: Bearer {UPSTREAM_KEY}"],
        ["X: a\nAuthorization: b"],
    ],
)
def test_requests_cannot_be_split(server: Server, upstream: EventServer, lines: list[str]) -> None:
    body = b'{"model":"m"}\r\n0\r\n\r\nPOST /v1/evil HTTP/1.1\r\nHost: x\r\n\r\n'
    received = raw(server, head(*lines) + body, seconds=1)
    assert b" 200 " not in received.partition(b"\r\n")[0]
    # The begin of an upload of the test before may come now.
    assert not [request for request in upstream.requests if request.path != "/v1/audio/transcriptions"]


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/audio/../files", "/v1/audio/%2e%2e/files", "/v1/audio/%2fadmin", "/v1/audio/a%0d%0aX:1", "/v1/audio//x"),
        *("/v1/audio/a%5cb", "/v1/audio/a%3fb", "/v1/audio/./x", "/v1/audio/%00", "/v1/audio/a;b", "/v1/audio/@x:1"),
    ],
)  # fmt: skip
def test_paths_cannot_lead_elsewhere(server: Server, upstream: EventServer, path: str) -> None:
    received = raw(server, head(body=json.dumps(CHAT).encode(), path=path))
    if path.endswith("@x:1"):  # harmless below a base URL
        assert [request.path for request in upstream.requests] == [path]
    else:
        assert received.split()[1] in {b"404", b"405", b"400"}
        assert not upstream.requests


@pytest.mark.parametrize("response_id", ["..", "%2e%2e", "resp_1%2f..%2f..%2fadmin", "a%20b", "resp_1%0d%0aX: y"])
def test_ids_cannot_lead_elsewhere(server: Server, upstream: EventServer, response_id: str) -> None:
    data = f"GET /v1/responses/{response_id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    received = raw(server, f"{data}Connection: close\r\n\r\n".encode())
    assert received.split()[1] in {b"404", b"405", b"400"}
    assert not upstream.requests


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirecting_model_server_leads_nobody_elsewhere(server: Server, upstream: EventServer, status: int) -> None:
    async def redirect(request: Heard, answer: Answer) -> None:
        await answer.whole(b"", status, location="http://127.0.0.1:9/steal")

    upstream.behave = redirect
    response = server.client.post("/chat/completions", json=CHAT)
    assert response.status_code == 502
    assert "location" not in response.headers
    assert "FILESTEAD_UPSTREAM_URL" in response.json()["error"]["message"]
    assert len(upstream.requests) == 1


def test_a_refused_key_of_ours_is_not_shown(server: Server, upstream: EventServer) -> None:
    async def refuse(request: Heard, answer: Answer) -> None:
        await answer.whole(b'{"error":{"message":"Incorrect API key provided: sk-upst*****6789."}}', 401)

    upstream.behave = refuse
    response = server.client.post("/chat/completions", json=CHAT)
    assert response.status_code == 502
    assert "6789" not in response.text


def test_headers_of_the_connection_stay_with_the_connection(server: Server, upstream: EventServer) -> None:
    async def chatty(request: Heard, answer: Answer) -> None:
        await answer.whole(
            b"{}",
            set_cookie="a=b",
            connection="x-private",
            x_private="1",
            server="evil",
            access_control_allow_origin="*",
            openai_organization="upstream-org",
            x_good="1",
        )

    upstream.behave = chatty
    response = server.client.post("/chat/completions", json=CHAT)
    assert response.headers["x-good"] == "1"
    assert not {"set-cookie", "x-private", "access-control-allow-origin"} & set(response.headers)
    assert response.headers.get_list("openai-organization") == ["default"]
    assert response.headers.get("server") != "evil"


def test_events_that_never_end_take_constant_memory(server: Server, upstream: EventServer) -> None:
    async def endless(request: Heard, answer: Answer) -> None:
        await answer.begin_events()
        while True:
            await answer.chunk(b"data: " + b"x" * 60_000 + b"\n\n")

    upstream.behave = endless
    process = psutil.Process(server.process.pid)
    received = 0
    with server.client.stream("POST", "/chat/completions", json=CHAT | {"stream": True}) as response:
        parts = response.iter_raw()
        next(parts)
        before = process.memory_info().rss
        for part in parts:
            received += len(part)
            if received > 200 * MIB:
                break
    assert process.memory_info().rss - before < 20 * MIB
    assert upstream.requests[0].gone.wait(30)


def test_one_line_of_10_mb(server: Server, upstream: EventServer) -> None:
    line = b"data: " + b"x" * 10 * MIB + b"\n\n"

    async def long_line(request: Heard, answer: Answer) -> None:
        await answer.begin_events()
        await answer.chunk(line)
        await answer.end()

    upstream.behave = long_line
    response = server.client.post("/chat/completions", json=CHAT | {"stream": True})
    assert response.content == line


def test_a_client_that_hardly_reads_stops_the_model_server_and_nobody_else(
    server: Server, upstream: EventServer
) -> None:
    written = 0

    async def flood(request: Heard, answer: Answer) -> None:
        nonlocal written
        await answer.begin_events()
        while True:
            await answer.chunk(b"data: " + b"x" * 60_000 + b"\n\n")
            written += 60_000

    upstream.behave = flood
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    body = json.dumps(CHAT | {"stream": True}).encode()
    slow = [socket.socket() for _ in range(10)]
    for connection in slow:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(head(body=body))
    for _ in range(6):
        for connection in slow:
            assert connection.recv(1)
        time.sleep(1)
    in_between = written
    assert in_between / len(slow) < 16 * MIB  # what sockets on both sides hold
    assert process.memory_info().rss - before < 20 * MIB
    upstream.behave = None
    assert server.client.post("/chat/completions", json=CHAT).status_code == 200
    for connection in slow:
        connection.close()
    for request in upstream.requests[:10]:
        assert request.gone.wait(30)


def test_a_model_server_that_answers_before_it_has_the_upload(server: Server, upstream: EventServer) -> None:
    answered = threading.Event()

    async def refuse(request: Heard, answer: Answer) -> None:
        await answer.whole(b'{"error":{"message":"too large"}}', 413, connection="close")
        while not answered.is_set():  # a reset that overtakes the response would be another case
            await asyncio.sleep(0.01)
        raise ConnectionResetError

    refuse.before_body = True  # type: ignore[attr-defined]
    upstream.behave = refuse
    with (
        contextlib.ExitStack() as ended,
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection,
    ):
        ended.callback(answered.set)
        lines = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n"
        lines += f"Authorization: Bearer {KEY}\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
        connection.sendall(
            lines.encode() + b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\n" + b"x" * 100_000
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")


def test_an_upload_of_unknown_length_is_bounded(server: Server, upstream: EventServer) -> None:
    """The model server does not see the end of it."""
    received = 0
    ended = threading.Event()

    async def count(request: Heard, answer: Answer) -> None:
        nonlocal received
        try:
            while chunk := await answer.reader.read(MIB):
                received += len(chunk)
                request.complete |= chunk.endswith(b"0\r\n\r\n")
        finally:
            ended.set()
        raise ConnectionResetError

    count.before_body = True  # type: ignore[attr-defined]
    upstream.behave = count
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        lines = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        lines += f"Authorization: Bearer {KEY}\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
        first = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        connection.sendall(lines.encode() + b"%x\r\n%b\r\n" % (len(first), first))
        piece = b"%x\r\n%b\r\n" % (MIB, bytes(MIB))
        with contextlib.suppress(ConnectionError):
            for _ in range(513):
                connection.sendall(piece)
        answered = connection.recv(65536)
    assert answered.startswith(b"HTTP/1.1 413"), answered
    assert b"536870912" in answered
    assert ended.wait(30)
    assert 500 * MIB < received < 514 * MIB
    assert not upstream.requests[-1].complete
    upstream.behave = None
    assert server.client.post("/chat/completions", json=CHAT).status_code == 200


def test_an_upload_whose_client_stops_is_given_up(tmp_path: Path, upstream: EventServer) -> None:
    with Server(
        tmp_path / "data", upstream_url=upstream.url, upstream_api_key=UPSTREAM_KEY, idle_seconds=1, upstream_timeout=60
    ) as server:
        lines = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n"
        lines += f"Authorization: Bearer {KEY}\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
        received = raw(server, lines.encode() + b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\nx")
        assert received.startswith(b"HTTP/1.1 408")


def test_responses_of_other_projects_are_not_found(server: Server, upstream: EventServer) -> None:
    made = server.client.post("/responses", json={"model": "m", "input": "secret"}).json()
    other = run_command(server.data_dir, "keys", "create", "--project", "other", place=server.place).stdout.strip()
    headers = {"authorization": f"Bearer {other}"}
    upstream.requests.clear()
    assert server.client.get(f"/responses/{made['id']}", headers=headers).status_code == 404
    follow_up = {"model": "m", "input": "what was it?", "previous_response_id": made["id"]}
    refused = server.client.post("/responses", json=follow_up, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "previous_response_not_found")
    assert not upstream.requests
    assert server.client.post("/responses", json=follow_up).status_code == 200


def test_large_bodies_of_one_project_leave_memory_to_others(tmp_path: Path, upstream: EventServer) -> None:
    """A body is held until its response begins: at most 192 MiB of one project, of 256 MiB in all."""
    release, finished = threading.Event(), threading.Event()

    async def hold(request: Heard, answer: Answer) -> None:
        while "x-client-request-id" not in request.headers and not release.is_set():
            await asyncio.sleep(0.01)
        await answer.whole(b"{}", connection="close")
        while not finished.is_set():  # a reset that overtakes the response would be another case
            await asyncio.sleep(0.01)
        raise ConnectionResetError

    hold.before_body = True  # type: ignore[attr-defined]
    upstream.behave = hold
    large = json.dumps(CHAT | {"x": "y" * 60 * MIB}).encode()
    statuses: list[int] = []

    def post() -> None:
        with httpx2.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:
            statuses.append(client.post(f"{server.base_url}/chat/completions", content=large).status_code)

    with Server(tmp_path / "data", upstream_url=upstream.url, upstream_api_key=UPSTREAM_KEY) as server:
        done = run_command(server.data_dir, "keys", "create", "--project", "other", place=server.place)
        threads = [threading.Thread(target=post) for _ in range(4)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while len(statuses) + len(upstream.requests) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert statuses == [429]
        headers = {"Authorization": f"Bearer {done.stdout.strip()}", "x-client-request-id": "1"}
        assert server.client.post("/chat/completions", content=large, headers=headers).status_code == 200
        release.set()
        for thread in threads:
            thread.join()
        assert statuses == [429, 200, 200, 200]
        finished.set()
        assert server.client.post("/chat/completions", json=CHAT).status_code == 200
