"""The span of each request, as the HTTP semantic conventions of OpenTelemetry describe a server span.

Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/. As in the log, there are no keys, paths, queries,
headers, addresses or names that a user has chosen, so `url.path` is left out.
"""

import threading

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from filestead import __version__
from filestead.api.http.requests import CLIENT_CLOSED, METHODS, NO_ROUTE, ServedRequest
from filestead.domain.observation import CallerSpan, format_traceparent

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
FLUSH_SECONDS = 3.0
"""The last spans are given up after this time, so that a collector that does not respond delays no shutdown."""


class RequestTracer:
    """Starts spans, and exports them in batches on a thread. Its settings are the standard variables `OTEL_*`."""

    def __init__(self) -> None:
        # The variables win over the attributes of the resource that are ours.
        attributes = {
            "service.name": "filestead",
            "service.version": __version__,
            **OTELResourceDetector().detect().attributes,
        }
        self._exporter = OTLPSpanExporter()
        self._provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("filestead", __version__, schema_url=SCHEMA)

    def start(self, method: str, caller: CallerSpan | None) -> "RequestSpanExport":
        """Start the span of a request; without a client's span it begins a trace."""
        context = Context()
        if caller is not None:
            parent = SpanContext(
                int(caller.trace_id, 16),
                int(caller.span_id, 16),
                is_remote=True,
                trace_flags=TraceFlags(caller.is_sampled),
                trace_state=TraceState.from_header([caller.state]),
            )
            context = trace.set_span_in_context(NonRecordingSpan(parent), context)
        attributes = {"http.request.method": method if method in METHODS else "_OTHER"}
        name = method if method in METHODS else "HTTP"
        return RequestSpanExport(self._tracer.start_span(name, context, SpanKind.SERVER, attributes), name)

    def close(self) -> None:
        """Export the last spans."""
        flushing = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)
        if flushing.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


class RequestSpanExport:
    """The span of one request."""

    __slots__ = ("_name", "_span", "traceparent")

    def __init__(self, span: trace.Span, name: str) -> None:
        self._span = span
        self._name = name
        own = span.get_span_context()
        self.traceparent = format_traceparent(
            trace.format_trace_id(own.trace_id),
            trace.format_span_id(own.span_id),
            is_sampled=own.trace_flags.sampled,
        )

    def end(self, request: ServedRequest) -> None:
        """Add what is known of the request, and export the span."""
        span = self._span
        if not span.is_recording():
            return
        span.set_attributes(_attributes(request))
        if request.route != NO_ROUTE:
            span.update_name(f"{self._name} {request.route}")
            span.set_attribute("http.route", request.route)
        if request.status == CLIENT_CLOSED:
            span.set_attribute("error.type", "client_closed")
        else:
            span.set_attribute("http.response.status_code", request.status)
        if request.status >= 500:
            span.set_attribute("error.type", request.reason or str(request.status))
        if request.status >= CLIENT_CLOSED:
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def _attributes(request: ServedRequest) -> dict[str, str | int | float]:
    """Everything but the route and the status."""
    found: dict[str, str | int | float] = {
        "http.request.body.size": request.received,
        "http.response.body.size": request.sent,
        "filestead.request_id": request.id,
        "filestead.head_seconds": request.head_seconds,
        "filestead.database_seconds": request.database_seconds,
        "filestead.blob_store_seconds": request.blob_seconds,
        "filestead.client_seconds": request.client_seconds,
    }
    if request.principal is not None:
        found["filestead.project_id"] = request.principal.project_id
        found["filestead.key_id"] = request.principal.key_id
    if request.reason is not None:
        found["filestead.reason"] = request.reason
    return found
