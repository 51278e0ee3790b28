"""Several nodes behave like one: concurrent operations on files are linearizable, whatever fails meanwhile.

`HISTORIES` is how many histories (for a long run: 200), `HISTORY_SEED` repeats the choices of an earlier run.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests.nodes.fleet import Fleet
from tests.nodes.histories import History, describe, end, is_linearizable
from tests.stores.proxy import Fault, FaultyProxy, Request
from tests.support.databases import shared_postgres
from tests.support.installations import OnServers
from tests.support.promises import Trials
from tests.support.seaweedfs import require, shared_server
from tests.support.servers import KEY, Server

HISTORIES = int(os.environ.get("HISTORIES", "10"))
SEED = int(os.environ.get("HISTORY_SEED", "0")) or random.SystemRandom().getrandbits(32)
NODES = 3
CLIENTS = 6
FILES = 12
WINDOW = 3
"""Of the files, clients use so many at a time, and then later ones."""
OPERATIONS = 25
"""Of each client in one history."""
SIZES = (100, 30_000)
"""One is stored in the database, the other in the store."""
NAPS = (0, 0.005, 0.02, 0.1)
ANSWER_SECONDS = 15
IMPATIENT_SECONDS = (0.000_3, 0.3)
"""One request in ten is given up after a time between these, and may have its effect later.

Times of each order of magnitude are equally frequent, so that on a fast machine too some come before the response.
"""
FINAL_SECONDS = 40
HOUR = 3_600

pytestmark = pytest.mark.embedded("chooses itself where its installations are")


# --- the nodes --------------------------------------------------------------------------------------------------------


class ClockedFleet(Fleet):
    """Nodes with clocks of their own, that reach the store through a proxy."""

    proxy: FaultyProxy

    def start(self, number: int) -> Server:
        env = {"MOVED_CLOCK": str(self.offset(number)), "FILESTEAD_S3_ENDPOINT": self.proxy.endpoint}
        node = Server(
            self._folder / f"node{number}",
            place=self.place,
            module="tests.attack.moved_clock",
            env=env,
            **self._settings,
        )
        self.nodes[number] = node
        return node

    def offset(self, number: int) -> Path:
        return self._folder / f"offset{number}"

    def set_clock(self, number: int, seconds: float) -> None:
        draft = self._folder / "draft"
        draft.write_text(str(seconds))
        draft.rename(self.offset(number))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClockedFleet]:
    require()
    seaweed = shared_server()
    with FaultyProxy(seaweed.port) as proxy:
        ClockedFleet.proxy = proxy
        made = ClockedFleet(
            tmp_path_factory.mktemp("nodes"), NODES, postgres=shared_postgres(), seaweed=seaweed, sweep_seconds=1
        )
        try:
            yield made
        finally:
            made.close()
    assert isinstance(made.place, OnServers)
    shared_postgres().drop(made.place.name)


@dataclass
class Run:
    """One history while it is made."""

    fleet: ClockedFleet
    number: int
    seed: str
    history: History = field(default_factory=History)
    ids: dict[str, str] = field(default_factory=dict)
    """Of the files that a client knows to have been created."""

    def __post_init__(self) -> None:
        dice = random.Random(self.seed)
        self.contents = {f"h{self.number}-f{n}": dice.randbytes(SIZES[n % len(SIZES)]) for n in range(FILES)}
        self.names = list(self.contents)

    # --- operations

    def create(self, http: "Http", name: str) -> None:
        operation = self.history.begin(name, "create", http.name)
        response = http.send(
            "POST",
            "/files",
            headers={"Idempotency-Key": name},
            data={"purpose": "user_data"},
            files={"file": (name, self.contents[name])},
        )
        if response is None or response.status_code in (409, 429):
            return
        if response.status_code == 200:
            file_id = response.json()["id"]
            assert self.ids.setdefault(name, file_id) == file_id, f"{name} is two files"
            end([operation], "done")
        else:
            assert response.json()["error"]["code"] == "idempotency_key_spent", response.text
            end([operation], "spent")

    def read(self, http: "Http", name: str, path: str = "") -> None:
        if name not in self.ids:
            return
        operation = self.history.begin(name, "read", http.name)
        response = http.send("GET", f"/files/{self.ids[name]}{path}")
        if response is None:
            return
        if response.status_code == 200:
            assert not path or response.content == self.contents[name], f"{name} has other bytes"
            end([operation], "found")
        else:
            assert response.status_code == 404, response.text
            end([operation], "missing")

    def delete(self, http: "Http", name: str) -> None:
        if name not in self.ids:
            return
        operation = self.history.begin(name, "delete", http.name)
        response = http.send("DELETE", f"/files/{self.ids[name]}")
        if response is not None:
            assert response.status_code in (200, 404), response.text
            end([operation], "done" if response.status_code == 200 else "missing")

    def list(self, http: "Http") -> None:
        """A read of every file at once."""
        operations = {name: self.history.begin(name, "read", http.name) for name in self.names}
        response = http.send("GET", "/files?limit=1000")
        if response is None:
            return
        assert response.status_code == 200, response.text
        page = response.json()
        assert not page["has_more"]
        found = {file["filename"]: file["id"] for file in page["data"]}
        for name, operation in operations.items():
            if name in found:
                assert self.ids.setdefault(name, found[name]) == found[name], f"{name} is two files"
            end([operation], "found" if name in found else "missing")

    # --- clients

    def work(self, number: int) -> None:
        dice = random.Random(f"{self.seed} {number}")
        with Http(self.fleet, dice, f"client{number}") as http:
            for turn in range(OPERATIONS):
                time.sleep(dice.choice(NAPS))
                first = turn * (FILES - WINDOW + 1) // OPERATIONS
                name, choice = self.names[first + dice.randrange(WINDOW)], dice.random()
                if choice < 0.25:
                    self.create(http, name)
                elif choice < 0.4:
                    self.read(http, name)
                elif choice < 0.6:
                    self.read(http, name, "/content")
                elif choice < 0.85:
                    self.list(http)
                elif choice < 0.95:
                    self.delete(http, name)

    def finish(self) -> None:
        """Each node is asked about each file, and what is left is deleted; all of it belongs to the history."""
        for number, node in enumerate(self.fleet.alive):
            dice = random.Random(0)
            with Http(self.fleet, dice, f"last{number}", node) as http:
                self.list(http)
                for name in self.names:
                    self.read(http, name, "/content")
                if number == NODES - 1:
                    for name in self.names:
                        self.delete(http, name)
                        self.read(http, name)


class Http:
    """Requests of one client, each at some node."""

    def __init__(self, fleet: ClockedFleet, dice: random.Random, name: str, node: Server | None = None) -> None:
        self._fleet = fleet
        self._dice = dice
        self._node = node
        self.name = name
        self._clients: dict[str, httpx2.Client] = {}

    def __enter__(self) -> "Http":
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.close()

    def send(self, method: str, path: str, **request: object) -> httpx2.Response | None:
        """The response; None if there is none that says what has happened."""
        deadline = time.monotonic() + FINAL_SECONDS
        while True:
            response = self._try(method, path, request)
            if response is not None and (response.status_code < 500 or self._is_last(response)):
                return response
            # The last requests come when nothing fails any more, and a read may be repeated.
            if self._node is None or method != "GET":
                return None
            assert time.monotonic() < deadline, f"{method} {path} has no answer: {response and response.text}"
            time.sleep(0.2)

    def _is_last(self, response: httpx2.Response) -> bool:
        """Whether it is an answer, as a node may take a moment to find its servers again, but is not wrong then."""
        return self._node is not None and response.status_code != 503

    def _try(self, method: str, path: str, request: dict[str, object]) -> httpx2.Response | None:
        node = self._node or self._dice.choice(self._fleet.alive)
        if node.base_url not in self._clients:
            headers = {"Authorization": f"Bearer {KEY}"}
            self._clients[node.base_url] = httpx2.Client(base_url=node.base_url, headers=headers)
        is_patient = self._node is not None or self._dice.random() < 0.9
        shortest, longest = IMPATIENT_SECONDS
        timeout = ANSWER_SECONDS if is_patient else shortest * (longest / shortest) ** self._dice.random()
        with contextlib.suppress(httpx2.TransportError):
            return self._clients[node.base_url].request(method, path, timeout=timeout, **request)  # type: ignore[arg-type]
        return None


# --- what fails meanwhile ---------------------------------------------------------------------------------------------


def kill(fleet: ClockedFleet, dice: random.Random) -> None:
    number = dice.randrange(NODES)
    fleet.kill(number)
    time.sleep(dice.uniform(0, 0.3))
    fleet.start(number)


def pause(fleet: ClockedFleet, dice: random.Random) -> None:
    node = dice.choice(fleet.alive)
    node.process.send_signal(signal.SIGSTOP)
    time.sleep(dice.uniform(0.3, 2))
    node.process.send_signal(signal.SIGCONT)


def shift(fleet: ClockedFleet, dice: random.Random) -> None:
    number = dice.randrange(NODES)
    fleet.set_clock(number, dice.choice((-HOUR, -60, 60, HOUR)))
    time.sleep(dice.uniform(0.3, 1))
    fleet.set_clock(number, 0)


def fail_store(fleet: ClockedFleet, dice: random.Random) -> None:
    faults = (Fault(), Fault(status=500), Fault(status=503, code="SlowDown"), Fault(lose_answer=True), Fault(delay=0.3))

    def plan(request: Request) -> Fault | None:
        return dice.choice(faults) if dice.random() < 0.4 else None

    fleet.proxy.plan = plan
    time.sleep(dice.uniform(0.3, 1))
    fleet.proxy.plan = lambda request: None


def restart_database(fleet: ClockedFleet, dice: random.Random) -> None:
    """Its connections end, in the middle of whatever they do."""
    with fleet.place.postgres.session() as session:
        for _ in range(dice.randint(1, 4)):
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (fleet.place.name,)
            )
            time.sleep(dice.uniform(0, 0.3))


FAILURES = (kill, pause, shift, fail_store, restart_database)


def disturb(fleet: ClockedFleet, number: int, dice: random.Random) -> str:
    """One or two failures, one after the other; the first of each kind in its turn."""
    chosen = [FAILURES[number % len(FAILURES)], *dice.sample(FAILURES, dice.randint(0, 1))]
    for failure in chosen:
        time.sleep(dice.uniform(0, 0.3))
        failure(fleet, dice)
    return ", ".join(failure.__name__ for failure in chosen)


@pytest.mark.timeout(900)
@pytest.mark.promise("R-05")
def test_histories_of_concurrent_clients_are_linearizable(nodes: ClockedFleet, trials: Trials) -> None:
    print(f"to repeat: HISTORY_SEED={SEED} HISTORIES={HISTORIES} pytest tests/nodes/test_linearizability.py")
    counts = {"done": 0, "found": 0, "missing": 0, "spent": 0, "unknown": 0}
    for number in range(HISTORIES):
        run = Run(nodes, number, f"{SEED} {number}")
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            clients = [pool.submit(run.work, client) for client in range(CLIENTS)]
            failures = pool.submit(disturb, nodes, number, random.Random(f"{run.seed} failures")).result()
        for client in clients:
            client.result()
        run.finish()
        for name, operations in run.history.by_file().items():
            assert is_linearizable(operations), f"history {number} ({failures}): {name}\n{describe(operations)}"
        for operation in run.history.operations:
            counts[operation.outcome] += 1
        print(f"{number}: {failures}, {len(run.history.operations)} operations")
        trials()
    print(counts)
    assert counts["found"] > HISTORIES * FILES
    assert min(counts.values()) > HISTORIES
