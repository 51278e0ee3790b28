"""A server that does nothing yet: how soon it is ready, and how much memory it holds."""

import contextlib
import http.client
import subprocess
import sys
import time
from pathlib import Path

from bench.nginx import Nginx
from bench.plan import Bench, WrongAnswer
from bench.report import Goal, Row
from bench.usage import resident
from tests.support.installations import clean_environment
from tests.support.ports import free_port
from tests.support.servers import KEY

PATIENCE_SECONDS = 30.0
IDLE_SECONDS = 3.0
POLL_SECONDS = 0.002


def measure_process(bench: Bench, _: Nginx | None) -> list[Row]:
    """Starts on the same installation; the first one creates it and does not count."""
    seconds: list[float] = []
    memory: list[float] = []
    with bench.folder("idle") as folder:
        for _round in range(bench.plan.rounds + 1):
            took, held = _start(folder)
            seconds.append(took)
            memory.append(held)
    return [
        Row(measure="start to ready", unit="s", ours=seconds[1:], goal=Goal(0.6)),
        Row(measure="resident memory of an idle process", unit="MiB", ours=memory[1:], goal=Goal(60)),
    ]


def _start(folder: Path) -> tuple[float, float]:
    """The seconds until `/health/ready` is answered with 200, and the resident MiB a little later."""
    port = free_port()
    environment = clean_environment() | {"FILESTEAD_BOOTSTRAP_KEY": KEY}
    # The first start compiles the modules, as `pip install` does; where this is set, each start would do so again.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    arguments = ["serve", "--port", str(port), "--data-dir", str(folder)]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "filestead.cli.main", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _is_ready(port):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE_SECONDS:
                raise WrongAnswer("the server did not become ready")
            time.sleep(POLL_SECONDS)
        took = time.perf_counter() - began
        time.sleep(IDLE_SECONDS)
        return took, resident(process.pid)
    finally:
        process.terminate()
        process.wait()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    return False
