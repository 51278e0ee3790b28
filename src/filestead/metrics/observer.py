"""An `Observer` that records metrics, and adds up the time of calls in the span of the current request."""

import threading
from bisect import bisect_left

from filestead.domain.observation import current_span
from filestead.metrics import table
from filestead.metrics.recorder import Distribution, Recorder

_CALL_SUM = table.DATABASE_SECONDS.values - 1


class MetricsObserver:
    """See `Observer` for the contract."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._values = recorder.values
        self._database = {kind: recorder.position(table.DATABASE_SECONDS, kind) for kind in ("read", "write")}
        self._syncs = {
            kind: recorder.distribution(table.SYNC_SECONDS, kind) for kind in ("file", "directory", "commit")
        }
        self._sync_lock = threading.Lock()
        self._blob_store: dict[str, Distribution] = {}
        self._breaker = recorder.value(table.BREAKER_OPEN)
        self._unhealthy = recorder.value(table.BLOB_STORE_UNHEALTHY)

    def database_operation(self, kind: str, seconds: float, failure: str | None) -> None:
        """Record an operation on the database. Without further calls: nearly every request has one."""
        values, first = self._values, self._database[kind]
        values[first + bisect_left(table.CALL_BUCKETS, seconds)] += 1.0
        values[first + _CALL_SUM] += seconds
        if failure is not None:
            self._recorder.value(table.DATABASE_ERRORS, failure).add()
        span = current_span.get()
        if span is not None:
            span.database_seconds += seconds

    def blob_operation(self, kind: str, seconds: float, failure: str | None) -> None:
        """Record a call of the blob store."""
        series = self._blob_store.get(kind)
        if series is None:
            series = self._blob_store[kind] = self._recorder.distribution(table.BLOB_STORE_SECONDS, kind)
        series.observe(seconds)
        if failure is not None:
            self._recorder.value(table.BLOB_STORE_ERRORS, failure).add()
        span = current_span.get()
        if span is not None:
            span.blob_seconds += seconds

    def sync(self, kind: str, seconds: float) -> None:
        """Record a sync, of any thread."""
        with self._sync_lock:
            self._syncs[kind].observe(seconds)

    def breaker(self, *, is_open: bool) -> None:
        """Record the state of the circuit breaker."""
        self._breaker.set(float(is_open))

    def blob_store_health(self, *, healthy: bool) -> None:
        """Record whether uploads are accepted."""
        self._unhealthy.set(float(not healthy))

    def job_ended(self, kind: str, outcome: str, seconds: float) -> None:
        """Record an attempt at a job."""
        self._recorder.distribution(table.JOB_SECONDS, kind, outcome).observe(seconds)

    def file_indexed(self, size: int, *, failed: bool) -> None:
        """Record a file and its bytes."""
        outcome = "failed" if failed else "completed"
        self._recorder.value(table.INDEXED_FILES, outcome).add()
        self._recorder.value(table.INDEXED_BYTES, outcome).add(size)
