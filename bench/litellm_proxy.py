"""LiteLLM's proxy, if `LITELLM_PYTHON` names a Python that has `litellm[proxy]`."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.plan import Bench
from tests.support.postgres import free_port
from tests.support.servers import KEY

PYTHON = "LITELLM_PYTHON"
START_SECONDS = 60.0


def environment() -> dict[str, str]:
    """Of a program that uses LiteLLM, which would otherwise fetch a list of prices."""
    return os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}


@contextlib.contextmanager
def litellm_proxy(bench: Bench, configuration: str, ask: Callable[[str], object]) -> Iterator[str | None]:
    """The base URL of a proxy whose key is `KEY`. None without the variable, and if no `ask` succeeds within a minute.

    One that does not start is reported, so that the rest of the measure goes on.
    """
    python = os.environ.get(PYTHON)
    if not python:
        yield None
        return
    file, output = bench.directory / "litellm.yaml", bench.directory / "litellm.log"
    file.write_text(f"{configuration}general_settings: {{master_key: {KEY}}}\n")
    port = free_port()
    program = Path(python).with_name("litellm")
    command = [str(program), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    with output.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
    try:
        base_url = f"http://127.0.0.1:{port}/v1"
        if _responds(process, lambda: ask(base_url)):
            yield base_url
        else:
            said = (output.read_text().splitlines() or ["it says nothing"])[-1]
            bench.progress(f"LiteLLM's proxy does not start and is not measured ({said})")
            yield None
    finally:
        process.terminate()
        process.wait(30)


def _responds(process: "subprocess.Popen[bytes]", ask: Callable[[], object]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            ask()
            return True
        time.sleep(0.5)
    return False
