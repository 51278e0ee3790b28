"""What is known of one request while it is served, and who is informed of its beginning and end."""

import random
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

from starlette.types import Message, Receive, Scope

from filestead.api.http.trace_context import caller_span
from filestead.domain.access import Principal
from filestead.domain.observation import CallerSpan, RequestSpan, child_traceparent

OPERATION = "operation"
"""Where the state of a scope has the matched operation; missing if the path matches none."""

METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})
"""Methods that are reported by name."""

NO_ROUTE = "none"
CLIENT_CLOSED = 499
"""Reported for a request whose client closed the connection before the response was complete; never sent."""


class ExportedSpan(Protocol):
    """The span of one request that a tracing system receives."""

    @property
    def traceparent(self) -> str:
        """Its trace and its id, for requests to other servers."""

    def end(self, request: "ServedRequest") -> None:
        """The request has ended: export what is known of it."""


StartSpan = Callable[[str, CallerSpan | None], ExportedSpan]
"""Starts the span of a request with this method, below the span of its client."""


class RequestObserver(Protocol):
    """Receives what happens to requests. Called for every request, so it must be quick."""

    @property
    def start_span(self) -> StartSpan | None:
        """None if no spans are exported."""

    def transfer_started(self, direction: str) -> None:
        """The request is an `upload` or a `download`."""

    def ended(self, request: "ServedRequest") -> None:
        """The last byte of the response was sent, or the request has failed."""


class UnobservedRequests:
    """A `RequestObserver` that ignores everything."""

    start_span: StartSpan | None = None

    def transfer_started(self, direction: str) -> None:
        """Ignore it."""

    def ended(self, request: "ServedRequest") -> None:
        """Ignore it."""


def new_request_id() -> str:
    """Create a request id in the hosted format. It is no secret, so a fast random generator suffices."""
    return f"req_{random.getrandbits(128):032x}"


class ServedRequest(RequestSpan):
    """One request: who sent it, which operation it is, what was transferred, and how long it took (seconds).

    Seconds are measured from the complete head of the request. Most values are those of the class until they change:
    there is one such object for each request.
    """

    principal: Principal | None = None
    route = NO_ROUTE
    """The template of the path."""
    transfer: str | None = None
    """`upload` or `download`."""
    status = 0
    reason: str | None = None
    """The error code of an error response."""
    exported: ExportedSpan | None = None
    received = sent = 0
    client_seconds = head_seconds = total_seconds = 0.0
    is_ended = False

    def __init__(self, scope: Scope, receive: Receive, observer: RequestObserver) -> None:
        self.started_at = perf_counter()
        self.id = new_request_id()
        self.method: str = scope["method"]
        self._scope = scope
        self._receive = receive
        self._observer = observer
        caller = None
        for name, _ in scope["headers"]:
            if name == b"traceparent":
                caller = caller_span(scope["headers"])
                break
        if observer.start_span is not None:
            self.exported = observer.start_span(self.method, caller)
            self.traceparent = self.exported.traceparent
        elif caller is not None:
            self.traceparent = child_traceparent(caller)
        if caller is not None:
            self.tracestate = caller.state

    async def receive(self) -> Message:
        """Receive a message, and count the bytes of the body and the time that the client takes."""
        started = perf_counter()
        message = await self._receive()
        self.client_seconds += perf_counter() - started
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
        return message

    def end(self) -> None:
        """Report the end."""
        self.is_ended = True
        self.total_seconds = perf_counter() - self.started_at
        operation = self._scope["state"].get(OPERATION)
        if operation is not None:
            self.route = operation.path
            self.transfer = operation.transfer
        self._observer.ended(self)
