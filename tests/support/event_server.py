"""A model server whose every byte a test decides: it streams, breaks off, says nothing, and records what came.

    with EventServer() as server:
        server.behave = my_behaviour      # async def my_behaviour(request, answer): ...
        ... requests to server.url ...
        assert server.requests[-1].headers["authorization"] == "Bearer sk-upstream"

Without a behaviour of the test it responds as an OpenAI-compatible server does, streamed if the request asks for it.
"""

import asyncio
import contextlib
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from tests.support.model_server import responses


@dataclass
class Heard:
    """A request, with its head as it came."""

    method: str
    path: str
    raw_head: bytes
    headers: dict[str, str]
    body: bytes = b""
    complete: bool = False
    at: float = 0.0
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when the client has closed the connection before the response was complete."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """What a behaviour writes to."""

    writer: asyncio.StreamWriter
    reader: asyncio.StreamReader

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, content_type: str = "application/json", **headers: str) -> None:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.write(f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n{lines}".encode())

    async def whole(
        self, body: bytes, status: int = 200, content_type: str = "application/json", **headers: str
    ) -> None:
        await self.head(status, content_type, **headers)
        await self.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def begin_events(self, **headers: str) -> None:
        await self.head(200, "text/event-stream", **headers)
        await self.write(b"Transfer-Encoding: chunked\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def event(self, value: Any, name: str | None = None) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        await self.chunk((f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode())

    async def end(self) -> None:
        await self.write(b"0\r\n\r\n")


Behaviour = Callable[[Heard, Answer], Awaitable[None]]


class EventServer:
    """Runs on a thread of its own, on a loopback port."""

    def __init__(self, *, models: tuple[str, ...] = ("m",), key: str | None = None) -> None:
        self.models = models
        self.key = key
        self.behave: Behaviour | None = None
        self.requests: list[Heard] = []
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1024 * 1024)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    async def _stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while (request := await self._read(reader)) is not None:
                await self._respond(request, Answer(writer, reader))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Heard | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, path, _ = first.split(" ")
        request = Heard(method, path, head, headers, at=time.monotonic())
        self.requests.append(request)
        if self.behave is not None and getattr(self.behave, "before_body", False):
            return request
        async for part in body_of(reader, headers):
            request.body += part
        request.complete = True
        return request

    async def _respond(self, request: Heard, answer: Answer) -> None:
        behave = asyncio.ensure_future((self.behave or self._usual)(request, answer))
        watch = asyncio.ensure_future(_closed(answer.reader)) if request.complete else None
        try:
            done, _ = await asyncio.wait({behave, *([watch] if watch else [])}, return_when=asyncio.FIRST_COMPLETED)
            if behave not in done:
                request.gone.set()
                raise ConnectionResetError
            try:
                behave.result()
            except ConnectionError:
                request.gone.set()
                raise
        finally:
            for task in (behave, watch):
                if task is not None and not task.done():
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

    async def _usual(self, request: Heard, answer: Answer) -> None:
        path = request.path.partition("?")[0]
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            await answer.whole(b'{"error":{"message":"Incorrect key sk-upst***"}}', 401)
        elif path == "/v1/models":
            listed = [{"id": model, "object": "model", "created": 1, "owned_by": "x"} for model in self.models]
            await answer.whole(json.dumps({"object": "list", "data": listed}).encode())
        elif request.method == "POST" and request.headers.get("content-type", "").startswith("multipart/"):
            await answer.whole(json.dumps({"text": f"{len(request.body)} bytes"}).encode())
        elif request.method == "POST" and request.json.get("stream"):
            await (stream_response if path == "/v1/responses" else stream_chat)(request.json, answer)
        elif request.method == "POST":
            body = responses.decode(request.body)
            made = responses.response_to(path, body, responses.request_of(path, body))
            await answer.whole(made, x_request_id="req_upstream", x_ratelimit_remaining_requests="41")
        else:
            await answer.whole(b'{"error":{"message":"not found","type":"invalid_request_error"}}', 404)


async def body_of(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
    """The body of a request as it comes."""
    if headers.get("transfer-encoding") == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
        return
    left = int(headers.get("content-length", "0"))
    while left:
        part = await reader.read(min(left, 65536))
        if not part:
            raise ConnectionResetError
        left -= len(part)
        yield part


async def _closed(reader: asyncio.StreamReader) -> None:
    """Wait until the client closes; a further request on the connection, which nobody sends, would be lost."""
    while not reader.at_eof():
        if reader._buffer:  # type: ignore[attr-defined]
            await asyncio.sleep(0.05)
            continue
        try:
            await reader._wait_for_data("closed")  # type: ignore[attr-defined]
        except ConnectionError:
            return


def text_of(body: Any) -> str:
    """The last text of a request, as the server echoes it."""
    return responses.last_text(responses.decode(json.dumps(body).encode()))


async def stream_chat(body: Any, answer: Answer) -> None:
    """A chat completion in events, one for each word."""
    await answer.begin_events()
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    words = re.findall(r"\S+\s*", "echo: " + text_of(body)[:200])
    for word in words:
        delta = {"role": "assistant", "content": word}
        await answer.event(common | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    await answer.event(common | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    await answer.event("[DONE]")
    await answer.end()


async def stream_response(body: Any, answer: Answer) -> None:
    """A response in events."""
    parsed = responses.decode(json.dumps(body).encode())
    whole = json.loads(responses.response_to("/v1/responses", parsed, responses.request_of("/v1/responses", parsed)))
    item = whole["output"][0]
    text = item["content"][0]["text"]
    begun = whole | {"status": "in_progress", "output": []}
    where = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    events = [
        ("response.created", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": item | {"content": []}}),
        ("response.content_part.added", where | {"part": part}),
        ("response.output_text.delta", where | {"delta": text, "logprobs": []}),
        ("response.output_text.done", where | {"text": text, "logprobs": []}),
        ("response.content_part.done", where | {"part": part | {"text": text}}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": whole}),
    ]
    await answer.begin_events()
    for number, (kind, members) in enumerate(events):
        await answer.event({"type": kind, "sequence_number": number, **members}, kind)
    await answer.end()
