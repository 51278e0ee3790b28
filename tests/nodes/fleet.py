"""Nodes over HTTP: `filestead serve` processes of one shared installation, and a balancer that clients see before them."""

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.installations import OnServers
from tests.support.postgres import PostgresServer
from tests.support.seaweedfs import SeaweedServer
from tests.support.servers import Server

_numbers = itertools.count()


class Fleet:
    """Equal nodes; one that has been killed or stopped is None until it is started again, on another port."""

    def __init__(
        self,
        folder: Path,
        size: int,
        *,
        postgres: PostgresServer,
        seaweed: SeaweedServer,
        name: str = "",
        **settings: Any,
    ) -> None:
        """`name` is that of the database."""
        self.place = OnServers(postgres, seaweed, name or f"fleet-{next(_numbers)}")
        self.place.variables()
        self.env: dict[str, str] = {}
        """What nodes that are started from now on have in their environment, in place of the variables of the installation."""
        self._folder = folder
        self._settings = {"uploads_per_minute": 0, "attached_files_per_minute": 0, "batches_per_hour": 0, **settings}
        self.nodes: list[Server | None] = [None] * size
        with ThreadPoolExecutor(size) as pool:
            list(pool.map(self.start, range(size)))

    def start(self, number: int) -> Server:
        node = Server(self._folder / f"node{number}", place=self.place, env=self.env, **self._settings)
        self.nodes[number] = node
        return node

    def kill(self, number: int) -> None:
        """kill -9."""
        node, self.nodes[number] = self.nodes[number], None
        assert node is not None
        node.kill()

    @property
    def alive(self) -> list[Server]:
        return [node for node in self.nodes if node is not None]

    def close(self) -> None:
        for node in self.alive:
            node.stop()


@contextlib.contextmanager
def fleet(
    folder: Path, size: int, postgres: PostgresServer, seaweed: SeaweedServer, **settings: Any
) -> Iterator[Fleet]:
    made = Fleet(folder, size, postgres=postgres, seaweed=seaweed, **settings)
    try:
        yield made
    finally:
        made.close()


def contents(place: OnServers) -> set[str]:
    """The keys of the blobs that files consist of."""
    whole = "SELECT blob_key FROM files WHERE blob_key NOT IN (SELECT blob_key FROM blob_parts)"
    return {key for (key,) in place.sql(f"{whole} UNION SELECT part_key FROM blob_parts")}


def unused(place: OnServers) -> list[Any]:
    """The blobs that are no file's, as key and state: a sweep deletes them, at once or when the claim of another one ends."""
    return place.sql("SELECT key, state FROM blobs WHERE state != 'live'")


class Balancer:
    """One address for clients: each connection goes to the next node that takes one."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._turn = itertools.count()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        for _ in self._fleet.nodes:
            node = self._fleet.nodes[next(self._turn) % len(self._fleet.nodes)]
            with contextlib.suppress(OSError):
                if node is not None:
                    server = socket.create_connection(("127.0.0.1", node.port), timeout=5)
                    server.settimeout(None)
                    break
        else:
            client.close()
            return
        back = threading.Thread(target=pump, args=(server, client), daemon=True)
        back.start()
        pump(client, server)
        back.join()
        client.close()
        server.close()

    def close(self) -> None:
        self._listener.close()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, and its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for connection in (source, target):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RD if connection is source else socket.SHUT_WR)
