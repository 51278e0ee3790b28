"""The simulated model server as a process of its own, and input files of batches for it."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2

from bench.plan import WrongAnswer, helper
from tests.support.servers import Server, run_command

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
PATIENCE_SECONDS = 600.0
POLL_SECONDS = 0.05
"""Not shorter: a batch gives way to requests."""
OVERHEAD_BYTES = 200
"""Of a line, about, beside its text."""

Batch = dict[str, Any]


@contextlib.contextmanager
def model_server(*arguments: str) -> Iterator[str]:
    """A running server; yields its URL. The arguments are those of `tests.support.model_server`."""
    with helper("tests.support.model_server", "--no-records", *arguments) as running:
        yield f"{running.origin}/v1"


def input_file(path: Path, lines: int, line_bytes: int = 0, max_tokens: int = 16) -> Path:
    """A batch input with different lines, filled up to about `line_bytes` each."""
    filler = "x" * max(0, line_bytes - OVERHEAD_BYTES)
    with path.open("w") as file:
        for number in range(lines):
            messages = [{"role": "user", "content": f"question {number} {filler}"}]
            body = {"model": "m", "messages": messages, "max_tokens": max_tokens}
            line = {"custom_id": f"line-{number}", "method": "POST", "url": CHAT, "body": body}
            file.write(json.dumps(line) + "\n")
    return path


def upload_input(client: httpx2.Client, path: Path) -> str:
    """The id of the uploaded input."""
    with path.open("rb") as file:
        response = client.post("/files", data={"purpose": "batch"}, files={"file": ("input.jsonl", file)})
    return str(response.raise_for_status().json()["id"])


def create(client: httpx2.Client, file_id: str) -> Batch:
    """Create a batch of an uploaded input."""
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    batch: Batch = client.post("/batches", json=body).raise_for_status().json()
    return batch


def get(client: httpx2.Client, batch: Batch) -> Batch:
    """The batch as it is now."""
    found: Batch = client.get(f"/batches/{batch['id']}").raise_for_status().json()
    return found


def wait(client: httpx2.Client, batch: Batch, condition: Callable[[Batch], bool] | None = None) -> Batch:
    """Wait for a condition, by default the end of the batch."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = get(client, batch)
        if condition(found) if condition is not None else found["status"] in ENDED:
            return found
        if time.monotonic() > deadline:
            raise WrongAnswer(f"the batch is still {found['status']} after {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def wait_completed(client: httpx2.Client, batch: Batch, lines: int) -> Batch:
    """Wait for the end of a batch, of whose lines none may have failed."""
    found = wait(client, batch)
    counts = found["request_counts"]
    if found["status"] != "completed" or counts != {"total": lines, "completed": lines, "failed": 0}:
        raise WrongAnswer(f"the batch is {found['status']} with {counts}: {found['errors']}")
    return found


def finished(batch: Batch) -> int:
    """Lines with a result."""
    return int(batch["request_counts"]["completed"] + batch["request_counts"]["failed"])


def other_project(server: Server) -> httpx2.Client:
    """A client with the key of another project."""
    made = run_command(server.data_dir, "keys", "create", "--project", "other", place=server.place)
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    return httpx2.Client(base_url=server.base_url, headers=headers, timeout=60)
