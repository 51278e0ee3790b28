"""A small HTTP proxy on loopback that does to requests and answers what a network and a failing store do."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """What the client asks for."""

    method: str
    target: str
    body: bytes

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def is_blob(self) -> bool:
        return "/blobs/" in urlsplit(self.target).path

    @property
    def is_part(self) -> bool:
        return self.method == "PUT" and "partNumber" in self.query

    @property
    def completes(self) -> bool:
        return self.method == "POST" and "uploadId" in self.query

    @property
    def reads(self) -> bool:
        return self.method == "GET" and self.is_blob


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong. Without any field set, the connection is closed without an answer."""

    status: int = 0
    code: str = "InternalError"
    delay: float = 0
    hang: bool = False
    lose_answer: bool = False
    request: Callable[[bytes], bytes] | None = None
    answer: Callable[[bytes, bytes], tuple[bytes, bytes]] | None = None
    hang_behind: int | None = None
    cut_behind: int | None = None


@dataclass
class FaultyProxy:
    """Passes requests on to `port`; `plan` names the fault of each, or None."""

    port: int
    plan: Callable[[Request], Fault | None] = lambda request: None
    seen: list[Request] = field(default_factory=list)
    passed: int = 0

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        # A thread of its own, since some calls of the store block the test's loop.
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20))
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, job: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(10)

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._answer(reader, writer)
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.decode().split(" ", 2)
        body = await reader.readexactly(int(header(head, "content-length") or 0))
        request = Request(method, target, body)
        self.seen.append(request)
        fault = self.plan(request)
        if fault is None:
            fault = Fault(answer=lambda head, body: (head, body))
        await asyncio.sleep(fault.delay)
        if fault.hang:
            await asyncio.Event().wait()
        if fault.status:
            text = f"<Error><Code>{fault.code}</Code><Message>{SECRETS}</Message></Error>"
            reply = f"HTTP/1.1 {fault.status} Fault\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n{text}"
            writer.write(reply.encode())
            await writer.drain()
        elif fault != Fault():
            await self._pass_on(head, fault.request(body) if fault.request else body, fault, writer)

    async def _pass_on(self, head: bytes, body: bytes, fault: Fault, writer: asyncio.StreamWriter) -> None:
        self.passed += 1
        upstream, sender = await asyncio.open_connection("127.0.0.1", self.port)
        sender.write(head[:-2] + b"connection: close\r\n\r\n" + body)
        reply = await upstream.read()
        sender.close()
        if fault.lose_answer:
            return
        head, _, body = reply.partition(b"\r\n\r\n")
        if fault.answer is not None:
            head, body = fault.answer(head, body)
        for limit in (fault.cut_behind, fault.hang_behind):
            if limit is not None:
                body = body[:limit]
        writer.write(head + b"\r\n\r\n" + body)
        await writer.drain()
        if fault.hang_behind is not None:
            await asyncio.Event().wait()


SECRETS = "AKIAQUOTED is not the key that was asked for"


def header(head: bytes, name: str) -> str | None:
    """A header's value in a raw head."""
    for line in head.split(b"\r\n")[1:]:
        found, _, value = line.partition(b":")
        if found.strip().lower() == name.encode():
            return value.strip().decode()
    return None


def flipped(data: bytes) -> bytes:
    """The same bytes but for one bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
