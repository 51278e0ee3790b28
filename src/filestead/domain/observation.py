"""What the parts of a server report of their work: durations and failures of calls, syncs, jobs, the circuit breaker.

The parts take an `Observer` in their constructors and know nothing of metrics. `RequestSpan` collects what belongs to
one request, for the line that is logged of it.
"""

from contextvars import ContextVar
from typing import Protocol


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


UNOBSERVED: Observer = Unobserved()


class RequestSpan:
    """Where the time of one request was spent, in seconds, and the trace that it belongs to."""

    database_seconds = 0.0
    blob_seconds = 0.0
    traceparent: str | None = None
    """For requests to other servers on behalf of this one (W3C Trace Context); None outside of a trace."""


current_span: ContextVar[RequestSpan | None] = ContextVar("current_span", default=None)
"""The span of the request that the current task serves; None in background tasks."""


def traceparent() -> str | None:
    """The header `traceparent` for a request to another server, on behalf of the current request."""
    span = current_span.get()
    return None if span is None else span.traceparent
