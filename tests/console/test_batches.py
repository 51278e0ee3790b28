"""Batches in the browser: create, watch, results, faults by kind, cancel and retry. A worker in the test's hand runs them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from filestead.domain.batches.model import BatchError, BatchStatus, Parallelism, Pause
from tests.console.conftest import Open, batch_input, drop, judge
from tests.support.batch_worker import ERROR, BatchWorker
from tests.support.browser import Page
from tests.support.servers import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes batches and leaves running them to others."""
    folder = tmp_path_factory.mktemp("batches") / "data"
    with Server(folder, role="api", upstream_url="http://127.0.0.1:9/v1", sweep_seconds=3_600) as running:
        yield running


@pytest.fixture(scope="module")
def worker(server: Server) -> Iterator[BatchWorker]:
    with BatchWorker.of(server) as opened:
        yield opened


def result(number: int, text: str = "ok") -> bytes:
    body = {"choices": [{"message": {"content": text}}], "usage": {"total_tokens": 30}}
    response = {"status_code": 200, "request_id": "r", "body": body}
    line = {
        "id": f"batch_req_{number}",
        "custom_id": f"line-{number}",
        "response": response,
        "error": None,
        "latency_ms": 1234,
    }
    return json.dumps(line).encode() + b"\n"


def refusal(number: int, status: int, code: str) -> bytes:
    error = {"message": f"{code} <i>happened</i>", "type": "x", "param": None, "code": code}
    response = {"status_code": status, "request_id": "r", "body": {"error": error}}
    line = {"id": f"batch_req_{number}", "custom_id": f"line-{number}", "response": response, "error": None}
    return json.dumps(line).encode() + b"\n"


def create(server: Server, lines: int = 10) -> dict[str, Any]:
    file = server.upload("\n".join(batch_input(lines)).encode(), purpose="batch", name="in.jsonl")
    form = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    made: dict[str, Any] = server.client.post("/batches", json=form).json()
    return made


def shown_id(page: Page) -> str:
    page.wait_for("h1", "batch_")
    found = re.search(r"batch_[0-9a-f]{32}", page.text("h1"))
    assert found
    return found[0]


def test_a_batch_is_created_from_a_stored_file(opened: Open, server: Server) -> None:
    line = json.dumps(
        {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}
    )
    file = server.upload(line.encode(), purpose="batch", name="embed.jsonl")
    page = opened("batches")
    page.click("button", "New batch")
    page.choose("dialog select", file["id"])
    page.wait_for_value("dialog select >> nth=1", "/v1/embeddings")  # as its first line says
    page.fill("dialog input[name=description]", "nightly")
    page.click("dialog button[type=submit]")
    batch = server.client.get(f"/batches/{shown_id(page)}").json()
    assert (batch["input_file_id"], batch["endpoint"], batch["completion_window"]) == (
        file["id"],
        "/v1/embeddings",
        "24h",
    )
    assert batch["metadata"] == {"description": "nightly"}
    page.wait_for(".status", "validating")


def test_a_batch_is_created_from_a_new_file(opened: Open, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    path.write_text("\n".join(batch_input(3)))
    page = opened("batches")
    page.click("button", "New batch")
    page.set_files("dialog input[type=file]", path)
    page.wait_for("dialog .hint", "new.jsonl")
    page.click("dialog button[type=submit]")
    page.wait_for(".toast", "has begun")
    newest = server.client.get("/batches").json()["data"][0]
    file = server.client.get(f"/files/{newest['input_file_id']}").json()
    assert (file["filename"], file["purpose"]) == ("new.jsonl", "batch")
    page.wait_for("tbody a", newest["id"])


def test_a_dropped_file_becomes_a_batch_for_the_endpoint_that_it_names(opened: Open, server: Server) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}
    page = opened("batches")
    drop(page, {"dropped.jsonl": json.dumps(line)})
    page.wait_for("dialog .hint", "dropped.jsonl")
    page.wait_for_value("dialog select", "/v1/embeddings")
    page.click("dialog button[type=submit]")
    page.wait_for(".toast", "has begun")
    assert server.client.get("/batches").json()["data"][0]["endpoint"] == "/v1/embeddings"


def test_progress_faults_and_results_come_while_it_runs(opened: Open, server: Server, worker: BatchWorker) -> None:
    batch = create(server)
    job = worker.start(batch["id"], 10)
    page = opened(f"batches/{batch['id']}")
    page.wait_for(".status", "in progress")
    worker.append(job, *(result(number, f"answer <b>{number}</b>") for number in range(4)), rate=2.0)
    worker.append(
        job, refusal(4, 429, "rate_limit_exceeded"), refusal(5, 500, "boom"), refusal(6, 500, "boom"), kind=ERROR
    )
    page.wait_for(".progress", "7 of 10")
    page.wait_for(".progress", "3 failed")
    page.wait_for(".legend", "lines per second")
    page.wait_for(".legend", "2 sec left")  # three lines are left, at the rate of the worker
    page.wait_for(".kinds div", "HTTP 500 · boom 2")
    page.wait_for(".kinds", "HTTP 429 · rate_limit_exceeded 1")
    page.wait_for(".answer", "answer <b>3</b>")
    page.wait_for("td.end", "1.23 sec")
    assert page.count(".answer b, .kinds i") == 0
    worker.append(job, *(result(number) for number in (7, 8, 9)))
    page.wait_for(".chart")
    worker.finish(job)
    page.wait_for(".status", "completed")
    page.wait_for_count(".answer", 7)
    ended = server.client.get(f"/batches/{batch['id']}").json()
    assert page.shows(f"a[href='#/files/{ended['output_file_id']}']")

    page.click("button", "Retry what failed")
    page.wait_for(".toast", "A new batch repeats what failed")
    retried = server.client.get(f"/batches/{shown_id(page)}").json()
    lines = server.client.get(f"/files/{retried['input_file_id']}/content").text.splitlines()
    assert [json.loads(line)["custom_id"] for line in lines] == ["line-4", "line-5", "line-6"]


def test_the_parallelism_is_plotted_beside_the_pace(opened: Open, server: Server, worker: BatchWorker) -> None:
    batch = create(server)
    job = worker.start(batch["id"], 10)
    worker.append(job, result(0), parallelism=Parallelism(1, 4))
    page = opened(f"batches/{batch['id']}")
    page.wait_for(".legend", "1 lines in flight, limit 4")
    worker.append(job, result(1), parallelism=Parallelism(6, 8))
    page.wait_for(".legend", "6 lines in flight, limit 8")
    page.wait_for_count(".chart path", 2)
    page.wait_for("figcaption", "Lines in flight · highest: 6")
    assert page.text(".axis.flight").split() == ["6", "0"]
    assert "Lines in flight · highest: 6" in page.attribute(".chart", "aria-label")
    worker.finish(job)


def test_a_batch_that_waits_says_why(opened: Open, server: Server, worker: BatchWorker) -> None:
    batch = create(server)
    job = worker.start(batch["id"], 10)
    worker.append(job, result(0))
    worker.pause(job, Pause("gpu <b>1</b>", "m", "it is busy"))
    page = opened(f"batches/{batch['id']}")
    page.wait_for(".notice", "Why it waits: gpu <b>1</b>: it is busy")
    page.run("location.hash = '#/usage'")
    page.wait_for(".notice", "The server is ready")
    page.wait_for(".notice", "The model server gpu <b>1</b>, m receives no requests now: it is busy")
    worker.pause(job)
    page.run(f"location.hash = '#/batches/{batch['id']}'")
    page.wait_for(".progress", "1 of 10")
    assert not page.shows(".notice", "Why it waits")
    worker.finish(job)


def test_a_view_that_is_drawn_again_does_not_delay_the_plot(opened: Open) -> None:
    page = opened("batches")
    points = page.run(
        "(async () => { const { notePace } = await import(document.querySelector('script').src.replace('main', 'lib/batches'));"
        " const note = (completed, inFlight) => notePace("
        "{ id: 'x', request_counts: { total: 9, completed, failed: 0 } }, { inFlight, limit: 9 });"
        " note(0, 1); await new Promise((resolve) => setTimeout(resolve, 600)); note(0, 1); return note(5, 7); })()"
    )
    assert [point["parallelism"]["inFlight"] for point in points] == [7]
    assert points[0]["perSecond"] > 1


def test_a_running_batch_is_accessible_in_every_look(
    opened: Open, server: Server, worker: BatchWorker, axe: str
) -> None:
    batch = create(server)
    job = worker.start(batch["id"], 10, "a-model-with-a-name")
    page = opened(f"batches/{batch['id']}")
    for number in range(3):
        worker.append(job, result(number), rate=2.0, parallelism=Parallelism(6, 8))
        page.wait_for(".progress", f"{number + 1} of 10")
    worker.append(job, refusal(3, 500, "boom"), kind=ERROR)
    page.wait_for(".kinds", "boom")
    page.wait_for(".chart")
    found = judge(page, axe, "light")
    page.show_dark(True)
    found += judge(page, axe, "dark")
    page.resize(360, 740)
    found += judge(page, axe, "narrow")
    page.choose(".bar-end select", "ar")
    page.wait("document.documentElement.dir === 'rtl'")
    page.wait_for(".kinds", "boom")
    page.wait_for(".answer", "ok")
    page.wait_for_count(".chart path", 2)
    found += judge(page, axe, "narrow, right to left")
    # Paths and ids are read from left to right in every language.
    assert page.run("getComputedStyle(document.querySelector('.facts code')).direction") == "ltr"
    page.run("location.hash = '#/batches'")
    page.wait_for("tbody a", batch["id"])
    found += judge(page, axe, "list")
    page.click(".tools .primary")
    page.wait_for("dialog h2")
    found += judge(page, axe, "dialog")
    worker.finish(job)
    assert found == []


def test_a_result_longer_than_a_block_is_shown_and_more_on_request(
    opened: Open, server: Server, worker: BatchWorker
) -> None:
    batch = create(server, 40)
    job = worker.start(batch["id"], 40)
    worker.append(job, result(0, "first " + "x" * 300_000), *(result(number, "y" * 4_000) for number in range(1, 40)))
    worker.finish(job)
    page = opened(f"batches/{batch['id']}")
    page.wait_for(".answer", "first xxx")
    while page.shows("button", "Show more"):
        page.click("button", "Show more")
        page.wait("!document.querySelector('.pager button')?.disabled")
    page.wait_for_count(".answer", 40)


def test_faults_of_the_input_name_their_lines(opened: Open, server: Server, worker: BatchWorker) -> None:
    batch = create(server)
    faults = [
        BatchError("invalid_json_line", "This line is not parseable as valid JSON.", 3),
        BatchError("invalid_request", "Cannot find file <x>.", None, "file_id"),
    ]
    worker.fail(worker.claim(batch["id"]), *faults)
    page = opened(f"batches/{batch['id']}")
    page.wait_for(".status", "failed")
    page.wait_for("li.fault", "Line 3 This line is not parseable as valid JSON. invalid_json_line")
    page.wait_for("li.fault", "Cannot find file <x>.")
    assert not page.shows("button", "Retry")


def test_a_batch_is_cancelled(opened: Open, server: Server, worker: BatchWorker) -> None:
    batch = create(server)
    job = worker.start(batch["id"], 10)
    page = opened(f"batches/{batch['id']}")
    page.click("button", "Cancel the batch")
    page.wait_for(".status", "cancelling")
    assert not page.shows("button", "Cancel the batch")
    worker.finish(job, BatchStatus.COMPLETED)
    page.wait_for(".status", "cancelled")


def test_the_list_follows_running_batches(opened: Open, server: Server, worker: BatchWorker) -> None:
    batch = create(server)
    page = opened("batches")
    page.wait_for("tbody a", batch["id"])
    job = worker.start(batch["id"], 10)
    worker.append(job, result(0))
    page.wait_for("tbody .progress", "1 of 10")


def test_without_an_upstream_the_refusal_names_the_setting(
    opened: Open, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Server(tmp_path_factory.mktemp("none") / "data") as plain:
        file = plain.upload(batch_input(1)[0].encode(), purpose="batch", name="in.jsonl")
        page = opened("batches", at=plain.origin, expected=("status of 400",))
        page.click("button", "New batch")
        page.choose("dialog select", file["id"])
        page.click("dialog button[type=submit]")
        page.wait_for("dialog [role=alert]", "FILESTEAD_UPSTREAM_URL")
