"""Outages of the servers behind a node, and what its clients are told meanwhile."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2

from tests.batches.models import ThreadedModels
from tests.nodes.fleet import Fleet
from tests.support.postgres import PostgresServer
from tests.support.seaweedfs import SeaweedServer
from tests.support.servers import KEY, Server
from tests.support.waiting import wait_until

SOON_SECONDS = 6
AGAIN_SECONDS = 30


@dataclass
class Node:
    """One node on servers of its own."""

    made: Fleet
    postgres: PostgresServer
    seaweed: SeaweedServer
    models: ThreadedModels

    @property
    def server(self) -> Server:
        (node,) = self.made.alive
        return node

    def ready(self) -> httpx2.Response:
        return httpx2.get(self.server.base_url.removesuffix("/v1") + "/health/ready", timeout=30)

    def upload(self) -> httpx2.Response:
        files = {"file": ("a.txt", b"content")}
        return self.server.client.post("/files", data={"purpose": "user_data"}, files=files, timeout=60)

    def stored(self) -> str:
        """The id of a new file; a test before this one may have left the servers a moment ago."""
        wait_until(lambda: self.upload().status_code == 200, "it takes no upload", AGAIN_SECONDS)
        return str(self.upload().json()["id"])


@contextmanager
def killed(server: PostgresServer | SeaweedServer) -> Iterator[None]:
    server.kill9()
    try:
        yield
    finally:
        server.start()


@contextmanager
def silent(server: PostgresServer | SeaweedServer) -> Iterator[None]:
    """It takes connections and answers nobody."""
    pause, resume = (
        (server.pause, server.resume)
        if isinstance(server, PostgresServer)
        else (lambda: os.kill(server.pid, signal.SIGSTOP), lambda: os.kill(server.pid, signal.SIGCONT))
    )
    pause()
    try:
        yield
    finally:
        resume()


def are_unavailable(*asks: Callable[[], httpx2.Response], seconds: float = SOON_SECONDS) -> None:
    """Each of them, when all are made at once: a node without answers keeps every one of them for seconds."""
    with ThreadPoolExecutor(len(asks)) as pool:
        list(pool.map(is_unavailable, asks, [seconds] * len(asks)))


def is_unavailable(ask: Callable[[], httpx2.Response], seconds: float = SOON_SECONDS) -> None:
    started = time.monotonic()
    response = ask()
    took = time.monotonic() - started
    assert response.status_code == 503, f"{response.request.method} {response.request.url}: {response.text}"
    assert response.json()["error"]["code"] == "storage_unavailable"
    assert int(response.headers["retry-after"]) > 0
    assert "x-request-id" in response.headers
    assert took <= seconds, f"{response.request.method} {response.request.url} took {took:.1f} s"


class SlowUpload:
    """A form with one file, of which the rest is sent only when the test says so."""

    def __init__(self, server: Server, path: str, content: bytes, *, field: str = "file", **fields: str) -> None:
        self.rest = threading.Event()
        self._begun = threading.Event()
        self._url = f"{server.base_url}{path}"
        self._thread = ThreadPoolExecutor(1)
        self._sent = self._thread.submit(self._send, content, field, fields)
        assert self._begun.wait(20)
        time.sleep(0.5)

    def _send(self, content: bytes, field: str, fields: dict[str, str]) -> httpx2.Response | None:
        head = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
        )
        head += f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="slow"\r\n\r\n'

        def body() -> Iterator[bytes]:
            yield head.encode() + content[: len(content) // 2]
            self._begun.set()
            self.rest.wait(60)
            yield content[len(content) // 2 :] + b"\r\n--b--\r\n"

        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "multipart/form-data; boundary=b"}
        try:
            return httpx2.post(self._url, content=body(), headers=headers, timeout=60)
        except httpx2.TransportError:
            return None

    def response(self) -> httpx2.Response | None:
        """None if the connection ended without one."""
        return self._sent.result(90)
