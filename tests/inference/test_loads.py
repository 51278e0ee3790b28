"""What endpoints say of their load, by their kind, and what the controller makes of it."""

import asyncio
import json
import math

import pytest

from filestead.http_client.connections import Response
from filestead.inference import endpoint as module
from filestead.inference import loads
from filestead.inference.cohorts import Outcome
from filestead.inference.limiter import Limiter, Load
from filestead.inference.loads import slots_of
from filestead.inference.metrics import load_of
from tests.inference.endpoints import body, config, running, send
from tests.support.model_server import Machine, ModelServer
from tests.support.model_server.simulation import Clock


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    ("text", "load"),
    [
        (
            'vllm:num_requests_running{engine="0"} 3\nvllm:num_requests_running{engine="1"} 4\n'
            'vllm:num_requests_waiting{engine="0"} 2\nvllm:kv_cache_usage_perc{engine="0"} 0.5\n'
            'vllm:kv_cache_usage_perc{engine="1"} 0.96\n',
            Load(7, 2, 0.96, server="vllm"),
        ),
        (
            "sglang:num_running_reqs 9\nsglang:num_queue_reqs 1\nsglang:token_usage 0.97\n",
            Load(9, 1, 0.97, server="sglang"),
        ),
        ("llamacpp:requests_processing 4\nllamacpp:requests_deferred 2\n", Load(4, 2, None, server="llamacpp")),
        ("vllm:num_requests_running NaN\nother 3\n", None),
    ],
)
def test_metrics_of_each_kind(text: str, load: Load | None) -> None:
    assert load_of(text) == load


def slots(busy: int, number: int) -> bytes:
    return json.dumps([{"id": n, "is_processing": n < busy, "n_ctx": 4096} for n in range(number)]).encode()


@pytest.mark.parametrize(
    ("status", "content", "found"),
    [
        (200, slots(3, 8), (3, 8)),
        (200, b'[{"id":0,"state":1},{"id":1,"state":0}]', (1, 2)),
        *((200, content, None) for content in (b"[]", b"{}", b"<html>", b'[{"id":0}]', b"\xff", b"[" * 5000)),
        (501, b'{"error":{"message":"This server does not support slots endpoint."}}', None),
        (503, slots(8, 8), None),
    ],
)
def test_slots(status: int, content: bytes, found: tuple[int, int] | None) -> None:
    assert slots_of(Response(status, {}, content)) == found


def cohort(limiter: Limiter, clock: Clock, load: Load) -> None:
    before = limiter._cohort
    while limiter._cohort is before:
        taken = 0
        while limiter.try_acquire():
            taken += 1
        clock.now += 1
        limiter.observe(load)
        for _ in range(taken):
            if limiter._cohort is before:
                limiter.release(Outcome(1.0, 100))
            else:
                limiter.give_back()


@pytest.mark.parametrize("number", [1, 2, 10, 40, 1000])
def test_it_starts_at_the_number_of_slots_and_stays_near(number: int) -> None:
    clock = Clock()
    limiter = Limiter(clock)
    limiter.observe(Load(running=0, slots=number))
    assert limiter.limit == min(number, 256)
    for _ in range(10):
        cohort(limiter, clock, Load(running=min(number, limiter.in_flight), slots=number))
        assert limiter.limit <= min(max(number + 1, number * 1.1), 256)


def test_slots_that_others_use_are_not_competed_for() -> None:
    clock = Clock()
    limiter = Limiter(clock, ceiling=4)
    limiter.observe(Load(running=8, slots=8))
    limiter._ceiling = 256
    for _ in range(5):
        cohort(limiter, clock, Load(running=8, slots=8))
        assert limiter.limit <= 5


@pytest.mark.parametrize("load", [Load(running=20, waiting=3), Load(running=4, waiting=1), Load(cache=0.96)])
def test_metrics_decide_before_errors_do(load: Load) -> None:
    """Every request succeeds, at the same speed with any number: without the metrics, the limit doubles."""
    clock, limits = Clock(), []
    for said in (load, Load()):
        limiter = Limiter(clock)
        for _ in range(4):
            cohort(limiter, clock, said)
        limits.append(limiter.limit)
    assert limits[0] <= 5
    assert limits[1] == 64


@pytest.mark.anyio
async def test_slots_reach_the_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(loads, "METRICS_SECONDS", 0.02)
    machine = Machine(knee=math.inf)
    async with ModelServer(machine, speed=5, metrics=False) as server, running(config(server)) as endpoints:
        server.slots = slots(1, 10)
        (endpoint,) = endpoints.for_model("m")
        assert (await endpoint.check()).metrics
        lane = endpoint.lane("m")
        async with asyncio.timeout(30):
            while lane.limit != 10:
                await send(lane, body(max_tokens=50))
