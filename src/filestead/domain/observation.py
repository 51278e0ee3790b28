"""What the parts of a server report of their work: durations and failures of calls, syncs, jobs, the circuit breaker.

The parts take an `Observer` in their constructors and know nothing of metrics. `RequestSpan` collects what belongs to
one request, for the line that is logged of it.
"""

import random
from contextvars import ContextVar
from typing import NamedTuple, Protocol


class Observer(Protocol):
    """Receives what happens. Every method returns at once and never raises; all durations are seconds."""

    def database_operation(self, kind: str, seconds: float, failure: str | None) -> None:
        """An operation (`read` or `write`) has ended, its time in queues included; `failure` names the error."""

    def blob_operation(self, kind: str, seconds: float, failure: str | None) -> None:
        """A call of the blob store (`put`, `read`, `delete`, `probe`) has ended, without the time of its client."""

    def sync(self, kind: str, seconds: float) -> None:
        """A `file`, `directory` or `commit` was synced. May be called from any thread."""

    def breaker(self, *, is_open: bool) -> None:
        """The circuit breaker of the blob store has opened or closed."""

    def blob_store_health(self, *, healthy: bool) -> None:
        """Uploads are accepted, or rejected after a failed write."""

    def job_ended(self, kind: str, outcome: str, seconds: float) -> None:
        """An attempt at a job has ended: `done`, `failed` (it is retried), `dead` or `lost`."""

    def file_indexed(self, size: int, *, failed: bool) -> None:
        """The index of a file of `size` bytes is complete, or it cannot be indexed."""


class Unobserved:
    """An `Observer` that ignores everything, for commands and tests."""

    def database_operation(self, kind: str, seconds: float, failure: str | None) -> None:
        """Ignore it."""

    def blob_operation(self, kind: str, seconds: float, failure: str | None) -> None:
        """Ignore it."""

    def sync(self, kind: str, seconds: float) -> None:
        """Ignore it."""

    def breaker(self, *, is_open: bool) -> None:
        """Ignore it."""

    def blob_store_health(self, *, healthy: bool) -> None:
        """Ignore it."""

    def job_ended(self, kind: str, outcome: str, seconds: float) -> None:
        """Ignore it."""

    def file_indexed(self, size: int, *, failed: bool) -> None:
        """Ignore it."""


UNOBSERVED: Observer = Unobserved()


class CallerSpan(NamedTuple):
    """The span of a client that a request belongs to (W3C Trace Context)."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    is_sampled: bool
    state: str
    """The header `tracestate`, which vendors of tracing systems use; may be empty."""


class RequestSpan:
    """Where the time of one request was spent, in seconds, and the trace that it belongs to."""

    database_seconds = 0.0
    blob_seconds = 0.0
    traceparent: str | None = None
    """The trace and the span of this request itself, which requests to other servers name as their parent; None outside
    of a trace."""
    tracestate = ""
    """What the client has sent with its `traceparent`."""


current_span: ContextVar[RequestSpan | None] = ContextVar("current_span", default=None)
"""The span of the request that the current task serves; None in background tasks."""


def format_traceparent(trace_id: str, span_id: str, *, is_sampled: bool) -> str:
    """Format the header `traceparent`."""
    return f"00-{trace_id}-{span_id}-{is_sampled:02x}"


def child_traceparent(caller: CallerSpan) -> str:
    """Return the `traceparent` of a new span below that of a client."""
    return format_traceparent(caller.trace_id, f"{random.getrandbits(64) or 1:016x}", is_sampled=caller.is_sampled)


def trace_headers() -> dict[str, str]:
    """The headers of a request to another server on behalf of the current request; empty outside of a trace."""
    span = current_span.get()
    if span is None or span.traceparent is None:
        return {}
    headers = {"traceparent": span.traceparent}
    if span.tracestate:
        headers["tracestate"] = span.tracestate
    return headers
