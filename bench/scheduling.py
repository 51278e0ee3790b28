"""The controller of concurrency against simulated model servers in virtual time, and with a node in real time.

In virtual time a run of four minutes takes seconds, and nothing else on the machine disturbs it.
"""

import json
import math
import random
import re
import time
from pathlib import Path

import httpx2

from bench.models import CHAT, create, finished, get, input_file, model_server, upload_input, wait, wait_completed
from bench.nginx import Nginx
from bench.plan import Bench, WrongAnswer
from bench.report import Goal, Row
from filestead.inference.limiter import Limiter
from tests.support.model_server import Machine
from tests.support.model_server.simulation import Clock, Fixed, Record, beside_chats, requests, simulate
from tests.support.servers import Server

BEST = 16
SECONDS = 240.0
SETTLED = 30.0
LOW, HIGH = 12, 24
KNEE = Machine(knee=BEST)
QUEUE = Machine(knee=math.inf, slots=BEST)
"""A queue without limit before 16 slots: more requests only wait."""
CHATS_PER_SECOND = 2.0
CHAT_TARGET = 0.1
POLITE = 60.0
"""From when on the target counts, in seconds: the first chats show how far the batch may go."""
PREFIXES = 10
LINES_PER_PREFIX = 100
SPEED = 10
"""Virtual seconds per second with a node."""


def measure_scheduling(bench: Bench, _: Nginx | None) -> list[Row]:
    """Virtual time first."""
    bench.progress("scheduling: in virtual time")
    rows = [*_knee(bench), _queue(bench), *_polite(bench)]
    bench.progress("scheduling: a node")
    return [*rows, *_node(bench), _prefixes(bench)]


def _adaptive(machine: Machine, seed: int) -> Record:
    clock = Clock()
    return simulate(machine, Limiter(clock), clock, requests(seed), SECONDS)


def _fixed(machine: Machine, limit: int, seed: int) -> Record:
    clock = Clock()
    return simulate(machine, Fixed(limit), clock, requests(seed), SECONDS)


def _knee(bench: Bench) -> list[Row]:
    """Each figure has a value for each seed of the lengths of requests."""
    seeds = range(bench.plan.simulations)
    records = [_adaptive(KNEE, seed) for seed in seeds]
    best = [
        max(_fixed(KNEE, limit, seed).goodput(SETTLED, SECONDS) for limit in range(LOW, HIGH + 1, 2)) for seed in seeds
    ]
    limits = [record.limits_since(SETTLED) for record in records]
    name = f"best parallelism {BEST}"
    return [
        Row(measure=f"{name}: lowest limit", ours=[min(map(min, limits))], goal=Goal(LOW, at_least=True)),
        Row(measure=f"{name}: highest limit", ours=[max(map(max, limits))], goal=Goal(HIGH)),
        Row(measure=f"{name}: time to get there", unit="s", ours=[max(map(_settled, records))], goal=Goal(30)),
        Row(
            measure=f"{name}: goodput",
            unit="tokens/s",
            ours=[record.goodput(SETTLED, SECONDS) for record in records],
            against="best fixed limit",
            reference=best,
            goal=Goal(0.95, of="ratio", at_least=True),
        ),
    ]


def _settled(record: Record) -> float:
    """When the limit came between the bounds for good."""
    outside = [at for at, limit in record.limits if not LOW <= limit <= HIGH]
    later = [at for at, _ in record.limits if not outside or at > outside[-1]]
    return later[0] if later else math.inf


def _queue(bench: Bench) -> Row:
    seeds = range(bench.plan.simulations)
    return Row(
        measure="a queue without limit: p95 time per token",
        unit="s",
        ours=[_adaptive(QUEUE, seed).time_per_token(0.95) for seed in seeds],
        against="at the knee",
        reference=[_fixed(QUEUE, BEST, seed).time_per_token(0.95) for seed in seeds],
        goal=Goal(1.5, of="ratio"),
    )


def _polite(bench: Bench) -> list[Row]:
    """Chats beside a batch on a server with a queue, with `chat_ttft_p95` and without."""
    seeds = range(bench.plan.simulations)
    polite, plain = (
        [beside_chats(QUEUE, seed, SECONDS, rate=CHATS_PER_SECOND, target=target) for seed in seeds]
        for target in (CHAT_TARGET, None)
    )
    name = f"chats beside a batch, a target of {CHAT_TARGET:g} s"
    return [
        Row(
            measure=f"{name}: p95 time to first token",
            unit="s",
            ours=[record.ttft(0.95, POLITE) for record in polite],
            against="without the target",
            reference=[record.ttft(0.95, POLITE) for record in plain],
            goal=Goal(1.2 * CHAT_TARGET),
        ),
        Row(
            measure=f"{name}: goodput of the batch",
            unit="tokens/s",
            ours=[record.goodput(POLITE, SECONDS) for record in polite],
            against="without the target",
            reference=[record.goodput(POLITE, SECONDS) for record in plain],
            goal=Goal(0.75, of="ratio", at_least=True),
        ),
    ]


def _node(bench: Bench) -> list[Row]:
    """The number of requests at the model server, as it says itself, in the second half of a batch."""
    lines = bench.plan.scheduled_lines
    seen: list[float] = []
    with (
        model_server("--knee", str(BEST), "--speed", str(SPEED)) as url,
        bench.folder("scheduling") as folder,
        Server(folder / "data", upstream_url=url) as server,
    ):
        path = input_file(folder / "input.jsonl", lines, max_tokens=32)
        batch = create(server.client, upload_input(server.client, path))
        wait(server.client, batch, lambda found: finished(found) >= lines // 2)
        while get(server.client, batch)["status"] == "in_progress":
            samples = _metrics(url)
            seen.append(samples["num_requests_running"] + samples["num_requests_waiting"])
            time.sleep(0.1)
        wait_completed(server.client, batch, lines)
    seen.sort()
    middle = [seen[len(seen) // 4], seen[len(seen) // 2], seen[3 * len(seen) // 4]]
    note = "the quartiles; the model server says how many it has"
    return [
        Row(
            measure=f"a node, best parallelism {BEST}: at least", ours=middle, goal=Goal(LOW, at_least=True), note=note
        ),
        Row(measure=f"a node, best parallelism {BEST}: at most", ours=middle, goal=Goal(HIGH)),
    ]


def _prefixes(bench: Bench) -> Row:
    """The share of requests whose prefix the model server still has."""
    with (
        model_server("--knee", str(BEST), "--speed", "20", "--cached-prefixes", "2") as url,
        bench.folder("prefixes") as folder,
        Server(folder / "data", upstream_url=url) as server,
    ):
        path = _shared_prefixes(folder / "input.jsonl")
        lines = PREFIXES * LINES_PER_PREFIX
        wait_completed(server.client, create(server.client, upload_input(server.client, path)), lines)
        samples = _metrics(url)
    if samples["prefix_cache_queries_total"] < lines:
        raise WrongAnswer(f"the model server had only {samples['prefix_cache_queries_total']:.0f} requests")
    share = samples["prefix_cache_hits_total"] / samples["prefix_cache_queries_total"]
    measure = f"{PREFIXES} shuffled prefixes of {LINES_PER_PREFIX} lines, a cache of 2: hits"
    return Row(measure=measure, unit="%", ours=[100 * share], goal=Goal(95, at_least=True))


def _shared_prefixes(path: Path) -> Path:
    prompts = [f"You are assistant number {n}. " + f"Rule {n} of many. " * 300 for n in range(PREFIXES)]
    lines = []
    for number in range(PREFIXES * LINES_PER_PREFIX):
        messages = [
            {"role": "system", "content": prompts[number % PREFIXES]},
            {"role": "user", "content": f"question {number}"},
        ]
        body = {"model": "m", "messages": messages, "max_tokens": 16}
        lines.append(json.dumps({"custom_id": str(number), "method": "POST", "url": CHAT, "body": body}) + "\n")
    random.Random(5).shuffle(lines)
    path.write_text("".join(lines))
    return path


def _metrics(url: str) -> dict[str, float]:
    """What the model server says at `/metrics`."""
    text = httpx2.get(url.removesuffix("/v1") + "/metrics").raise_for_status().text
    return {name: float(value) for name, value in re.findall(r"^vllm:(\w+)\{.*\} (\S+)$", text, re.MULTILINE)}
