"""What surrounds every request: request id, timing, common headers, last-resort errors."""

import logging
import random
import re
from time import perf_counter
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from filestead.api.http.body import ClientGone
from filestead.api.http.errors import RequestError, answer_for
from filestead.api.http.unrouted import unrouted
from filestead.domain.access import Principal
from filestead.domain.errors import FilesteadError

log = logging.getLogger("filestead")

ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
OPENAI_VERSION = b"2020-10-01"


def new_request_id() -> str:
    """A request id as the hosted service makes them. It names and need not hide, so no system call is spent on it."""
    return f"req_{random.getrandbits(128):032x}"


class Front:
    """The outermost ASGI layer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or pass the lifespan on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["app"] = self  # the router then raises for what it cannot route, instead of answering in plain text
        if ENCODED_SLASH.search(scope["raw_path"]):
            # An encoded slash is part of an id and must not become a separator.
            scope["path"] = unquote(ENCODED_SLASH.sub(b"%252F", scope["raw_path"]).decode())
        exchange = _Exchange(scope, receive, send)
        try:
            await self._app(scope, receive, exchange.send)
        except ClientGone:
            pass
        except Exception as error:
            await exchange.fail(error)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._began = perf_counter()
        self._request_id = new_request_id()
        self._answered = False
        scope.setdefault("state", {})["principal"] = None

    async def send(self, message: Message) -> None:
        """As the server's, adding the common headers."""
        if message["type"] == "http.response.start":
            self._answered = True
            headers = [*message["headers"], *self._headers(message["status"])]
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))  # files come and go, and names are private
            message = {**message, "headers": headers}
        await self._send(message)

    def _headers(self, status: int) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", self._request_id.encode()), (b"x-content-type-options", b"nosniff")]
        principal: Principal | None = self._scope["state"]["principal"]
        if principal is not None:
            headers.append((b"openai-organization", _latin(principal.organization_name)))
            headers.append((b"openai-project", principal.project_id.encode()))
        if status != 401:
            took = int((perf_counter() - self._began) * 1000)
            headers.append((b"openai-version", OPENAI_VERSION))
            headers.append((b"openai-processing-ms", str(took).encode()))
        return headers

    def _log(self, error: Exception, status: int) -> None:
        """A failure that we know is a line, one that we do not know comes with its traceback."""
        if status < 500 or isinstance(error, RequestError):
            return
        line = f"{self._request_id} {self._scope['method']} {self._scope['path']!r:.200}: {status}"
        if isinstance(error, FilesteadError):
            log.error("%s, %s: %s", line, type(error).__name__, error)
        else:
            log.error("%s", line, exc_info=error)

    async def fail(self, error: Exception) -> None:
        """Answer a failure that nothing below has answered."""
        answer = unrouted(error, self._scope) if isinstance(error, HTTPException) else answer_for(error)
        self._log(error, answer.status)
        if self._answered:
            raise error  # the server cuts the connection, so that a short body cannot pass for a whole one
        await answer.response()(self._scope, self._receive, self.send)


def _latin(text: str) -> bytes:
    return text.encode("ascii", "replace")
