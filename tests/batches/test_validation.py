"""Batches that fail in validation: nothing of them runs."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from filestead.domain.batches.validation import MAX_BYTES
from tests.batches.models import ThreadedModels
from tests.batches.runs import CHAT, create, create_of, encode, faults, line, lines, wait
from tests.support.servers import Server, run_command


@pytest.fixture(autouse=True)
def _nothing_runs(models: ThreadedModels) -> Iterator[None]:
    yield
    assert models.server.requests == []


def test_case_7_an_unknown_file(server: Server) -> None:
    failed = wait(server, create_of(server, "file-unknown"))
    assert faults(failed) == [("invalid_request", None, "file_id")]
    message = failed["errors"]["data"][0]["message"]
    assert message.startswith("Cannot find file file-unknown, or organization org")
    assert message.endswith(" does not have access to it.")
    assert failed["failed_at"] is not None


def test_case_8_the_file_of_another_project(server: Server) -> None:
    made = run_command(server.data_dir, "keys", "create", "--project", "other", place=server.place)
    key = made.stdout.strip()
    file_id = server.upload(encode(lines(1)), purpose="batch", name="a.jsonl")["id"]
    headers = {"Authorization": f"Bearer {key}"}
    body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    created = server.client.post("/batches", json=body, headers=headers).json()
    deadline = time.monotonic() + 30
    while (failed := server.client.get(f"/batches/{created['id']}", headers=headers).json())["status"] != "failed":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert faults(failed) == [("invalid_request", None, "file_id")]


def test_case_9_another_purpose(server: Server) -> None:
    file_id = server.upload(encode(lines(1)), purpose="user_data", name="a.jsonl")["id"]
    assert faults(wait(server, create_of(server, file_id))) == [("invalid_request", None, "file_id")]


def test_case_10_a_line_that_is_not_json(server: Server, models: ThreadedModels) -> None:
    failed = wait(server, create(server, [line("a"), "{broken", line("c")]))
    assert faults(failed) == [("invalid_json_line", 2, None)]
    assert models.server.requests == []


def test_case_11_missing_members(server: Server) -> None:
    given = []
    for number, name in enumerate(("custom_id", "method", "url", "body")):
        each = line(f"line-{number}")
        del each[name]
        given.append(each)
    found = faults(wait(server, create(server, given)))
    missing = "missing_required_parameter"
    assert found == [(missing, n, name) for n, name in enumerate(("custom_id", "method", "url", "body"), 1)]


def test_case_12_another_url(server: Server) -> None:
    failed = wait(server, create(server, [line("a", url="/v1/embeddings")]))
    assert faults(failed) == [("invalid_url", 1, "url")]


def test_case_13_streaming(server: Server) -> None:
    failed = wait(server, create(server, [line("a"), line("b", stream=True)]))
    assert faults(failed) == [("streaming_unsupported", 2, "body.stream")]


def test_case_14_the_same_id_in_the_first_and_the_last_line(server: Server) -> None:
    given = [json.dumps(line("a")), *(json.dumps(line(f"b{n}")) for n in range(49_998)), json.dumps(line("a"))]
    failed = wait(server, create(server, given))
    assert faults(failed) == [("duplicate_custom_id", 50_000, "custom_id")]


def test_case_15_several_models_where_one_is_required(models: ThreadedModels, tmp_path: Path) -> None:
    with Server(tmp_path / "data", upstream_url=models.url, batch_models="single") as server:
        failed = wait(server, create(server, [line("a", model="m"), line("b", model="n")]))
        assert faults(failed) == [("mismatched_model", 2, "body.model")]


def test_case_16_too_many_lines(server: Server) -> None:
    text = json.dumps(line("number"))
    failed = wait(server, create(server, [text.replace("number", str(n)) for n in range(50_001)]))
    assert faults(failed) == [("too_many_requests_in_batch", None, None)]


def test_case_17_too_many_bytes(models: ThreadedModels, tmp_path: Path) -> None:
    first = encode([line("a")])
    content = first + b" " * (MAX_BYTES + 1 - len(first))
    with Server(tmp_path / "data", upstream_url=models.url, max_batch_file_bytes="300MiB") as server:
        failed = wait(server, create(server, content))
    assert faults(failed) == [("invalid_request", None, None)]
    assert failed["errors"]["data"][0]["message"] == (
        "The batch input file is larger than the 209715200 maximum for the m model. Please try again with a smaller "
        "batch."
    )


def test_case_18_an_empty_file(server: Server) -> None:
    file_id = server.upload(b"", purpose="user_data", name="empty.jsonl")["id"]
    server.place.sql("UPDATE files SET purpose = 'batch' WHERE id = ?", file_id)  # as an upload in parts may do
    assert faults(wait(server, create_of(server, file_id))) == [("empty_file", None, None)]


def test_case_19_a_byte_order_mark(server: Server) -> None:
    file_id = server.upload(b"\xef\xbb\xbf" + encode(lines(1)), purpose="user_data", name="bom.jsonl")["id"]
    server.place.sql("UPDATE files SET purpose = 'batch' WHERE id = ?", file_id)
    assert faults(wait(server, create_of(server, file_id))) == [("invalid_json_line", 1, None)]


def test_case_19_numbers_count_blank_lines(server: Server) -> None:
    content = f"\n\r\n{json.dumps(line('a'))}\n\n{{broken\n".encode()
    file_id = server.upload(content, purpose="batch", name="a.jsonl")["id"]
    assert faults(wait(server, create_of(server, file_id))) == [("invalid_json_line", 5, None)]


def test_case_44_lines_choose_neither_server_nor_key(server: Server) -> None:
    members = ("api_base", "api_key", "base_url")
    given = [line(name, **{name: "http://127.0.0.1:1/v1"}) for name in members]
    found = faults(wait(server, create(server, given)))
    assert found == [("unknown_parameter", n, f"body.{name}") for n, name in enumerate(members, 1)]


def test_too_many_models(server: Server) -> None:
    failed = wait(server, create(server, [line(f"line-{n}", model=f"model-{n}") for n in range(257)]))
    assert faults(failed) == [("too_many_models_in_batch", None, "body.model")]
