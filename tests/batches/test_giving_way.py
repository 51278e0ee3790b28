"""A batch against a fast model server gives way to the requests of its process."""

import threading
import time
from pathlib import Path

import pytest

from tests.batches.models import ThreadedModels
from tests.batches.runs import counts, create, get, has_counts, lines, wait
from tests.support.model_server import ModelServer
from tests.support.servers import Server

LINES = 20_000
SECONDS = 2.0


@pytest.mark.timing
def test_a_batch_is_slower_while_requests_are_served(tmp_path: Path) -> None:
    with (
        ThreadedModels(ModelServer(instant=True, records=False)) as models,
        Server(tmp_path / "data", upstream_url=models.url) as server,
    ):
        created = create(server, lines(LINES, max_tokens=1))
        wait(server, created, has_counts(completed=500))
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                server.client.get("/files", params={"limit": 1}).raise_for_status()

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        try:
            time.sleep(0.2)
            before, begun = counts(get(server, created))[1], time.monotonic()
            time.sleep(SECONDS)
            slow = (counts(get(server, created))[1] - before) / (time.monotonic() - begun)
        finally:
            ended.set()
            for asker in askers:
                asker.join()
        done = wait(server, created)
    assert (done["status"], counts(done)) == ("completed", (LINES, LINES, 0))
    assert 50 < slow < 1_500, "it goes on, but slowly"
