"""Reading a request's body against the clock: silent, trickling and vanished clients are told apart from busy disks."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from time import monotonic

from starlette.types import Receive

from filestead.api.http.errors import Answer, RequestError

STALLED = Answer(408, "The upload stalled: too few bytes arrived in time. Please try again.", None, "request_timeout")


class ClientGone(Exception):
    """The client closed the connection in the middle of its request; there is nobody left to answer."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What a client must keep up: no silence over `idle_seconds`, `min_rate` bytes a second in that time, an end."""

    idle_seconds: float
    min_rate: int
    total_seconds: float


async def read_body(receive: Receive, pace: Pace) -> AsyncGenerator[bytes]:
    """The chunks of the body. Only time spent waiting for the client counts, not time spent storing.

    Raises `RequestError` (408) for a client that is too slow and `ClientGone` for one that went away.
    """
    waited = 0.0
    total_waited = 0.0
    arrived = 0
    while True:
        started = monotonic()
        allowance = min(pace.idle_seconds, pace.total_seconds - total_waited)
        try:
            async with asyncio.timeout(allowance):
                message = await receive()
        except TimeoutError:
            raise RequestError(STALLED) from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        took = monotonic() - started
        waited += took
        total_waited += took
        arrived += len(chunk)
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return
        if waited >= pace.idle_seconds:
            if arrived < pace.min_rate * waited:
                raise RequestError(STALLED)
            waited, arrived = 0.0, 0
