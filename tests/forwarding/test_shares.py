"""How many requests to models one project and one process have in progress, and what ends that."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.forwarding.test_attacks import head, raw
from tests.support.event_server import Answer, EventServer, Heard
from tests.support.servers import Server, run_command

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
STREAMED = CHAT | {"stream": True}
OF_PROJECT, OF_PROCESS = 2, 3

pytestmark = pytest.mark.embedded("rows and bytes are not concerned")


@pytest.fixture(scope="module")
def upstream() -> Iterator[EventServer]:
    with EventServer() as made:
        yield made


@pytest.fixture(scope="module")
def server(upstream: EventServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("shares") / "data",
        upstream_url=upstream.url,
        upstream_timeout=2,
        idle_seconds=1,
        max_model_requests=OF_PROCESS,
        max_model_requests_per_project=OF_PROJECT,
    ) as made:
        yield made


def client_of(server: Server, project: str) -> httpx2.Client:
    done = run_command(server.data_dir, "keys", "create", "--project", project, place=server.place)
    return httpx2.Client(base_url=server.base_url, headers={"Authorization": f"Bearer {done.stdout.strip()}"})


async def hold(request: Heard, answer: Answer) -> None:
    """Begin to respond and never end; what is no stream is not held."""
    if b"stream" not in request.body:
        await answer.whole(b"{}")
        return
    await answer.begin_events()
    while True:
        await answer.event({"n": 1})
        await asyncio.sleep(0.2)


@contextlib.contextmanager
def streaming(client: httpx2.Client, upstream: EventServer, count: int) -> Iterator[list[int]]:
    """Open streams, whose statuses it yields; when it ends, the model server has noticed that they are closed."""
    first = len(upstream.requests)
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(client.stream("POST", "/chat/completions", json=STREAMED)).status_code
            for _ in range(count)
        ]
    for request in upstream.requests[first:]:
        assert b"stream" not in request.body or request.gone.wait(30)


def assert_free(server: Server, upstream: EventServer) -> None:
    """As many streams as the share can be open, and no more."""
    with streaming(server.client, upstream, OF_PROJECT + 1) as statuses:
        assert statuses == [200] * OF_PROJECT + [429]


def test_one_project_has_its_share_and_others_theirs(server: Server, upstream: EventServer) -> None:
    upstream.behave = hold
    second, third = client_of(server, "second"), client_of(server, "third")
    with second, third, streaming(server.client, upstream, OF_PROJECT) as statuses:
        assert statuses == [200] * OF_PROJECT
        refused = server.client.post("/chat/completions", json=CHAT)
        error = refused.json()["error"]
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert (error["code"], error["type"], error["param"]) == ("rate_limit_exceeded", "requests", None)
        assert error["message"] == (
            "Too many concurrent requests to models: the limit of a project is 2. Please try again."
        )
        assert server.client.get("/responses/resp_1").status_code == 429
        assert len(upstream.requests) == OF_PROJECT  # nothing else was passed on
        assert server.client.get("/files").status_code == 200
        assert server.client.get("/models").status_code == 200
        assert second.post("/chat/completions", json=CHAT).status_code == 200
        with streaming(second, upstream, OF_PROCESS - OF_PROJECT):
            busy = third.post("/chat/completions", json=CHAT)
            assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
            assert busy.json()["error"]["message"].startswith("Too many concurrent requests to models.")
    assert_free(server, upstream)


def ends(server: Server, upstream: EventServer) -> None:
    upstream.behave = None
    assert server.client.post("/chat/completions", json=STREAMED).text.endswith("[DONE]\n\n")


def client_goes(server: Server, upstream: EventServer) -> None:
    with streaming(server.client, upstream, 1) as statuses:
        assert statuses == [200]


def breaks(server: Server, upstream: EventServer) -> None:
    async def broken(request: Heard, answer: Answer) -> None:
        await answer.begin_events()
        await answer.event({"n": 1})
        raise ConnectionResetError

    upstream.behave = broken
    with contextlib.suppress(httpx2.RemoteProtocolError):
        server.client.post("/chat/completions", json=STREAMED)


def is_silent(server: Server, upstream: EventServer) -> None:
    async def silent(request: Heard, answer: Answer) -> None:
        await asyncio.sleep(60)

    upstream.behave = silent
    assert server.client.post("/chat/completions", json=CHAT).status_code == 504


def body_is_refused(server: Server, upstream: EventServer) -> None:
    assert server.client.post("/chat/completions", content=b"{").status_code == 400


def body_stalls(server: Server, upstream: EventServer) -> None:
    assert raw(server, head("Content-Length: 100") + b'{"model": ').startswith(b"HTTP/1.1 408")


def upload_stalls(server: Server, upstream: EventServer) -> None:
    request = head("Content-Length: 1000", path="/v1/audio/transcriptions")
    request = request.replace(b"application/json", b"multipart/form-data; boundary=B")
    begin = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    assert raw(server, request + begin).startswith(b"HTTP/1.1 408")


def file_is_unknown(server: Server, upstream: EventServer) -> None:
    part = {"type": "file", "file": {"file_id": "file-none"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    assert server.client.post("/chat/completions", json=body).status_code == 400


def stored_response_ends(server: Server, upstream: EventServer) -> None:
    upstream.behave = None
    assert server.client.get("/responses/resp_1").status_code == 404


@pytest.mark.parametrize(
    "end",
    [
        *(ends, client_goes, breaks, is_silent, body_is_refused, body_stalls, upload_stalls),
        *(file_is_unknown, stored_response_ends),
    ],
)
def test_a_place_is_free_again(
    server: Server, upstream: EventServer, end: Callable[[Server, EventServer], None]
) -> None:
    upstream.behave = hold
    for _ in range(OF_PROJECT):
        end(server, upstream)
    upstream.behave = hold
    assert_free(server, upstream)
