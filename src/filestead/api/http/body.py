"""Request bodies read under time limits: slow and disconnected clients are detected, slow disks are not counted."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from time import monotonic

from starlette.types import Receive

from filestead.api.http.errors import ApiError, ErrorResponse

BODY_TIMEOUT = ErrorResponse(
    408, "The upload stalled: too few bytes arrived in time. Please try again.", None, "request_timeout"
)


class ClientDisconnected(Exception):
    """The client closed the connection before its request was complete, so no response can be sent."""


@dataclass(frozen=True, slots=True)
class BodyReadLimits:
    """Limits on a client that sends a body: its longest pause, minimum rate (bytes a second) and total waiting time."""

    idle_seconds: float
    min_rate: int
    total_seconds: float


async def read_body(receive: Receive, limits: BodyReadLimits) -> AsyncGenerator[bytes]:
    """Yield the chunks of the body. Only time spent waiting for the client counts, not time spent storing.

    Raises `ApiError` (408) if the client is too slow and `ClientDisconnected` if it closes the connection.
    """
    waited = 0.0
    total_waited = 0.0
    received = 0
    while True:
        started = monotonic()
        timeout = min(limits.idle_seconds, limits.total_seconds - total_waited)
        try:
            async with asyncio.timeout(timeout):
                message = await receive()
        except TimeoutError:
            raise ApiError(BODY_TIMEOUT) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        chunk = message.get("body", b"")
        elapsed = monotonic() - started
        waited += elapsed
        total_waited += elapsed
        received += len(chunk)
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return
        if waited >= limits.idle_seconds:
            if received < limits.min_rate * waited:
                raise ApiError(BODY_TIMEOUT)
            waited, received = 0.0, 0
