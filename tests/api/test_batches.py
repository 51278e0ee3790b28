"""Batches over HTTP, to the letter; a worker in the test's hand runs them. Numbers are those of the acceptance cases."""

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from filestead.domain.batches.model import BatchError, BatchStatus, Parallelism
from tests.api.test_files import assert_inert
from tests.support.batch_worker import ERROR, BatchWorker, custom_ids, input_of, result
from tests.support.servers import Server, run_command

BATCH = [
    *("id", "object", "endpoint", "model", "errors", "input_file_id", "completion_window", "status", "output_file_id"),
    *("error_file_id", "created_at", "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at"),
    *("expired_at", "cancelling_at", "cancelled_at", "request_counts", "usage", "metadata"),
]
STAMPS = [name for name in BATCH if name.endswith("_at")]
ENDPOINTS = [
    *("/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/moderations"),
    *("/v1/images/generations", "/v1/images/edits", "/v1/videos"),
]
NO_USAGE = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}
Refusal = tuple[int, str, str | None, str | None]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes batches and leaves running them to others."""
    folder = tmp_path_factory.mktemp("batches") / "data"
    with Server(folder, role="api", upstream_url="http://127.0.0.1:9/v1", sweep_seconds=3_600) as running:
        yield running


@pytest.fixture(scope="module")
def worker(runner: Server) -> Iterator[BatchWorker]:
    with BatchWorker.of(runner) as opened:
        yield opened


class Api:
    """Calls that must succeed; `fails` is one that must not."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = server.client

    def __call__(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        response = self.client.request(method, path, json=body, params=query)
        assert response.status_code == 200, response.text
        decoded: dict[str, Any] = response.json()
        return decoded

    def fails(self, method: str, path: str, body: Any = None, **query: Any) -> Refusal:
        response = self.client.request(method, path, json=body, params=query)
        assert list(response.json()) == ["error"], "without the `detail` of the files service"
        error = response.json()["error"]
        assert error["type"] == "invalid_request_error"
        return response.status_code, error["message"], error["param"], error["code"]

    def input(self, *custom_ids: str) -> str:
        content = input_of(*(custom_ids or ("a", "b", "c")))
        return str(self.server.upload(content, purpose="batch", name="in.jsonl")["id"])

    def create(self, input_file_id: str | None = None, **members: Any) -> dict[str, Any]:
        return self("POST", "/batches", self.form(input_file_id or self.input(), **members))

    @staticmethod
    def form(input_file_id: str = "file-x", **members: Any) -> dict[str, Any]:
        given = {
            "input_file_id": input_file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            **members,
        }
        return {name: value for name, value in given.items() if value is not ...}

    def get(self, batch: dict[str, Any]) -> dict[str, Any]:
        return self("GET", f"/batches/{batch['id']}")


@pytest.fixture(scope="module")
def api(runner: Server) -> Api:
    return Api(runner)


# --- create, retrieve -----------------------------------------------------------------------------------------------


def test_case_1_a_batch_on_the_wire(api: Api, worker: BatchWorker) -> None:
    file = api.input()
    made = api.create(file)
    assert list(made) == BATCH
    assert re.fullmatch(r"batch_[0-9a-f]{32}", made["id"])
    assert int(made["id"][6:14], 16) == made["created_at"]
    assert (made["object"], made["status"], made["input_file_id"]) == ("batch", "validating", file)
    assert (made["endpoint"], made["completion_window"]) == ("/v1/chat/completions", "24h")
    assert made["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert made["usage"] == NO_USAGE
    assert made["expires_at"] == made["created_at"] + 86_400
    set_ones = {"created_at", "expires_at"}
    assert [made[name] for name in STAMPS if name not in set_ones] == [None] * (len(STAMPS) - 2)
    nulls = ("model", "errors", "output_file_id", "error_file_id", "metadata")
    assert [made[name] for name in nulls] == [None] * 5
    job = worker.start(made["id"], 3)
    worker.append(job, result("a"))
    running = api.get(made)
    assert (running["status"], running["model"], running["usage"]) == ("in_progress", "m", NO_USAGE)
    assert running["request_counts"] == {"total": 3, "completed": 1, "failed": 0}
    assert running["output_file_id"] is None
    worker.append(job, result("b"), result("c"))
    worker.finish(job)
    ended = api.get(made)
    assert list(ended) == BATCH
    assert (ended["status"], ended["error_file_id"]) == ("completed", None)
    assert ended["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
    assert ended["usage"] == {
        "input_tokens": 30,
        "output_tokens": 60,
        "total_tokens": 90,
        "input_tokens_details": {"cached_tokens": 12},
        "output_tokens_details": {"reasoning_tokens": 24},
    }
    assert list(ended["usage"]) == list(NO_USAGE)
    for name in ("in_progress_at", "finalizing_at", "completed_at"):
        assert ended[name] is not None
    for name in ("failed_at", "expired_at", "cancelling_at", "cancelled_at"):
        assert ended[name] is None
    output = api("GET", f"/files/{ended['output_file_id']}")
    assert (output["purpose"], output["filename"]) == ("batch_output", f"{made['id']}_output.jsonl")
    assert output["expires_at"] == output["created_at"] + 30 * 86_400
    content = api.client.get(f"/files/{ended['output_file_id']}/content").content
    assert content == result("a") + result("b") + result("c")


def test_case_2_bytes_on_the_wire(api: Api) -> None:
    response = api.client.post("/batches", json=api.form())
    made = response.json()
    assert response.text == json.dumps(made, indent=2), "indented, without a final newline"
    response = api.client.get(f"/batches/{made['id']}")
    assert response.text == json.dumps(made, indent=2)
    listed = api.client.get("/batches", params={"limit": 1})
    assert listed.text == json.dumps(listed.json(), indent=2)
    cancelled = api.client.post(f"/batches/{made['id']}/cancel")
    assert cancelled.text == json.dumps(cancelled.json(), separators=(",", ":")), "compact, on one line"
    assert list(cancelled.json()) == BATCH
    for each in (response, cancelled):
        assert each.headers["content-type"] == "application/json"


def test_cases_5_6_21_39_refusals_of_create(api: Api) -> None:
    before = api("GET", "/batches", limit=1)["first_id"]
    listed = ", ".join(f"'{each}'" for each in ENDPOINTS[:-1]) + f", and '{ENDPOINTS[-1]}'"

    def fails(**members: Any) -> Refusal:
        return api.fails("POST", "/batches", api.form(**members))

    # 5
    message = "Invalid value: '1h'. Supported values are: '24h'."
    assert fails(completion_window="1h") == (400, message, "completion_window", "invalid_value")
    # 6
    message = f"Invalid value: '/v1/x'. Supported values are: {listed}."
    assert fails(endpoint="/v1/x") == (400, message, "endpoint", "invalid_value")
    # 21
    too_many = {str(number): "v" for number in range(17)}
    assert fails(metadata=too_many)[::3] == (400, "object_above_max_properties")
    message = "Invalid type for 'metadata.tags': expected a string, but got an array instead."
    assert fails(metadata={"tags": ["a"]}) == (400, message, "metadata.tags", "invalid_type")
    assert fails(metadata={"k": "v" * 513})[2:] == ("metadata.k", "string_above_max_length")
    assert fails(metadata={"k" * 65: "v"})[0] == 400
    for name in ("input_file_id", "endpoint", "completion_window"):
        message = f"Missing required parameter: '{name}'."
        assert fails(**{name: ...}) == (400, message, name, "missing_required_parameter")
    assert fails(x=1) == (400, "Unknown parameter: 'x'.", "x", "unknown_parameter")
    # 39
    message = (
        "Invalid 'output_expires_after.seconds': integer below minimum value. Expected a value >= 3600, but got 3599 "
        "instead."
    )
    lifetime = {"anchor": "created_at", "seconds": 3_599}
    expected = (400, message, "output_expires_after.seconds", "integer_below_min_value")
    assert fails(output_expires_after=lifetime) == expected
    lifetime = {"anchor": "created_at", "seconds": 2_592_001}
    assert fails(output_expires_after=lifetime)[3] == "integer_above_max_value"
    lifetime = {"anchor": "now", "seconds": 3_600}
    assert fails(output_expires_after=lifetime)[2:] == ("output_expires_after.anchor", "invalid_value")
    assert api("GET", "/batches", limit=1)["first_id"] == before, "nothing was created"


def test_cases_7_8_9_an_unusable_input_is_no_error_of_the_request(api: Api, worker: BatchWorker) -> None:
    theirs = run_command(api.server.data_dir, "keys", "create", "--project", "theirs").stdout.strip()
    foreign = api.client.post(
        "/files",
        data={"purpose": "batch"},
        files={"file": ("a.jsonl", input_of("a"))},
        headers={"authorization": f"Bearer {theirs}"},
    ).json()["id"]
    for file_id in ("file-unknown", foreign, api.server.upload()["id"], "x", ""):
        made = api.create(file_id) if file_id else api("POST", "/batches", api.form(""))
        assert (made["status"], made["input_file_id"]) == ("validating", file_id)
        error = BatchError("invalid_request", "Cannot find file.", None, "file_id")
        worker.fail(worker.claim(made["id"]), error)
        ended = api.get(made)
        assert (ended["status"], ended["in_progress_at"], ended["failed_at"] is None) == ("failed", None, False)
        assert ended["errors"] == {
            "object": "list",
            "data": [{"code": "invalid_request", "line": None, "message": "Cannot find file.", "param": "file_id"}],
        }
        assert list(ended["errors"]["data"][0]) == ["code", "line", "message", "param"]
        assert (ended["output_file_id"], ended["error_file_id"]) == (None, None)
        assert ended["request_counts"] == {"total": 0, "completed": 0, "failed": 0}


def test_without_an_upstream_no_batch_is_created(server: Server) -> None:
    api = Api(server)
    status, message, param, code = api.fails("POST", "/batches", api.form())
    assert (status, param, code) == (400, None, "no_upstream")
    assert "FILESTEAD_UPSTREAM_URL" in message
    assert api.fails("POST", "/batches", api.form(completion_window="1h"))[3] == "invalid_value"
    assert api("GET", "/batches") == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_an_unknown_batch_is_not_found(api: Api) -> None:
    made = api.create()
    theirs = run_command(api.server.data_dir, "keys", "create", "--project", "theirs").stdout.strip()
    for method, path in (
        ("GET", ""),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("GET", "/output"),
        ("GET", "/errors"),
    ):
        for batch_id in ("batch_" + "0" * 32, "x", "batch_%00"):
            shown = batch_id.replace("%00", "\0")
            refusal = (404, f"No batch found with id '{shown}'.", None, None)
            assert api.fails(method, f"/batches/{batch_id}{path}") == refusal
        response = api.client.request(
            method, f"/batches/{made['id']}{path}", headers={"authorization": f"Bearer {theirs}"}
        )
        assert response.status_code == 404


def test_case_39_output_expires_after(api: Api, worker: BatchWorker) -> None:
    made = api.create(output_expires_after={"anchor": "created_at", "seconds": 3_600})
    job = worker.start(made["id"], 2)
    worker.append(job, result("a"))
    worker.append(job, result("b"), kind=ERROR)
    worker.finish(job)
    ended = api.get(made)
    for file_id in (ended["output_file_id"], ended["error_file_id"]):
        file = api("GET", f"/files/{file_id}")
        assert file["expires_at"] == file["created_at"] + 3_600
        assert file["purpose"] == "batch_output"


def test_case_42_an_idempotency_key(api: Api) -> None:
    form, headers = api.form(api.input(), metadata={"a": "b", "c": "d"}), {"Idempotency-Key": "once"}
    first = api.client.post("/batches", json=form, headers=headers)
    form["metadata"] = {"c": "d", "a": "b"}
    again = api.client.post("/batches", json=form, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    other = api.client.post("/batches", json={**form, "metadata": None}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")
    assert first.json()["id"] in other.json()["error"]["message"]


def test_so_many_batches_an_hour(tmp_path: Path) -> None:
    with Server(tmp_path / "data", role="api", upstream_url="http://127.0.0.1:9", batches_per_hour=2) as server:
        api = Api(server)
        for _ in range(2):
            api("POST", "/batches", api.form())
        response = server.client.post("/batches", json=api.form())
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["type"]) == (429, "rate_limit_exceeded", "requests")
        assert error["message"].startswith("Rate limit reached for batches: Limit 2 / hour.")
        assert 1_700 < int(response.headers["retry-after"]) <= 1_800


def test_other_windows_where_the_settings_name_them(tmp_path: Path) -> None:
    with Server(tmp_path / "data", role="api", upstream_url="http://127.0.0.1:9", batch_windows="24h, 90m") as server:
        api = Api(server)
        made = api("POST", "/batches", api.form(completion_window="90m"))
        assert (made["completion_window"], made["expires_at"] - made["created_at"]) == ("90m", 5_400)
        message = "Invalid value: '1h'. Supported values are: '24h' and '90m'."
        assert api.fails("POST", "/batches", api.form(completion_window="1h"))[1] == message


# --- list -----------------------------------------------------------------------------------------------------------


def test_case_37_pages_of_batches(api: Api) -> None:
    made = [api("POST", "/batches", api.form())["id"] for _ in range(5)][::-1]

    def page(**query: Any) -> tuple[list[str], bool]:
        found = api("GET", "/batches", **query)
        assert list(found) == ["object", "data", "first_id", "last_id", "has_more"]
        listed = [batch["id"] for batch in found["data"]]
        assert (found["first_id"], found["last_id"]) == ((listed[0], listed[-1]) if listed else (None, None))
        return listed, found["has_more"]

    assert page(limit=2) == (made[:2], True)
    assert page(limit=3, after=made[1]) == (made[2:], True)
    assert page(limit=100)[0][:5] == made
    assert page(limit=0) == ([], False)
    message = "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead."
    assert api.fails("GET", "/batches", limit=101) == (400, message, "limit", "integer_above_max_value")
    message = "Invalid 'limit': integer below minimum value. Expected a value >= 0, but got -1 instead."
    assert api.fails("GET", "/batches", limit=-1) == (400, message, "limit", "integer_below_min_value")
    assert api.fails("GET", "/batches", after="x") == (404, "No batch found with id 'x'.", "after", None)


# --- cancel ---------------------------------------------------------------------------------------------------------


def test_case_22_cancelled_while_validating(api: Api, worker: BatchWorker) -> None:
    made = api.create()
    cancelled = api("POST", f"/batches/{made['id']}/cancel")
    assert (cancelled["status"], cancelled["cancelling_at"] is None) == ("cancelling", False)
    worker.finish(worker.claim(made["id"]))
    ended = api.get(made)
    assert (ended["status"], ended["output_file_id"], ended["error_file_id"]) == ("cancelled", None, None)
    assert ended["request_counts"]["total"] == 0
    assert (ended["finalizing_at"], ended["cancelled_at"] is None) == (None, False)


def test_case_23_cancelled_lines_are_no_failed_ones(api: Api, worker: BatchWorker) -> None:
    made = api.create(api.input(*"abcdefgh"))
    job = worker.start(made["id"], 8)
    worker.append(job, *(result(each) for each in "abcd"))
    assert api("POST", f"/batches/{made['id']}/cancel")["status"] == "cancelling"
    worker.append(job, *(result(each) for each in "efgh"), kind=ERROR, ran=False)
    assert worker.finish(job) is BatchStatus.CANCELLED
    ended = api.get(made)
    assert ended["request_counts"] == {"total": 8, "completed": 4, "failed": 0}
    assert (ended["status"], ended["finalizing_at"]) == ("cancelled", None)
    for name in ("output_file_id", "error_file_id"):
        assert len(api.client.get(f"/files/{ended[name]}/content").content.splitlines()) == 4


def test_case_24_cancelled_twice_and_too_late(api: Api, worker: BatchWorker) -> None:
    made = api.create()
    first = api("POST", f"/batches/{made['id']}/cancel")
    assert api("POST", f"/batches/{made['id']}/cancel") == first
    worker.finish(worker.claim(made["id"]))
    assert api("POST", f"/batches/{made['id']}/cancel")["status"] == "cancelled"
    made = api.create()
    worker.finish(worker.start(made["id"], 0))
    response = api.client.post(f"/batches/{made['id']}/cancel")
    assert response.json() == {
        "error": {
            "message": "Cannot cancel a batch with status 'completed'.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    }
    assert (response.status_code, response.headers["x-should-retry"]) == (409, "false")


# --- while it runs --------------------------------------------------------------------------------------------------


def test_case_38_an_input_that_is_deleted_is_still_read(api: Api, worker: BatchWorker) -> None:
    file = api.input()
    key = api.server.place.sql("SELECT blob_key FROM files WHERE id = ?", file)[0][0]
    made = api.create(file)
    assert api.client.delete(f"/files/{file}").status_code == 200
    assert api.client.get(f"/files/{file}").status_code == 404
    run_command(api.server.data_dir, "sweep")
    assert key in api.server.place.stored()
    worker.finish(worker.start(made["id"], 0))
    run_command(api.server.data_dir, "sweep")
    assert key not in api.server.place.stored()


def test_the_time_left(api: Api, worker: BatchWorker) -> None:
    made = api.create()
    path = f"/batches/{made['id']}"
    assert "x-filestead-batch-eta" not in api.client.get(path).headers
    job = worker.start(made["id"], 10)
    worker.append(job, result("a"), rate=2.0)
    assert api.client.get(path).headers["x-filestead-batch-eta"] == "5"
    worker.finish(job, BatchStatus.EXPIRED)
    assert "x-filestead-batch-eta" not in api.client.get(path).headers


def test_the_parallelism(api: Api, worker: BatchWorker) -> None:
    made = api.create()
    path, header = f"/batches/{made['id']}", "x-filestead-batch-parallelism"
    job = worker.start(made["id"], 10)
    assert header not in api.client.get(path).headers
    worker.append(job, result("a"), parallelism=Parallelism(12, 16))
    worker.append(job, result("b"))
    assert api.client.get(path).headers[header] == "in_flight=12, limit=16"
    worker.finish(job, BatchStatus.EXPIRED)
    assert header not in api.client.get(path).headers


def test_case_41_results_are_read_while_they_come(api: Api, worker: BatchWorker) -> None:
    made = api.create()
    path = f"/batches/{made['id']}/output"

    def read(first: int | None = None, last: int | str = "", **query: Any) -> tuple[int, bytes, str | None, str]:
        headers = {} if first is None else {"range": f"bytes={first}-{last}"}
        response = api.client.get(path, headers=headers, params=query)
        if response.status_code in (200, 206):
            assert_inert(response)
        found = response.headers.get("content-range")
        return response.status_code, response.content, found, response.headers.get("x-filestead-batch-status", "")

    assert read() == (204, b"", None, "validating")
    job = worker.start(made["id"], 4)
    one, two, three = result("a"), result("b", text="x" * 300_000), result("c")
    worker.append(job, one)
    worker.append(job, result("b"), kind=ERROR)
    size = len(one)
    assert read() == (200, one, None, "in_progress")
    worker.append(job, two, three)
    everything = one + two + three
    assert read() == (200, everything, None, "in_progress")
    total = len(everything)
    assert read(size) == (206, two + three, f"bytes {size}-{total - 1}/*", "in_progress")
    assert read(0, total - 2) == (206, one + two, f"bytes 0-{size + len(two) - 1}/*", "in_progress"), "whole lines"
    assert read(3, size + 20) == (206, one[3:], f"bytes 3-{size - 1}/*", "in_progress")
    assert read(total) == (204, b"", None, "in_progress")
    assert read(0, 5)[::2] == (416, f"bytes */{total}"), "no line ends there"
    assert read(total + 1)[::2] == (416, f"bytes */{total}")
    assert read(total + 1)[3] == "in_progress"
    response = api.client.get(path, headers={"range": "bytes=-5"})
    assert (response.status_code, response.content) == (200, everything), "not from an end that moves"
    assert api.client.get(f"/batches/{made['id']}/errors").content == result("b")
    head = api.client.head(path)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(total), b"")
    worker.finish(job)
    for swept in (False, True):
        assert read() == (200, everything, None, "completed")
        assert read(size) == (206, two + three, f"bytes {size}-{total - 1}/{total}", "completed")
        assert read(total)[::2] == (416, f"bytes */{total}")
        assert read(total)[3] == "completed", "a client that has read everything learns that it is all"
        assert swept or worker.sweep() > 0
    file_id = api.get(made)["output_file_id"]
    assert api.client.get(path).headers["etag"] == api.client.get(f"/files/{file_id}/content").headers["etag"]
    api.client.delete(f"/files/{file_id}")
    assert read()[0] == 404


def test_case_41_a_reader_goes_on_in_the_file_when_the_batch_ends(api: Api, worker: BatchWorker) -> None:
    """More than the buffers of both sides hold, so that most of it is read after the sweep of the journal."""
    made = api.create()
    lines = [result(str(number), text="x" * 1_000_000) for number in range(24)]
    job = worker.start(made["id"], len(lines))
    for line in lines:
        worker.append(job, line)
    with api.client.stream("GET", f"/batches/{made['id']}/output") as response:
        assert response.headers["x-filestead-batch-status"] == "in_progress"
        parts = response.iter_raw()
        received = next(parts)
        worker.finish(job)
        assert worker.sweep() >= len(lines)
        received += b"".join(parts)
    assert received == b"".join(lines)


def test_results_of_a_batch_that_ended_without_any(api: Api, worker: BatchWorker) -> None:
    made = api.create()
    worker.finish(worker.start(made["id"], 0))
    response = api.client.get(f"/batches/{made['id']}/output", params={"wait": 60})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["x-filestead-batch-status"] == "completed"
    response = api.client.get(f"/batches/{made['id']}/output", headers={"range": "bytes=0-"})
    assert (response.status_code, response.headers["content-range"]) == (416, "bytes */0")


@pytest.mark.timing
def test_results_are_waited_for(api: Api, worker: BatchWorker) -> None:
    made = api.create()
    path = f"/batches/{made['id']}/output"
    job = worker.start(made["id"], 1)
    start = time.monotonic()
    assert api.client.get(path, params={"wait": 1}).status_code == 204
    assert 0.9 < time.monotonic() - start < 5

    def later(act: Any) -> None:
        thread = threading.Timer(0.7, act)
        thread.start()
        threads.append(thread)

    threads: list[threading.Timer] = []
    later(lambda: worker.append(job, result("a")))
    start = time.monotonic()
    assert api.client.get(path, params={"wait": 50}).content == result("a")
    assert 0.5 < time.monotonic() - start < 10
    later(lambda: worker.finish(job))
    behind = {"range": f"bytes={len(result('a'))}-"}
    assert api.client.get(path, params={"wait": 50}, headers=behind).status_code == 416, "the end has come"
    assert time.monotonic() - start < 20
    for thread in threads:
        thread.join()
    assert api.fails("GET", path, wait=61)[2:] == ("wait", "integer_above_max_value")
    assert api.fails("GET", path, wait=-1)[2:] == ("wait", "integer_below_min_value")


# --- retry ----------------------------------------------------------------------------------------------------------


def test_a_new_batch_of_the_lines_that_are_left(api: Api, worker: BatchWorker) -> None:
    lines = input_of("a", "b", 'quote" ü 👩‍🚀', "d").splitlines(keepends=True)
    content = lines[0] + b"\n" + lines[1] + lines[2] + lines[3].rstrip(b"\n")
    file = api.server.upload(content, purpose="batch", name="in.jsonl")["id"]
    made = api.create(file, metadata={"k": "v"})
    retry = f"/batches/{made['id']}/retry"
    assert api.fails("POST", retry)[::3] == (409, "nothing_to_retry")
    job = worker.start(made["id"], 4)
    worker.append(job, result("a"))
    worker.append(job, result('quote" ü 👩‍🚀'), result("d"), kind=ERROR)
    worker.append(job, result("b"))
    worker.finish(job)
    again = api("POST", retry)
    assert list(again) == BATCH
    assert (again["status"], again["endpoint"], again["metadata"]) == ("validating", made["endpoint"], {"k": "v"})
    assert again["input_file_id"] != file
    new_input = api("GET", f"/files/{again['input_file_id']}")
    assert (new_input["purpose"], new_input["filename"]) == ("batch", f"{made['id']}_retry.jsonl")
    copied = api.client.get(f"/files/{again['input_file_id']}/content").content
    assert copied == lines[2] + lines[3], "the original lines"
    assert custom_ids(copied) == ['quote" ü 👩‍🚀', "d"]
    api.client.delete(f"/files/{file}")
    status, message, _, code = api.fails("POST", retry)
    assert (status, code) == (409, "nothing_to_retry")
    assert message == f"The batch cannot be repeated: its input file {file} was deleted or has expired."


def test_a_retry_with_an_idempotency_key(api: Api, worker: BatchWorker) -> None:
    made = api.create(api.input())
    job = worker.start(made["id"], 1)
    worker.append(job, result("a"), kind=ERROR)
    worker.finish(job)
    path, headers = f"/batches/{made['id']}/retry", {"Idempotency-Key": "retry-once"}

    def send(_: int = 0) -> httpx2.Response:
        return api.client.post(path, headers=headers)

    def inputs() -> list[str]:
        page = api("GET", "/files", purpose="batch", limit=1_000)
        return [file["id"] for file in page["data"] if file["filename"] == f"{made['id']}_retry.jsonl"]

    with ThreadPoolExecutor(6) as threads:
        responses = list(threads.map(send, range(6)))
    assert [response.status_code for response in responses] == [200] * 6
    (again,) = {response.json()["id"] for response in responses}
    assert sorted("idempotent-replayed" in response.headers for response in responses) == [False] + [True] * 5
    assert len(inputs()) == 1, "one batch and one input"
    api.client.delete(f"/files/{inputs()[0]}")
    replayed = send()
    assert (replayed.status_code, replayed.json()["id"]) == (200, again)
    assert inputs() == [], "nothing is stored for a repetition"
    assert api.client.post(path).json()["id"] != again, "without a key, each request makes a batch"
    reused = api.client.post("/batches", json=api.form(), headers=headers)
    assert reused.json()["error"]["code"] == "idempotency_key_reused"
    other = api.client.post(f"/batches/{again}/retry", headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_key_reused")


def test_what_has_nothing_to_repeat(api: Api, worker: BatchWorker) -> None:
    def fails(batch: dict[str, Any]) -> str:
        status, message, _, code = api.fails("POST", f"/batches/{batch['id']}/retry")
        assert (status, code) == (409, "nothing_to_retry")
        return message

    done, invalid, cancelled = api.create(), api.create(), api.create()
    job = worker.start(done["id"], 1)
    worker.append(job, result("a"))
    worker.finish(job)
    assert fails(done) == "The batch has no line that failed, expired or was cancelled."
    worker.fail(worker.claim(invalid["id"]), BatchError("c", "m", 1))
    assert fails(invalid).startswith("The batch failed in validation")
    api("POST", f"/batches/{cancelled['id']}/cancel")
    assert fails(cancelled) == "The batch has not ended: its status is 'cancelling'."
    worker.finish(worker.claim(cancelled["id"]))
    again = api("POST", f"/batches/{cancelled['id']}/retry")
    assert again["input_file_id"] == cancelled["input_file_id"], "no line has run: all are repeated"


def test_scopes(api: Api) -> None:
    made = api.create()
    reader = run_command(
        api.server.data_dir, "keys", "create", "--project", "default", "--scope", "files:read"
    ).stdout.strip()
    headers = {"authorization": f"Bearer {reader}"}
    path = f"/batches/{made['id']}"
    for each in (path, "/batches", f"{path}/output", f"{path}/errors"):
        assert api.client.get(each, headers=headers).status_code in (200, 204)
    for each in ("/batches", f"{path}/cancel", f"{path}/retry"):
        assert api.client.post(each, headers=headers).status_code == 401


def test_all_of_it_is_well(api: Api) -> None:
    done = run_command(api.server.data_dir, "verify", "--deep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in api.server.output
