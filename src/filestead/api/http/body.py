"""Request bodies read under time limits: slow and disconnected clients are detected, slow disks are not counted."""

import asyncio
import types
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import Any, cast

from starlette.types import Message, Receive

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


async def _receive_in_time(receive: Receive, seconds: float) -> Message:
    """Receive a message. Raises `TimeoutError`.

    Most messages are there already: a time limit is only set if there is something to wait for, since its timer costs
    more than all the rest.
    """
    waiting = cast(Coroutine[Any, Any, Message], receive())
    try:
        future = waiting.send(None)
    except StopIteration as received:
        message: Message = received.value
        return message
    async with asyncio.timeout(seconds):
        return await _resume(waiting, future)


@types.coroutine
def _resume(waiting: Coroutine[Any, Any, Message], future: Any) -> Generator[Any, Any, Message]:
    """Go on with a coroutine that was started and waits for a future."""
    try:
        while True:
            try:
                result = yield future
            except BaseException as error:
                future = waiting.throw(error)
            else:
                future = waiting.send(result)
    except StopIteration as received:
        message: Message = received.value
        return message


async def read_body(receive: Receive, limits: BodyReadLimits, first: Message | None = None) -> AsyncGenerator[bytes]:
    """Yield the chunks of the body. Only time spent waiting for the client counts, not time spent storing.

    `first` is a message that was received before. Raises `ApiError` (408) if the client is too slow and
    `ClientDisconnected` if it closes the connection.
    """
    waited = 0.0
    total_waited = 0.0
    received = 0
    while True:
        started = monotonic()
        timeout = min(limits.idle_seconds, limits.total_seconds - total_waited)
        try:
            message = first or await _receive_in_time(receive, timeout)
        except TimeoutError:
            raise ApiError(BODY_TIMEOUT) from None
        first = None
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


async def read_whole_body(receive: Receive, limits: BodyReadLimits, take: Callable[[int], None]) -> bytes:
    """Read the body; `take` is called with the size of each chunk and may raise. Raises what `read_body` raises."""
    try:
        first = await _receive_in_time(receive, limits.idle_seconds)
    except TimeoutError:
        raise ApiError(BODY_TIMEOUT) from None
    if first["type"] == "http.request" and not first.get("more_body", False):  # most are short
        body: bytes = first.get("body", b"")
        take(len(body))
        return body
    chunks: list[bytes] = []
    async with aclosing(read_body(receive, limits, first)) as following:
        async for chunk in following:
            take(len(chunk))
            chunks.append(chunk)
    return b"".join(chunks)
