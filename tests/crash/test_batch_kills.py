"""kill -9 while a batch runs: each line has one result at the end, in one of the files, and the counts are exact.

`BATCH_KILLS` is the number of kills; `CRASH_SEED` repeats a run.
"""

import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.batches.models import ThreadedModels
from tests.batches.runs import ENDED, content, counts, create, get, lines
from tests.crash.harness import wait_until_quiet
from tests.support.model_server import Fault, ModelServer, Received
from tests.support.servers import Server, run_command

KILLS = int(os.environ.get("BATCH_KILLS", "10"))
SEED = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().getrandbits(32)
LINES = 2_000
REFUSED = 50
"""Every so many lines, the model server refuses one."""


def settings(models: ThreadedModels) -> dict[str, Any]:
    return {"upstream_url": models.url, "uploads_per_minute": 0, "sweep_seconds": 0.2}


def refuse_some(received: Received) -> Fault | None:
    number = int(str(received.json["messages"][-1]["content"]).split()[1])
    return Fault.of_status(400, "no") if not number % REFUSED else Fault.slow(0.05)


def check(server: Server, batch: Any) -> None:
    """Each line has one result."""
    assert batch["status"] == "completed", batch
    output, errors = content(server, batch["output_file_id"]), content(server, batch["error_file_id"])
    found = Counter(each["custom_id"] for each in [*output, *errors])
    assert found == Counter(f"line-{number}" for number in range(1, LINES + 1))
    assert counts(batch) == (LINES, LINES - LINES // REFUSED, LINES // REFUSED)
    assert len(errors) == LINES // REFUSED
    assert batch["usage"]["total_tokens"] == sum(each["response"]["body"]["usage"]["total_tokens"] for each in output)


def test_case_26_kills_while_batches_run(tmp_path: Path) -> None:
    print(f"CRASH_SEED={SEED} BATCH_KILLS={KILLS}")
    dice = random.Random(SEED)
    data = tmp_path / "data"
    with ThreadedModels(ModelServer(instant=True)) as models:
        models.server.script = refuse_some
        batches: list[Any] = []
        kills = interrupted = 0
        while kills < KILLS:
            with Server(data, **settings(models)) as server:
                running = [batch for batch in batches if get(server, batch)["status"] not in ENDED]
                if not running:
                    batches.append(create(server, lines(LINES)))
                time.sleep(dice.uniform(0.0, 2.5))
                found = get(server, batches[-1])
                total, completed, failed = counts(found)
                interrupted += 0 < completed + failed < total
                server.kill()
                kills += 1
        assert interrupted, "no kill came while lines were in flight"
        with Server(data, **settings(models)) as server:
            deadline = time.monotonic() + 120
            while any((last := get(server, batch))["status"] not in ENDED for batch in batches):
                assert time.monotonic() < deadline, last
                time.sleep(0.1)
            for batch in batches:
                check(server, get(server, batch))
            time.sleep(1)  # a sweep deletes the journals
            assert server.place.sql("SELECT count(*) FROM batch_results") == [(0,)]
            assert server.place.sql("SELECT count(*) FROM jobs WHERE kind = 'batch'") == [(0,)]
    wait_until_quiet(data)
    checked = run_command(data, "verify")
    assert checked.returncode == 0, checked.stdout
