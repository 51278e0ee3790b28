"""What is known of one request while it is served, and who is informed of its beginning and end."""

import random
from time import perf_counter
from typing import Protocol

from starlette.types import Message, Receive

from filestead.domain.access import Principal
from filestead.domain.observation import RequestSpan

REQUEST = "request"
"""Where the state of a scope has the `ServedRequest`."""

NO_ROUTE = "none"
CLIENT_CLOSED = 499
"""Reported for a request whose client closed the connection before the response was complete; never sent."""


class RequestObserver(Protocol):
    """Receives what happens to requests. Called for every request, so it must be quick."""

    def started(self, request: "ServedRequest") -> None:
        """A request has arrived."""

    def transfer_started(self, direction: str) -> None:
        """The request is an `upload` or a `download`."""

    def ended(self, request: "ServedRequest") -> None:
        """The last byte of the response was sent, or the request has failed."""


class UnobservedRequests:
    """A `RequestObserver` that ignores everything."""

    def started(self, request: "ServedRequest") -> None:
        """Ignore it."""

    def transfer_started(self, direction: str) -> None:
        """Ignore it."""

    def ended(self, request: "ServedRequest") -> None:
        """Ignore it."""


def new_request_id() -> str:
    """Create a request id in the hosted format. It is no secret, so a fast random generator suffices."""
    return f"req_{random.getrandbits(128):032x}"


class ServedRequest(RequestSpan):
    """One request: who sent it, which operation it is, what was transferred, and how long it took (seconds).

    `reason` is the error code of an error response. Seconds are measured from the complete head of the request.
    """

    __slots__ = (
        "_observer", "_receive", "client_seconds", "head_seconds", "id", "is_ended", "method", "principal", "reason",
        "received", "route", "sent", "started_at", "status", "total_seconds", "transfer",
    )  # fmt: skip

    def __init__(self, method: str, receive: Receive, observer: RequestObserver) -> None:
        self.started_at = perf_counter()
        self.database_seconds = self.blob_seconds = self.client_seconds = self.head_seconds = self.total_seconds = 0.0
        self.received = self.sent = self.status = 0
        self.principal: Principal | None = None
        self.traceparent = self.transfer = self.reason = None  # type: str | None
        self.is_ended = False
        self.id = new_request_id()
        self.method = method
        self.route = NO_ROUTE
        self._receive = receive
        self._observer = observer
        observer.started(self)

    def match(self, route: str, transfer: str | None) -> None:
        """Record the template of the path that the request matches."""
        self.route = route
        if transfer is not None:
            self.transfer = transfer
            self._observer.transfer_started(transfer)

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
        self._observer.ended(self)
