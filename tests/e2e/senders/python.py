"""Sends jobs from Python: two libraries, and over plain sockets what others do that are not installed here."""

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import requests

from tests.e2e.senders.jobs import Job, outcome

PATIENCE = 120
PIECE = 65536
Sender = Callable[[Job], Any]


def _pieces(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), PIECE):
        yield body[at : at + PIECE]


def _headers(job: Job) -> dict[str, str]:
    return {**job.headers, "expect": "100-continue"} if job.expect else job.headers


def with_requests(session: requests.Session) -> Sender:
    """urllib3 and http.client: the whole body is sent before anything is read, whatever is expected."""

    def send(job: Job) -> Any:
        body = job.body
        data = _pieces(body) if job.chunked else body
        reply = session.request(job.method, job.url, headers=_headers(job), data=data, timeout=PATIENCE)
        return outcome(reply.status_code, reply.content)

    return send


def with_httpx(client: httpx2.Client) -> Sender:
    """Likewise, with a `Connection` of its own."""

    def send(job: Job) -> Any:
        body = job.body
        content = _pieces(body) if job.chunked else body
        reply = client.request(job.method, job.url, headers=_headers(job), content=content, timeout=PATIENCE)
        return outcome(reply.status_code, reply.content)

    return send


def _head(job: Job, body: bytes) -> bytes:
    url = urlsplit(job.url)
    fields = {"host": url.netloc, **_headers(job)}
    fields |= {"transfer-encoding": "chunked"} if job.chunked else {"content-length": str(len(body))}
    lines = [f"{job.method} {url.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _framed(job: Job, body: bytes) -> Iterator[bytes]:
    for piece in _pieces(body):
        yield b"%x\r\n%b\r\n" % (len(piece), piece) if job.chunked else piece
    if job.chunked:
        yield b"0\r\n\r\n"


def _whole_answer(received: bytes) -> tuple[int, bytes] | None:
    """Status and body of the final answer, once it is there."""
    head, found, body = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return (int(head[9:12]), body) if found and length and len(body) >= int(length[1]) else None


def _read_answer(receive: Callable[[int], bytes]) -> Any:
    received = b""
    while True:
        if answer := _whole_answer(received):
            return outcome(*answer)
        more = receive(PIECE)
        if not more:
            return f"cut off after {received[:100]!r}"
        received += more


def _connect(job: Job) -> socket.socket:
    url = urlsplit(job.url)
    connection = socket.create_connection((url.hostname, url.port), timeout=PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def all_then_read(job: Job) -> Any:
    """A simple client: sends everything, and only then reads. With `Expect` it waits a moment, as curl does."""
    body = job.body
    with _connect(job) as connection:
        connection.sendall(_head(job, body))
        if job.expect:
            connection.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                connection.recv(1, socket.MSG_PEEK)
            connection.settimeout(PATIENCE)
        for piece in _framed(job, body):
            connection.sendall(piece)
        return _read_answer(connection.recv)


def like_go(job: Job) -> Any:
    """As net/http: one thread writes and one reads. An error of writing wins if no answer comes within 50 ms."""
    body = job.body
    found: list[Any] = []
    with _connect(job) as connection:

        def read() -> None:
            try:
                found.append(_read_answer(connection.recv))
            except OSError as error:
                found.append(f"reading: {error}")

        reader = threading.Thread(target=read)
        reader.start()
        try:
            connection.sendall(_head(job, body))
            for piece in _framed(job, body):
                if found:
                    break
                connection.sendall(piece)
        except OSError as error:
            reader.join(0.05)
            if not found:
                connection.close()
                return f"writing: {error}"
        reader.join()
    return found[0]


async def _like_aiohttp(job: Job) -> Any:
    body = job.body
    url = urlsplit(job.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)

    async def write() -> None:
        writer.write(_head(job, body))
        for piece in _framed(job, body):
            writer.write(piece)
            await writer.drain()

    writing = asyncio.ensure_future(write())
    received = b""
    try:
        while True:
            if answer := _whole_answer(received):
                return outcome(*answer)
            more = await asyncio.wait_for(reader.read(PIECE), PATIENCE)
            if not more:
                return f"cut off after {received[:100]!r}"
            received += more
    finally:
        writing.cancel()
        writer.close()


def like_aiohttp(job: Job) -> Any:
    """One task writes, one reads; an error of the transport ends both. The connection closes behind the answer."""
    return asyncio.run(_like_aiohttp(job))


def slowly(job: Job) -> Any:
    """A slow line: the answer is read only when all has been sent, with pauses in between."""
    body = job.body
    with _connect(job) as connection:
        connection.sendall(_head(job, body))
        for number, piece in enumerate(_framed(job, body)):
            connection.sendall(piece)
            if number % 8 == 0:
                time.sleep(0.03)
        return _read_answer(connection.recv)
