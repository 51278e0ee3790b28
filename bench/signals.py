"""What metrics and the log of requests cost: the same requests to a server with them and to one without, in turns."""

from bench.load import wrk
from bench.nginx import Nginx
from bench.plan import Bench
from bench.report import Goal, Row
from bench.usage import processor_seconds
from tests.support.servers import Server

ROUNDS = 8
"""Rounds for each one of the plan, of a second each: the difference is smaller than what changes in some seconds."""

MODULES = ("filestead.cli.main", "bench.unobserved")


def measure_signals(bench: Bench, _: Nginx | None) -> list[Row]:
    """GET /v1/files/{id} with every metric and a JSON line for each request, which goes to a file."""
    rates: dict[str, list[float]] = {module: [] for module in MODULES}
    times: dict[str, list[float]] = {module: [] for module in MODULES}
    with bench.folder("with") as one, bench.folder("without") as other:
        observed = Server(one, module=MODULES[0], uploads_per_minute=0)
        with observed, Server(other, module=MODULES[1], uploads_per_minute=0) as unobserved:
            servers = dict(zip(MODULES, (observed, unobserved), strict=True))
            targets = {
                module: f"{server.base_url}/files/{server.upload(b'x')['id']}" for module, server in servers.items()
            }
            for target in targets.values():
                wrk(target, 1)
            for number in range(bench.plan.load_rounds * ROUNDS):
                for module in MODULES if number % 2 else reversed(MODULES):
                    before = processor_seconds(servers[module].process.pid)
                    load = wrk(targets[module], 1)
                    rates[module].append(load.rate)
                    times[module].append(
                        (processor_seconds(servers[module].process.pid) - before) / load.requests * 1e6
                    )
    ours, reference = MODULES
    return [
        Row(
            measure="GET /v1/files/{id} with metrics and log",
            unit="/s",
            ours=rates[ours],
            against="without both",
            reference=rates[reference],
            goal=Goal(0.95, of="ratio", at_least=True),
        ),
        Row(
            measure="processor time of one of them",
            unit="us",
            ours=times[ours],
            against="without both",
            reference=times[reference],
            goal=Goal(1 / 0.95, of="ratio"),
        ),
    ]
