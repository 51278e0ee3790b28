"""Batches that end early: cancelled, or expired."""

import threading
import time
from pathlib import Path

import pytest

from tests.batches.models import ThreadedModels
from tests.batches.runs import (
    ENDED,
    counts,
    create,
    encode,
    get,
    has_counts,
    ids,
    lines,
    results,
    wait,
)
from tests.support.model_server import Fault, Received
from tests.support.servers import Server

CANCEL_SECONDS = 1
"""Of the server under test."""


def number_of(received: Received) -> int:
    return int(str(received.json["messages"][-1]["content"]).split()[1])


def test_case_22_cancelled_while_validating(server: Server) -> None:
    given = encode(lines(40_000))
    for _ in range(10):  # the validation may end before the request to cancel comes
        created = create(server, given)
        response = server.client.post(f"/batches/{created['id']}/cancel")
        assert response.json()["status"] == "cancelling"
        found = wait(server, created)
        if found["in_progress_at"] is None:
            break
    assert (found["status"], counts(found)) == ("cancelled", (0, 0, 0))
    assert (found["output_file_id"], found["error_file_id"], found["in_progress_at"]) == (None, None, None)
    assert found["cancelled_at"] is not None


@pytest.mark.timing
def test_case_23_cancelled_after_four_of_eight(server: Server, models: ThreadedModels) -> None:
    models.server.script = lambda received: Fault.hang() if number_of(received) > 4 else None
    created = create(server, lines(8))
    wait(server, created, has_counts(completed=4))
    time.sleep(1)
    aborted = models.server.aborted
    begun = time.monotonic()
    assert server.client.post(f"/batches/{created['id']}/cancel").json()["status"] == "cancelling"
    found = wait(server, created)
    assert time.monotonic() - begun < CANCEL_SECONDS + 2
    assert (found["status"], counts(found)) == ("cancelled", (8, 4, 0))
    assert found["finalizing_at"] is None
    output, errors = results(server, found)
    assert sorted(ids(output)) == ["line-1", "line-2", "line-3", "line-4"]
    assert sorted(ids(errors)) == ["line-5", "line-6", "line-7", "line-8"]
    for each in errors:
        assert each["response"] is None
        assert each["error"] == {
            "code": "batch_cancelled",
            "message": "This request was not executed because the batch was cancelled.",
        }
    assert models.server.aborted >= aborted, "the connections were closed"


@pytest.mark.timing
def test_case_23_lines_in_flight_may_end(models: ThreadedModels, tmp_path: Path) -> None:
    models.server.script = lambda received: Fault.slow(3)
    with Server(tmp_path / "data", upstream_url=models.url, batch_cancel_seconds=10) as server:
        created = create(server, lines(50))
        while not models.server.requests:
            time.sleep(0.01)
        time.sleep(0.5)
        sent = len(models.server.requests)
        assert sent < 50
        begun = time.monotonic()
        server.client.post(f"/batches/{created['id']}/cancel")
        found = wait(server, created)
        assert time.monotonic() - begun < 6, "it ends with them"
        assert (found["status"], counts(found)) == ("cancelled", (50, sent, 0))
        assert len(models.server.requests) == sent, "nothing was sent after the cancel"
        output, errors = results(server, found)
        assert len(output) == sent
        assert sorted(ids([*output, *errors])) == sorted(f"line-{number}" for number in range(1, 51))


def test_case_24_cancelled_twice_and_after_the_end(server: Server, models: ThreadedModels) -> None:
    models.server.script = lambda received: Fault.hang()
    created = create(server, lines(3))
    wait(server, created, lambda batch: batch["status"] == "in_progress")
    path = f"/batches/{created['id']}/cancel"
    first, second = server.client.post(path), server.client.post(path)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["cancelling_at"] == second.json()["cancelling_at"]
    wait(server, created)
    third = server.client.post(path)
    assert (third.status_code, third.json()["status"]) == (200, "cancelled")
    models.server.script = None
    done = wait(server, create(server, lines(1)))
    response = server.client.post(f"/batches/{done['id']}/cancel")
    assert response.status_code == 409
    assert response.json()["error"]["message"] == "Cannot cancel a batch with status 'completed'."
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.timing
def test_case_25_the_window_ends(server: Server, models: ThreadedModels) -> None:
    models.server.script = lambda received: Fault.hang() if number_of(received) > 1 else None
    created = create(server, lines(10))
    wait(server, created, has_counts(completed=1))
    server.place.sql("UPDATE batches SET expires_at = ? WHERE id = ?", int(time.time()), created["id"])
    begun = time.monotonic()
    found = wait(server, created)
    assert time.monotonic() - begun < 3
    assert (found["status"], counts(found)) == ("expired", (10, 1, 0))
    assert found["finalizing_at"] is not None
    assert found["expired_at"] is not None
    assert (found["completed_at"], found["failed_at"]) == (None, None)
    output, errors = results(server, found)
    assert ids(output) == ["line-1"]
    assert len(errors) == 9
    for each in errors:
        assert each["response"] is None
        assert each["error"] == {
            "code": "batch_expired",
            "message": "This request could not be executed before the completion window expired.",
        }


def test_case_25_a_large_batch_expires(models: ThreadedModels, tmp_path: Path) -> None:
    models.server.script = lambda received: Fault.hang()
    with Server(tmp_path / "data", upstream_url=models.url) as server:
        created = create(server, lines(50_000))
        wait(server, created, lambda batch: batch["status"] == "in_progress")
        server.place.sql("UPDATE batches SET expires_at = ? WHERE id = ?", int(time.time()), created["id"])
        found = wait(server, created)
        assert (found["status"], counts(found)) == ("expired", (50_000, 0, 0))
        assert len(set(ids(results(server, found)[1]))) == 50_000


def test_a_batch_survives_a_stop_of_its_server(models: ThreadedModels, tmp_path: Path) -> None:
    stopped = threading.Event()
    # The last lines have no response before the stop, so that the batch does not end on a fast machine.
    models.server.script = lambda received: Fault.held(stopped) if number_of(received) > 390 else Fault.slow(0.05)
    data = tmp_path / "data"
    with Server(data, upstream_url=models.url, shutdown_seconds=2) as server:
        created = create(server, lines(400))
        found = wait(server, created, has_counts(completed=100))
        assert found["status"] == "in_progress"
        assert server.stop() == 0
    stopped.set()
    asked = len(models.server.requests)
    with Server(data, upstream_url=models.url) as server:
        before = get(server, created)
        found = wait(server, created)
        assert before["status"] not in ENDED
        assert (found["status"], counts(found)) == ("completed", (400, 400, 0))
        assert sorted(ids(results(server, found)[0])) == sorted(f"line-{number}" for number in range(1, 401))
    repeated = len(models.server.requests) - 400
    assert asked >= 100
    assert repeated <= models.server.max_in_flight + 64, "only lines in flight were asked again"
