"""Nodes are stopped and started again one after the other, with clients at work: nobody notices.

`RESTARTS` is how many, `RESTARTS_SEED` repeats the moments of an earlier run.
"""

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.batches.models import ThreadedModels
from tests.nodes.client_load import Load
from tests.nodes.fleet import Balancer, Fleet, fleet
from tests.support.databases import shared_postgres
from tests.support.model_server import Fault, ModelServer
from tests.support.promises import Trials
from tests.support.seaweedfs import CREDENTIALS, NEW_CREDENTIALS, shared_server
from tests.support.servers import KEY, run_command

RESTARTS = int(os.environ.get("RESTARTS", "3"))
LONGEST = 2.0
"""Seconds from one restart to the next, at most."""
SEED = int(os.environ.get("RESTARTS_SEED", "0")) or random.SystemRandom().getrandbits(32)


@pytest.fixture
def models() -> Iterator[ThreadedModels]:
    with ThreadedModels(ModelServer(instant=True, records=False)) as made:
        made.server.script = lambda received: Fault.slow(0.05)
        yield made


def restart(made: Fleet, number: int) -> None:
    """SIGTERM, and a new node when the old one has ended by itself."""
    node = made.nodes[number]
    assert node is not None
    assert node.stop() == 0, node.output[-3_000:]
    made.nodes[number] = None
    made.start(number)


def verify(made: Fleet) -> None:
    verified = run_command(Path("nowhere"), "verify", "--deep", place=made.place)
    assert verified.returncode == 0, verified.stdout


@pytest.mark.timeout(900)
@pytest.mark.promise("R-22")
def test_a_rolling_restart_fails_no_request(models: ThreadedModels, tmp_path: Path, trials: Trials) -> None:
    """With the retries that the official client makes of itself."""
    print(f"to repeat: RESTARTS_SEED={SEED} RESTARTS={RESTARTS} pytest tests/nodes/test_rolling_restart.py")
    dice, interrupted = random.Random(SEED), 0
    servers = (shared_postgres(), shared_server())
    with (
        fleet(tmp_path, 2, *servers, upstream_url=models.url, sweep_seconds=1) as made,
        contextlib.closing(Balancer(made)) as balancer,
    ):
        load = Load(balancer.base_url, KEY)
        with load.running():
            load.wait_for_steps()
            for number in range(RESTARTS):
                time.sleep(dice.uniform(0, LONGEST))
                interrupted += load.uploads_under_way > 0
                restart(made, number % 2)
                load.raise_errors()
                trials()
                if number % 2:  # each has been restarted: jobs that are short get done, as the nodes are not always new
                    load.wait_for_steps(1)
            load.wait_for_steps()
        load.check()
        print(f"{dict(load.done)}, {load.failed}, {interrupted} restarts during uploads")
        assert interrupted >= RESTARTS // 4
        verify(made)


@pytest.mark.promise("R-22")
def test_new_passwords_of_database_and_store_take_a_rolling_restart(models: ThreadedModels, tmp_path: Path) -> None:
    """While the nodes are restarted, both servers take the old and the new ones; then the old ones end."""
    postgres, seaweed, name = shared_postgres(), shared_server(), "new-passwords"
    old, new = "old-node:old-password-of-rows", "new-node:new-password-of-rows"
    postgres.add_account(old)
    try:
        with (
            fleet(
                tmp_path, 2, postgres, seaweed, name=name, upstream_url=models.url,
                database_url=postgres.url_of(name, account=old),
            ) as made,
            contextlib.closing(Balancer(made)) as balancer,
        ):  # fmt: skip
            load = Load(balancer.base_url, KEY)
            with load.running():
                postgres.add_account(new)
                seaweed.accept(CREDENTIALS, NEW_CREDENTIALS)
                made.env = {
                    "FILESTEAD_DATABASE_URL": postgres.url_of(name, account=new),
                    "AWS_ACCESS_KEY_ID": NEW_CREDENTIALS.access_key_id,
                    "AWS_SECRET_ACCESS_KEY": NEW_CREDENTIALS.secret_access_key,
                }
                for number in range(2):
                    restart(made, number)
                postgres.end_account(old)
                seaweed.accept(NEW_CREDENTIALS)
                load.wait_for_steps()
            load.check()
            verify(made)
            with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
                psycopg.connect(postgres.url_of(name, account=old))
            assert seaweed.send("GET", "ready")[0] == 200
            seaweed.credentials = CREDENTIALS
            assert seaweed.send("GET", "ready")[0] == 403
    finally:
        seaweed.accept(CREDENTIALS)
