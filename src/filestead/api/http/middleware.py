"""The outermost layer of every request: request id, timing, common headers, error responses, log of failures."""

import logging
import random
import re
from time import perf_counter
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from filestead.api.http.body import ClientDisconnected
from filestead.api.http.errors import ApiError, error_response_for
from filestead.api.http.routing_errors import routing_error_response
from filestead.domain.access import Principal
from filestead.domain.errors import DomainError

log = logging.getLogger("filestead")

ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
PATHS_WITHOUT_DETAIL = (
    *("/v1/batches", "/v1/models", "/v1/chat/", "/v1/completions", "/v1/responses", "/v1/embeddings"),
    *("/v1/moderations", "/v1/audio/", "/v1/images/", "/v1/rerank", "/v1/score"),
)
"""Beginnings of paths whose errors have no member `detail`, as recorded."""
OPENAI_VERSION = b"2020-10-01"


def new_request_id() -> str:
    """Create a request id in the hosted format. It is no secret, so a fast random generator suffices."""
    return f"req_{random.getrandbits(128):032x}"


class RequestMiddleware:
    """ASGI middleware around the router."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; pass other scopes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["app"] = self  # makes the router raise for an unknown path, instead of sending a plain-text response
        if ENCODED_SLASH.search(scope["raw_path"]):
            # An encoded slash belongs to an id and must not become a separator.
            scope["path"] = unquote(ENCODED_SLASH.sub(b"%252F", scope["raw_path"]).decode())
        context = _RequestContext(scope, receive, send)
        try:
            await self._app(scope, receive, context.send)
        except ClientDisconnected:
            pass
        except Exception as error:
            await context.send_error(error)


class _RequestContext:
    """The state of one request: its id, its start and whether its response has begun."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._started_at = perf_counter()
        self._request_id = new_request_id()
        self._response_started = False
        scope.setdefault("state", {})["principal"] = None

    async def send(self, message: Message) -> None:
        """Send a message of the response, with the common headers added."""
        if message["type"] == "http.response.start":
            self._response_started = True
            headers = [*message["headers"], *self._common_headers(message["status"])]
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))  # responses name private files and become stale
            message = {**message, "headers": headers}
        await self._send(message)

    def _common_headers(self, status: int) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", self._request_id.encode()), (b"x-content-type-options", b"nosniff")]
        principal: Principal | None = self._scope["state"]["principal"]
        if principal is not None:
            headers.append((b"openai-organization", _to_ascii(principal.organization_name)))
            headers.append((b"openai-project", principal.project_id.encode()))
        if status != 401:
            elapsed_ms = int((perf_counter() - self._started_at) * 1000)
            headers.append((b"openai-version", OPENAI_VERSION))
            headers.append((b"openai-processing-ms", str(elapsed_ms).encode()))
        return headers

    def _log(self, error: Exception, status: int) -> None:
        """Log a server error: one line for a known failure, a traceback for an unexpected one."""
        if status < 500 or isinstance(error, ApiError):
            return
        line = f"{self._request_id} {self._scope['method']} {self._scope['path']!r:.200}: {status}"
        if isinstance(error, DomainError):
            log.error("%s, %s: %s", line, type(error).__name__, error)
        else:
            log.error("%s", line, exc_info=error)

    async def send_error(self, error: Exception) -> None:
        """Log an unhandled exception and send its error response."""
        if isinstance(error, HTTPException):
            response = routing_error_response(error, self._scope)
        else:
            response = error_response_for(error)
        self._log(error, response.status)
        if self._response_started:
            raise error  # the server closes the connection, so that a truncated body cannot pass for a complete one
        detail = not self._scope["path"].startswith(PATHS_WITHOUT_DETAIL)
        await response.to_response(detail=detail)(self._scope, self._receive, self.send)


def _to_ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")
