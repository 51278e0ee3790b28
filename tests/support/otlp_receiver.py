"""A collector of OpenTelemetry on a free loopback port: it decodes the spans that it receives, and can refuse them."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.support import canaries


class Received(NamedTuple):
    """A span, with hexadecimal ids."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    trace_state: str
    status: int
    seconds: float
    attributes: dict[str, Any]
    resource: dict[str, Any]


class OtlpReceiver:
    """Spans arrive at `url`, encoded with protobuf."""

    def __init__(self, status: int = 200, *, discard: bool = False) -> None:
        """Answers with `status`; `discard` keeps nothing of what arrives."""
        self.spans: list[Received] = []
        self.paths: set[str] = set()
        self.headers: dict[str, str] = {}
        self.bodies: list[bytes] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.paths.add(self.path)
                owner.headers = {name.lower(): value for name, value in self.headers.items()}
                if not discard:
                    owner.bodies.append(body)
                    if status == 200:
                        owner.spans += _decode(body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def wait_for(self, name: str, count: int = 1) -> list[Received]:
        """The spans of this name, once so many have arrived."""
        until = time.monotonic() + 30
        while len(found := [span for span in self.spans if span.name == name]) < count:
            assert time.monotonic() < until, [span.name for span in self.spans]
            time.sleep(0.02)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        spans = b"\n".join(self.bodies).decode(errors="replace")
        canaries.assert_absent(spans, canaries.secrets_of_all(), what="a span")


def _decode(body: bytes) -> list[Received]:
    return [
        Received(
            span.name,
            span.kind,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.trace_state,
            span.status.code,
            (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
            _values(span.attributes),
            _values(group.resource.attributes),
        )
        for group in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    def value_of(value: AnyValue) -> Any:
        kind = value.WhichOneof("value")
        return None if kind is None else getattr(value, kind)

    pairs: list[KeyValue] = list(attributes)
    return {pair.key: value_of(pair.value) for pair in pairs}
