"""Which of several model servers receives a request, and what batches leave to those who wait."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from filestead.egress import Egress, origin_of
from filestead.inference.endpoints import EndpointConfig, Endpoints
from filestead.inference.forwarding import EndpointForwarder
from tests.support.event_server import Answer, EventServer, Heard
from tests.support.model_server import ModelServer
from tests.support.servers import Server

pytestmark = [pytest.mark.anyio, pytest.mark.embedded("rows and bytes are not concerned")]

CONFIG = """
[[upstreams]]
name = "gpu"
url = ["{first}", "{second}"]
models = ["m", "shared"]

[[upstreams]]
name = "hosted"
url = "{third}"
models = ["large", "embed-*", "shared"]
files = "off"
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[list[EventServer]]:
    with (
        EventServer(models=("m", "shared")) as first,
        EventServer(models=("m", "hidden")) as second,
        EventServer(models=("large", "shared")) as third,
    ):
        yield [first, second, third]


@pytest.fixture(scope="module")
def server(servers: list[EventServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("choice")
    config = folder / "filestead.toml"
    names = dict(zip(("first", "second", "third"), (one.url for one in servers), strict=True))
    config.write_text(CONFIG.format(**names))
    with Server(folder / "data", env={"FILESTEAD_CONFIG": str(config)}) as made:
        yield made


@pytest.fixture(autouse=True)
def _clean(servers: list[EventServer]) -> None:
    for one in servers:
        one.behave = None
        one.requests.clear()


def chat(model: str, text: str = "x") -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "model": model}


def test_the_model_decides(server: Server, servers: list[EventServer]) -> None:
    assert server.client.post("/chat/completions", json=chat("large")).status_code == 200
    assert server.client.post("/embeddings", json={"model": "embed-1", "input": "x"}).status_code == 200
    assert [len(one.requests) for one in servers] == [0, 0, 2]
    assert server.client.post("/chat/completions", json=chat("m")).status_code == 200
    assert [len(one.requests) for one in servers][2] == 2
    unknown = server.client.post("/chat/completions", json=chat("none"))
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("model_first", [True, False])
def test_the_model_of_an_upload_decides_wherever_it_comes(
    server: Server, servers: list[EventServer], model_first: bool
) -> None:
    file = b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    file += b'Content-Disposition: form-data; name="model"\r\n\r\nm' + b"\r\n--BX\r\n" + b"x" * 100_000
    model = b'Content-Disposition: form-data; name="model"\r\n\r\nlarge'
    parts = [model, file] if model_first else [file, model]
    body = b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + b"--B--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=B"}
    response = server.client.post("/audio/transcriptions", content=body, headers=headers)
    assert response.status_code == 200, response.text
    assert [len(one.requests) for one in servers] == [0, 0, 1]
    assert servers[2].requests[0].body == body


def test_the_same_beginning_stays_on_one_of_equal_servers(server: Server, servers: list[EventServer]) -> None:
    for _ in range(6):
        server.client.post("/chat/completions", json=chat("m", "the same"))
    assert sorted(len(one.requests) for one in servers) == [0, 0, 6]
    for number in range(20):
        server.client.post("/chat/completions", json=chat("m", f"{number} is another one"))
    assert min(len(one.requests) for one in servers[:2]) >= 2


def test_files_are_resolved_for_some_servers_only(server: Server, servers: list[EventServer]) -> None:
    parts = [{"type": "file", "file": {"file_id": "file-of-the-hosted-server"}}]
    body = chat("large") | {"messages": [{"role": "user", "content": parts}]}
    assert server.client.post("/chat/completions", json=body).status_code == 200
    assert servers[2].requests[0].json == body
    refused = server.client.post("/chat/completions", json=body | {"model": "m"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "messages[0].content[0].file.file_id")
    assert [len(one.requests) for one in servers] == [0, 0, 1]


def test_models_are_merged(server: Server, servers: list[EventServer]) -> None:
    listed = [model["id"] for model in server.client.get("/models").json()["data"]]
    assert listed == ["m", "shared", "large"]  # the second server does not serve "hidden"


def test_a_stored_response_is_found_where_it_is(server: Server, servers: list[EventServer]) -> None:
    made = server.client.post("/responses", json={"model": "large", "input": "x"}).json()

    async def stored(request: Heard, answer: Answer) -> None:
        await answer.whole(json.dumps({"id": request.path.rpartition("/")[2]}).encode())

    servers[2].behave = stored
    assert server.client.get(f"/responses/{made['id']}").json()["id"] == made["id"]
    assert [len(one.requests) for one in servers] == [0, 0, 2]
    assert server.client.get("/responses/resp_of_before_a_restart").status_code == 200
    assert [len(one.requests) for one in servers] == [1, 1, 3]
    servers[2].behave = None
    assert server.client.get("/responses/resp_of_nobody").status_code == 404


def test_a_streamed_response_is_remembered(server: Server, servers: list[EventServer]) -> None:
    request = {"model": "large", "input": "x", "stream": True}
    text = server.client.post("/responses", json=request).text
    made = json.loads(text.split("data: ")[1].split("\n")[0])["response"]["id"]
    for one in servers:
        one.requests.clear()
    server.client.get(f"/responses/{made}")
    assert [len(one.requests) for one in servers] == [0, 0, 1]


def test_another_equal_server_steps_in(tmp_path: Path) -> None:
    with socket.socket() as refusing, EventServer() as alive:
        refusing.bind(("127.0.0.1", 0))  # nobody else gets this port, and nobody listens on it
        dead = f"http://127.0.0.1:{refusing.getsockname()[1]}/v1"
        config = tmp_path / "filestead.toml"
        config.write_text(f'[[upstreams]]\nname = "gpu"\nurl = ["{dead}", "{alive.url}"]\n')
        with Server(tmp_path / "data", env={"FILESTEAD_CONFIG": str(config)}) as server:
            for number in range(12):
                assert server.client.post("/chat/completions", json=chat("m", str(number))).status_code == 200
            assert len(alive.requests) == 12


async def test_batches_leave_places_to_interactive_requests() -> None:
    async with ModelServer(instant=True) as models:
        endpoints = Endpoints([EndpointConfig("gpu", (models.url,))], lambda url: Egress([origin_of(url)]))
        (endpoint,) = endpoints.all
        lane = endpoint.lane("m")
        assert lane.limit == 4
        endpoint.traffic.interactive = 3
        assert lane.try_acquire(1)
        assert not lane.ready()
        assert not lane.try_acquire(1)
        endpoint.traffic.interactive = 0
        assert lane.try_acquire(1)
        endpoint.traffic.interactive = 100
        lane.release(1)
        lane.release(1)
        assert lane.ready()  # one place is always left
        endpoints.close()


async def test_traffic_is_counted_until_the_end_of_the_response() -> None:
    from filestead.domain.forwarding.interfaces import ForwardedRequest

    with EventServer() as models:
        endpoints = Endpoints([EndpointConfig("gpu", (models.url,))], lambda url: Egress([origin_of(url)]))
        (endpoint,) = endpoints.all
        (target,) = EndpointForwarder(endpoints).targets_for("m", b"")
        content = json.dumps(chat("m") | {"stream": True}).encode()
        response = await target.send(ForwardedRequest("POST", "/chat/completions", {}, content))
        assert endpoint.traffic.interactive == 1
        while await response.read():
            assert endpoint.traffic.interactive == 1
        response.close()
        response.close()
        assert endpoint.traffic.interactive == 0
        holding = threading.Event()

        async def hold(request: Heard, answer: Answer) -> None:
            holding.set()
            await asyncio.sleep(60)

        models.behave = hold
        task = asyncio.create_task(target.send(ForwardedRequest("POST", "/chat/completions", {}, content)))
        await asyncio.to_thread(holding.wait, 30)
        assert endpoint.traffic.interactive == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert endpoint.traffic.interactive == 0
        endpoints.close()
