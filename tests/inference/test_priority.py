"""vLLM's `priority`: the member in bodies, and lines to servers that take it or refuse it."""

import asyncio
import json

import pytest

from filestead.inference import endpoint as module
from filestead.inference import loads
from filestead.inference.endpoints import Lane
from filestead.inference.priority import MAX_TRIALS, PRIORITY, with_priority
from tests.inference.endpoints import body, config, running, send
from tests.support.model_server import Fault, ModelServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("text", ['{"model":"m"}', ' \n{ "model" : "é"}', '{"model":"m","nested":{"priority":1}}'])
async def test_the_member_is_added(text: str) -> None:
    changed = with_priority(text.encode())
    assert changed is not None
    assert json.loads(changed) == {"priority": PRIORITY, **json.loads(text)}


@pytest.mark.parametrize(
    "content",
    [
        *(b'{"priority":3,"model":"m"}', b'{"model":"m","priority":null}', b'{"model":"m","prior\\u0069ty":0}'),
        *(b"{}", b"{ }", b"[]", b'"a"', b"", b"{", b"[" * 5000),
    ],
)
async def test_other_bodies_stay_as_they_are(content: bytes) -> None:
    assert with_priority(content) is None


def priorities(server: ModelServer) -> list[int | None]:
    return [received.json.get("priority") for received in server.requests]


async def both(lane: Lane, number: int = 6) -> None:
    for n in range(number):
        assert (await send(lane, body(f"line {n}"))).kind == "ok"
    found = await asyncio.gather(*(send(lane, body(f"line {n}")) for n in range(20)))
    assert {exchange.kind for exchange in found} == {"ok"}


async def test_a_server_that_takes_it_gets_it_with_each_line() -> None:
    async with (
        ModelServer(instant=True, takes_priority=True) as server,
        running(config(server, priority="on")) as endpoints,
    ):
        lane = endpoints.for_model("m")[0].lane("m")
        await both(lane)
        assert priorities(server) == [PRIORITY] * 26
        await send(lane, body(priority=-1))
        assert server.requests[-1].body == body(priority=-1)


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("message", ["Got priority 10 but Priority scheduling is not enabled.", "Unknown argument."])
async def test_a_server_that_refuses_it_gets_it_once(status: int, message: str) -> None:
    async with ModelServer(instant=True) as server, running(config(server, priority="on")) as endpoints:
        server.priority_refusal = status, message
        await both(endpoints.for_model("m")[0].lane("m"))
        assert len(server.refused_priorities) == 1
        assert priorities(server) == [None] * 26
        assert server.refused_priorities[0].headers["idempotency-key"] == "batch_req_1-priority"
        assert {received.headers["idempotency-key"] for received in server.requests} == {"batch_req_1"}


async def test_a_server_that_no_longer_takes_it_loses_no_line() -> None:
    async with (
        ModelServer(instant=True, takes_priority=True) as server,
        running(config(server, priority="on")) as endpoints,
    ):
        lane = endpoints.for_model("m")[0].lane("m")
        await both(lane)
        server.takes_priority = False
        await both(lane)
        assert priorities(server)[-20:] == [None] * 20


async def test_lines_that_are_faulty_themselves_end_the_trials() -> None:
    async with ModelServer(instant=True) as server, running(config(server, priority="on")) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")
        server.script = lambda received: Fault.of_status(400, "no such parameter")
        for _ in range(6):
            exchange = await send(lane)
            assert exchange.kind == "final" and exchange.response is not None
            assert b"no such parameter" in exchange.response.body
        assert len(server.refused_priorities) == MAX_TRIALS
        assert len(server.requests) == 6


@pytest.mark.parametrize("fault", [Fault.busy(0), Fault.reset(), Fault.of_status(500)], ids=["429", "reset", "500"])
async def test_a_trial_without_a_result_is_repeated(fault: Fault) -> None:
    async with (
        ModelServer(instant=True, takes_priority=True) as server,
        running(config(server, priority="on")) as endpoints,
    ):
        lane = endpoints.for_model("m")[0].lane("m")
        server.faults.append(fault)
        assert (await send(lane)).kind != "ok"
        await both(lane)
        assert set(priorities(server)) == {PRIORITY}


async def test_a_cancelled_trial_is_repeated() -> None:
    async with (
        ModelServer(instant=True, takes_priority=True) as server,
        running(config(server, priority="on")) as endpoints,
    ):
        lane = endpoints.for_model("m")[0].lane("m")
        server.faults.append(Fault.hang())
        task = asyncio.create_task(send(lane))
        async with asyncio.timeout(30):
            while not server.requests:
                await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await both(lane)
        assert priorities(server) == [PRIORITY] * 27


@pytest.mark.parametrize(
    ("mode", "metrics", "sent"),
    [
        ("auto", "vllm:num_requests_running 1\n", True),
        ("auto", "sglang:num_running_reqs 1\n", False),
        ("auto", "llamacpp:requests_processing 1\n", False),
        ("auto", None, False),
        ("off", "vllm:num_requests_running 1\n", False),
    ],
)
async def test_which_servers_get_it(
    monkeypatch: pytest.MonkeyPatch, mode: str, metrics: str | None, sent: bool
) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(loads, "METRICS_SECONDS", 0.02)
    async with (
        ModelServer(speed=20, metrics=metrics is not None, takes_priority=True) as server,
        running(config(server, priority=mode)) as endpoints,
    ):
        server.reported_metrics = metrics
        lane = endpoints.for_model("m")[0].lane("m")
        for _ in range(2):
            await asyncio.gather(*(send(lane, body(str(n), max_tokens=50)) for n in range(4)))
        await send(lane)
        async with asyncio.timeout(30):
            while sent and priorities(server)[-1] is None:  # the metrics are read while lines are in flight
                await send(lane)
        assert priorities(server)[0] is None
        assert priorities(server)[-1] == (PRIORITY if sent else None)
