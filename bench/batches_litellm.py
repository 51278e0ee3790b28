"""The same lines through Filestead and through LiteLLM, against the same model server, in turns.

LiteLLM's proxy runs batches for OpenAI-compatible servers by its router, four lines at a time. The proxy needs
PostgreSQL and a generated Prisma client, so that its router is measured, without what the proxy adds.
"""

import json
import os
import subprocess
import time
from pathlib import Path

from bench.litellm_proxy import PYTHON, environment
from bench.models import create, input_file, model_server, upload_input, wait_completed
from bench.nginx import Nginx
from bench.plan import Bench, CannotMeasure, WrongAnswer
from bench.report import Goal, Row
from tests.support.servers import Server

PROGRAM = Path(__file__).with_name("litellm_router.py")
SECONDS = 600


def measure_litellm(bench: Bench, _: Nginx | None) -> list[Row]:
    """Lines a second of both."""
    python = os.environ.get(PYTHON)
    if python is None:
        raise CannotMeasure(f"set {PYTHON} to a Python that has LiteLLM (pip install litellm)")
    lines = bench.plan.other_lines
    ours, theirs = [], []
    with model_server("--instant") as url, bench.folder("litellm") as folder:
        folder.mkdir()
        path = input_file(folder / "input.jsonl", lines)
        with Server(folder / "data", upstream_url=url, uploads_per_minute=0, batches_per_hour=0) as server:
            client = server.client
            warm_up = input_file(folder / "warm.jsonl", 100)
            wait_completed(client, create(client, upload_input(client, warm_up)), 100)
            for _round in range(bench.plan.load_rounds):
                file_id = upload_input(client, path)
                started = time.perf_counter()
                wait_completed(client, create(client, file_id), lines)
                ours.append(lines / (time.perf_counter() - started))
                rate, at_once = _litellm(python, url, path, folder / "output.jsonl")
                theirs.append(rate)
    return [
        Row(
            measure=f"{lines:,} lines, from creation to end",
            unit="lines/s",
            ours=ours,
            against="LiteLLM's router",
            reference=theirs,
            goal=Goal(5, of="ratio", at_least=True),
            note=f"{at_once} lines at a time, as the runner of LiteLLM's proxy does (the proxy itself did not run)",
        )
    ]


def _litellm(python: str, url: str, source: Path, target: Path) -> tuple[float, int]:
    """Lines a second, and lines at a time."""
    # As text: with its path, the folder of the program would hide modules of the same names, such as `requests`.
    command = [python, "-c", PROGRAM.read_text(), url, str(source), str(target)]
    ran = subprocess.run(
        command, cwd=target.parent, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if ran.returncode:
        raise WrongAnswer(f"LiteLLM failed: {ran.stderr[-500:]}")
    lines, seconds, at_once = json.loads(ran.stdout.splitlines()[-1])
    return lines / seconds, at_once
