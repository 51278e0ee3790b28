"""Requests for models that are passed on: what that adds to a request, many streams at once, and short requests."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.litellm_proxy import litellm_proxy
from bench.load import wrk
from bench.models import model_server
from bench.nginx import Nginx, proxy
from bench.plan import Bench, CannotMeasure, helper
from bench.report import Goal, Row
from bench.requests import turns
from bench.usage import Peak, resident
from tests.support.servers import KEY, Server

KIB_PER_MIB = 1024
MILLISECONDS = 1000
STREAMS, EVENTS_PER_SECOND = 500, 50
STREAMS_QUICK = 50
REQUESTS_PER_SECOND = 100
SCRIPT = Path(__file__).with_name("chat.lua")


def measure_forwarding(bench: Bench, reference: Nginx | None) -> list[Row]:
    """Filestead in front of a model server that does nothing but send."""
    with helper("bench.model_source") as source:
        url = f"{source.origin}/v1"
        rows = [*_measure_latency(bench, url), *_measure_streams(bench, url)]
    with model_server("--instant") as url:  # it reads what it is sent
        return [*rows, *_measure_short(bench, url, reference)]


def _measure_latency(bench: Bench, url: str) -> list[Row]:
    bench.progress("forwarding: latency")
    with bench.folder("forwarding") as folder, Server(folder, upstream_url=url) as server:
        seconds = 10 * bench.plan.load_rounds
        # Every other request goes directly to the model server: these have a rate of their own.
        task = {"what": "latencies", "urls": [url, server.base_url], "rate": 2 * REQUESTS_PER_SECOND}
        found = _run(task | {"requests": 2 * REQUESTS_PER_SECOND * seconds})
    rows = []
    for name, bound in (("p50", 1.0), ("p99", 5.0)):
        direct, ours = (value * MILLISECONDS for value in found[name])
        note = f"{ours:.2f} ms instead of {direct:.2f} ms"
        rows.append(
            Row(
                measure=f"chat request, added latency {name}",
                unit="ms",
                ours=[ours - direct],
                goal=Goal(bound),
                note=note,
            )
        )
    return rows


def _measure_streams(bench: Bench, url: str) -> list[Row]:
    bench.progress("forwarding: streams")
    streams = STREAMS if bench.plan.judged else STREAMS_QUICK
    task: dict[str, Any] = {"what": "streams", "streams": streams, "rate": EVENTS_PER_SECOND}
    task["events"] = EVENTS_PER_SECOND * (10 if bench.plan.judged else 2)
    direct = _run(task | {"url": url})
    with bench.folder("forwarding") as folder, Server(folder, upstream_url=url) as server:
        _run(task | {"url": server.base_url, "streams": 2, "events": 2})
        base = resident(server.process.pid)
        with Peak(server.process.pid) as peak:
            ours = _run(task | {"url": server.base_url})
    each = (peak.mib - base) * KIB_PER_MIB / streams
    note = f"p50 {ours['p50'] * MILLISECONDS:.1f} ms; directly p99 {direct['p99'] * MILLISECONDS:.1f} ms"
    name = f"{streams} streams of {EVENTS_PER_SECOND} events a second"
    late = ours["p99"] * MILLISECONDS
    return [
        Row(measure=f"{name}, lateness p99", unit="ms", ours=[late], goal=Goal(50), note=note),
        Row(measure=f"{name}, memory of each", unit="KiB", ours=[each], goal=Goal(100)),
    ]


def _measure_short(bench: Bench, url: str, reference: Nginx | None) -> list[Row]:
    bench.progress("forwarding: short requests")
    ours: list[float] = []
    theirs: list[float] = []
    lite: list[float] = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(bench.folder("forwarding"))
        server = stack.enter_context(Server(folder, upstream_url=url))
        other = stack.enter_context(proxy(bench.directory, url)) if reference is not None else None
        parameters = f"{{model: openai/m, api_base: '{url}', api_key: none}}"
        models = f"model_list:\n  - model_name: m\n    litellm_params: {parameters}\n"
        lite_url = stack.enter_context(litellm_proxy(bench, models, lambda found: _rate(found, 1)))
        for seconds in turns(bench):
            ours.append(_rate(server.base_url, seconds))
            if other is not None:
                theirs.append(_rate(f"{other}/v1", seconds))
            if lite_url is not None:
                lite.append(_rate(lite_url, seconds))
    name = "short chat requests, 16 at once"
    rows = [
        Row(
            measure=name,
            unit="/s",
            ours=ours[1:],
            against="nginx, proxy_pass",
            reference=theirs[1:],
            goal=Goal(0.15, of="ratio", at_least=True),
        )
    ]
    if lite:
        goal = Goal(3, of="ratio", at_least=True)
        rows.append(
            Row(measure=name, unit="/s", ours=ours[1:], against="LiteLLM's proxy", reference=lite[1:], goal=goal)
        )
    return rows


def _rate(base_url: str, seconds: int) -> float:
    return wrk(f"{base_url}/chat/completions", seconds, script=SCRIPT).rate


def _run(task: dict[str, Any]) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "bench.forwarding_load"],
        input=json.dumps(task | {"key": KEY}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise CannotMeasure(f"the clients failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)
