"""What metrics, the log of requests and spans cost: the same requests to servers with and without them, in turns."""

import contextlib

from bench.load import wrk
from bench.nginx import Nginx
from bench.plan import Bench
from bench.report import Goal, Row
from bench.usage import processor_seconds
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.servers import Server

ROUNDS = 8
"""Rounds for each one of the plan, of a second each: the difference is smaller than what changes in some seconds."""

UNOBSERVED, OBSERVED, TRACED = "unobserved", "observed", "traced"
MODULES = {UNOBSERVED: "bench.unobserved", OBSERVED: "filestead.cli.main", TRACED: "filestead.cli.main"}


def measure_signals(bench: Bench, _: Nginx | None) -> list[Row]:
    """GET /v1/files/{id} with every metric and a JSON line for each request, which goes to a file.

    A third server also exports a span for each request to a collector of this process, which discards it.
    """
    rates: dict[str, list[float]] = {name: [] for name in MODULES}
    times: dict[str, list[float]] = {name: [] for name in MODULES}
    with contextlib.ExitStack() as stack:
        collector = stack.enter_context(OtlpReceiver(discard=True))
        servers = {}
        for name, module in MODULES.items():
            folder = stack.enter_context(bench.folder(name))
            env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url} if name == TRACED else {}
            servers[name] = stack.enter_context(Server(folder, module=module, env=env, uploads_per_minute=0))
        targets = {name: f"{server.base_url}/files/{server.upload(b'x')['id']}" for name, server in servers.items()}
        for target in targets.values():
            wrk(target, 1)
        for number in range(bench.plan.load_rounds * ROUNDS):
            for name in MODULES if number % 2 else reversed(MODULES):
                process = servers[name].process.pid
                before = processor_seconds(process)
                load = wrk(targets[name], 1)
                rates[name].append(load.rate)
                times[name].append((processor_seconds(process) - before) / load.requests * 1e6)
    return [
        *_rows("metrics and log", "without both", rates, times, (OBSERVED, UNOBSERVED), share=0.95),
        *_rows("metrics, log and spans", "without spans", rates, times, (TRACED, OBSERVED), share=None),
    ]


def _rows(
    what: str,
    against: str,
    rates: dict[str, list[float]],
    times: dict[str, list[float]],
    names: tuple[str, str],
    *,
    share: float | None,
) -> list[Row]:
    """Rate and processor time of the first server, against the second; `share` is the goal of the rate."""
    ours, reference = names
    return [
        Row(
            measure=f"GET /v1/files/{{id}} with {what}",
            unit="/s",
            ours=rates[ours],
            against=against,
            reference=rates[reference],
            goal=None if share is None else Goal(share, of="ratio", at_least=True),
        ),
        Row(
            measure=f"processor time of one with {what}",
            unit="us",
            ours=times[ours],
            against=against,
            reference=times[reference],
            goal=None if share is None else Goal(1 / share, of="ratio"),
        ),
    ]
