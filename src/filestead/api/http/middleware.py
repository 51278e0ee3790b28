"""The outermost layer of every request: request id, timing, common headers, error responses, log of failures."""

import asyncio
import logging
import re
from time import perf_counter
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from filestead.api.http.body import ClientDisconnected
from filestead.api.http.errors import SERVER_ERROR, ApiError, ErrorResponse, error_response_for
from filestead.api.http.requests import CLIENT_CLOSED, RequestObserver, ServedRequest, UnobservedRequests
from filestead.api.http.router import RoutingError
from filestead.api.http.routing_errors import routing_error_response
from filestead.domain.errors import DomainError
from filestead.domain.observation import current_span

log = logging.getLogger("filestead")

ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
PATHS_WITHOUT_DETAIL = (
    *("/v1/batches", "/v1/models", "/v1/chat/", "/v1/completions", "/v1/responses", "/v1/embeddings"),
    *("/v1/moderations", "/v1/audio/", "/v1/images/", "/v1/rerank", "/v1/score"),
)
"""Beginnings of paths whose errors have no member `detail`, as recorded."""
OPENAI_VERSION = b"2020-10-01"
WORD = re.compile("(?<!^)(?=[A-Z])")


class RequestMiddleware:
    """ASGI middleware around the router."""

    def __init__(self, app: ASGIApp, observer: RequestObserver | None = None) -> None:
        self._app = app
        self._observer = observer or UnobservedRequests()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; pass other scopes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if ENCODED_SLASH.search(scope["raw_path"]):
            # An encoded slash belongs to an id and must not become a separator.
            scope["path"] = unquote(ENCODED_SLASH.sub(b"%252F", scope["raw_path"]).decode())
        request = _Request(scope, receive, send, self._observer)
        try:
            await self._app(scope, request.receive, request.send)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:  # by a shutdown that does not wait any longer
            if request.status:
                raise  # a response that has begun is cut off
            await request.send_shutdown()
        except Exception as error:
            await request.send_error(error)
        finally:
            if not request.is_ended:
                if request.reason is None:
                    request.status = CLIENT_CLOSED
                request.end()
            request.release()


class _Request(ServedRequest):
    """A request whose response is sent here."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, observer: RequestObserver) -> None:
        super().__init__(scope, receive, observer)
        self._send = send
        # Not itself: the garbage collector would have to find the reference cycle of every request.
        scope.setdefault("state", {}).update(principal=None, request_id=self.id)
        current_span.set(self)

    def release(self) -> None:
        """Keep nothing but what is reported: the log may hold the request a little longer."""
        self._scope = self._receive = self._send = None  # type: ignore[assignment]

    async def send(self, message: Message) -> None:
        """Send a message of the response, with the common headers added."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.head_seconds = perf_counter() - self.started_at
            self.principal = self._scope["state"]["principal"]
            headers = [*message["headers"], *self._common_headers(message["status"])]
            for name, _ in message["headers"]:
                if name == b"cache-control":
                    break
            else:
                headers.append((b"cache-control", b"no-store"))  # responses name private files and become stale
            message["headers"] = headers
            await self._send(message)
            return
        await self._send(message)
        if self.method != "HEAD":
            self.sent += len(message.get("body", b""))
        if not message.get("more_body"):
            self.end()

    def _common_headers(self, status: int) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", self.id.encode()), (b"x-content-type-options", b"nosniff")]
        principal = self.principal
        if principal is not None:
            headers.append((b"openai-organization", _to_ascii(principal.organization_name)))
            headers.append((b"openai-project", principal.project_id.encode()))
        if status != 401:
            headers.append((b"openai-version", OPENAI_VERSION))
            headers.append((b"openai-processing-ms", str(int(self.head_seconds * 1000)).encode()))
        return headers

    def _log(self, error: Exception, status: int) -> None:
        """Log a server error: one line for a known failure, a traceback for an unexpected one."""
        if status < 500 or isinstance(error, ApiError):
            return
        line = f"{self.id} {self._scope['method']} {self._scope['path']!r:.200}: {status}"
        if isinstance(error, DomainError):
            log.error("%s, %s: %s", line, type(error).__name__, error)
        else:
            log.error("%s", line, exc_info=error)

    async def send_shutdown(self) -> None:
        """Send the response to a request that a shutdown has interrupted; nothing of it remains."""
        self.reason = "shutting_down"
        message = "The server is shutting down. Please try again."
        response = ErrorResponse(503, message, None, self.reason, SERVER_ERROR, {"retry-after": "1"})
        await response.to_response()(self._scope, self.receive, self.send)

    async def send_error(self, error: Exception) -> None:
        """Log an unhandled exception and send its error response."""
        if isinstance(error, RoutingError):
            response = routing_error_response(error, self._scope)
        else:
            response = error_response_for(error)
        self.reason = _reason(error, response)
        self._log(error, response.status)
        if self.status:
            self.status = response.status
            raise error  # the server closes the connection, so that a truncated body cannot pass for a complete one
        detail = not self._scope["path"].startswith(PATHS_WITHOUT_DETAIL)
        await response.to_response(detail=detail)(self._scope, self.receive, self.send)


def _reason(error: Exception, response: ErrorResponse) -> str:
    """The error code; without one, the name of the error of the domain (`file_not_found`), or the status."""
    if response.code is not None:
        return response.code
    if isinstance(error, DomainError):
        return WORD.sub("_", type(error).__name__).lower()
    return f"http_{response.status}"


def _to_ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")
