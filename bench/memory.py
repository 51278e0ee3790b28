"""The server's resident memory while large files pass through it: a stream must not grow with its length."""

import json

from bench.load import curl, curl_together, download, upload
from bench.nginx import Nginx
from bench.plan import MIB, Bench
from bench.report import Goal, Row
from bench.usage import Peak, resident
from tests.support.servers import Server

GROWTH = Goal(64)


def measure_memory(bench: Bench, _: Nginx | None) -> list[Row]:
    """Growth over the value after a few uploads of the same kind, so that what is loaded once does not count."""
    plan = bench.plan
    with bench.filestead() as server:
        curl_together(uploads(bench, server, 4, plan.upload_bytes))
        base = resident(server.process.pid)
        with Peak(server.process.pid) as one_up:
            answer = curl(*upload(server, bench.random_file(plan.file_bytes)))
        with Peak(server.process.pid) as one_down:
            file_id = json.loads(answer.body)["id"]
            curl(*download(server, file_id))
        with Peak(server.process.pid) as many:
            curl_together(uploads(bench, server, plan.uploads, plan.upload_bytes))
    size, each = plan.file_bytes // MIB, plan.upload_bytes // MIB
    return [
        growth(f"memory growth, {plan.uploads} uploads of {each} MB at once", base, many),
        growth(f"memory growth, upload of {size} MB", base, one_up),
        growth(f"memory growth, download of {size} MB", base, one_down),
    ]


def uploads(bench: Bench, server: Server, count: int, size: int) -> list[list[str]]:
    """Half of them chunked, half with a length."""
    source = bench.random_file(size)
    return [upload(server, source, chunked=bool(number % 2)) for number in range(count)]


def growth(measure: str, base: float, peak: Peak) -> Row:
    """What the peak says."""
    note = f"peak {peak.mib:.0f} MiB over {base:.0f} MiB after warm-up"
    return Row(measure=measure, unit="MiB", ours=[peak.mib - base], goal=GROWTH, note=note)
