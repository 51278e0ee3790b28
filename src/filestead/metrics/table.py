"""The one table of metrics. docs/metrics.md, the exposition, and the tests of alerts and dashboard are made from it.

A new part of the product adds its rows here, and whoever reports the values passes an observer in (see
`domain/observation.py`). Values that are rows of the database are `Source.DATABASE`: add them to `domain/figures.py`
and to `exposition.py`.
"""

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "filestead_"

OTHER = "other"
"""The value of every label of the series that collects what exceeds `max_series`."""

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)
CALL_BUCKETS = (0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)
UPSTREAM_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
JOB_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


MAX_LANES = 64
"""Combinations of an endpoint and a model that are named."""


class Kind(StrEnum):
    """Types of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Source(StrEnum):
    """Where a value is."""

    PROCESS = "process"
    """In the memory that the server processes of a machine share; the exposition merges them."""
    MACHINE = "machine"
    """About the server processes of this machine, read when the metrics are requested."""
    DATABASE = "database"
    """In the database: the same on all nodes of an installation, so aggregate it with `max`, not with `sum`."""


class Merge(StrEnum):
    """How the values of a gauge in several processes become one."""

    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `max_series` bounds the combinations of its labels in one process."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    source: Source = Source.PROCESS
    merge: Merge = Merge.SUM
    max_series: int = 1

    @property
    def values(self) -> int:
        """The number of values of one series: of a histogram each bucket, the one above them all, and the sum."""
        return len(self.buckets) + 2 if self.kind is Kind.HISTOGRAM else 1


def _counter(name: str, text: str, *labels: str, max_series: int = 1, source: Source = Source.PROCESS) -> Metric:
    return Metric(f"{PREFIX}{name}_total", Kind.COUNTER, text, labels, source=source, max_series=max_series)


def _gauge(
    name: str,
    text: str,
    *labels: str,
    max_series: int = 1,
    source: Source = Source.PROCESS,
    merge: Merge = Merge.SUM,
) -> Metric:
    return Metric(PREFIX + name, Kind.GAUGE, text, labels, source=source, merge=merge, max_series=max_series)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...], max_series: int = 1) -> Metric:
    return Metric(f"{PREFIX}{name}_seconds", Kind.HISTOGRAM, text, labels, buckets, max_series=max_series)


_MACHINE, _DATABASE = Source.MACHINE, Source.DATABASE

# fmt: off
# Requests
REQUESTS = _counter("requests", "Requests that have ended. Status 499: the client closed the connection first.",
    "method", "route", "status", max_series=1200)
REQUEST_SECONDS = _histogram("request", "Duration of requests, from the head to the last byte of the response.",
    "method", "route", buckets=REQUEST_BUCKETS, max_series=240)
RECEIVED_BYTES = _counter("received_bytes", "Bytes of request bodies.", "route", max_series=120)
SENT_BYTES = _counter("sent_bytes", "Bytes of response bodies.", "route", max_series=120)
TRANSFERS_IN_FLIGHT = _gauge("transfers_in_flight", "Uploads and downloads in progress, by `direction`.",
    "direction", max_series=4)
REFUSALS = _counter("refusals",
    "Error responses, by the error code; where a response has none, by the name of the error or its status.",
    "reason", max_series=150)
REJECTED_REQUESTS = _counter("rejected_requests",
    "Requests that were rejected before routing: malformed, too slow, or on one connection too many.",
    "status", max_series=20)

# Storage
DATABASE_SECONDS = _histogram("database", "Duration of operations on the database, the time in queues included.",
    "operation", buckets=CALL_BUCKETS, max_series=4)
DATABASE_ERRORS = _counter("database_errors", "Operations on the database that failed for a technical reason.",
    "error", max_series=16)
BLOB_STORE_SECONDS = _histogram("blob_store",
    "Duration of calls of the blob store, without the time that they wait for the client.",
    "operation", buckets=CALL_BUCKETS, max_series=12)
BLOB_STORE_ERRORS = _counter("blob_store_errors", "Calls of the blob store that failed.", "error", max_series=16)
BREAKER_OPEN = _gauge("blob_store_breaker_open",
    "1 while calls of the object store fail at once, because it did not respond.", merge=Merge.MAX)
BLOB_STORE_UNHEALTHY = _gauge("blob_store_unhealthy",
    "1 after a failed write, until a write succeeds; uploads are rejected meanwhile.", merge=Merge.MAX)
SYNC_SECONDS = _histogram("sync", "Duration of syncs to the local disk: of a `file`, a `directory`, or a `commit`.",
    "kind", buckets=CALL_BUCKETS, max_series=4)

# Background work
JOB_SECONDS = _histogram("job",
    "Duration of attempts at jobs by their outcome: `done`, `failed` (it is tried again), `dead` or `lost`.",
    "kind", "outcome", buckets=JOB_BUCKETS, max_series=48)
INDEXED_FILES = _counter("indexed_files",
    "Files of vector stores whose index is `completed` or `failed`, by `outcome`; the rate is the indexing rate.",
    "outcome", max_series=2)
INDEXED_BYTES = _counter("indexed_bytes", "Bytes of those files.", "outcome", max_series=2)
EVENT_LOOP_LAG_SECONDS = _histogram("event_loop_lag", "How late a timer of the event loop runs.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0))
LOG_LINES_DROPPED = _counter("log_lines_dropped", "Lines of requests that were not logged: the log was too slow.")

# Batches: what this server does
BATCH_LINES = _counter("batch_lines",
    "Lines whose results were stored: `completed`, `failed`, `cancelled` or `expired`.", "outcome", max_series=4)
BATCH_RETRIES = _counter("batch_retries",
    "Lines that were sent again, by what came of the request before (as `outcome` of the requests).",
    "cause", max_series=8)
BATCHES_ENDED = _counter("batches_ended", "Batches that have ended, by their last status.", "status", max_series=4)
BATCH_COMMIT_SECONDS = _histogram("batch_commit",
    "Duration of commits of results, each of a group of lines; of those that succeed.", buckets=CALL_BUCKETS)
BATCH_RESULTS_WAITING = _gauge("batch_results_waiting", "Results of lines that are not stored yet.")
BATCH_RESULTS_WAITING_BYTES = _gauge("batch_results_waiting_bytes", "The bytes of those results.")
BATCHES_PAUSED = _gauge("batches_paused", "Batches that send no lines, because their results cannot be stored now: "
    "the quota is used up, or the database does not respond.")
UPSTREAM_SECONDS = _histogram("upstream_request",
    "Duration of requests to model servers: `ok`; `final` (another 4xx); `retry` (5xx, or a broken connection); "
    "`timeout`; `busy` (429, 503, 529); `unreachable`; `refused` (the key or the model). `model` is `other` until a "
    "request for it has succeeded.",
    "upstream", "model", "outcome", buckets=UPSTREAM_BUCKETS, max_series=7 * MAX_LANES)
UPSTREAM_INPUT_TOKENS = _counter("upstream_input_tokens", "Tokens of prompts that model servers have processed or had "
    "cached, as their responses report them.", "upstream", "model", max_series=MAX_LANES)
UPSTREAM_CACHED_TOKENS = _counter("upstream_cached_tokens", "Those of them that were in the prefix cache.",
    "upstream", "model", max_series=MAX_LANES)
UPSTREAM_OUTPUT_TOKENS = _counter("upstream_output_tokens",
    "Tokens that model servers have generated; the rate is the goodput.", "upstream", "model", max_series=MAX_LANES)
UPSTREAM_IN_FLIGHT = _gauge("upstream_in_flight", "Lines in flight.", "upstream", "model", max_series=MAX_LANES)
UPSTREAM_LIMIT = _gauge("upstream_limit", "Lines that may be in flight now; the number follows what the model server "
    "handles well. Each process has a limit of its own; this is their sum.", "upstream", "model", max_series=MAX_LANES)
UPSTREAM_BREAKER_OPEN = _gauge("upstream_breaker_open",
    "1 while no requests are sent to a model server, because it cannot be reached.",
    "upstream", merge=Merge.MAX, max_series=MAX_LANES)
UPSTREAM_PAUSED_MODELS = _gauge("upstream_paused_models",
    "Models for which no requests are sent to a model server, because it refuses the key or the model.",
    "upstream", merge=Merge.MAX, max_series=MAX_LANES)
UPSTREAM_CHAT_TTFT = _gauge("upstream_chat_ttft_p95_seconds",
    "95th percentile of the time to first token of interactive requests and probes of the last minute, where batches "
    "have a target for it (`chat_ttft_p95`).", "upstream", merge=Merge.MAX, max_series=MAX_LANES)
UPSTREAM_CHAT_PROBES = _counter("upstream_chat_probes",
    "Chats of one token that measure the time to first token while a batch runs and nobody else chats: `ok`, "
    "`timeout`, `failed` or `refused` (the model takes no chats).", "upstream", "outcome", max_series=4 * MAX_LANES)
FORWARDED_SECONDS = _histogram("forwarded_request",
    "Duration from a request that is passed on to a model server until the head of its response, by the class of the "
    "status (`2xx`, `4xx` and so on); or until it was given up: `timeout`, `unreachable`.",
    "upstream", "outcome", buckets=UPSTREAM_BUCKETS, max_series=6 * MAX_LANES)
FORWARDED_IN_FLIGHT = _gauge("forwarded_requests_in_flight",
    "Requests that are passed on and whose response is not complete.", "upstream", max_series=MAX_LANES)
WEBHOOK_DELIVERIES = _counter("webhook_deliveries",
    "Attempts to deliver events to the webhook: `delivered`, `status` (a response other than 2xx), `unreachable`, "
    "`timeout` or `refused` (by the rules for addresses); and events that were `given_up`.",
    "outcome", max_series=8)

# Server processes of this machine
BUILD_INFO = _gauge("build_info", "Always 1; the labels are the version, and what runs.",
    "version", "python", "installation", "role", source=_MACHINE)
WORKER_STARTS = _counter("worker_starts", "Starts of each server process; more than 1 means that it died.",
    "worker", source=_MACHINE, max_series=64)
WORKER_MEMORY = _gauge("worker_memory_bytes", "Resident memory of each server process.",
    "worker", source=_MACHINE, max_series=64)
WORKER_CPU = _counter("worker_cpu_seconds", "Processor time of each server process; restarts with the process.",
    "worker", source=_MACHINE, max_series=64)

# The installation
DATABASE_UP = _gauge("database_up", "1 if the figures of the installation could be read; without them, those below "
    "are missing.", source=_MACHINE)
PROJECT_USED = _gauge("project_used_bytes",
    "Bytes of the files and indexes of the largest projects; all others are in `other`.",
    "project", source=_DATABASE, max_series=101)
PROJECT_RESERVED = _gauge("project_reserved_bytes", "Bytes that uploads in progress have reserved.",
    "project", source=_DATABASE, max_series=101)
PROJECT_QUOTA = _gauge("project_quota_bytes", "The quota of each project; 0 means no limit.", source=_DATABASE)
SWEEP_BACKLOG = _gauge("sweep_backlog", "Blobs and expired files that the sweep can delete; at most 100,000 are "
    "counted.", "kind", source=_DATABASE, max_series=2)
SWEEP_BACKLOG_AGE = _gauge("sweep_backlog_age_seconds", "Seconds since the oldest of them could be deleted.",
    "kind", source=_DATABASE, max_series=2)
JOBS = _gauge("jobs", "Jobs by state: `due`, `delayed` (after a failure), `running` or `dead`; at most 100,000 are "
    "counted.", "kind", "state", source=_DATABASE, max_series=40)
JOBS_OLDEST = _gauge("jobs_oldest_seconds", "Seconds since the oldest of them was created; of dead ones, since the "
    "first died.", "kind", "state", source=_DATABASE, max_series=40)
UPLOADS_PENDING = _gauge("uploads_pending", "Uploads in parts that are neither completed nor cancelled; at most "
    "100,000 are counted. Their parts are requests of the route `/v1/uploads/{upload_id}/parts`.", source=_DATABASE)
BATCHES = _gauge("batches", "Batches that have not ended, by status: `validating` (those that wait included), "
    "`in_progress`, `finalizing` or `cancelling`; at most 100,000 are counted.",
    "status", source=_DATABASE, max_series=4)
BATCHES_OLDEST = _gauge("batches_oldest_seconds",
    "Seconds since the first of them got this status; of `validating`, how long the oldest batch waits.",
    "status", source=_DATABASE, max_series=4)
BATCH_LINES_LEFT = _gauge("batch_lines_left", "Lines without a result of the batches in progress.", source=_DATABASE)
BATCH_DEADLINE = _gauge("batch_deadline_seconds", "Seconds to the nearest deadline of a batch that is validated or in "
    "progress; negative if it has passed. Missing without such batches.", source=_DATABASE)
BATCH_REMAINING = _gauge("batch_remaining_seconds",
    "Seconds that the slowest batch in progress takes at its present pace. Missing while none has a pace.",
    source=_DATABASE)
BATCH_SLACK = _gauge("batch_slack_seconds", "Seconds by which the tightest batch in progress ends before its deadline "
    "at its present pace; negative if it will not be in time. Missing while none has a pace.", source=_DATABASE)
# fmt: on

SECTIONS: dict[str, tuple[Metric, ...]] = {
    "Requests": (
        REQUESTS,
        REQUEST_SECONDS,
        RECEIVED_BYTES,
        SENT_BYTES,
        TRANSFERS_IN_FLIGHT,
        REFUSALS,
        REJECTED_REQUESTS,
    ),
    "Storage": (
        DATABASE_SECONDS,
        DATABASE_ERRORS,
        BLOB_STORE_SECONDS,
        BLOB_STORE_ERRORS,
        BREAKER_OPEN,
        BLOB_STORE_UNHEALTHY,
        SYNC_SECONDS,
    ),
    "Background work": (JOB_SECONDS, INDEXED_FILES, INDEXED_BYTES, EVENT_LOOP_LAG_SECONDS, LOG_LINES_DROPPED),
    "Batches": (
        BATCH_LINES,
        BATCH_RETRIES,
        BATCHES_ENDED,
        BATCH_COMMIT_SECONDS,
        BATCH_RESULTS_WAITING,
        BATCH_RESULTS_WAITING_BYTES,
        BATCHES_PAUSED,
        UPSTREAM_SECONDS,
        UPSTREAM_INPUT_TOKENS,
        UPSTREAM_CACHED_TOKENS,
        UPSTREAM_OUTPUT_TOKENS,
        UPSTREAM_IN_FLIGHT,
        UPSTREAM_LIMIT,
        UPSTREAM_BREAKER_OPEN,
        UPSTREAM_PAUSED_MODELS,
        UPSTREAM_CHAT_TTFT,
        UPSTREAM_CHAT_PROBES,
        FORWARDED_SECONDS,
        FORWARDED_IN_FLIGHT,
        WEBHOOK_DELIVERIES,
    ),
    "Server processes": (BUILD_INFO, WORKER_STARTS, WORKER_MEMORY, WORKER_CPU, DATABASE_UP),
    "The installation": (
        PROJECT_USED,
        PROJECT_RESERVED,
        PROJECT_QUOTA,
        SWEEP_BACKLOG,
        SWEEP_BACKLOG_AGE,
        JOBS,
        JOBS_OLDEST,
        UPLOADS_PENDING,
        BATCHES,
        BATCHES_OLDEST,
        BATCH_LINES_LEFT,
        BATCH_DEADLINE,
        BATCH_REMAINING,
        BATCH_SLACK,
    ),
}
"""The headings of docs/metrics.md."""

METRICS: dict[str, Metric] = {metric.name: metric for metrics in SECTIONS.values() for metric in metrics}
