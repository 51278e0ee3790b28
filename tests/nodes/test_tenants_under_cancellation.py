"""Requests of many tenants at once, many of them broken off at random moments: no response has a byte of another tenant.

Each thread has one connection to each node, and sends requests of all tenants over it, as a proxy does.
`TENANT_REQUESTS` is how many, `TENANT_SEED` repeats the choices of an earlier run.
"""

import contextlib
import http.client
import json
import os
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.batches.models import ThreadedModels
from tests.batches.runs import CHAT, encode, line
from tests.nodes.fleet import Fleet, fleet
from tests.support.databases import shared_postgres
from tests.support.keys import Wanted, make_keys
from tests.support.model_server import ModelServer
from tests.support.promises import Trials
from tests.support.seaweedfs import shared_server

REQUESTS = int(os.environ.get("TENANT_REQUESTS", "2000"))
SEED = int(os.environ.get("TENANT_SEED", "0")) or random.SystemRandom().getrandbits(32)
TENANTS = 20
THREADS = 16
SECONDS = 300
"""A run ends after this time, whatever is left."""
MARK = re.compile(rb"tenant-\d\d")
CONTENT_MARKS = 20_000
"""In the content of a file: 180 kB, which are sent in several pieces."""
LINGER_OFF = struct.pack("ii", 1, 0)
"""A connection that is closed is reset."""


@dataclass
class Tenant:
    """A project, its key, and what it has. Its mark is in each name, text and content."""

    mark: str
    key: str
    requests: list[tuple[str, str, bytes | None]]
    """Method, path and body; each response has the mark."""
    ids: set[str]


def make_tenant(base_url: str, mark: str, key: str) -> Tenant:
    with httpx2.Client(base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:

        def post(path: str, **body: object) -> str:
            response = client.post(path, json=body)
            assert response.status_code == 200, response.text
            return str(response.json()["id"])

        def upload(name: str, content: bytes, purpose: str = "user_data") -> str:
            made = client.post("/files", data={"purpose": purpose}, files={"file": (name, content)})
            assert made.status_code == 200, made.text
            return str(made.json()["id"])

        large = upload(f"{mark}.bin", f"{mark} ".encode() * CONTENT_MARKS)
        small = upload(f"{mark}.txt", f"word of {mark}".encode())
        store = post("/vector_stores", name=mark, file_ids=[small])
        lines = upload(f"{mark}.jsonl", encode([line(mark, mark)]), "batch")
        batch = post("/batches", input_file_id=lines, endpoint=CHAT, completion_window="24h", metadata={"of": mark})
        deadline = time.monotonic() + 60
        while (
            client.get(f"/vector_stores/{store}").json()["status"] != "completed"
            or client.get(f"/batches/{batch}").json()["status"] != "completed"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    query = json.dumps({"query": "word of"}).encode()
    requests = [
        *(("GET", f"/v1/files/{file}{tail}", None) for file in (large, small) for tail in ("", "/content")),
        ("GET", "/v1/files", None),
        ("POST", f"/v1/vector_stores/{store}/search", query),
        ("GET", f"/v1/vector_stores/{store}", None),
        ("GET", f"/v1/batches/{batch}", None),
        ("GET", f"/v1/batches/{batch}/output", None),
    ]
    return Tenant(mark, key, requests, {large, small, store, lines, batch})


@pytest.fixture
def made(tmp_path: Path) -> Iterator[tuple[Fleet, list[Tenant]]]:
    with (
        ThreadedModels(ModelServer(instant=True)) as models,
        fleet(tmp_path, 2, shared_postgres(), shared_server(), upstream_url=models.url, inline_bytes=1_000) as nodes,
    ):
        marks = [f"tenant-{number:02}" for number in range(TENANTS)]
        keys = make_keys(nodes.alive[0], {mark: Wanted(mark) for mark in marks})
        with ThreadPoolExecutor(4) as pool:
            tenants = list(pool.map(lambda mark: make_tenant(nodes.alive[0].base_url, mark, keys[mark]), marks))
        yield nodes, tenants


class Client:
    """One thread: whole requests on connections that it keeps, and others that it breaks off."""

    def __init__(self, ports: list[int], tenants: list[Tenant], dice: random.Random) -> None:
        self._tenants = tenants
        self._dice = dice
        self._connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for port in ports]
        self.outcomes: Counter[str] = Counter()

    def ask(self) -> None:
        """One request of any tenant."""
        dice, tenant = self._dice, self._dice.choice(self._tenants)
        connection = dice.choice(self._connections)
        method, path, body = dice.choice(tenant.requests)
        choice = dice.random()
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(dice.uniform(0.0005, 0.02) if choice < 0.3 else 60)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {tenant.key}"})
            if 0.3 <= choice < 0.5:
                self._reset(connection, tenant)
                return
            response = connection.getresponse()
            content = response.read()
        except TimeoutError:
            self.outcomes["timeout"] += 1
            connection.close()
            return
        self.outcomes[str(response.status)] += 1
        assert response.status == 200, (path, content)
        assert tenant.mark.encode() in content, (path, content[:1_000])
        self._check(tenant, content)
        if response.will_close:
            connection.close()

    def _reset(self, connection: http.client.HTTPConnection, tenant: Tenant) -> None:
        """Read some of the response, or nothing, and reset the connection."""
        time.sleep(self._dice.choice([0, self._dice.uniform(0, 0.01)]))
        if self._dice.random() < 0.5:
            self._check(tenant, connection.sock.recv(self._dice.randrange(1, 100_000)))
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_OFF)
        connection.close()
        self.outcomes["reset"] += 1

    def _check(self, tenant: Tenant, content: bytes) -> None:
        """Nothing in it is another tenant's."""
        assert set(MARK.findall(content)) <= {tenant.mark.encode()}, (tenant.mark, content[:1_000])
        for other in self._tenants:
            assert other is tenant or not any(each.encode() in content[:5_000] for each in other.ids)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


@pytest.mark.timeout(900)
@pytest.mark.promise("S-27", "S-02")
def test_no_response_has_anything_of_another_tenant(made: tuple[Fleet, list[Tenant]], trials: Trials) -> None:
    print(f"to repeat: TENANT_SEED={SEED} TENANT_REQUESTS={REQUESTS} pytest {Path(__file__).name}")
    nodes, tenants = made
    deadline = time.monotonic() + SECONDS
    broken = threading.Event()

    def run(number: int) -> Counter[str]:
        with contextlib.closing(
            Client([node.port for node in nodes.alive], tenants, random.Random(SEED + number))
        ) as client:
            try:
                for _ in range(REQUESTS // THREADS):
                    if broken.is_set() or time.monotonic() > deadline:
                        break
                    client.ask()
            except BaseException:
                broken.set()
                raise
            return client.outcomes

    with ThreadPoolExecutor(THREADS) as pool:
        outcomes = sum(pool.map(run, range(THREADS)), Counter())
    trials(outcomes.total())
    print(dict(outcomes))
    for outcome in ("200", "timeout", "reset"):
        assert outcomes[outcome] > outcomes.total() / 20, outcomes
    assert {node.process.poll() for node in nodes.alive} == {None}
