"""Several nodes behave like one: concurrent operations are linearizable, whatever fails meanwhile.

`HISTORIES` is how many histories (for a long run: 200), `HISTORY_SEED` repeats the choices of an earlier run.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.batches.models import ThreadedModels
from tests.nodes.fleet import Fleet
from tests.nodes.histories import describe, is_linearizable
from tests.nodes.history_load import FILES, Load
from tests.stores.proxy import Fault, FaultyProxy, Request
from tests.support import model_server
from tests.support.databases import shared_postgres
from tests.support.installations import OnServers
from tests.support.promises import Trials
from tests.support.seaweedfs import require, shared_server
from tests.support.servers import Server

HISTORIES = int(os.environ.get("HISTORIES", "5"))
SEED = int(os.environ.get("HISTORY_SEED", "0")) or random.SystemRandom().getrandbits(32)
NODES = 3
CLIENTS = 6
HOUR = 3_600
USUAL = (
    *("create done", "create spent", "create unknown", "read missing", "delete done", "delete missing"),
    *("attach done", "attach missing", "detach missing", "look found", "look missing"),
    *("add done", "add over", "complete done", "cancel done"),
    *("create running", "read running", "read cancelling", "cancel cancelling"),
)
"""What clients are told many times in each run."""

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
            own_interpreter=True,
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
    silent = threading.Event()
    with FaultyProxy(seaweed.port) as proxy, ThreadedModels(model_server.ModelServer(instant=True)) as models:
        models.server.script = lambda received: model_server.Fault.held(silent)
        ClockedFleet.proxy = proxy
        made = ClockedFleet(
            tmp_path_factory.mktemp("nodes"),
            NODES,
            postgres=shared_postgres(),
            seaweed=seaweed,
            sweep_seconds=1,
            attached_files_per_minute=0,
            upstream_url=models.url,
        )
        try:
            yield made
        finally:
            made.close()
            silent.set()
    assert isinstance(made.place, OnServers)
    shared_postgres().drop(made.place.name)


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


@pytest.mark.timeout(600 + 10 * HISTORIES)
@pytest.mark.promise("R-05")
def test_histories_of_concurrent_clients_are_linearizable(nodes: ClockedFleet, trials: Trials) -> None:
    print(f"to repeat: HISTORY_SEED={SEED} HISTORIES={HISTORIES} pytest tests/nodes/test_linearizability.py")
    counts: Counter[str] = Counter()
    for number in range(HISTORIES):
        load = Load(nodes, number, f"{SEED} {number}")
        load.prepare()
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            clients = [pool.submit(load.work, client) for client in range(CLIENTS)]
            failures = pool.submit(disturb, nodes, number, random.Random(f"{load.seed} failures")).result()
        for client in clients:
            client.result()
        load.finish()
        models = load.models()
        for name, operations in load.history.by_subject().items():
            model = models[name]
            story = f"history {number} ({failures}): {name}\n{describe(model, operations)}"
            assert is_linearizable(model, operations), story
        for operation in load.history.operations:
            counts[f"{operation.kind} {operation.outcome}"] += 1
        print(f"{number}: {failures}, {len(load.history.operations)} operations")
        trials()
    print(counts)
    assert counts["read found"] > HISTORIES * FILES
    assert [outcome for outcome in USUAL if not counts[outcome]] == []
