"""kill -9 while files are indexed: nothing is lost, nothing is done twice, and the counts are exact at the end."""

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.crash.harness import wait_until_quiet
from tests.support.promises import Trials
from tests.support.servers import Server, run_command

CYCLES = int(os.environ.get("CRASH_CYCLES", "4"))
SEED = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().getrandbits(32)
FILES = 480
WORDS = 2_500
"""Several chunks a file, so that there is something to do half."""
LARGE = 6
"""Every so many files, one is too large for a group: it has a process of its own."""


def settings() -> dict[str, Any]:
    return {"uploads_per_minute": 0, "sweep_seconds": 0.2}


def text(number: int) -> bytes:
    words = WORDS * (1 if number % LARGE else 4)
    return f"unique{number} ".encode() + b" ".join(b"common%d" % (n % 97) for n in range(words))


def store_of(server: Server, store: str) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get(f"/vector_stores/{store}").json()
    return found


@pytest.mark.promise("R-18")
def test_kills_while_files_are_indexed(tmp_path: Path, trials: Trials) -> None:
    print(f"CRASH_SEED={SEED} CRASH_CYCLES={CYCLES}")
    dice = random.Random(SEED)
    data = tmp_path / "data"
    with Server(data, **settings()) as server:
        ids = [server.upload(text(number), name=f"{number}.txt")["id"] for number in range(FILES)]
        store = server.client.post("/vector_stores", json={"file_ids": ids}).json()["id"]
        detached = ids[0]
        while not store_of(server, store)["file_counts"]["completed"]:
            time.sleep(0.05)
        server.kill()
    interrupted = 0
    for _ in range(CYCLES):
        with Server(data, **settings()) as server:
            counts = store_of(server, store)["file_counts"]
            assert counts["total"] == counts["completed"] + counts["in_progress"]
            interrupted += counts["in_progress"] > 0
            time.sleep(dice.uniform(2.2, 4.0))
            server.kill()
            trials()
    assert interrupted, "no kill came while files were in progress"
    with Server(data, **settings()) as server:
        assert server.client.delete(f"/files/{detached}").status_code == 200
        deadline = time.monotonic() + 120
        while (found := store_of(server, store))["status"] == "in_progress":
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        assert found["file_counts"] == {
            "in_progress": 0,
            "completed": FILES - 1,
            "failed": 0,
            "cancelled": 0,
            "total": FILES - 1,
        }
        for number in range(0, FILES, 4):
            body = {"query": f"unique{number}", "max_num_results": 50}
            results = server.client.post(f"/vector_stores/{store}/search", json=body).json()["data"]
            expected = [] if number == 0 else [f"{number}.txt"]
            assert [result["filename"] for result in results] == expected, "each file is found once"
            if expected:
                content = server.client.get(f"/vector_stores/{store}/files/{ids[number]}/content").json()
                assert content["data"][0]["text"].encode() == text(number)
        time.sleep(1)
        wait_until_quiet(data)
    checked = run_command(data, "verify")
    assert checked.returncode == 0, checked.stdout
