"""kill -9 of random nodes, of PostgreSQL and of the store under load, again and again: what was promised holds.

`CHAOS_CYCLES` is how often (170 are more than 300 kills), `CHAOS_SEED` repeats the choices of an earlier run.
"""

import json
import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from filestead.blobs.keys import KEY as KEY_FORM
from tests.batches.models import ThreadedModels
from tests.nodes.chaos_clients import Client, list_all
from tests.nodes.fleet import Fleet, contents, fleet, unused
from tests.support.model_server import Fault, ModelServer
from tests.support.postgres import PostgresServer
from tests.support.promises import Trials
from tests.support.seaweedfs import SeaweedServer, require
from tests.support.servers import run_command
from tests.support.waiting import wait_until

CYCLES = int(os.environ.get("CHAOS_CYCLES", "3"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().getrandbits(32)
NODES = 3
THREADS = 4
SETTLE_SECONDS = 120


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


def settle(fleet: Fleet) -> None:
    """Jobs are done, and the minutes pass after which what dead nodes left behind is free; then a sweep.

    What a node is just sweeping is left to that node, or free again when its claim ends after a minute.
    """
    place = fleet.place
    place.sql("UPDATE jobs SET due_us = 1 WHERE died_us IS NULL")
    deadline = time.monotonic() + SETTLE_SECONDS
    while left := place.sql("SELECT kind, attempts, error FROM jobs WHERE died_us IS NULL"):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    place.sql("UPDATE uploads SET expires_at = created_at WHERE status = 'pending'")
    place.sql("UPDATE blobs SET lease_until_us = 1 WHERE state != 'live'")
    swept = run_command(Path("nowhere"), "sweep", place=place)
    assert swept.returncode == 0, swept.stderr
    wait_until(lambda: not unused(place), lambda: unused(place), SETTLE_SECONDS)


def check(fleet: Fleet, clients: list[Client]) -> None:
    """Everything acknowledged is there, once and with its bytes, and there is nothing else: no row, object or part."""
    settle(fleet)
    place = fleet.place
    results = {file_id for client in clients for file_id in client.check()}
    assert {batch for client in clients for batch in client.batches} == {
        batch for (batch,) in place.sql("SELECT id FROM batches")
    }
    kept = {file.id: file for client in clients for file in client.files}
    listed = list_all(clients[0])
    assert listed.keys() - results == kept.keys() and results <= listed.keys()
    for file in kept.values():
        assert listed[file.id] == file.name
        clients[0].download(file)
    verified = run_command(Path("nowhere"), "verify", "--deep", "--json", place=place)
    *findings, sums = map(json.loads, verified.stdout.splitlines())
    assert (findings, verified.returncode) == ([], 0), verified.stderr
    assert sums["files"] == len(kept) + len(results)
    stored, wanted = place.stored(), contents(place)
    assert (stored - wanted, wanted - stored) == (set(), set())
    # A probe of the store that was cut off stays for an hour, under a name that is no blob's.
    unfinished = [
        (key, place.sql("SELECT state FROM blobs WHERE key = ?", key))
        for key in place.staged()
        if KEY_FORM.fullmatch(key)
    ]
    assert unfinished == []
    assert unused(place) == []
    assert place.sql("SELECT bytes_reserved FROM projects") == [(0,)], "verify has compared what is used"


def endure(fleet: Fleet, dice: random.Random, clients: list[Client], trials: Trials) -> None:
    """Cycles of kills with all clients at work; each kill is a trial."""
    stop, started = threading.Event(), time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            work = [pool.submit(client.run, stop) for client in clients]
            for cycle in range(CYCLES):
                time.sleep(dice.uniform(0.2, 2))
                victims = strike(fleet, dice)
                print(f"{cycle}: {' '.join(map(str, victims))} ({time.monotonic() - started:.0f} s)")
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
        with (
            ThreadedModels(ModelServer(instant=True, records=False)) as models,
            fleet(tmp_path, NODES, postgres, seaweed, sweep_seconds=1, upstream_url=models.url) as nodes,
        ):
            models.server.script = lambda received: Fault.slow(0.1)
            clients = [Client(nodes, random.Random(dice.random()), f"client{number}") for number in range(THREADS)]
            endure(nodes, dice, clients, trials)
            check(nodes, clients)
    finally:
        seaweed.stop()
        postgres.remove()
    sums = dict(sum((client.done for client in clients), Counter()))
    retries, replayed = (sum(getattr(client, name) for client in clients) for name in ("retries", "replayed"))
    print(f"{CYCLES} cycles: {sums}, {retries} tries repeated, {replayed} uploads answered with an earlier try's file")
    assert sums["upload"] > CYCLES
    assert {"upload in parts", "attach", "batch"} <= sums.keys()
