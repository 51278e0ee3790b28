"""Batches with the official Python package, unmodified, and against the schemas of the official description."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from jsonschema import Draft202012Validator
from openai import OpenAI

from filestead.domain.batches.model import BatchError
from tests.client.proxy import Fault, Proxy
from tests.e2e.openai_clients import connect, new_project
from tests.support.batch_worker import ERROR, BatchWorker, custom_ids, input_of, result
from tests.support.servers import Server


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("batches") / "data"
    with Server(folder, role="api", upstream_url="http://127.0.0.1:9/v1") as running:
        yield running


@pytest.fixture(scope="module")
def worker(runner: Server) -> Iterator[BatchWorker]:
    with BatchWorker.of(runner) as opened:
        yield opened


@pytest.fixture(scope="module")
def sent() -> list[httpx2.Request]:
    return []


@pytest.fixture(scope="module")
def client(runner: Server, sent: list[httpx2.Request]) -> OpenAI:
    return connect(runner, sent)


def create(client: OpenAI, *lines: str, **options: Any) -> openai.types.Batch:
    file = client.files.create(file=("in.jsonl", input_of(*lines)), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **options
    )


def test_case_45_a_batch_from_creation_to_its_files(client: OpenAI, worker: BatchWorker) -> None:
    made = create(
        client, "a", "b", metadata={"k": "v"}, output_expires_after={"anchor": "created_at", "seconds": 7_200}
    )
    assert (made.status, made.metadata, made.errors, made.model) == ("validating", {"k": "v"}, None, None)
    assert made.request_counts is not None
    assert made.request_counts.total == 0
    job = worker.start(made.id, 2)
    worker.append(job, result("b"))
    assert client.batches.retrieve(made.id).status == "in_progress"
    worker.append(job, result("a"), kind=ERROR)
    worker.finish(job)
    batch = client.batches.retrieve(made.id)
    assert (batch.status, batch.model) == ("completed", "m")
    assert batch.request_counts is not None
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 1)
    assert batch.usage is not None
    assert (batch.usage.total_tokens, batch.usage.input_tokens_details.cached_tokens) == (30, 4)
    assert batch.output_file_id is not None
    assert batch.error_file_id is not None
    assert custom_ids(client.files.content(batch.output_file_id).content) == ["b"]
    assert custom_ids(client.files.content(batch.error_file_id).content) == ["a"]
    assert {file.id for file in client.files.list(purpose="batch_output")} >= {batch.output_file_id}


def test_case_37_all_pages(runner: Server) -> None:
    client = OpenAI(base_url=runner.base_url, api_key=new_project(runner, "pages"), max_retries=0)
    made = [create(client, "a").id for _ in range(7)]
    assert [batch.id for batch in client.batches.list(limit=2)] == made[::-1]
    assert [batch.id for batch in client.batches.list(limit=3, after=made[3])] == made[2::-1]


def test_case_24_cancelling(client: OpenAI, worker: BatchWorker, sent: list[httpx2.Request]) -> None:
    made = create(client, "a")
    assert client.batches.cancel(made.id).status == "cancelling"
    worker.finish(worker.claim(made.id))
    assert client.batches.cancel(made.id).status == "cancelled"
    made = create(client, "a")
    worker.fail(worker.claim(made.id), BatchError("invalid_json_line", "No.", 1))
    batch = client.batches.retrieve(made.id)
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [(each.code, each.line, each.param) for each in batch.errors.data] == [("invalid_json_line", 1, None)]
    before = len(sent)
    patient = client.with_options(max_retries=2)
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'failed'"):
        patient.batches.cancel(made.id)
    assert len(sent) == before + 1, "it is not asked again"


def test_refusals(client: OpenAI, sent: list[httpx2.Request]) -> None:
    with pytest.raises(openai.NotFoundError, match="No batch found with id 'batch_x'"):
        client.batches.retrieve("batch_x")
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(input_file_id="file-x", endpoint="/v1/x", completion_window="24h")  # type: ignore[arg-type]
    assert (caught.value.param, caught.value.code) == ("endpoint", "invalid_value")


def test_ours_with_the_raw_client(client: OpenAI, worker: BatchWorker) -> None:
    """What the package has no method for: results while they come, and a retry."""
    made = create(client, "a", "b")
    job = worker.start(made.id, 2)
    worker.append(job, result("a"))
    output = client.get(f"/batches/{made.id}/output", cast_to=httpx2.Response)
    assert output.content == result("a")
    worker.append(job, result("b"), kind=ERROR)
    worker.finish(job)
    again = client.post(f"/batches/{made.id}/retry", cast_to=openai.types.Batch)
    assert again.status == "validating"
    assert custom_ids(client.files.content(again.input_file_id).content) == ["b"]


@pytest.mark.timing
def test_creating_is_quick(client: OpenAI) -> None:
    create(client, "a")
    start = time.perf_counter()
    for _ in range(20):
        client.batches.create(input_file_id="file-x", endpoint="/v1/embeddings", completion_window="24h")
    assert (time.perf_counter() - start) / 20 < 0.1


@pytest.mark.data
def test_responses_are_as_the_official_description_has_them(
    runner: Server, client: OpenAI, worker: BatchWorker, conformance_data: Path
) -> None:
    document = json.loads((conformance_data / "contract" / "openai-batches.json").read_text())

    def check(name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        Draft202012Validator(schema).validate(value)

    def present(batch: dict[str, Any]) -> dict[str, Any]:
        """Nulls are recorded where the description has members that may be missing."""
        return {name: value for name, value in batch.items() if value is not None}

    def get(path: str) -> Any:
        return runner.client.get(path).json()

    made = create(client, "a", "b").id
    job = worker.start(made, 2)
    worker.append(job, result("a"))
    worker.append(job, result("b"), kind=ERROR)
    check("Batch", present(get(f"/batches/{made}")))
    worker.finish(job)
    check("Batch", present(get(f"/batches/{made}")))
    failed = create(client, "a").id
    worker.fail(worker.claim(failed), BatchError("invalid_json_line", "No.", 1))
    check("Batch", present(get(f"/batches/{failed}")))
    assert set(get(f"/batches/{made}")) == set(document["components"]["schemas"]["Batch"]["properties"])
    page = get("/batches")
    check("ListBatchesResponse", {**page, "data": [present(batch) for batch in page["data"]]})


@pytest.mark.promise("R-16")
def test_a_batch_whose_response_is_lost_is_created_once(runner: Server) -> None:
    key = new_project(runner, "lost")
    with Proxy(runner.port) as proxy, OpenAI(base_url=proxy.base_url, api_key=key) as client:
        file = client.files.create(file=("in.jsonl", input_of("a")), purpose="batch")
        proxy.faults += [Fault(drop_response=True), Fault(drop_response=True)]
        made = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"k": "v"}
        )
        assert [seen.headers["x-stainless-retry-count"] for seen in proxy.seen[1:]] == ["0", "1", "2"]
        assert [found.id for found in client.batches.list()] == [made.id]
        again = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"k": "v"}
        )
        assert again.id != made.id
