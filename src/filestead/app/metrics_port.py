"""The port for metrics: `GET /metrics` without a key, and nothing else."""

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from filestead.api.http.errors import ErrorResponse
from filestead.api.http.messages import Response
from filestead.api.service import METRICS_TYPE


class MetricsPort:
    """ASGI middleware: requests that arrive at `port` get metrics only; all others are passed on."""

    def __init__(self, app: ASGIApp, port: int, collect: Callable[[], Awaitable[bytes]]) -> None:
        self._app = app
        self._port = port
        self._collect = collect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or (scope.get("server") or (None, None))[1] != self._port:
            await self._app(scope, receive, send)
            return
        response = await self._respond(scope)
        await response(scope, receive, send)

    async def _respond(self, scope: Scope) -> Response:
        if scope["path"] != "/metrics":
            return ErrorResponse(404, "This port serves GET /metrics only.").to_response()
        if scope["method"] not in ("GET", "HEAD"):
            return ErrorResponse(405, "Only GET is supported.", headers={"allow": "GET, HEAD"}).to_response()
        return Response(await self._collect(), media_type=METRICS_TYPE)
