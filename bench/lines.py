"""What checking lines costs: processor time of one upload, and how long others wait beside one and four of them."""

import http.client
import threading
import time
from pathlib import Path

from bench.load import curl_together, upload
from bench.nginx import Nginx
from bench.plan import MIB, Bench
from bench.report import Goal, Row
from bench.usage import processor_seconds
from tests.support.servers import KEY, Server

ITEM = b'{"item":{}}\n'
EXAMPLE = (
    b'{"messages": [{"role": "user", "content": "What is the answer to number 123456?"}, '
    b'{"role": "assistant", "content": "It is forty-two, as everybody knows"}]}\n'
)
LISTS = b'{"item":{"a":[%s0]}}\n' % (b"[]," * (8 * MIB // 3 - 10))
PAUSE_SECONDS = 0.002


def measure_lines(bench: Bench, _: Nginx | None) -> list[Row]:
    """Files whose lines are as short, or as full of values, as they can be; beside each, a file that is not checked."""
    size = bench.plan.lines_bytes
    kinds = {"items": ("evals", ITEM), "fine-tuning": ("fine-tune", EXAMPLE), "empty lists": ("evals", LISTS)}
    rows = []
    with bench.filestead() as server:
        for name, (purpose, line) in kinds.items():
            path = bench.directory / f"{purpose}-{name}.jsonl"
            path.write_bytes(line * max(1, size // len(line)))
            rows += _rows(server, f"{name}, {size // MIB} MB", path, purpose)
            path.unlink()
    return rows


def _rows(server: Server, name: str, path: Path, purpose: str) -> list[Row]:
    plain_cpu, plain_wait = _beside(server, path, "user_data", 1)
    cpu, wait = _beside(server, path, purpose, 1)
    _, wait_of_four = _beside(server, path, purpose, 4)
    against = "unchecked"
    waits = {"unit": "ms", "against": against, "reference": [plain_wait], "goal": Goal(30)}
    return [
        Row(measure=f"lines: {name}", unit="s cpu", ours=[cpu], against=against, reference=[plain_cpu], goal=Goal(2)),
        Row(measure="p99 of others beside one", ours=[wait], **waits),
        Row(measure="p99 of others beside four", ours=[wait_of_four], **waits),
    ]


def _beside(server: Server, path: Path, purpose: str, count: int) -> tuple[float, float]:
    """Processor seconds of the server, and the p99 in milliseconds of `GET /v1/files/{id}` meanwhile."""
    file_id = server.upload()["id"]
    arguments = [part.replace("purpose=user_data", f"purpose={purpose}") for part in upload(server, path)]
    seconds: list[float] = []
    over = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while not over.is_set():
            started = time.perf_counter()
            connection.request("GET", f"/v1/files/{file_id}", headers={"Authorization": f"Bearer {KEY}"})
            connection.getresponse().read()
            seconds.append(time.perf_counter() - started)
            time.sleep(PAUSE_SECONDS)

    asking = threading.Thread(target=ask)
    before = processor_seconds(server.process.pid)
    asking.start()
    curl_together([arguments] * count)
    over.set()
    asking.join()
    ordered = sorted(seconds)
    return processor_seconds(server.process.pid) - before, ordered[int(len(ordered) * 0.99)] * 1000
