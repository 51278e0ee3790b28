"""What the largest batch takes of a server's memory, and how long its creation and its validation take."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.batches.models import ThreadedModels
from tests.batches.runs import CHAT, counts, create_of, lines, wait
from tests.support.model_server import ModelServer
from tests.support.servers import Server

MIB = 1024 * 1024
LINES = 50_000
TOTAL = 200 * MIB
ALLOWED = 40_000_000


def resident(server: Server) -> int:
    process = psutil.Process(server.process.pid)
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])


def input_file(path: Path) -> Path:
    """50,000 lines with 200 MiB in all, written in blocks."""

    def texts() -> Iterator[bytes]:
        filler = "x" * (TOTAL // LINES - 250)
        for number in range(LINES):
            messages = [{"role": "user", "content": f"{number} {filler}"}]
            body = {"model": "m", "messages": messages, "max_tokens": 100}
            yield json.dumps({"custom_id": str(number), "method": "POST", "url": CHAT, "body": body}).encode() + b"\n"

    with path.open("wb") as file:
        file.writelines(texts())
    return path


@pytest.mark.timing
def test_case_36_the_largest_batch_in_constant_memory(tmp_path: Path) -> None:
    with (
        ThreadedModels(ModelServer(instant=True, records=False)) as models,
        Server(tmp_path / "data", upstream_url=models.url) as server,
    ):
        wait(server, create_of(server, server.upload(_small(), purpose="batch", name="small.jsonl")["id"]))
        with input_file(tmp_path / "large.jsonl").open("rb") as file:
            response = server.client.post("/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", file)})
        idle = resident(server)
        begun = time.monotonic()
        created = create_of(server, response.json()["id"])
        assert time.monotonic() - begun < 0.5, "nothing is read before the response"
        most = 0
        ended = threading.Event()

        def watch() -> None:
            nonlocal most
            while not ended.wait(0.05):
                most = max(most, resident(server))

        watcher = threading.Thread(target=watch)
        watcher.start()
        wait(server, created, lambda batch: batch["status"] != "validating")
        validated = time.monotonic() - begun
        done = wait(server, created, seconds=120)
        taken = time.monotonic() - begun
        ended.set()
        watcher.join()
    print(
        f"{(most - idle) / MIB:.1f} MiB over idle ({idle / MIB:.0f}), validated {validated:.1f} s, {LINES / taken:.0f}/s"
    )
    assert (done["status"], counts(done)) == ("completed", (LINES, LINES, 0))
    assert most - idle < ALLOWED
    assert validated < 10


def _small() -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines(3))
