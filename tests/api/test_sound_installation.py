"""`verify` has no finding about a sound installation, whatever goes on in it meanwhile.

`VERIFY_RUNS` is the number of runs; some of them read all contents.
"""

import asyncio
import contextlib
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from filestead import installation, settings
from filestead.installation import upkeep
from tests.batches.models import ThreadedModels
from tests.batches.runs import CHAT, encode, lines
from tests.support.installations import environment_of
from tests.support.model_server import ModelServer
from tests.support.parts import add_part, create_upload, send_complete
from tests.support.promises import Trials
from tests.support.servers import Server

RUNS = int(os.environ.get("VERIFY_RUNS", "10"))
RUNS_OF_ONE = 125
"""Then a new installation, so that a run does not read more and more rows."""
DEEP_EACH = 4
AT_ONCE = 3
"""Runs beside each other: most of one is waiting."""
CLIENTS = 3
PAUSE_SECONDS = 0.04
KEPT = 6
"""Of each kind, by each client."""


class Client:
    """One client, which creates, uses and deletes what an installation may hold, at random."""

    def __init__(self, server: Server, seed: int) -> None:
        self._http = httpx2.Client(base_url=server.base_url, headers=dict(server.client.headers), timeout=60)
        self._random = random.Random(seed)
        self._files: deque[str] = deque()
        self._stores: deque[str] = deque()
        self._batches = 10
        self.operations = 0

    def run(self, stop: threading.Event) -> None:
        """Go on until it is told to stop."""
        steps: list[Callable[[], None]] = [
            *(self._upload, self._upload, self._delete, self._in_parts, self._store, self._detach, self._delete_store),
            self._batch,
        ]
        with self._http:
            while not stop.wait(PAUSE_SECONDS):
                self._random.choice(steps)()
                self.operations += 1

    def _post(self, path: str, **content: Any) -> Any:
        return self._require(self._http.post(path, **content))

    def _require(self, response: httpx2.Response) -> Any:
        assert response.status_code == 200, response.text
        return response.json()

    def _add(self, content: bytes, purpose: str = "assistants", **fields: str) -> str:
        name = "a.jsonl" if purpose == "batch" else "a.txt"
        headers = {"Idempotency-Key": f"{self._random.random()}"} if self._random.random() < 0.3 else {}
        data = {"purpose": purpose, **fields}
        made = self._post("/files", data=data, files={"file": (name, content)}, headers=headers)
        return str(made["id"])

    def _upload(self) -> None:
        size = self._random.choice((5, 500, 40_000))
        expiry = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
        self._files.append(self._add(b"word " * size, **self._random.choice(({}, expiry))))
        if len(self._files) > KEPT:
            self._delete()

    def _delete(self) -> None:
        if self._files:
            self._require(self._http.delete(f"/files/{self._files.popleft()}"))

    def _in_parts(self) -> None:
        upload = create_upload(self._http, 30_000, name="a.txt", purpose="assistants")
        if self._random.random() < 0.1:
            return  # it is left to its expiry
        parts = [add_part(self._http, upload["id"], b"%d" % number * 10_000) for number in range(3)]
        if self._random.random() < 0.3:
            self._post(f"/uploads/{upload['id']}/cancel")
            return
        self._files.append(self._require(send_complete(self._http, upload["id"], parts))["file"]["id"])

    def _store(self) -> None:
        files = self._random.sample(list(self._files), min(2, len(self._files)))
        self._stores.append(self._post("/vector_stores", json={"file_ids": files})["id"])
        if len(self._stores) > KEPT:
            self._delete_store()

    def _detach(self) -> None:
        if self._stores:
            store = self._random.choice(list(self._stores))
            for file in self._require(self._http.get(f"/vector_stores/{store}/files"))["data"][:1]:
                self._http.delete(f"/vector_stores/{store}/files/{file['id']}")

    def _delete_store(self) -> None:
        if self._stores:
            self._require(self._http.delete(f"/vector_stores/{self._stores.popleft()}"))

    def _batch(self) -> None:
        if self._batches == 0:
            return
        self._batches -= 1
        file = self._add(encode(lines(self._random.choice((1, 20)))), "batch")
        body = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
        batch = self._post("/batches", json=body)
        if self._random.random() < 0.3:
            self._http.post(f"/batches/{batch['id']}/cancel")
        if self._random.random() < 0.5:
            self._require(self._http.delete(f"/files/{file}"))


@contextlib.contextmanager
def load(server: Server, seed: int) -> Iterator[list[Client]]:
    """Clients at work; a failure of one is raised at the end."""
    stop, failures = threading.Event(), list[BaseException]()
    clients = [Client(server, seed * CLIENTS + number) for number in range(CLIENTS)]

    def run(client: Client) -> None:
        try:
            client.run(stop)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for failure in failures:
        raise failure


async def verify_repeatedly(data: Path, runs: int) -> None:
    with environment_of(data):
        opened = installation.from_settings(settings.load()).open(operation_timeout=60)

    async def verify_each(numbers: Iterator[int]) -> None:
        for number in numbers:
            report = await upkeep.verify(backends, deep=number % DEEP_EACH == 0)
            assert report.violations == [], f"in run {number}"

    with contextlib.closing(opened) as backends:
        numbers = iter(range(runs))
        await asyncio.gather(*(verify_each(numbers) for _ in range(AT_ONCE)))


@pytest.mark.promise("V-01")
def test_a_sound_installation_under_load_has_no_finding(tmp_path: Path, trials: Trials) -> None:
    seed = int(os.environ.get("VERIFY_SEED", time.time_ns() % 1_000_000))
    print(f"VERIFY_SEED={seed}")
    with ThreadedModels(ModelServer(instant=True, models=("m", "n"))) as models:
        for start in range(0, RUNS, RUNS_OF_ONE):
            runs = min(RUNS_OF_ONE, RUNS - start)
            data = tmp_path / str(start)
            options = {"upstream_url": models.url, "batch_cancel_seconds": 1, "uploads_per_minute": 0}
            with Server(data, sweep_seconds=1, **options) as server, load(server, seed + start) as clients:
                asyncio.run(verify_repeatedly(data, runs))
                deadline = time.monotonic() + 60
                while sum(client.operations for client in clients) < runs:
                    assert time.monotonic() < deadline, "something must go on"
                    asyncio.run(verify_repeatedly(data, AT_ONCE))
            asyncio.run(verify_repeatedly(data, 1))
            trials(runs + 1)
