"""kill -9 of random nodes, of PostgreSQL and of the store under load, again and again: what was promised holds.

`CHAOS_CYCLES` is how often (170 are more than 300 kills), `CHAOS_SEED` repeats the choices of an earlier run.
"""

import hashlib
import itertools
import json
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from filestead.blobs.keys import KEY as KEY_FORM
from tests.nodes.fleet import Fleet, fleet
from tests.support.postgres import PostgresServer
from tests.support.promises import Trials
from tests.support.seaweedfs import SeaweedServer, require
from tests.support.servers import KEY, run_command

CYCLES = int(os.environ.get("CHAOS_CYCLES", "3"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().getrandbits(32)
NODES = 3
THREADS = 6
LARGEST = 20 * 2**20
KEPT = 30
"""Files that a client has at most; it then deletes one before it uploads the next."""

PATIENCE_SECONDS = 90
"""How long a client tries one operation: servers are down for some seconds, never for that long."""


@dataclass
class Known:
    """A file that was acknowledged."""

    id: str
    name: str
    digest: str
    bytes: int


@dataclass
class Client:
    """One of the clients: it repeats an operation at the next node until it has an answer that is one.

    Now and then it loses patience first, so that two tries of the same upload are under way.
    """

    fleet: Fleet
    dice: random.Random
    name: str
    files: list[Known] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    done: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("upload", "download", "list", "delete"), 0))
    retries: int = 0
    replayed: int = 0
    _turn: Any = field(default_factory=itertools.count)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            choice = self.dice.random()
            if not self.files or (choice < 0.45 and len(self.files) < KEPT):
                self.upload()
            elif choice < 0.65:
                self.download(self.dice.choice(self.files))
            elif choice < 0.75:
                self.list()
            else:
                self.delete()

    def upload(self) -> None:
        name = f"{self.name}-{self.done['upload']}"
        content = self.dice.randbytes(int(LARGEST ** self.dice.random()))
        response = self.ask(
            "POST",
            "/files",
            headers={"Idempotency-Key": name},
            data={"purpose": "user_data"},
            files={"file": (name, content)},
        )
        assert response.status_code == 200, (name, response.text)
        made = response.json()
        assert (made["filename"], made["bytes"]) == (name, len(content))
        self.replayed += "idempotent-replayed" in response.headers
        self.files.append(Known(made["id"], name, hashlib.sha256(content).hexdigest(), len(content)))
        self.done["upload"] += 1

    def download(self, file: Known) -> None:
        response = self.ask("GET", f"/files/{file.id}/content")
        assert response.status_code == 200, (file, response.text)
        assert hashlib.sha256(response.content).hexdigest() == file.digest, file
        self.done["download"] += 1

    def list(self) -> None:
        """Every file of this client is there, and none that it has deleted."""
        listed = list_all(self)
        assert {file.id for file in self.files} <= set(listed)
        assert not self.deleted & set(listed)
        self.done["list"] += 1

    def delete(self) -> None:
        file = self.files.pop(self.dice.randrange(len(self.files)))
        before = self.retries
        response = self.ask("DELETE", f"/files/{file.id}")
        # A try whose answer got lost may have deleted it.
        assert response.status_code == 200 or (response.status_code == 404 and self.retries > before), response.text
        self.deleted.add(file.id)
        self.done["delete"] += 1

    def ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {KEY}", **request.pop("headers", {})}
        deadline = time.monotonic() + PATIENCE_SECONDS
        seen: object = "no node was there"
        while time.monotonic() < deadline:
            node = self.fleet.nodes[next(self._turn) % NODES]
            if node is not None:
                try:
                    timeout = httpx2.Timeout(40, read=self.dice.uniform(0, 1) if self.dice.random() < 0.2 else 40)
                    response = httpx2.request(method, node.base_url + path, headers=headers, timeout=timeout, **request)
                except httpx2.TransportError as error:
                    seen = error
                else:
                    if response.status_code < 500:
                        return response
                    seen = response.text
                self.retries += 1
            time.sleep(self.dice.uniform(0.01, 0.2))
        raise AssertionError(f"{method} {path} got no answer in {PATIENCE_SECONDS} s, the last was {seen}")


def list_all(client: Client) -> dict[str, str]:
    """Name by id of every file."""
    found: dict[str, str] = {}
    after = ""
    while True:  # also if another client deletes the cursor meanwhile
        page = client.ask("GET", f"/files?limit=1000&order=asc{after}").json()
        found |= {file["id"]: file["filename"] for file in page["data"]}
        if not page["has_more"]:
            return found
        after = f"&after={page['last_id']}"


def strike(fleet: Fleet, dice: random.Random) -> list[str | int]:
    """Kill some of what runs, one after the other at random moments; then start it again, what nodes need first.

    Return what was killed.
    """
    place = fleet.place
    targets = ["postgres", "store", *range(NODES)]
    victims: list[str | int] = [target for target in targets if dice.random() < 0.35] or [dice.randrange(NODES)]
    dice.shuffle(victims)
    for victim in victims:
        time.sleep(dice.uniform(0, 0.5))
        if victim == "postgres":
            place.postgres.kill9()
        elif victim == "store":
            place.seaweed.kill9()
        else:
            fleet.kill(int(victim))
    time.sleep(dice.uniform(0, 1.5))
    if "postgres" in victims:
        place.postgres.start()
    if "store" in victims:
        place.seaweed.start()
    with ThreadPoolExecutor(NODES) as pool:
        list(pool.map(fleet.start, [int(victim) for victim in victims if victim not in ("postgres", "store")]))
    return victims


def clear_up(fleet: Fleet) -> None:
    """The two minutes pass after which what dead nodes left behind is free; then a sweep."""
    fleet.place.sql("UPDATE blobs SET lease_until_us = 1 WHERE state != 'live'")
    swept = run_command(Path("nowhere"), "sweep", place=fleet.place)
    assert swept.returncode == 0, swept.stderr


def check(fleet: Fleet, clients: list[Client]) -> None:
    """Everything acknowledged is there, once and with its bytes, and there is nothing else: no row, object or part."""
    kept = {file.id: file for client in clients for file in client.files}
    listed = list_all(clients[0])
    assert listed == {file.id: file.name for file in kept.values()}
    for file in kept.values():
        clients[0].download(file)
    clear_up(fleet)
    verified = run_command(Path("nowhere"), "verify", "--deep", "--json", place=fleet.place)
    *findings, sums = map(json.loads, verified.stdout.splitlines())
    assert (findings, verified.returncode) == ([], 0), verified.stderr
    assert sums["files"] == sums["blobs"] == len(kept)
    place = fleet.place
    assert place.stored() == {key for (key,) in place.sql("SELECT blob_key FROM files")}
    # A probe of the store that was cut off stays for an hour, under a name that is no blob's.
    unfinished = [
        (key, place.sql("SELECT state FROM blobs WHERE key = ?", key))
        for key in place.staged()
        if KEY_FORM.fullmatch(key)
    ]
    assert unfinished == []
    assert place.sql("SELECT * FROM blobs WHERE state != 'live'") == []
    size = sum(file.bytes for file in kept.values())
    assert place.sql("SELECT bytes_used, bytes_reserved FROM projects") == [(size, 0)]


def endure(fleet: Fleet, dice: random.Random, clients: list[Client], trials: Trials) -> None:
    """Cycles of kills with all clients at work; each kill is a trial."""
    stop = threading.Event()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            work = [pool.submit(client.run, stop) for client in clients]
            for cycle in range(CYCLES):
                time.sleep(dice.uniform(0.2, 2))
                victims = strike(fleet, dice)
                print(f"{cycle}: {' '.join(map(str, victims))}")
                for one in work:
                    if one.done():
                        one.result()
                trials(len(victims))
        finally:
            stop.set()
    for one in work:
        one.result()


@pytest.mark.promise("R-03")
def test_random_kills_of_nodes_database_and_store_under_load(tmp_path: Path, trials: Trials) -> None:
    print(f"to repeat: CHAOS_SEED={SEED} CHAOS_CYCLES={CYCLES} pytest tests/nodes/test_chaos.py")
    require()
    dice = random.Random(SEED)
    postgres, seaweed = PostgresServer(), SeaweedServer()
    try:
        with fleet(tmp_path, NODES, postgres, seaweed, sweep_seconds=1) as nodes:
            clients = [Client(nodes, random.Random(dice.random()), f"client{number}") for number in range(THREADS)]
            endure(nodes, dice, clients, trials)
            check(nodes, clients)
    finally:
        seaweed.stop()
        postgres.remove()
    sums = {name: sum(client.done[name] for client in clients) for name in clients[0].done}
    retries, replayed = (sum(getattr(client, name) for client in clients) for name in ("retries", "replayed"))
    print(f"{CYCLES} cycles: {sums}, {retries} tries repeated, {replayed} uploads answered with an earlier try's file")
    assert sums["upload"] > CYCLES
