"""The target for the time to first token of chats: rules, figures in virtual time, and probes in real time."""

import asyncio
import json

import pytest

from filestead.domain.forwarding.interfaces import ForwardedRequest
from filestead.egress import Egress, origin_of
from filestead.inference import chat_probe, politeness
from filestead.inference import endpoint as module
from filestead.inference.endpoints import EndpointConfig, Endpoints
from filestead.inference.forwarding import EndpointForwarder
from filestead.inference.politeness import MANY, START, WINDOW_SECONDS, Politeness
from tests.inference.endpoints import body, config, running, send
from tests.support.event_server import EventServer
from tests.support.model_server import Machine, ModelServer
from tests.support.model_server.simulation import Clock, beside_chats

TARGET = 0.1
QUEUE = Machine(knee=1e9, slots=16)
"""A queue without limit before 16 slots: chats wait behind lines."""
SECONDS = 240.0
SETTLED = 60.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("rate", [0.5, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_chats_beside_a_batch(rate: float, seed: int) -> None:
    polite = beside_chats(QUEUE, seed, SECONDS, rate=rate, target=TARGET)
    plain = beside_chats(QUEUE, seed, SECONDS, rate=rate, target=None)
    assert polite.ttft(0.95, SETTLED) <= 1.2 * TARGET
    assert plain.ttft(0.95, SETTLED) > 3 * TARGET
    assert polite.goodput(SETTLED, SECONDS) >= 0.75 * plain.goodput(SETTLED, SECONDS)


@pytest.mark.parametrize("seed", range(4))
def test_probes_measure_while_nobody_chats(seed: int) -> None:
    record = beside_chats(QUEUE, seed, SECONDS, rate=0, target=TARGET)
    assert 100 <= record.probes <= SECONDS / politeness.PROBE_SECONDS
    assert record.ttft(0.95, SETTLED) <= 1.2 * TARGET
    assert record.goodput(SETTLED, SECONDS) >= 0.75 * beside_chats(QUEUE, seed, SECONDS, rate=0, target=None).goodput(
        SETTLED, SECONDS
    )


def test_few_probes_beside_many_chats() -> None:
    assert beside_chats(QUEUE, 0, SECONDS, rate=4, target=TARGET).probes < 10


def test_a_target_that_is_easy_costs_nothing() -> None:
    machine = Machine(knee=16)
    for seed in range(3):
        goodputs = [
            beside_chats(machine, seed, SECONDS, rate=1, target=target).goodput(SETTLED, SECONDS)
            for target in (1.0, None)
        ]
        assert goodputs[0] >= 0.95 * goodputs[1]


def test_a_target_that_cannot_be_reached_stops_no_batch() -> None:
    record = beside_chats(QUEUE, 0, SECONDS, rate=1, target=0.001)
    assert record.limits[-1][1] == 1
    assert len(record.finished) > 50


@pytest.mark.parametrize("rate", [1.0, 2.0, 4.0])
def test_a_batch_beside_steady_chats_uses_what_they_leave(rate: float) -> None:
    """Chats take places; those that are left are still judged, and become more."""
    for seed in range(4):
        record = beside_chats(Machine(knee=16), seed, SECONDS, rate=rate, target=None)
        assert record.goodput(SETTLED, SECONDS) >= 400


def measured(polite: Politeness, clock: Clock, seconds: float, times: int = 1, *, step: float = 1.0) -> None:
    for _ in range(times):
        clock.now += step
        bound = polite.bound or START
        polite.add(seconds, in_flight=bound, limit=bound)


def test_it_doubles_holds_near_the_target_and_shrinks_beyond() -> None:
    clock = Clock()
    polite = Politeness(clock, 1.0)
    assert polite.bound == START
    measured(polite, clock, 0.1, 9)
    assert polite.bound == 4 * START
    measured(polite, clock, 0.9, 30)
    assert polite.bound == 4 * START
    measured(polite, clock, 1.5, 6, step=2)
    assert (polite.bound or 0) < 4 * START
    assert polite.p95() == 1.5


def test_one_slow_chat_of_many_changes_nothing() -> None:
    clock = Clock()
    polite = Politeness(clock, 1.0)
    measured(polite, clock, 0.9, 20)
    measured(polite, clock, 5.0, 1, step=6)
    measured(polite, clock, 0.9, 20)
    assert polite.bound == START


def test_a_bound_that_was_exceeded_is_avoided() -> None:
    clock = Clock()
    polite = Politeness(clock, 1.0)
    seen = []
    for _ in range(600):
        measured(polite, clock, 2.0 if (polite.bound or 0) >= 16 else 0.1, step=2)
        seen.append((polite.bound or 0) >= 16)
    assert sum(seen[100:]) <= 0.08 * len(seen[100:])
    assert sum(seen[100:]) >= 1


def test_without_measurements_there_is_no_bound() -> None:
    clock = Clock()
    polite = Politeness(clock, 1.0)
    measured(polite, clock, 2.5, 2, step=3)
    assert polite.bound == 2
    clock.now += WINDOW_SECONDS + 1
    assert polite.bound is None
    assert polite.p95() is None
    polite.add(0.1, in_flight=50, limit=50)
    assert polite.bound == 2


def test_chats_without_a_batch_decide_nothing() -> None:
    clock = Clock()
    polite = Politeness(clock, 1.0)
    for seconds in (0.1, 3.0):
        for _ in range(2 * MANY):
            clock.now += 1
            polite.add(seconds, in_flight=0, limit=START)
    assert polite.bound == START


@pytest.mark.anyio
@pytest.mark.parametrize(("target", "most"), [(0.0001, 1), (5.0, 256), (None, 256)])
async def test_probes_of_an_endpoint(monkeypatch: pytest.MonkeyPatch, target: float | None, most: int) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(politeness, "PROBE_SECONDS", 0.01)
    async with ModelServer(speed=20) as server, running(config(server, chat_ttft_p95=target)) as endpoints:
        (endpoint,) = endpoints.for_model("m")
        lane = endpoint.lane("m")
        await asyncio.gather(*(send(lane, body(f"line {n}", max_tokens=100)) for n in range(40)))
        probes = [received.json for received in server.requests if received.json.get("stream")]
        assert bool(probes) == (target is not None)
        if target is not None:
            assert probes[0]["max_tokens"] == 1 and probes[0]["model"] == "m"
            assert (endpoint.state().chat_ttft_p95 or 0) > 0
        assert lane.limit <= most
        await asyncio.sleep(0.5)  # a probe may be on its way
        sent = len(server.requests)
        await asyncio.sleep(0.1)
        assert len(server.requests) == sent  # none without a batch


@pytest.mark.anyio
async def test_a_model_that_takes_no_chats_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.01)
    async with ModelServer() as server, running(config(server)) as endpoints:
        (endpoint,) = endpoints.for_model("e")
        probe = chat_probe.ChatProbe(endpoint._client, Clock())
        assert probe.is_useful("e")
        assert (await probe.measure("e"))[0] == "refused"
        assert not probe.is_useful("e") and probe.is_useful("m")
        await server.stop()
        assert (await probe.measure("m"))[0] == "failed"
        assert probe.is_useful("m")


@pytest.mark.anyio
async def test_streams_of_interactive_requests_are_measured() -> None:
    with EventServer() as server:
        endpoints = Endpoints(
            [EndpointConfig("gpu", (server.url,), chat_ttft_p95=1.0)], lambda url: Egress([origin_of(url)])
        )
        (target,) = EndpointForwarder(endpoints).targets_for("m", b"")
        found = []
        for stream in (False, True):
            content = json.dumps({"model": "m", "messages": [{"role": "user", "content": "a"}], "stream": stream})
            headers = {"Content-Type": "application/json"}
            began = asyncio.get_running_loop().time()
            response = await target.send(ForwardedRequest("POST", "/chat/completions", headers, content.encode()))
            while await response.read():
                pass
            response.close()
            found.append(endpoints.all[0].state().chat_ttft_p95)
        assert found[0] is None
        assert found[1] is not None and 0 < found[1] <= asyncio.get_running_loop().time() - began
        endpoints.close()
