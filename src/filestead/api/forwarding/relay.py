"""A response of a model server on its way to the client: each part leaves when it arrives.

If the client goes away, the request to the model server is cancelled, whatever it is waiting for.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from types import TracebackType

from starlette.types import Receive, Scope, Send

from filestead.api.forwarding.headers import for_client
from filestead.api.http.body import ClientDisconnected
from filestead.api.http.messages import Response
from filestead.domain.forwarding.interfaces import ForwardedResponse

HEAD_BYTES = 8 * 1024
"""Of a response in which its id is looked for."""
UNWATCHED_SECONDS = 0.02
"""Most short exchanges end before anybody needs to look whether the client is still there."""
WHOLE_BYTES = 64 * 1024
"""Responses up to this size are sent when they are complete, so that a broken one becomes an error response."""
_RESPONSE_ID = re.compile(rb'"id"\s*:\s*"(resp_[A-Za-z0-9_=-]{1,1000})"')

Open = Callable[[], Awaitable[ForwardedResponse]]
NoteId = Callable[[str], None]


class Relay(Response):
    """Opens the exchange with the model server and passes its response on."""

    def __init__(
        self, open_response: Open, body_read: asyncio.Event, ended: Callable[[], None], note_id: NoteId | None = None
    ) -> None:
        """`body_read` is set when the body of the request has been read; `ended` is called once, however it ends.

        `note_id` takes the id of a response.
        """
        super().__init__()
        self._open = open_response
        self._body_read = body_read
        self._ended = ended
        self._note_id = note_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            async with _UntilClientLeaves(receive, self._body_read):
                response = await self._open()
                try:
                    await self._pass(response, send)
                finally:
                    response.close()
        finally:
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


class _UntilClientLeaves:
    """A block that is cancelled when the client closes the connection, and then raises `ClientDisconnected`."""

    __slots__ = ("_body_read", "_left", "_limit", "_loop", "_receive", "_timer", "_watcher")

    def __init__(self, receive: Receive, body_read: asyncio.Event) -> None:
        self._receive = receive
        self._body_read = body_read
        self._left = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        await self._limit.__aenter__()
        self._timer = self._loop.call_later(UNWATCHED_SECONDS, self._start)

    def _start(self) -> None:
        self._watcher = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        await self._body_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        if not self._limit.expired():
            self._limit.reschedule(self._loop.time())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._limit.__aexit__(kind, error, traceback)
        except TimeoutError:
            if self._left:
                raise ClientDisconnected from None
            raise
        finally:
            self._timer.cancel()
            if self._watcher is not None:
                self._watcher.cancel()
