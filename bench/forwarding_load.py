"""Clients of a model: requests at a fixed rate, and many streams at once. `python -m bench.forwarding_load` runs one.

It takes what to do as JSON on standard input, and prints the figures as JSON.
"""

import asyncio
import json
import re
import sys
import time
from typing import Any
from urllib.parse import urlsplit

_TIME = re.compile(rb'"t":([0-9.]+)')
REQUEST = "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
MAX_SECONDS = 120.0


class Exchange(asyncio.Protocol):
    """One request and its response, of which the times in its events are compared with the clock."""

    transport: Any

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.late: list[float] = []
        self.status = 0
        self.rest = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self.status:
            self.status = int(data[9:12])
        data = self.rest + data
        last = 0
        for found in _TIME.finditer(data):
            self.late.append(now - float(found[1]))
            last = found.end()
        self.rest = data[last:][-200:]
        if b"[DONE]" in self.rest and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionResetError(f"status {self.status}: {self.rest!r}"))


async def streams(task: dict[str, Any]) -> dict[str, Any]:
    """All streams at once."""
    parts = urlsplit(task["url"])
    body = {"model": "m", "messages": [], "stream": True, "events": task["events"], "rate": task["rate"]}
    request = _request(task, json.dumps(body).encode())
    loop = asyncio.get_running_loop()
    exchanges = []
    for _ in range(task["streams"]):
        _, exchange = await loop.create_connection(lambda: Exchange(request), parts.hostname, parts.port)
        exchanges.append(exchange)
    async with asyncio.timeout(MAX_SECONDS):
        await asyncio.gather(*(exchange.done for exchange in exchanges))
    late = sorted(lateness for exchange in exchanges for lateness in exchange.late)
    for exchange in exchanges:
        exchange.transport.abort()
    return {"events": len(late), "p50": _percentile(late, 50), "p99": _percentile(late, 99), "worst": late[-1]}


async def latencies(task: dict[str, Any]) -> dict[str, Any]:
    """Requests at a fixed rate, alternately to each URL; each waits for no other."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 500}]}).encode()
    waiting: list[asyncio.Task[None]] = []
    taken: list[list[float]] = [[] for _ in task["urls"]]
    clients = [_Client(_request({**task, "url": url}, body), url) for url in task["urls"]]
    start = time.monotonic()
    for number in range(task["requests"]):
        await asyncio.sleep(max(0.0, start + number / task["rate"] - time.monotonic()))
        which = number % len(clients)
        waiting.append(asyncio.create_task(clients[which].run(taken[which])))
    await asyncio.gather(*waiting)
    found = [sorted(values[len(values) // 10 :]) for values in taken]  # the first ones open connections
    return {"p50": [_percentile(values, 50) for values in found], "p99": [_percentile(values, 99) for values in found]}


class _Client:
    """Kept connections to one URL."""

    def __init__(self, request: bytes, url: str) -> None:
        self._request = request
        self._parts = urlsplit(url)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(self, taken: list[float]) -> None:
        began = time.monotonic()
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(head.decode())
        length = re.search(rb"content-length: *([0-9]+)", head, re.IGNORECASE)
        if length is None:
            await reader.readuntil(b"\r\n0\r\n\r\n")
        else:
            await reader.readexactly(int(length[1]))
        taken.append(time.monotonic() - began)
        self._idle.append((reader, writer))


def _request(task: dict[str, Any], body: bytes) -> bytes:
    parts = urlsplit(task["url"])
    head = REQUEST.format(path=f"{parts.path}/chat/completions", host=parts.netloc, key=task["key"])
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _percentile(values: list[float], percent: int) -> float:
    return values[min(len(values) - 1, len(values) * percent // 100)]


if __name__ == "__main__":
    given = json.loads(sys.stdin.read())
    print(json.dumps(asyncio.run({"streams": streams, "latencies": latencies}[given["what"]](given))))
