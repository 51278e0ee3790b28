"""Model servers that are busy, away, wrong or silent: no line is lost, and none fails for it."""

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2

from tests.batches.models import ThreadedModels
from tests.batches.runs import counts, create, get, has_counts, ids, line, lines, results, wait
from tests.support.model_server import Fault, ModelServer, Received
from tests.support.servers import Server

HEADER = "x-filestead-batch-paused"


def text_of(received: Received) -> str:
    return str(received.json["messages"][-1]["content"])


def header_of(server: Server, batch: Any) -> str:
    """Wait until the batch says why it waits."""
    deadline = time.monotonic() + 20
    while not (said := server.client.get(f"/batches/{batch['id']}").headers.get(HEADER)):
        assert time.monotonic() < deadline, get(server, batch)
        time.sleep(0.05)
    return said


def paused(server: Server) -> list[dict[str, Any]]:
    response = httpx2.get(server.origin + "/health/ready")
    assert response.status_code == 200
    found: list[dict[str, Any]] = response.json().get("paused_upstreams", [])
    return found


def test_case_28_a_busy_server_is_waited_for(server: Server, models: ThreadedModels) -> None:
    models.server.faults.extend(Fault.busy(retry_after=1) for _ in range(6))
    done = wait(server, create(server, lines(20)))
    assert (done["status"], counts(done)) == ("completed", (20, 20, 0))
    times = [received.time for received in models.server.requests]
    pauses = [later - earlier for earlier, later in pairwise(times) if later - earlier > 0.9]
    assert pauses, "no request in the pause"
    assert len(times) == 26


def test_case_28_fifty_refusals_cost_no_attempt(server: Server, models: ThreadedModels) -> None:
    models.server.faults.extend(Fault.busy(retry_after=0.02) for _ in range(50))
    done = wait(server, create(server, [line("only")]))
    assert (done["status"], counts(done)) == ("completed", (1, 1, 0))
    assert len(models.server.requests) == 51


def test_case_29_the_server_is_down_for_a_while(tmp_path: Path) -> None:
    with ThreadedModels(ModelServer(instant=True)) as models:
        # The last lines have no response before, so that there is something to wait for on a fast machine.
        models.server.script = lambda received: (
            Fault.hang() if int(text_of(received).split()[1]) > 290 else Fault.slow(0.02)
        )
        with Server(tmp_path / "data", upstream_url=models.url) as server:
            created = create(server, lines(300))
            wait(server, created, has_counts(completed=50))
            models.stop()
            models.server.script = lambda received: Fault.slow(0.02)
            deadline = time.monotonic() + 30
            while not paused(server):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            found = get(server, created)
            assert found["status"] == "in_progress"
            assert found["request_counts"]["failed"] == 0
            (shown,) = paused(server)
            assert shown["name"] == "default"
            models.start()
            done = wait(server, created, seconds=90)
            assert (done["status"], counts(done)) == ("completed", (300, 300, 0))
            assert paused(server) == []
            assert "wait: " in server.output
            assert " continue" in server.output


def test_case_30_a_wrong_key_pauses_the_batch(tmp_path: Path) -> None:
    with ThreadedModels(ModelServer(instant=True, key="sk-right")) as models:
        data = tmp_path / "data"
        with Server(data, upstream_url=models.url, upstream_api_key="sk-wrong-canary") as server:
            created = create(server, lines(100))
            deadline = time.monotonic() + 30
            while not paused(server):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert "401" in paused(server)[0]["reason"]
            sent = len(models.server.requests)
            assert sent <= 10, "lines are not burnt on a wrong key"
            assert counts(get(server, created)) == (100, 0, 0)
            models.server.key = "sk-wrong-canary"  # the operator repairs it there
            done = wait(server, created, seconds=90)
            assert (done["status"], counts(done)) == ("completed", (100, 100, 0))
            assert "canary" not in server.output


def test_case_31_a_line_without_a_response(server: Server, models: ThreadedModels) -> None:
    models.server.script = lambda received: Fault.hang() if text_of(received) == "text 7" else None
    done = wait(server, create(server, lines(10)))
    assert (done["status"], counts(done)) == ("completed", (10, 9, 1))
    (failed,) = results(server, done)[1]
    assert failed["custom_id"] == "line-7"
    assert failed["response"] is None
    assert failed["error"] == {"code": "request_timeout", "message": "The request timed out."}
    assert sum(text_of(received) == "text 7" for received in models.server.requests) == 2


def test_a_failing_server_is_asked_again(server: Server, models: ThreadedModels) -> None:
    models.server.faults.extend([Fault.of_status(500), Fault.reset(), Fault.broken_json()])
    done = wait(server, create(server, lines(5)))
    assert (done["status"], counts(done)) == ("completed", (5, 5, 0))


def test_the_last_response_of_a_failing_server_is_kept(server: Server, models: ThreadedModels) -> None:
    models.server.script = lambda received: Fault.of_status(500, "out of memory")
    done = wait(server, create(server, [line("a")]))
    assert (done["status"], counts(done)) == ("completed", (1, 0, 1))
    (failed,) = results(server, done)[1]
    assert failed["error"] is None
    assert failed["response"]["status_code"] == 500
    assert failed["response"]["body"]["error"]["message"] == "out of memory"
    assert len(models.server.requests) == 5


def test_a_connection_that_always_breaks(server: Server, models: ThreadedModels) -> None:
    models.server.script = lambda received: Fault.reset() if text_of(received) == "text 2" else None
    done = wait(server, create(server, lines(3)))
    assert counts(done) == (3, 2, 1)
    (failed,) = results(server, done)[1]
    assert failed["response"] is None
    assert failed["error"]["code"] == "request_failed"


def test_a_batch_is_cancelled_while_the_quota_is_full(models: ThreadedModels, tmp_path: Path) -> None:
    models.server.script = lambda received: Fault.slow(0.2)
    given = lines(1_000)
    with Server(tmp_path / "data", upstream_url=models.url, project_quota_bytes=1_000_000) as server:
        server.upload(b"x" * 800_000)
        created = create(server, given)
        deadline = time.monotonic() + 30
        while "pauses, as its results cannot be stored now" not in server.output:
            assert time.monotonic() < deadline, get(server, created)
            time.sleep(0.1)
        assert server.client.post(f"/batches/{created['id']}/cancel").status_code == 200
        done = wait(server, created)
        assert done["status"] == "cancelled"
        output, errors = results(server, done)
        assert sorted(ids(output) + ids(errors)) == sorted(ids(given))
        assert len(output) == len(models.server.requests), "what had a response is not lost"


def test_case_40_a_full_quota(models: ThreadedModels, tmp_path: Path) -> None:
    models.server.script = lambda received: Fault.slow(0.2)
    given = lines(1_000)
    with Server(tmp_path / "data", upstream_url=models.url, project_quota_bytes=1_000_000) as server:
        filler = server.upload(b"x" * 800_000)["id"]
        created = create(server, given)
        deadline = time.monotonic() + 30
        while "pauses, as its results cannot be stored now" not in server.output:
            assert time.monotonic() < deadline, get(server, created)
            time.sleep(0.1)
        assert "its results cannot be stored now: project quota of 1000000 bytes" in header_of(server, created)
        held = get(server, created)
        assert held["status"] == "in_progress"
        sent = len(models.server.requests)
        assert sent < 1_000
        time.sleep(1)
        assert len(models.server.requests) == sent, "nothing is sent while nothing can be stored"
        assert server.client.delete(f"/files/{filler}").status_code == 200
        done = wait(server, created)
        assert (done["status"], counts(done)) == ("completed", (1_000, 1_000, 0))
        assert len(models.server.requests) == 1_000, "no line was lost"
        assert sorted(ids(results(server, done)[0])) == sorted(ids(given))


def test_a_line_that_alone_is_refused_stops_neither_its_batch_nor_others(
    server: Server, models: ThreadedModels
) -> None:
    def refuse_one(received: Received) -> Fault:
        refused = text_of(received) == "text 7"
        return Fault.of_status(403, "blocked by a filter") if refused else Fault.slow(0.02)

    models.server.script = refuse_one
    done = wait(server, create(server, lines(60)))
    assert (done["status"], counts(done)) == ("completed", (60, 59, 1))
    (refused,) = results(server, done)[1]
    assert (refused["custom_id"], refused["response"]["status_code"]) == ("line-7", 403)
    assert sum(text_of(received) == "text 7" for received in models.server.requests) == 3
    assert not paused(server)


def test_a_batch_says_that_its_last_line_is_refused_again_and_again(server: Server, models: ThreadedModels) -> None:
    """That is no failure: the line waits until the window ends. Other batches go on."""
    models.server.script = lambda received: Fault.busy(retry_after=0.2) if text_of(received) == "text 7" else None
    created = create(server, lines(10))
    wait(server, created, has_counts(completed=9))
    assert HEADER not in server.client.get(f"/batches/{created['id']}").headers, "it may be a moment"
    said = header_of(server, created)
    assert said == "default: the endpoint is busy (429), and has accepted no line of late"
    assert [each["reason"] for each in paused(server)] == [
        "the endpoint is busy (429), and has accepted no line of late"
    ]
    assert counts(wait(server, create(server, lines(6)))) == (6, 6, 0)
    assert counts(get(server, created)) == (10, 9, 0)
    models.server.script = None
    assert counts(wait(server, created)) == (10, 10, 0)
    assert HEADER not in server.client.get(f"/batches/{created['id']}").headers
    assert paused(server) == []


def test_every_process_says_why_a_batch_waits(tmp_path: Path) -> None:
    """One process of three runs it."""
    with (
        ThreadedModels(ModelServer(instant=True, key="sk-right")) as models,
        Server(tmp_path / "data", "--workers", "3", upstream_url=models.url, upstream_api_key="sk-wrong") as server,
    ):
        created = create(server, lines(20))
        said = header_of(server, created)
        assert said == "default: it refuses the key (401): check the API key of this endpoint"
        for _ in range(30):  # each on a connection of its own, to any process
            headers = {"Authorization": f"Bearer {server.key}"}
            response = httpx2.get(f"{server.base_url}/batches/{created['id']}", headers=headers)
            assert response.headers.get(HEADER) == said
            assert [each["name"] for each in paused(server)] == ["default"]
        models.server.key = "sk-wrong"
        assert wait(server, created, seconds=90)["status"] == "completed"
        for _ in range(10):
            assert HEADER not in httpx2.get(f"{server.base_url}/batches/{created['id']}", headers=headers).headers


def test_a_batch_says_that_its_model_server_refuses_it(server: Server, models: ThreadedModels) -> None:
    models.server.script = lambda received: Fault.of_status(403)
    created = create(server, lines(5))
    assert header_of(server, created) == "default: it refuses the key (403): check the API key of this endpoint"
    assert server.client.post(f"/batches/{created['id']}/cancel").status_code == 200
    wait(server, created)
    assert HEADER not in server.client.get(f"/batches/{created['id']}").headers


def test_the_parallelism_of_slow_lines_is_known_before_there_is_a_result(tmp_path: Path) -> None:
    with ThreadedModels(ModelServer(instant=True)) as models:
        models.server.script = lambda received: Fault.slow(4)
        with Server(tmp_path / "data", upstream_url=models.url) as server:
            created = create(server, lines(3))
            deadline = time.monotonic() + 30
            while not (said := parallelism_of(server, created)):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert get(server, created)["request_counts"]["completed"] == 0
            assert said.startswith("in_flight=3, limit=")
            wait(server, created)
            assert parallelism_of(server, created) is None


def parallelism_of(server: Server, batch: Any) -> str | None:
    said: str | None = server.client.get(f"/batches/{batch['id']}").headers.get("x-filestead-batch-parallelism")
    return said
