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
JOB_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


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
    "Duration of attempts at jobs by their outcome: `done`, `failed` (it is tried again), `dead` or `lost`. The rate "
    'of `filestead_job_seconds_count{kind="index",outcome="done"}` is the indexing rate.',
    "kind", "outcome", buckets=JOB_BUCKETS, max_series=48)
EVENT_LOOP_LAG_SECONDS = _histogram("event_loop_lag", "How late a timer of the event loop runs.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0))
LOG_LINES_DROPPED = _counter("log_lines_dropped", "Lines of requests that were not logged: the log was too slow.")

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
    "Background work": (JOB_SECONDS, EVENT_LOOP_LAG_SECONDS, LOG_LINES_DROPPED),
    "Server processes": (BUILD_INFO, WORKER_STARTS, WORKER_MEMORY, WORKER_CPU, DATABASE_UP),
    "The installation": (
        PROJECT_USED,
        PROJECT_RESERVED,
        PROJECT_QUOTA,
        SWEEP_BACKLOG,
        SWEEP_BACKLOG_AGE,
        JOBS,
        JOBS_OLDEST,
    ),
}
"""The headings of docs/metrics.md."""

METRICS: dict[str, Metric] = {metric.name: metric for metrics in SECTIONS.values() for metric in metrics}
