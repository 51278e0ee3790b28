"""The simulated model server over HTTP: its times, its faults, its record, and as a process."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from filestead.egress import Egress, origin_of
from filestead.http_client.client import Client
from filestead.http_client.connections import Response
from filestead.http_client.errors import EndpointBroken, EndpointTimeout, EndpointUnreachable
from tests.support.model_server import Fault, Machine, ModelServer

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def client_of(url: str, key: str | None = None) -> Client:
    return Client(url, key, Egress([origin_of(url)]))


async def ask(client: Client, text: str = "x", *, system: str = "", seconds: float = 30, **more: Any) -> Response:
    messages = [{"role": "system", "content": system}] if system else []
    content = {"model": "m", "messages": [*messages, {"role": "user", "content": text}], **more}
    return await client.request("POST", "/chat/completions", json.dumps(content).encode(), seconds=seconds)


@pytest.mark.parametrize(("requests", "seconds"), [(1, 0.2), (16, 0.2), (64, 0.8)])
@pytest.mark.timing
async def test_times_are_those_of_the_physics(requests: int, seconds: float) -> None:
    async with ModelServer(Machine(step_seconds=0.02, knee=16), speed=10) as server:
        client = client_of(server.url)
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for _ in range(requests):
                group.create_task(ask(client, max_tokens=100))
        assert seconds * 0.95 <= loop.time() - began <= seconds + 0.5
        assert server.max_in_flight == requests


async def test_requests_without_a_limit_of_tokens_have_20_to_120() -> None:
    async with ModelServer(instant=True) as server:
        client = client_of(server.url)
        found = {json.loads((await ask(client, str(n))).body)["usage"]["completion_tokens"] for n in range(100)}
        assert 20 <= min(found) < 40 and 100 < max(found) <= 120
        assert (await ask(client, "1")).body.partition(b"usage")[2] == (await ask(client, "1")).body.partition(
            b"usage"
        )[2]


async def test_cached_prefixes_are_reported() -> None:
    async with ModelServer(Machine(cached_prefixes=1), speed=100) as server:
        client = client_of(server.url)
        cached = []
        for system in ("a" * 400, "a" * 400, "b" * 400, "a" * 400):
            usage = json.loads((await ask(client, "q" * 40, system=system)).body)["usage"]
            cached.append((usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]))
        assert cached == [(110, 0), (110, 100), (110, 0), (110, 0)]
        metrics = (await client_of(server.url.removesuffix("/v1")).request("GET", "/metrics", seconds=5)).body.decode()
        assert 'vllm:prefix_cache_hits_total{model_name="m"} 1\n' in metrics


async def test_refusals_of_the_server_itself() -> None:
    async with ModelServer(Machine(refuse_beyond=2), key="sk-a") as server:
        client = client_of(server.url, "sk-a")
        busy = [asyncio.create_task(ask(client, str(n), max_tokens=10_000)) for n in range(2)]
        while len(server.engine.running) < 2:
            await asyncio.sleep(0.001)
        assert (await ask(client)).status == 429
        assert (await ask(client_of(server.url))).status == 401
        assert (await ask(client, model="other")).status == 404
        assert (await client.request("POST", "/chat/completions", b"{", seconds=5)).status == 400
        assert (await client.request("POST", "/other", b"{}", seconds=5)).status == 404
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


async def test_scripted_faults() -> None:
    async with ModelServer(instant=True) as server:
        client = client_of(server.url)
        server.faults.extend([Fault.busy(7), Fault.of_status(500), Fault.broken_json(), Fault.slow(0.1)])
        busy = await ask(client)
        assert (busy.status, busy.headers["retry-after"]) == (429, "7")
        assert (await ask(client)).status == 500
        assert (await ask(client)).body == b'{"id": "chatcmpl-'
        began = asyncio.get_running_loop().time()
        assert (await ask(client)).status == 200
        assert asyncio.get_running_loop().time() - began >= 0.1
        server.faults.extend([Fault.hang(), Fault.reset(), Fault.reset()])
        with pytest.raises(EndpointTimeout):
            await ask(client, seconds=0.1)
        with pytest.raises(EndpointBroken):
            await ask(client)
        server.faults.clear()
        server.script = lambda received: Fault.of_status(418) if b"tea" in received.body else None
        assert [(await ask(client, text)).status for text in ("tea", "coffee")] == [418, 200]
        await server.stop()
        with pytest.raises(EndpointUnreachable):
            await ask(client)
        await server.start()
        assert (await ask(client)).status == 200
        assert {received.path for received in server.requests} == {"/v1/chat/completions"}


async def test_as_a_process() -> None:
    command = [sys.executable, "-m", "tests.support.model_server", "--instant", "--models", "m,n"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        client, root = client_of(url), client_of(url.removesuffix("/v1"))
        faults = json.dumps([{"kind": "status", "status": 503, "headers": {"Retry-After": "3"}, "body": "no"}]).encode()
        await root.request("POST", "/control/faults", faults, seconds=5)
        refused = await ask(client, "one")
        assert (refused.status, refused.body, refused.headers["retry-after"]) == (503, b"no", "3")
        assert (await ask(client, "two", model="n")).status == 200
        found = json.loads((await root.request("GET", "/control/requests", seconds=5)).body)
        assert [(path, key, json.loads(content)["model"]) for path, key, content in found] == [
            ("/v1/chat/completions", None, "m"),
            ("/v1/chat/completions", None, "n"),
        ]
    finally:
        process.terminate()
        assert process.wait(30) == 0
