"""Requests for models reach the model server and come back: which, with which headers, when, and what is counted."""

import asyncio
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.forwarding.conftest import UPSTREAM_KEY
from tests.support.event_server import Answer, EventServer, Heard, body_of
from tests.support.servers import KEY, Server, run_command

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello you"}]}
STREAMED = CHAT | {"stream": True}
MIB = 1024 * 1024
SECONDS_BETWEEN = 0.05
"""Between two events of a stream."""

pytestmark = pytest.mark.embedded("rows and bytes are not concerned")


def test_a_chat_request_arrives_as_it_was_and_its_response_comes_back(server: Server, upstream: EventServer) -> None:
    sent = b'{ "model":"m",\n "messages" : [{"role":"user","content":"\\u00e4 \\ud800"}], "x": 1e400 }'

    async def fixed(request: Heard, answer: Answer) -> None:
        await answer.whole(b'{"id": 1e5}', x_request_id="req_upstream", x_ratelimit_remaining_requests="41")

    upstream.behave = fixed
    response = server.client.post(
        "/chat/completions", content=sent, headers={"content-type": "application/json", "openai-beta": "x=1"}
    )
    assert (response.status_code, response.content) == (200, b'{"id": 1e5}')
    [heard] = upstream.requests
    assert (heard.method, heard.path, heard.body) == ("POST", "/v1/chat/completions", sent)
    assert heard.headers["openai-beta"] == "x=1"
    assert heard.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert heard.headers["host"] == f"127.0.0.1:{upstream.port}"
    assert response.headers["x-upstream-request-id"] == "req_upstream"
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["x-ratelimit-remaining-requests"] == "41"
    assert response.headers["openai-organization"] == "default"


@pytest.mark.parametrize(
    "path",
    "completions embeddings moderations rerank reranking score audio/speech audio/translations images/generations "
    "images/edits images/variations tokenize responses responses/compact responses/input_tokens audio/any/thing".split(),
)
def test_every_path_is_passed_on(server: Server, upstream: EventServer, path: str) -> None:
    response = server.client.post(f"/{path}?a=b", json={"model": "m", "input": "x"})
    assert response.status_code == 200, response.text
    assert upstream.requests[0].path == f"/v1/{path}?a=b"


@pytest.mark.timing
def test_events_leave_when_they_arrive(server: Server, upstream: EventServer) -> None:
    sent: list[float] = []

    async def slowly(request: Heard, answer: Answer) -> None:
        await answer.begin_events()
        for number in range(20):
            await asyncio.sleep(SECONDS_BETWEEN)
            sent.append(time.perf_counter())
            await answer.event({"n": number})
        await answer.event("[DONE]")
        await answer.end()

    upstream.behave = slowly
    late, text = [], ""
    with server.client.stream("POST", "/chat/completions", json=STREAMED) as response:
        assert response.headers["content-type"] == "text/event-stream"
        for number, part in enumerate(response.iter_raw()):
            if number < len(sent):
                late.append(time.perf_counter() - sent[number])
            text += part.decode()
    assert text.count("data: ") == 21
    # None waits for the next one. The median: this machine may have much else to do.
    assert sorted(late)[len(late) // 2] < SECONDS_BETWEEN / 2


def test_the_head_of_a_stream_does_not_wait_for_its_first_event(server: Server, upstream: EventServer) -> None:
    release = threading.Event()

    async def late(request: Heard, answer: Answer) -> None:
        await answer.begin_events()
        while not release.is_set():
            await asyncio.sleep(0.01)
        await answer.end()

    upstream.behave = late
    with server.client.stream("POST", "/chat/completions", json=STREAMED) as response:
        assert response.status_code == 200
        release.set()
        assert response.read() == b""


@pytest.mark.parametrize("status", [299, 420, 529, 599])
def test_a_status_that_has_no_name_is_passed_on(server: Server, upstream: EventServer, status: int) -> None:
    async def overloaded(request: Heard, answer: Answer) -> None:
        await answer.whole(b'{"error": {"message": "Overloaded"}}', status)

    upstream.behave = overloaded
    response = server.client.post("/chat/completions", json={"model": "m", "messages": []})
    assert response.status_code == status, response.text
    assert response.json() == {"error": {"message": "Overloaded"}}


@pytest.mark.parametrize("begins", [True, False], ids=["in the stream", "before the head"])
def test_the_request_is_cancelled_when_the_client_goes(server: Server, upstream: EventServer, begins: bool) -> None:
    async def endless(request: Heard, answer: Answer) -> None:
        if begins:
            await answer.begin_events()
            await answer.event({"n": 1})
        await asyncio.sleep(60)

    upstream.behave = endless
    connection = socket.create_connection(("127.0.0.1", server.port))
    body = json.dumps(STREAMED).encode()
    connection.sendall(_head("POST /v1/chat/completions", f"Content-Length: {len(body)}") + body)
    if begins:
        assert connection.recv(100)
    deadline = time.monotonic() + 30
    while not (upstream.requests and upstream.requests[0].complete):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    connection.close()
    assert upstream.requests[0].gone.wait(30)


@pytest.mark.timing
def test_a_stream_may_be_long_but_not_silent(impatient: Server, upstream: EventServer) -> None:
    async def long_then_silent(request: Heard, answer: Answer) -> None:
        await answer.begin_events()
        for _ in range(6):
            await answer.event({"n": 1})
            await asyncio.sleep(0.5)
        await asyncio.sleep(60)

    upstream.behave = long_then_silent  # the limit is 2 seconds
    began = time.monotonic()
    parts = []
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        impatient.client.stream("POST", "/chat/completions", json=STREAMED) as response,
    ):
        parts += list(response.iter_raw())
    assert 4.5 < time.monotonic() - began < 7
    assert upstream.requests[0].gone.wait(30)


def test_errors_of_the_model_server_pass_as_they_are(server: Server, upstream: EventServer) -> None:
    async def busy(request: Heard, answer: Answer) -> None:
        await answer.whole(b'{"error": {"message": "slow down", "code": 7}}', 429, retry_after="3")

    upstream.behave = busy
    response = server.client.post("/chat/completions", json=CHAT)
    assert (response.status_code, response.content) == (429, b'{"error": {"message": "slow down", "code": 7}}')
    assert response.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 502, "upstream_unavailable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", 502, "upstream_unavailable"),
        (b"nonsense\r\n\r\n", 502, "upstream_unavailable"),
        (b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n\r\n", 502, "upstream_unavailable"),
        (None, 504, "upstream_timeout"),
    ],
)
def test_a_broken_model_server(
    server: Server, impatient: Server, upstream: EventServer, raw: bytes | None, status: int, code: str
) -> None:
    async def broken(request: Heard, answer: Answer) -> None:
        if raw is None:
            await asyncio.sleep(60)
        await answer.write(raw or b"")
        raise ConnectionResetError

    upstream.behave = broken
    response = (impatient if raw is None else server).client.post("/chat/completions", json=CHAT)
    if raw is not None and raw.endswith(b"ab"):
        status = 502
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.headers["retry-after"] == "1"


def test_an_upload_is_streamed(server: Server, upstream: EventServer) -> None:
    audio = bytes(range(256)) * 4096 * 8
    response = server.client.post("/audio/transcriptions", data={"model": "m"}, files={"file": ("a.wav", audio)})
    assert response.status_code == 200, response.text
    [heard] = upstream.requests
    assert audio in heard.body
    assert heard.headers["content-type"].startswith("multipart/form-data; boundary=")


def test_an_upload_is_not_held_back_and_ends_with_its_client(server: Server, upstream: EventServer) -> None:
    seen = threading.Event()

    async def read(request: Heard, answer: Answer) -> None:
        async for part in body_of(answer.reader, request.headers):
            request.body += part
            if request.body.endswith(b"beginning"):
                seen.set()

    read.before_body = True  # type: ignore[attr-defined]
    upstream.behave = read
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nbeginning'
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        lines = ("Content-Length: 50000000", "Content-Type: multipart/form-data; boundary=b")
        head = _head("POST /v1/audio/transcriptions", *lines).replace(b"Content-Type: application/json\r\n", b"")
        connection.sendall(head + form)
        assert seen.wait(30)
    assert upstream.requests[0].gone.wait(30)


@pytest.mark.parametrize(
    ("path", "kind", "limit"),
    [
        ("chat/completions", "application/json", 64 * MIB),
        ("audio/transcriptions", "multipart/form-data; boundary=b", 512 * MIB),
    ],
)
def test_an_announced_body_that_is_too_large_is_not_read(
    server: Server, upstream: EventServer, path: str, kind: str, limit: int
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        head = _head(f"POST /v1/{path}", f"Content-Length: {limit + 1}")
        connection.sendall(head.replace(b"application/json", kind.encode()))
        received = connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 413")
    assert not upstream.requests


def test_models(server: Server, upstream: EventServer) -> None:
    listed = server.client.get("/models").json()
    assert [model["id"] for model in listed["data"]] == ["m", "org/n"]
    assert server.client.get("/models/m").json()["id"] == "m"
    assert server.client.get("/models/org/n").json()["id"] == "org/n"
    assert server.client.get("/models/org%2Fn").json()["id"] == "org/n"
    long = server.client.post("/chat/completions", json={"model": "m" * 100_000, "messages": []})
    assert (long.status_code, long.json()["error"]["code"]) == (404, "model_not_found")
    assert len(long.content) < 1_000
    missing = server.client.get("/models/x")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_a_stored_response_is_asked_of_the_server(server: Server, upstream: EventServer) -> None:
    made = server.client.post("/responses", json={"model": "m", "input": "x"}).json()

    async def stored(request: Heard, answer: Answer) -> None:
        await answer.whole(json.dumps({"id": made["id"], "object": "response"}).encode())

    upstream.behave = stored
    assert server.client.get(f"/responses/{made['id']}?include=x").json()["id"] == made["id"]
    assert server.client.delete(f"/responses/{made['id']}").status_code == 200
    assert server.client.post(f"/responses/{made['id']}/cancel").status_code == 200
    assert server.client.get(f"/responses/{made['id']}/input_items").status_code == 200
    assert [request.path for request in upstream.requests[1:]] == [
        f"/v1/responses/{made['id']}{rest}" for rest in ("?include=x", "", "/cancel", "/input_items")
    ]


@pytest.mark.parametrize(
    ("content", "status", "begins"),
    [
        (b"", 400, "We could not parse the JSON body"),
        (b"[]", 400, "Invalid body"),
        (b'{"model": 1}', 400, "Invalid body"),
        (b'{"model": "m"', 400, "We could not parse the JSON body"),
        (b'{"model": "\xff"}', 400, "We could not parse the JSON body"),
    ],
)
def test_bodies_that_are_not_passed_on(
    server: Server, upstream: EventServer, content: bytes, status: int, begins: str
) -> None:
    response = server.client.post("/chat/completions", content=content)
    assert response.status_code == status
    assert response.json()["error"]["message"].startswith(begins)
    assert not upstream.requests


def test_a_body_that_is_too_large(server: Server, upstream: EventServer) -> None:
    response = server.client.post("/chat/completions", content=(b" " * MIB for _ in range(65)))
    assert response.status_code == 413
    assert not upstream.requests


def test_the_scope_is_required(server: Server, upstream: EventServer) -> None:
    other = httpx2.Client(base_url=server.base_url, headers={"Authorization": "Bearer sk-unknown-0123456789"})
    assert other.post("/chat/completions", json=CHAT).status_code == 401
    assert other.get("/models").status_code == 401
    done = run_command(
        server.data_dir, "keys", "create", "--project", "reading", "--scope", "files:read", place=server.place
    )
    headers = {"authorization": f"Bearer {done.stdout.strip()}"}
    assert server.client.get("/files", headers=headers).status_code == 200
    requests = [("POST", "/chat/completions"), ("GET", "/models"), ("GET", "/responses/resp_1"), ("POST", "/tokenize")]
    for method, path in requests:
        refused = server.client.request(method, path, headers=headers)
        assert (refused.status_code, "inference" in refused.json()["error"]["message"]) == (401, True)
    assert not upstream.requests


def test_without_a_model_server_the_404_says_what_would_help(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        for path in ("chat/completions", "responses", "embeddings"):
            response = server.client.post(f"/{path}", json=CHAT)
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (404, "unknown_url")
            assert "FILESTEAD_UPSTREAM_URL" in error["message"]


def test_it_can_be_switched_off(tmp_path: Path, upstream: EventServer) -> None:
    with Server(tmp_path / "data", upstream_url=upstream.url, pass_through="off") as server:
        assert server.client.post("/chat/completions", json=CHAT).status_code == 404
    assert not upstream.requests


def test_the_breaker_of_batches(tmp_path: Path) -> None:
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))  # nobody else gets this port, and nobody listens on it
        url = f"http://127.0.0.1:{refusing.getsockname()[1]}/v1"
        with Server(tmp_path / "data", upstream_url=url) as server:
            statuses = [server.client.post("/chat/completions", json=CHAT) for _ in range(6)]
            assert {response.status_code for response in statuses} == {502}
            paused: Any = server.client.get(f"{server.origin}/health/ready").json()
            assert paused["paused_upstreams"][0]["name"] == "default"
            assert "127.0.0.1" not in statuses[0].text


def _head(first: str, *lines: str) -> bytes:
    common = ["Host: x", f"Authorization: Bearer {KEY}", "Content-Type: application/json"]
    return "\r\n".join([f"{first} HTTP/1.1", *common, *lines, "", ""]).encode()
