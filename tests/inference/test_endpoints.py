"""Lanes and endpoints against the model server: places, pauses, probes, replicas."""

import asyncio
import itertools
import json
import logging
from collections import Counter
from collections.abc import Awaitable

import pytest

from filestead.egress import Egress
from filestead.inference import endpoint as module
from filestead.inference import loads
from filestead.inference.endpoints import MAX_MODEL_CHARACTERS, EndpointConfig, Endpoints, Exchange, choose
from tests.inference.endpoints import PATH, body, config, running, send
from tests.support.model_server import Fault, Machine, ModelServer
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
KEY = "sk-canary-of-endpoints"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_line_is_sent_as_it_is() -> None:
    async with ModelServer(instant=True, key=KEY) as server, running(config(server, api_key=KEY)) as endpoints:
        assert endpoints
        (endpoint,) = endpoints.for_model("m")
        lane = endpoint.lane("m")
        content = b'{ "model": "m",  "messages": [{"role":"user","content":"h\xc3\xa9"}], "max_tokens": 7}'
        exchange = await send(lane, content)
        assert exchange.kind == "ok" and exchange.response is not None
        assert json.loads(exchange.response.body)["choices"][0]["message"]["content"] == "echo: hé"
        assert (exchange.usage.output, exchange.usage.input) == (7, 1)
        (received,) = server.requests
        assert (received.path, received.body) == (PATH, content)
        assert received.headers["idempotency-key"] == "batch_req_1"
        assert lane.in_flight == 0
        assert endpoint.lane("m") is lane
        assert KEY not in repr(endpoints) + repr(config(server, api_key=KEY))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"])
async def test_every_endpoint_of_the_api(path: str) -> None:
    async with ModelServer(speed=200) as server, running(config(server)) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")
        assert lane.try_acquire(10)
        content = json.dumps({"model": "m", "input": "x" * 40, "prompt": "x" * 40, "max_tokens": 5}).encode()
        exchange = await lane.send(path, content, idempotency_key="k", model="m")
        assert (exchange.kind, exchange.usage.input) == ("ok", 10)


FAULTS = {
    "429": (Fault.busy(0), "busy"),
    "503": (Fault.busy(0, status=503), "busy"),
    "500": (Fault.of_status(500), "retry"),
    "502": (Fault.of_status(502), "retry"),
    "broken JSON": (Fault.broken_json(), "retry"),
    "reset": (Fault.reset(), "retry"),
    "not HTTP": (Fault.raw(b"no\r\n\r\n"), "retry"),
    "hang": (Fault.hang(), "timeout"),
    "408": (Fault.of_status(408), "timeout"),
    "400": (Fault.of_status(400), "final"),
    "401": (Fault.of_status(401), "refused"),
    "404": (Fault.of_status(404, "The model `m` does not exist."), "refused"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_every_fault_returns_the_place(name: str) -> None:
    fault, kind = FAULTS[name]
    seconds = 1 if name == "hang" else 30
    async with ModelServer(instant=True) as server, running(config(server, timeout_seconds=seconds)) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")
        server.faults.append(fault)
        exchange = await send(lane)
        assert exchange.kind == kind
        assert exchange.detail
        assert lane.in_flight == 0
        assert lane.paused_reason() is None
        assert (await send(lane)).kind == "ok"


async def test_a_request_that_cannot_be_sent_is_final() -> None:
    async with ModelServer() as server, running(config(server)) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")
        assert lane.try_acquire(1)
        exchange = await lane.send("/v1/é", b"{}", idempotency_key="k", model="m")
        assert (exchange.kind, lane.in_flight) == ("final", 0)


async def test_a_cancelled_line_returns_its_place_and_stops_the_server() -> None:
    async with ModelServer() as server, running(config(server)) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")
        task = asyncio.create_task(send(lane, body(max_tokens=100_000)))
        await until(lambda: server.engine.running)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert lane.in_flight == 0
        await until(lambda: server.aborted == 1)
        assert lane.try_acquire(7)
        lane.release(7)
        assert lane.in_flight == 0


async def test_waiters_are_woken_by_a_free_place() -> None:
    async with ModelServer(speed=50) as server, running(config(server, max_concurrency=2)) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")
        exchanges = await asyncio.gather(*(send(lane, body(str(n))) for n in range(20)))
        assert [exchange.kind for exchange in exchanges] == ["ok"] * 20
        assert server.max_in_flight == 2


async def test_large_requests_wait_for_bytes_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IN_FLIGHT_BYTES", 1000)
    async with ModelServer(speed=50) as server, running(config(server)) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")
        work = [send(lane, body("x" * size)) for size in (500, 600, 390, 5000, 390, 600) * 3]
        exchanges = await asyncio.gather(*work)
        assert [exchange.kind for exchange in exchanges] == ["ok"] * 18
        sizes = [len(received.body) for received in server.requests]
        assert len(sizes) == 18 and lane.in_flight == 0
        assert server.max_in_flight <= 2


async def test_no_request_is_sent_during_retry_after() -> None:
    async with ModelServer(instant=True) as server, running(config(server)) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")
        for _ in range(3):
            server.faults.append(Fault.busy(1))
            busy = await send(lane)
            assert (busy.kind, busy.retry_after) == ("busy", 1)
            assert not lane.ready() and not lane.try_acquire(1)
            assert "busy" in str(lane.paused_reason())
        assert (await send(lane)).kind == "ok"
        times = [received.time for received in server.requests]
        assert all(after - before >= 0.99 for before, after in itertools.pairwise(times))


@pytest.mark.timing
async def test_pauses_without_retry_after_double() -> None:
    async with ModelServer(instant=True) as server, running(config(server)) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")
        server.faults.extend([Fault.busy()] * 3)
        for _ in range(4):
            last = await send(lane)
        assert last.kind == "ok"
        times = [received.time for received in server.requests]
        pauses = [after - before for before, after in itertools.pairwise(times)]
        assert pauses == pytest.approx([0.25, 0.5, 1.0], abs=0.15)


async def test_an_outage_opens_the_breaker_and_a_probe_closes_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "filestead")
    async with ModelServer(instant=True) as server, running(config(server, api_key=KEY)) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")
        assert (await send(lane)).kind == "ok"
        await server.stop()
        exchanges = [await send(lane) for _ in range(5)]
        assert {exchange.kind for exchange in exchanges} == {"unreachable"}
        assert not lane.ready() and not lane.try_acquire(1)
        (paused,) = endpoints.paused()
        assert (paused.name, paused.model) == ("gpu", None)
        assert "cannot be reached" in paused.reason and paused.reason == lane.paused_reason()
        waiting = asyncio.create_task(send(lane))
        await asyncio.sleep(1.3)  # one probe fails
        assert not waiting.done()
        await server.start()
        assert (await waiting).kind == "ok"
        assert len(server.requests) == 2
        assert endpoints.paused() == [] and lane.paused_reason() is None
        assert KEY not in caplog.text
        assert "endpoint gpu is paused: it cannot be reached" in caplog.text
        assert "endpoint gpu can be reached again" in caplog.text


async def test_a_wrong_key_pauses_after_three_lines_until_it_is_right(caplog: pytest.LogCaptureFixture) -> None:
    async with ModelServer(instant=True, key="another") as server, running(config(server, api_key=KEY)) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")
        assert [(await send(lane)).kind for _ in range(3)] == ["refused"] * 3
        assert not lane.ready()
        (paused,) = endpoints.paused()
        assert (paused.name, paused.model) == ("gpu", "m")
        assert paused.reason == "it refuses the key (401): check the API key of this endpoint"
        waiting = asyncio.create_task(send(lane))
        await until(lambda: server.probes)
        assert not waiting.done() and len(server.requests) == 3
        server.key = KEY
        assert (await waiting).kind == "ok"
        assert endpoints.paused() == []
        assert KEY not in caplog.text


async def test_a_wrong_model_pauses_only_its_lane() -> None:
    async with ModelServer(instant=True) as server, running(config(server)) as endpoints:
        (endpoint,) = endpoints.for_model("typo")
        lane = endpoint.lane("typo")
        assert [(await send(lane)).kind for _ in range(3)] == ["refused"] * 3
        assert [paused.model for paused in endpoints.paused()] == ["typo"]
        assert (await send(endpoint.lane("m"))).kind == "ok"
        await until(lambda: server.probes)
        assert not lane.ready()
        server.models.append("typo")
        assert (await send(lane)).kind == "ok"


@pytest.mark.parametrize(("reported", "limits"), [(None, range(8, 257)), (50, range(1, 7))])
@pytest.mark.timing
async def test_the_load_that_a_server_reports_reaches_the_controller(
    monkeypatch: pytest.MonkeyPatch, reported: int | None, limits: range
) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(loads, "METRICS_SECONDS", 0.02)
    async with ModelServer(Machine(knee=1e9), speed=10) as server, running(config(server)) as endpoints:
        if reported is not None:
            server.reported_metrics = f"vllm:num_requests_running 4\nvllm:num_requests_waiting {reported}\n"
        lane = endpoints.for_model("m")[0].lane("m")

        async def one_after_the_other(number: int) -> None:
            for n in range(12):
                await send(lane, body(f"{number} {n}", max_tokens=60))

        await asyncio.gather(*(one_after_the_other(n) for n in range(12)))
        assert lane.limit in limits
        assert "/metrics" in {probe.path for probe in server.probes}
        before = len(server.probes)
        await asyncio.sleep(0.1)
        assert len(server.probes) - before <= 1  # none while nothing is in flight


async def test_endpoints_by_model() -> None:
    async with running(
        EndpointConfig("a", ("http://a/v1",), models=("llama-*", "m?")),
        EndpointConfig("b", ("http://b/v1", "http://c/v1")),
    ) as endpoints:
        assert [e.name for e in endpoints.for_model("llama-3")] == ["a", "b/1", "b/2"]
        assert [e.name for e in endpoints.for_model("m1")] == ["a", "b/1", "b/2"]
        assert [e.url for e in endpoints.for_model("other")] == ["http://b/v1", "http://c/v1"]
        assert choose(endpoints.for_model("nothing")[:0], "nothing", b"") is None
    assert not Endpoints([], lambda url: Egress([]))


async def test_lanes_of_many_models_are_forgotten_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LANES", 10)
    async with running(EndpointConfig("a", ("http://a/v1",))) as endpoints:
        (endpoint,) = endpoints.for_model("m")
        used = endpoint.lane("m")
        assert used.try_acquire(1)
        for n in range(100):
            endpoint.lane(f"model-{n}")
        assert endpoint.lane("m") is used
        assert len(endpoint._lanes) <= 12


def replicas(number: int) -> Endpoints:
    urls = tuple(f"http://replica-{n}/v1" for n in range(number))
    return Endpoints([EndpointConfig("r", urls, max_concurrency=4)], lambda url: Egress([]))


async def test_a_group_stays_with_its_replica_while_there_is_room() -> None:
    found = replicas(4).for_model("m")
    chosen = {}
    for n in range(200):
        lane = choose(found, "m", b"group %d" % n)
        assert lane is not None and lane is choose(found, "m", b"group %d" % n)
        chosen[n] = lane.endpoint_name
    counts = Counter(chosen.values())
    assert len(counts) == 4 and max(counts.values()) < 90
    for n in range(200):  # without one replica, only its groups move
        lane = choose(found[:3], "m", b"group %d" % n)
        assert lane is not None
        assert chosen[n] in {lane.endpoint_name, "r/4"}


async def test_the_load_of_replicas_is_bounded() -> None:
    found = replicas(4).for_model("m")
    for taken in range(16):
        lane = choose(found, "m", b"one group")
        assert lane is not None and lane.try_acquire(1)
        loads = [endpoint.lane("m").in_flight for endpoint in found]
        assert max(loads) <= -(-1.25 * (taken + 1) // 4)
    assert choose(found, "m", b"one group") is None


async def test_replicas_that_are_down_are_not_chosen() -> None:
    async with (
        ModelServer(instant=True) as one,
        ModelServer(instant=True) as two,
        running(config(one, two)) as endpoints,
    ):
        found = endpoints.for_model("m")
        await two.stop()
        kinds: Counter[str] = Counter()
        for n in range(40):
            lane = choose(found, "m", b"%d" % n)
            assert lane is not None
            kinds[(await send(lane)).kind] += 1
        assert kinds["unreachable"] == 5 and kinds["ok"] == 35
        assert [paused.name for paused in endpoints.paused()] == ["gpu/2"]


async def test_a_release_is_returned_by_any_outcome_of_many() -> None:
    async with ModelServer(speed=100) as server, running(config(server)) as endpoints:
        lane = endpoints.for_model("m")[0].lane("m")
        kinds = iter([Fault.reset(), Fault.of_status(500), Fault.broken_json(), None, None, None] * 50)
        server.script = lambda received: next(kinds)
        work: list[Awaitable[Exchange]] = [send(lane, body(str(n))) for n in range(200)]
        found = Counter(exchange.kind for exchange in await asyncio.gather(*work))
        assert found["retry"] + found["ok"] == 200
        # A third of the requests fails by a response; a reset of a kept connection is not seen, and adds a request.
        assert min(found.values()) >= 66
        assert lane.in_flight == 0


async def test_no_endpoint_has_a_model_with_a_name_of_any_length() -> None:
    async with ModelServer() as server, running(config(server)) as endpoints:
        assert endpoints.for_model("m" * MAX_MODEL_CHARACTERS)
        assert endpoints.for_model("m" * (MAX_MODEL_CHARACTERS + 1)) == ()


async def test_lanes_that_are_paused_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LANES", 5)
    async with ModelServer(instant=True, key="another") as server, running(config(server, api_key=KEY)) as endpoints:
        (endpoint,) = endpoints.for_model("m")
        used = endpoint.lane("used")
        assert used.try_acquire(1)
        for number in range(20):
            lane = endpoint.lane(f"m{number}")
            assert [(await send(lane)).kind for _ in range(3)] == ["refused"] * 3
            assert endpoint.lane(lane.model) is lane
        assert [paused.model for paused in endpoints.paused()] == ["m16", "m17", "m18", "m19"]
        assert endpoint.lane("used") is used, "a lane that is used stays"
