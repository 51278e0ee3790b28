"""Batches of the tests: their input, their end, and their results."""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from tests.support.servers import Server

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
Line = dict[str, Any]


def line(custom_id: str, text: str = "hello", *, model: str = "m", url: str = CHAT, **body: Any) -> Line:
    """A request line."""
    messages = [{"role": "user", "content": text}]
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": model, "messages": messages} | body}


def lines(count: int, **options: Any) -> list[Line]:
    """Different lines with the ids line-1, line-2 ..."""
    return [line(f"line-{number}", f"text {number}", **options) for number in range(1, count + 1)]


def encode(given: Iterable[Line | str]) -> bytes:
    """The lines as a file."""
    return "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in given).encode()


def create(server: Server, content: bytes | Iterable[Line | str], *, endpoint: str = CHAT, **fields: Any) -> Any:
    """Upload an input and create its batch."""
    data = content if isinstance(content, bytes) else encode(content)
    file_id = server.upload(data, purpose="batch", name="input.jsonl")["id"]
    return create_of(server, file_id, endpoint=endpoint, **fields)


def create_of(server: Server, file_id: str, *, endpoint: str = CHAT, **fields: Any) -> Any:
    """Create a batch of a file."""
    body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h", **fields}
    response = server.client.post("/batches", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def get(server: Server, batch: Any) -> Any:
    """The batch as it is now."""
    response = server.client.get(f"/batches/{batch['id']}")
    assert response.status_code == 200, response.text
    return response.json()


def wait(server: Server, batch: Any, condition: Callable[[Any], bool] | None = None, *, seconds: float = 60) -> Any:
    """Wait for a condition, by default the end of the batch; returns the batch."""
    deadline = time.monotonic() + seconds
    while True:
        found = get(server, batch)
        if condition(found) if condition is not None else found["status"] in ENDED:
            return found
        assert time.monotonic() < deadline, f"{found}\n{server.output[-3000:]}"
        time.sleep(0.02)


def has_counts(**wanted: int) -> Callable[[Any], bool]:
    """A condition: at least these counts."""
    return lambda batch: all(batch["request_counts"][name] >= number for name, number in wanted.items())


def content(server: Server, file_id: str | None) -> list[Line]:
    """The lines of a file of results; none if there is no file."""
    if file_id is None:
        return []
    response = server.client.get(f"/files/{file_id}/content")
    assert response.status_code == 200, response.text
    assert response.content.endswith(b"\n")
    return [json.loads(each) for each in response.content.splitlines()]


def results(server: Server, batch: Any) -> tuple[list[Line], list[Line]]:
    """The lines of the output and of the error file."""
    return content(server, batch["output_file_id"]), content(server, batch["error_file_id"])


def ids(found: Iterable[Line]) -> list[str]:
    """The custom ids."""
    return [each["custom_id"] for each in found]


def counts(batch: Any) -> tuple[int, int, int]:
    """Total, completed, failed."""
    found = batch["request_counts"]
    return found["total"], found["completed"], found["failed"]


def fault(entry: Any) -> tuple[str, int | None, str | None]:
    """Code, line and parameter of an entry of `errors`."""
    return entry["code"], entry["line"], entry["param"]


def faults(batch: Any) -> list[tuple[str, int | None, str | None]]:
    """All entries of a failed batch."""
    assert batch["status"] == "failed", batch
    assert counts(batch) == (0, 0, 0)
    assert (batch["output_file_id"], batch["error_file_id"], batch["in_progress_at"]) == (None, None, None)
    return [fault(entry) for entry in batch["errors"]["data"]]
