"""A response of a model server on its way to the client: each part leaves when it arrives.

If the client goes away, the request to the model server is cancelled, whatever it is waiting for.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from filestead.api.forwarding.headers import for_client
from filestead.api.http.body import ClientDisconnected
from filestead.api.http.messages import Response
from filestead.domain.forwarding.interfaces import ForwardedResponse

HEAD_BYTES = 8 * 1024
"""Of a response in which its id is looked for."""
UNWATCHED_SECONDS = 0.02
"""Most exchanges end before anybody needs to look whether the client is still there; at most twice as long."""
WHOLE_BYTES = 64 * 1024
"""Responses up to this size are sent when they are complete, so that a broken one becomes an error response."""
_RESPONSE_ID = re.compile(rb'"id"\s*:\s*"(resp_[A-Za-z0-9_=-]{1,1000})"')

Open = Callable[[], Awaitable[ForwardedResponse]]
NoteId = Callable[[str], None]


class Relay(Response):
    """Opens the exchange with the model server and passes its response on."""

    def __init__(
        self,
        open_response: Open,
        departures: "Departures",
        body_read: asyncio.Event,
        ended: Callable[[], None],
        note_id: NoteId | None = None,
    ) -> None:
        """`body_read` is set when the body of the request has been read; `ended` is called once, however it ends.

        `note_id` takes the id of a response.
        """
        super().__init__()
        self._open = open_response
        self._departures = departures
        self._body_read = body_read
        self._ended = ended
        self._note_id = note_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        watch = _Watch(self._departures, receive, self._body_read)
        try:
            response = await self._open()
            try:
                await self._pass(response, send)
            finally:
                response.close()
        except asyncio.CancelledError:
            watch.raise_if_client_left()
            raise
        finally:
            watch.end()
            self._ended()

    async def _pass(self, response: ForwardedResponse, send: Send) -> None:
        head = b"" if self._note_id is not None and response.status == 200 else None
        start = {"type": "http.response.start", "status": response.status, "headers": for_client(response.headers)}
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            await send(start)
            part = await response.read()
        else:
            part = await _first_part(response)  # before the start, so that a failure still becomes an error response
            await send(start)
        length = response.headers.get("content-length", "")
        left = int(length) if length.isdecimal() else -1
        while part:
            if head is not None:
                head = self._look_for_id(head + part)
            left -= len(part)
            await send({"type": "http.response.body", "body": part, "more_body": left != 0})
            if not left:
                return
            part = await response.read()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _look_for_id(self, head: bytes) -> bytes | None:
        """Look for the id; returns the bytes to look at again together with the next part, or None."""
        found = _RESPONSE_ID.search(head)
        if found is None:
            return head if len(head) < HEAD_BYTES else None
        assert self._note_id is not None
        self._note_id(found[1].decode())
        return None


async def _first_part(response: ForwardedResponse) -> bytes:
    """The beginning of the body; all of it if it is known to be short."""
    part = await response.read()
    length = response.headers.get("content-length", "")
    if length.isdecimal() and len(part) < int(length) <= WHOLE_BYTES:
        parts = [part]
        while part := await response.read():
            parts.append(part)
        return b"".join(parts)
    return part


class Departures:
    """Begins to look for the departure of clients whose exchanges take longer than most.

    One timer for all: one for each exchange would cost as much as all the rest of the watch.
    """

    def __init__(self) -> None:
        self._young: set[_Watch] = set()
        self._old: set[_Watch] = set()
        """Those that were there when the timer ran last."""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, watch: "_Watch") -> None:
        """Start this watch, unless it is removed within `UNWATCHED_SECONDS`."""
        self._young.add(watch)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(UNWATCHED_SECONDS, self._tick)

    def remove(self, watch: "_Watch") -> None:
        """Undo `add`."""
        self._young.discard(watch)
        self._old.discard(watch)

    def _tick(self) -> None:
        for watch in self._old:
            watch.start()
        self._old, self._young = self._young, set()
        self._timer = asyncio.get_running_loop().call_later(UNWATCHED_SECONDS, self._tick) if self._old else None


class _Watch:
    """Cancels the current task when the client closes the connection."""

    __slots__ = ("_body_read", "_cancelling", "_departures", "_left", "_receive", "_task", "_watcher")

    def __init__(self, departures: Departures, receive: Receive, body_read: asyncio.Event) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._receive = receive
        self._body_read = body_read
        self._left = False
        self._watcher: asyncio.Task[None] | None = None
        self._departures = departures
        departures.add(self)

    def start(self) -> None:
        """Begin to look."""
        self._watcher = asyncio.create_task(self._look())

    async def _look(self) -> None:
        await self._body_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        self._task.cancel()

    def raise_if_client_left(self) -> None:
        """Raise `ClientDisconnected` if the task was cancelled for that, and for nothing else."""
        if self._left and self._task.uncancel() <= self._cancelling:
            raise ClientDisconnected from None

    def end(self) -> None:
        """Stop looking."""
        self._departures.remove(self)
        if self._watcher is not None:
            self._watcher.cancel()
