"""What batches leave in the metrics, with the simulated model server."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.api.test_signals import Samples, read, value
from tests.batches.models import ThreadedModels
from tests.batches.runs import create, create_of, has_counts, lines, wait
from tests.support.model_server import Fault, ModelServer
from tests.support.servers import Server
from tests.worker.test_webhooks import SECRET, Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver(500)
    yield made
    made.close()


def read_until(server: Server, condition: Callable[[Samples], bool]) -> Samples:
    deadline = time.monotonic() + 30
    while not condition(found := read(server)):
        assert time.monotonic() < deadline, {key: number for key, number in found.items() if "batch" in key[0]}
        time.sleep(0.1)
    return found


def test_what_a_batch_leaves(models: ThreadedModels, receiver: Receiver, tmp_path: Path) -> None:
    """Forty lines, of which one is rejected, one is refused for a moment and one fails for a moment."""
    options = {"webhook_url": receiver.url, "webhook_secret": SECRET, "webhook_private": True}
    models.server.faults += [Fault.of_status(400), Fault.of_status(429), Fault.of_status(500)]
    with Server(tmp_path / "data", upstream_url=models.url, metrics_port=0, **options) as server:
        done = wait(server, create(server, lines(40)))
        assert done["status"] == "completed"
        wait(server, create_of(server, "file-unknown"))
        # A job is counted after its effect.
        found = read_until(server, lambda found: value(found, "job_seconds_count", kind="webhook", outcome="done") == 2)
    assert value(found, "webhook_deliveries_total", outcome="delivered") == 2
    assert value(found, "batch_lines_total", outcome="completed") == 39
    assert value(found, "batch_lines_total", outcome="failed") == value(found, "batch_lines_total") - 39 == 1
    assert value(found, "batches_ended_total", status="completed") == 1
    assert value(found, "batches_ended_total", status="failed") == 1
    count = "upstream_request_seconds_count"
    assert value(found, count, upstream="default", model="m", outcome="ok") == 39
    for outcome in ("final", "busy", "retry"):
        assert value(found, count, upstream="default", outcome=outcome) == 1
    assert value(found, "batch_retries_total", cause="busy") == value(found, "batch_retries_total", cause="retry") == 1
    usage = done["usage"]
    assert value(found, "upstream_input_tokens_total", model="m") == usage["input_tokens"] > 0
    assert value(found, "upstream_output_tokens_total", model="m") == usage["output_tokens"] > 0
    cached = usage["input_tokens_details"]["cached_tokens"]
    assert value(found, "upstream_cached_tokens_total", model="m") == cached
    assert value(found, "batch_commit_seconds_count") >= 1
    assert value(found, "job_seconds_count", kind="batch", outcome="done") == 2
    assert value(found, "job_seconds_count", kind="webhook", outcome="done") == 2
    assert value(found, "job_seconds_count", kind="webhook", outcome="failed") == 1
    assert value(found, "webhook_deliveries_total", outcome="status") == 1
    assert value(found, "batch_results_waiting") == value(found, "batches_paused") == 0


def test_a_batch_in_progress_and_its_cancellation(models: ThreadedModels, tmp_path: Path) -> None:
    """It takes a minute, unless it is cancelled: figures are up to five seconds old."""
    models.server.script = lambda received: Fault.slow(0.5)
    with Server(tmp_path / "data", upstream_url=models.url, metrics_port=0, upstream_max_concurrency=16) as server:
        created = create(server, lines(2_000))
        wait(server, created, has_counts(completed=8))
        found = read_until(
            server,
            lambda found: (
                value(found, "upstream_in_flight", model="m") > 0
                and _has(found, "batch_slack_seconds")
                and value(found, "batch_lines_left") < 2_000
            ),
        )
        assert 0 < value(found, "upstream_in_flight", model="m") <= value(found, "upstream_limit", model="m")
        assert value(found, "batches", status="in_progress") == value(found, "batches") == 1
        assert 0 < value(found, "batch_lines_left") < 2_000
        assert 80_000 < value(found, "batch_deadline_seconds") <= 86_400
        assert 0 < value(found, "batch_remaining_seconds") < 40_000
        spare = value(found, "batch_deadline_seconds") - value(found, "batch_remaining_seconds")
        assert value(found, "batch_slack_seconds") == pytest.approx(spare, abs=2)
        assert server.client.post(f"/batches/{created['id']}/cancel").status_code == 200
        ended = wait(server, created)
        found = read_until(server, lambda found: not value(found, "batches") and not value(found, "upstream_in_flight"))
        completed = ended["request_counts"]["completed"]
        assert value(found, "batch_lines_total", outcome="completed") == completed
        assert value(found, "batch_lines_total", outcome="cancelled") == 2_000 - completed
        assert value(found, "batches_ended_total", status="cancelled") == 1
        assert not _has(found, "batch_slack_seconds")


def _has(found: Samples, name: str) -> bool:
    return any(own == f"filestead_{name}" for own, _ in found)


def test_pauses_of_model_servers(tmp_path: Path) -> None:
    with ThreadedModels(ModelServer(instant=True, models=("m",))) as models:
        models.server.script = lambda received: Fault.of_status(401)
        with Server(tmp_path / "data", upstream_url=models.url, metrics_port=0) as server:
            created = create(server, lines(3))
            found = read_until(server, lambda found: value(found, "upstream_paused_models", upstream="default") == 1)
            assert value(found, "upstream_request_seconds_count", model="other", outcome="refused") >= 3
            assert value(found, "upstream_breaker_open") == 0
            models.server.script = None
            models.stop()
            other = create(server, lines(12, model="n"))
            found = read_until(server, lambda found: value(found, "upstream_breaker_open", upstream="default") == 1)
            assert value(found, "upstream_request_seconds_count", outcome="unreachable") >= 5
            models.start()
            for batch in (created, other):
                server.client.post(f"/batches/{batch['id']}/cancel")
            read_until(server, lambda found: value(found, "upstream_breaker_open") == 0)


def test_several_processes_add_up(models: ThreadedModels, tmp_path: Path) -> None:
    with Server(tmp_path / "data", upstream_url=models.url, metrics_port=0, workers=2) as server:
        for created in [create(server, lines(100)) for _ in range(6)]:
            wait(server, created)
        read_until(server, lambda found: value(found, "batches_ended_total") == 6)  # counted after the last commit
        for _ in range(4):  # whichever process responds
            found = read(server)
            assert value(found, "batch_lines_total", outcome="completed") == 600
            assert value(found, "upstream_request_seconds_count", outcome="ok") == 600
            assert value(found, "batches_ended_total") == 6
            assert value(found, "upstream_breaker_open") == 0
