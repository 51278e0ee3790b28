"""Metrics: values in shared memory, bounds, the text, and that documents and code agree."""

import itertools
import os
import signal
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from filestead.domain.batches.observation import BatchObserver, BatchState, LaneState, UnobservedBatches, UpstreamState
from filestead.domain.figures import Figures, ProjectUsage, UnfinishedBatches, Waiting
from filestead.domain.observation import Observer, Unobserved, current_span
from filestead.metrics import docs, table
from filestead.metrics.batch_observer import MAX_MODELS, BatchMetrics, model_label
from filestead.metrics.board import DOUBLE, SECTION_BYTES, Board
from filestead.metrics.exposition import Build, expose
from filestead.metrics.observer import MetricsObserver
from filestead.metrics.recorder import Recorder, clear_gauges
from filestead.metrics.table import METRICS, OTHER, Metric, Source

ROOT = Path(__file__).parents[2]
BUILD = Build("1.2.3", "3.11", "embedded", "all", 1000)
RUNNING = UnfinishedBatches("in_progress", 3, 60.0, 500, 3600.0, 50.0, 3550.0)
LONGEST_LABELS = 80
"""Characters of the labels of a series, about: the longest routes have 70."""


def samples(board: Board, figures: Figures | None = None) -> dict[tuple[str, tuple[str, ...]], float]:
    """By name and values of labels, which are in the order of their names."""
    text = expose(BUILD, board.read(), figures).decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_and_histograms_of_all_processes_are_added_up() -> None:
    board = Board(3)
    for number in (0, 2):
        recorder = Recorder(board.sections[number])
        recorder.value(table.REQUESTS, "GET", "/", "200").add(2)
        recorder.distribution(table.REQUEST_SECONDS, "GET", "/").observe(0.003)
        recorder.distribution(table.REQUEST_SECONDS, "GET", "/").observe(1e9)
        recorder.value(table.TRANSFERS_IN_FLIGHT, "upload").add(number + 1)
        recorder.value(table.BREAKER_OPEN).set(float(number == 2))
    found = samples(board)
    assert found["filestead_requests_total", ("GET", "/", "200")] == 4
    assert found["filestead_transfers_in_flight", ("upload",)] == 4
    assert found["filestead_blob_store_breaker_open", ()] == 1, "a maximum, not a sum"
    bucket = "filestead_request_seconds_bucket"
    by_bound = {labels[0]: value for (name, labels), value in found.items() if name == bucket}
    assert (by_bound["0.0025"], by_bound["0.005"], by_bound["600.0"], by_bound["+Inf"]) == (0, 2, 2, 4)
    assert found["filestead_request_seconds_count", ("GET", "/")] == 4
    assert found["filestead_request_seconds_sum", ("GET", "/")] == pytest.approx(2e9 + 0.006)
    assert {labels for name, labels in found if name == "filestead_worker_starts_total"} == {("0",), ("2",)}


def test_a_value_on_a_bound_is_in_its_bucket() -> None:
    board = Board()
    Recorder(board.sections[0]).distribution(table.REQUEST_SECONDS, "GET", "/").observe(0.005)
    found = samples(board)
    assert found["filestead_request_seconds_bucket", ("0.005", "GET", "/")] == 1
    assert found["filestead_request_seconds_bucket", ("0.0025", "GET", "/")] == 0


def test_a_killed_process_loses_no_counts_and_its_gauges_end_with_it() -> None:
    """The process that replaces it goes on in its section."""
    board = Board(1)
    for _ in range(2):
        if not (pid := os.fork()):
            recorder = Recorder(board.sections[0])
            recorder.value(table.REQUESTS, "GET", "/", "200").add(5)
            recorder.value(table.TRANSFERS_IN_FLIGHT, "upload").add(1)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
    found = samples(board)
    assert found["filestead_requests_total", ("GET", "/", "200")] == 10
    assert found["filestead_transfers_in_flight", ("upload",)] == 1, "of the second; the first's was cleared"
    assert found["filestead_worker_starts_total", ("0",)] == 2
    assert ("filestead_worker_memory_bytes", ("0",)) not in found, "there is no such process"
    clear_gauges(board, 0)
    found = samples(board)
    assert found["filestead_requests_total", ("GET", "/", "200")] == 10
    assert found["filestead_transfers_in_flight", ("upload",)] == 0


def test_a_reader_sees_whole_entries_while_another_process_adds_them() -> None:
    board = Board(1)
    if not (pid := os.fork()):
        recorder = Recorder(board.sections[0])
        for number in range(200_000):
            recorder.value(table.REFUSALS, f"reason {number % 149}").add()
        os._exit(0)
    last, until = 0.0, time.monotonic() + 120
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < until:
        total = sum(values[0] for snapshot in board.read() for values in snapshot.series.values())
        assert last <= total <= 200_000
        last = total
    assert sum(values[0] for snapshot in board.read() for values in snapshot.series.values()) == 200_000


def test_a_reader_sees_no_part_of_an_entry_that_another_process_appends() -> None:
    board = Board(1)
    section = board.sections[0]
    section.adopt()
    turns, give = os.pipe()
    if not (pid := os.fork()):
        for number in itertools.count():
            if number % 1_000 == 0:
                os.read(turns, 1)  # so that there are reads in between, however the two are scheduled
            if section.append(f"key {section.values[0]}", 1) is None:
                os._exit(0)
    seen, reads, until = 0, 0, time.monotonic() + 120
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < until:
        os.write(give, b".")
        (snapshot,) = board.read()
        assert len(snapshot.series) >= seen
        seen, reads = len(snapshot.series), reads + 1
    os.close(turns)
    os.close(give)
    assert reads > 2
    assert len(board.read()[0].series) > 10_000


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_series_above_the_bound_of_a_metric_are_one(metric: Metric) -> None:
    if not metric.labels or metric.source is not Source.PROCESS:
        assert metric.labels or metric.max_series == 1
        return
    board = Board()
    recorder = Recorder(board.sections[0])
    for number in range(metric.max_series + 50):
        labels = [f"value {number}", *["x"] * (len(metric.labels) - 1)]
        if metric.buckets:
            recorder.distribution(metric, *labels).observe(1)
        else:
            recorder.value(metric, *labels).add(1)
    (snapshot,) = board.read()
    assert len(snapshot.series) == metric.max_series + 1
    other = next(values for key, values in snapshot.series.items() if key.split("\x1f")[1:] == [OTHER] * len(labels))
    assert sum(other[:-1] or other) == 50


def test_a_section_holds_the_whole_table() -> None:
    doubles = 0
    for metric in METRICS.values():
        if metric.source is Source.PROCESS:
            series = metric.max_series + 1 if metric.labels else 1
            doubles += series * (2 + (len(metric.name) + LONGEST_LABELS) // DOUBLE + 1 + metric.values)
    assert doubles * DOUBLE < SECTION_BYTES * 0.8


def test_labels_must_be_those_of_the_table() -> None:
    recorder = Recorder(Board().sections[0])
    with pytest.raises(ValueError, match=r"filestead_requests_total has the labels"):
        recorder.value(table.REQUESTS, "GET", "/")


def test_every_metric_of_the_table_is_exposed_with_its_labels() -> None:
    board = Board()
    recorder = Recorder(board.sections[0])
    for metric in METRICS.values():
        if metric.source is Source.PROCESS:
            record = recorder.distribution if metric.buckets else recorder.value
            record(metric, *("x" for _ in metric.labels))
    waiting = [Waiting("index", "due", 3, 1.5)]
    figures = Figures([ProjectUsage("proj_a", 10, 5)], [Waiting("blobs", "due", 2, 0.5)], waiting, [RUNNING], 2)
    families = list(text_string_to_metric_families(expose(BUILD, board.read(), figures).decode()))
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert names == set(METRICS)
    for family in families:
        metric = METRICS[family.name + ("_total" if family.type == "counter" else "")]
        assert family.type == metric.kind
        assert family.documentation == metric.help
        assert {name for sample in family.samples for name in sample.labels} - {"le"} == set(metric.labels)


def test_without_figures_the_database_is_down() -> None:
    found = samples(Board())
    assert found["filestead_database_up", ()] == 0
    assert not [name for name, _ in found if name.startswith("filestead_project_")]


def test_names_follow_the_rules_of_prometheus() -> None:
    for metric in METRICS.values():
        assert metric.name.endswith("_total") == (metric.kind is table.Kind.COUNTER), metric.name
        assert list(metric.buckets) == sorted(metric.buckets)
        assert metric.help.endswith(".")


def test_the_page_is_generated_from_the_table() -> None:
    assert (ROOT / "docs/metrics.md").read_text() == docs.page()


def test_the_observers_have_the_methods_of_the_interface() -> None:
    names = {name for name in vars(Observer) if not name.startswith("_")}
    for kind in (Unobserved, MetricsObserver):
        assert names <= set(dir(kind))
    names = {name for name in vars(BatchObserver) if not name.startswith("_")}
    for kind in (UnobservedBatches, BatchMetrics):
        assert names <= set(dir(kind))
    assert current_span.get() is None


def test_what_observers_receive_is_recorded() -> None:
    board = Board()
    observer: Observer = MetricsObserver(Recorder(board.sections[0]))
    observer.database_operation("write", 0.1, "DatabaseUnavailable")
    observer.blob_operation("put", 0.2, None)
    observer.blob_operation("put", 0.2, "StorageFailed")
    observer.sync("commit", 0.3)
    observer.breaker(is_open=True)
    observer.blob_store_health(healthy=False)
    observer.job_ended("index", "done", 2.0)
    observer.file_indexed(70, failed=False)
    observer.file_indexed(30, failed=False)
    observer.file_indexed(5, failed=True)
    found = samples(board)
    assert found["filestead_database_seconds_count", ("write",)] == 1
    assert found["filestead_database_errors_total", ("DatabaseUnavailable",)] == 1
    assert found["filestead_blob_store_seconds_sum", ("put",)] == pytest.approx(0.4)
    assert found["filestead_blob_store_errors_total", ("StorageFailed",)] == 1
    assert found["filestead_sync_seconds_count", ("commit",)] == 1
    assert found["filestead_blob_store_breaker_open", ()] == found["filestead_blob_store_unhealthy", ()] == 1
    assert found["filestead_job_seconds_count", ("index", "done")] == 1
    assert found["filestead_indexed_files_total", ("completed",)] == 2
    assert found["filestead_indexed_bytes_total", ("completed",)] == 100
    assert found["filestead_indexed_bytes_total", ("failed",)] == 5
    observer.breaker(is_open=False)
    observer.blob_store_health(healthy=True)
    found = samples(board)
    assert found["filestead_blob_store_breaker_open", ()] == found["filestead_blob_store_unhealthy", ()] == 0


def test_what_batches_report_is_recorded() -> None:
    board = Board()
    observer: BatchObserver = BatchMetrics(Recorder(board.sections[0]))
    lane = observer.lane("gpu", "m")
    lane.ended("busy", 0.02, 0, 0, 0)
    lane.ended("ok", 0.3, 100, 64, 20)
    lane.ended("ok", 0.3, 100, 0, 20)
    lane.ended("timeout", 9.0, 0, 0, 0)
    observer.lines_stored("completed", 7)
    observer.results_committed(0.004)
    observer.line_retried("busy")
    observer.batch_ended("completed")
    observer.webhook_delivery("delivered")
    found = samples(board)
    count = "filestead_upstream_request_seconds_count"
    assert found[count, (OTHER, "busy", "gpu")] == 1, "nothing has succeeded before"
    assert found[count, ("m", "ok", "gpu")] == 2
    assert found["filestead_upstream_request_seconds_sum", ("m", "ok", "gpu")] == pytest.approx(0.6)
    assert found[count, ("m", "timeout", "gpu")] == 1
    assert found["filestead_upstream_input_tokens_total", ("m", "gpu")] == 200
    assert found["filestead_upstream_cached_tokens_total", ("m", "gpu")] == 64
    assert found["filestead_upstream_output_tokens_total", ("m", "gpu")] == 40
    assert found["filestead_batch_lines_total", ("completed",)] == 7
    assert found["filestead_batch_commit_seconds_count", ()] == 1
    assert found["filestead_batch_retries_total", ("busy",)] == 1
    assert found["filestead_batches_ended_total", ("completed",)] == 1
    assert found["filestead_webhook_deliveries_total", ("delivered",)] == 1


def test_a_sample_replaces_the_one_before() -> None:
    board = Board()
    observer = BatchMetrics(Recorder(board.sections[0]))
    for model in ("m", "n"):
        observer.lane("gpu", model).ended("ok", 0.1, 1, 0, 1)
    lanes = [LaneState("gpu", model, 3, 8) for model in ("m", "n", "unknown", "unknown too")]
    observer.sampled(BatchState(lanes, [UpstreamState("gpu", True, 2, 0.25)], 5, 500, 1))
    observer.chat_probed("gpu", "ok")
    found = samples(board)
    in_flight = {labels: value for (name, labels), value in found.items() if name == "filestead_upstream_in_flight"}
    assert in_flight == {("m", "gpu"): 3, ("n", "gpu"): 3, (OTHER, "gpu"): 6}
    assert found["filestead_upstream_limit", (OTHER, "gpu")] == 16
    assert found["filestead_upstream_breaker_open", ("gpu",)] == 1
    assert found["filestead_upstream_paused_models", ("gpu",)] == 2
    assert found["filestead_upstream_chat_ttft_p95_seconds", ("gpu",)] == 0.25
    assert found["filestead_upstream_chat_probes_total", ("ok", "gpu")] == 1
    assert found["filestead_batch_results_waiting", ()] == 5
    assert found["filestead_batch_results_waiting_bytes", ()] == 500
    assert found["filestead_batches_paused", ()] == 1
    observer.sampled(BatchState(lanes[1:2], [UpstreamState("gpu", False, 0)], 0, 0, 0))
    found = samples(board)
    in_flight = {labels: value for (name, labels), value in found.items() if name == "filestead_upstream_in_flight"}
    assert in_flight == {("m", "gpu"): 0, ("n", "gpu"): 3, (OTHER, "gpu"): 0}
    assert found["filestead_upstream_breaker_open", ("gpu",)] == found["filestead_batches_paused", ()] == 0


def test_models_of_hostile_batches_add_few_series() -> None:
    """A batch can name models of any length, with any characters, and any number of them."""
    board = Board()
    observer = BatchMetrics(Recorder(board.sections[0]))
    for number in range(200):
        observer.lane("gpu", f"unknown {number}").ended("refused", 0.1, 0, 0, 0)
    for name in ("m", "\ud800\x1f\n", "x" * 100_000, "", *(f"good {number}" for number in range(200))):
        observer.lane("gpu", name).ended("ok", 0.1, 1, 0, 1)
    labels = {labels for name, labels in samples(board) if name == "filestead_upstream_output_tokens_total"}
    assert len(labels) == MAX_MODELS + 1
    assert {("m", "gpu"), ("???", "gpu"), ("x" * 64, "gpu"), ("none", "gpu"), (OTHER, "gpu")} <= labels
    assert samples(board)["filestead_upstream_request_seconds_count", (OTHER, "refused", "gpu")] == 200
    assert model_label("Llama-3.1/8B-Größe") == "Llama-3.1/8B-Größe"


def test_batches_of_the_installation() -> None:
    waiting = UnfinishedBatches("validating", 2, 30.0, 0, 900.0, None, None)
    done = UnfinishedBatches("finalizing", 1, 5.0, 0, -10.0, None, -20.0)
    found = samples(Board(), Figures([], [], [], [RUNNING, waiting, done], 4))
    assert found["filestead_batches", ("validating",)] == 2
    assert found["filestead_batches_oldest_seconds", ("validating",)] == 30
    assert found["filestead_batch_lines_left", ()] == 500
    assert found["filestead_batch_deadline_seconds", ()] == 900, "not of those whose lines are all done"
    assert found["filestead_batch_remaining_seconds", ()] == 50
    assert found["filestead_batch_slack_seconds", ()] == 3550
    assert found["filestead_uploads_pending", ()] == 4
    found = samples(Board(), Figures([], [], [], [], 0))
    assert found["filestead_batch_lines_left", ()] == 0
    assert not {name for name, _ in found} & {"filestead_batch_slack_seconds", "filestead_batch_deadline_seconds"}
