"""A node whose database or store is down or silent: what clients are told, how soon, and that nothing needs a restart."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.crash.harness import wait_until
from tests.nodes.fleet import Fleet, fleet
from tests.support.postgres import PostgresServer
from tests.support.seaweedfs import SeaweedServer, require
from tests.support.servers import Server, run_command

SOON_SECONDS = 6
AGAIN_SECONDS = 30


@dataclass
class Node:
    """One node on servers of its own."""

    made: Fleet
    postgres: PostgresServer
    seaweed: SeaweedServer

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


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    require()
    postgres, seaweed = PostgresServer(), SeaweedServer()
    try:
        with fleet(tmp_path_factory.mktemp("node"), 1, postgres, seaweed, inline_bytes=0) as made:
            yield Node(made, postgres, seaweed)
    finally:
        seaweed.stop()
        postgres.remove()


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
    assert response.status_code == 503, response.text
    assert response.json()["error"]["code"] == "storage_unavailable"
    assert int(response.headers["retry-after"]) > 0
    assert "x-request-id" in response.headers
    assert took <= seconds


@pytest.mark.timing
@pytest.mark.parametrize("end", [killed, silent])
def test_a_node_without_its_database_reports_unavailable_and_recovers(
    node: Node, end: Callable[[object], AbstractContextManager[None]]
) -> None:
    client, file_id = node.server.client, node.stored()
    with end(node.postgres):
        are_unavailable(
            lambda: client.get("/files", timeout=60),
            lambda: client.get(f"/files/{file_id}", timeout=60),
            lambda: client.get(f"/files/{file_id}/content", timeout=60),
            lambda: client.delete(f"/files/{file_id}", timeout=60),
            node.upload,
        )
        is_unavailable(node.upload)  # also the next one
        unready = node.ready()
        assert unready.status_code == 503
        assert "Not ready: the database is unavailable." in unready.text
    wait_until(lambda: node.ready().status_code == 200, "it stays unready", AGAIN_SECONDS)
    assert client.get(f"/files/{file_id}/content").content == b"content"
    assert node.upload().status_code == 200


@pytest.mark.timing
@pytest.mark.parametrize("end", [killed, silent])
def test_a_node_without_its_blob_store_reports_unavailable_and_recovers(
    node: Node, end: Callable[[object], AbstractContextManager[None]]
) -> None:
    client, file_id = node.server.client, node.stored()
    with end(node.seaweed):
        are_unavailable(lambda: client.get(f"/files/{file_id}/content", timeout=60), node.upload)
        unready = node.ready()
        assert unready.status_code == 503
        assert "Not ready: the blob store is unavailable." in unready.text
        assert client.get(f"/files/{file_id}").status_code == 200, "what is in the database is still told"
        assert file_id in client.get("/files").text
    wait_until(lambda: node.ready().status_code == 200, "it stays unready", AGAIN_SECONDS)
    assert client.get(f"/files/{file_id}/content").content == b"content"
    assert node.upload().status_code == 200


def test_refused_uploads_leave_neither_rows_nor_blobs(node: Node, tmp_path: Path) -> None:
    """Uploads that were refused have left neither rows nor bytes behind, once they are swept."""
    wait_until(lambda: node.upload().status_code == 200, "it takes no upload", AGAIN_SECONDS)
    place = node.made.place
    place.sql("UPDATE blobs SET lease_until_us = 1 WHERE state != 'live'")
    assert run_command(tmp_path, "sweep", place=place).returncode == 0
    assert place.stored() == {key for (key,) in place.sql("SELECT blob_key FROM files")}
    assert place.sql("SELECT 1 FROM blobs WHERE state != 'live'") == []
