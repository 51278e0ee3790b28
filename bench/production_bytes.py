"""Large files through a node of the production profile, beside the object store itself: up, down, and the memory."""

import contextlib
import json
import os
from pathlib import Path

from bench.load import curl, curl_together, download, receive, upload
from bench.memory import growth, uploads
from bench.nginx import Nginx
from bench.plan import MIB, Bench, WrongAnswer, discard
from bench.production import Production, production
from bench.report import Goal, Row
from bench.usage import Peak, processor_seconds, resident
from tests.support.servers import Server

NAME = "large"
UPLOAD_GOAL = Goal(1.25, of="ratio")
DOWNLOAD_GOAL = Goal(1.5, of="ratio")
REDIRECT_GOAL = Goal(1.25, of="ratio")
PROCESSOR_GOAL = Goal(0.9)
"""Seconds for each GB that a node passes on."""
GB = 1024 * MIB
WARM_UP_UPLOADS = 4


def measure_objects(bench: Bench, _: Nginx | None) -> list[Row]:
    """Through nodes and straight to the same store, in turns; SeaweedFS answers from the page cache, for both."""
    size, source = bench.plan.file_bytes, bench.random_file(bench.plan.file_bytes)
    up, put, up_apart, put_apart, down, followed, get, cost = (list[float]() for _ in range(8))
    with contextlib.ExitStack() as stack:
        servers = stack.enter_context(production(bench))
        installation = servers.installation()
        node = stack.enter_context(servers.node(installation))
        redirecting = stack.enter_context(servers.node(installation, download_redirect=True))
        for _round in range(bench.plan.rounds + 1):
            discard(node, _upload(node, source, up))
            _put(servers, source, put)
        with servers.apart(node):
            for _round in range(bench.plan.rounds + 1):
                discard(node, _upload(node, source, up_apart))
                _put(servers, source, put_apart)
        # Not in turns with uploads: behind a read this store takes half as much processor time again for a write.
        file_id = _upload(node, source, [])
        for _round in range(bench.plan.rounds + 1):
            before = processor_seconds(node.process.pid)
            down.append(receive(size, download(node, file_id)))
            cost.append((processor_seconds(node.process.pid) - before) * GB / size)
            followed.append(receive(size, ["--location", *download(redirecting, file_id)]))
            get.append(receive(size, ["--output", "/dev/null", servers.link("GET", NAME)]))
    title = f"{size // MIB} MB"
    return [
        _row(f"production: upload {title}", up, "SeaweedFS PUT", put, UPLOAD_GOAL),
        _row(
            f"production: upload {title}, the store on a core of its own",
            up_apart,
            "SeaweedFS PUT",
            put_apart,
            UPLOAD_GOAL,
        ),
        _row(f"production: download {title}", down, "SeaweedFS GET", get, DOWNLOAD_GOAL),
        Row(measure="processor time of the node, 1 GB of downloads", unit="s", ours=cost[1:], goal=PROCESSOR_GOAL),
        _row(f"production: download {title}, redirected", followed, "SeaweedFS GET", get, REDIRECT_GOAL),
    ]


def _upload(node: Server, source: Path, seconds: list[float]) -> str:
    os.sync()  # what the transfer before has left to write would be counted in this one
    answer = curl(*upload(node, source))
    file = json.loads(answer.body)
    if file["bytes"] != source.stat().st_size:
        raise WrongAnswer(f"{source.stat().st_size} bytes were uploaded, {file['bytes']} were stored")
    seconds.append(answer.seconds)
    return str(file["id"])


def _put(servers: Production, source: Path, seconds: list[float]) -> None:
    os.sync()
    seconds.append(curl("--upload-file", str(source), servers.link("PUT", NAME)).seconds)


def _row(measure: str, ours: list[float], against: str, reference: list[float], goal: Goal) -> Row:
    ours, reference = ours[1:], reference[1:]
    ratios = [a / b for a, b in zip(ours, reference, strict=True)]
    note = f"the ratios of the single rounds are {min(ratios):.2f} to {max(ratios):.2f}"
    return Row(measure=measure, unit="s", ours=ours, against=against, reference=reference, goal=goal, note=note)


def measure_large_uploads(bench: Bench, _: Nginx | None) -> list[Row]:
    """Growth of the node alone over its value after a few uploads."""
    plan = bench.plan
    with production(bench) as servers, servers.node(servers.installation()) as node:
        curl_together(uploads(bench, node, WARM_UP_UPLOADS, plan.upload_bytes))
        base = resident(node.process.pid)
        with Peak(node.process.pid) as peak:
            curl_together(uploads(bench, node, plan.large_uploads, plan.file_bytes))
    title = f"{plan.large_uploads} uploads of {plan.file_bytes // MIB} MB at once"
    return [growth(f"production: memory growth, {title}", base, peak)]
