"""A server on loopback that answers as it likes: an object store that is not what it should be, or what it points to."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)


@dataclass
class HostileStore:
    """`answer` gives the raw bytes for a request, or an iterator that may never end; None in it, or for it, closes.

    A float in it waits so many seconds.
    """

    answer: Callable[[Request], Any] = lambda request: b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
    seen: list[Request] = field(default_factory=list)
    connections: int = 0
    """Those that are open."""
    accepted: int = 0
    """Those that ever were."""

    reads_bodies: bool = True

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)  # the kernel takes no body for us
        server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, sock=listener, limit=2**20), self._loop
        ).result(10)
        self.port = server.sockets[0].getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _end(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.accepted += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self.connections -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if self.reads_bodies:
            await reader.readexactly(int(headers.get("content-length", 0)))
        request = Request(method, target, headers)
        self.seen.append(request)
        answer = self.answer(request)
        if answer is None:
            return False
        for piece in [answer] if isinstance(answer, bytes) else answer:
            if piece is None:
                return False
            if isinstance(piece, float) and not self.reads_bodies:
                await asyncio.sleep(piece)
                continue
            if isinstance(piece, float):
                # Whoever asked may go away meanwhile, and is then not served any longer.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(piece):
                        if not await reader.read(1):
                            return False
                continue
            writer.write(piece)
            await writer.drain()
        return self.reads_bodies


def reply(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
