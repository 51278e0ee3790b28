"""Operations on the server itself: description, health, OpenAPI document, metrics."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from filestead import __version__, wire
from filestead.api.http.errors import SERVER_ERROR, ErrorResponse
from filestead.api.http.messages import Request, Response
from filestead.api.http.routing import JSON
from filestead.api.openapi import Schemas
from filestead.domain.access import Principal

ABOUT = wire.About(
    name="Filestead",
    version=__version__,
    description="The OpenAI Files API, self-hosted.",
    links={
        "files": "/v1/files",
        "openapi": "/openapi.json",
        "health": "/health",
        "api_reference": "https://platform.openai.com/docs/api-reference/files",
    },
)
METRICS_TYPE = "text/plain; version=0.0.4"
STATUS = b'{"status": "ok"}\n'

SCHEMAS: Schemas = {wire.About: {}, wire.PausedUpstream: {}}
STATUS_SCHEMA: dict[str, Any] = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}
READY_SCHEMA: dict[str, Any] = {
    **STATUS_SCHEMA,
    "properties": {
        "status": {"const": "ok"},
        "paused_upstreams": {"type": "array", "items": {"$ref": "#/components/schemas/PausedUpstream"}},
    },
}


@dataclass(frozen=True, slots=True)
class ServiceHandlers:
    """Handlers of the operations on the server."""

    find_unavailable_component: Callable[[], Awaitable[str | None]]
    """Returns the component without which uploads fail, or None."""
    build_openapi: Callable[[], bytes]
    find_paused_upstreams: Callable[[], Awaitable[list[wire.PausedUpstream]]]
    """Returns the model servers that receive no requests now, and why."""
    collect_metrics: Callable[[], Awaitable[bytes]]
    """Returns the metrics as Prometheus text."""

    async def about(self, request: Request) -> Response:
        """GET / and /v1: identify the server, for people and for tools that probe a base URL."""
        return Response(wire.encode(ABOUT), media_type=JSON)

    async def health(self, request: Request) -> Response:
        """GET /health: the process responds."""
        return Response(STATUS, media_type=JSON)

    async def ready(self, request: Request) -> Response:
        """GET /health/ready: uploads can be accepted. Model servers that are paused are named, but hinder none.

        The response is public, so it names only the component; the reason, which may contain addresses, is logged.
        """
        if (component := await self.find_unavailable_component()) is not None:
            message = f"Not ready: {component} is unavailable. See the log of the server for the reason."
            error = ErrorResponse(503, message, None, "not_ready", SERVER_ERROR, {"retry-after": "2"})
            return error.to_response()
        if paused := await self.find_paused_upstreams():
            return Response(wire.encode(wire.Readiness(status="ok", paused_upstreams=paused)), media_type=JSON)
        return Response(STATUS, media_type=JSON)

    async def metrics(self, request: Request, principal: Principal) -> Response:
        """GET /metrics."""
        return Response(await self.collect_metrics(), media_type=METRICS_TYPE)

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json."""
        return Response(self.build_openapi(), media_type=JSON)
