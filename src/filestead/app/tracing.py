"""Whether this process exports a span for each request to an OpenTelemetry collector: the environment says so.

The variables are those that every OpenTelemetry SDK reads. Nothing of OpenTelemetry is imported unless they name a
collector.
"""

import importlib.util
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filestead.app.spans import RequestTracer

log = logging.getLogger("filestead")

EXPORTER = "opentelemetry.exporter"
"""The package that the extra `otel` installs beside the API and the SDK."""

PROTOCOL = "http/protobuf"


def open_tracer(environment: Mapping[str, str]) -> "RequestTracer | None":
    """Return what exports spans, or None if no collector is configured, or cannot be used; the reason is logged."""

    def configured(name: str) -> str | None:
        """What is set for traces, or else for all signals."""
        return environment.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or environment.get(f"OTEL_EXPORTER_OTLP_{name}")

    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if not configured("ENDPOINT") or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if exporter == "none":
        return None
    protocol = configured("PROTOCOL") or PROTOCOL
    if exporter != "otlp" or protocol != PROTOCOL:
        log.warning(
            "no spans are exported: only OTLP with the protocol %s is, not %s, %s", PROTOCOL, exporter, protocol
        )
        return None
    if not _is_installed():
        log.warning("no spans are exported: pip install 'filestead[otel]', or unset OTEL_EXPORTER_OTLP_ENDPOINT")
        return None
    from filestead.app.spans import RequestTracer  # noqa: PLC0415

    return RequestTracer()


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec(EXPORTER) is not None
    except ModuleNotFoundError:
        return False
