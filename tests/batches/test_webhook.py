"""The end of a batch is reported to the webhook of the settings."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.batches.models import ThreadedModels
from tests.batches.runs import create, create_of, lines, wait
from tests.support.servers import Server
from tests.worker.test_webhooks import SECRET, Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_case_43_each_end_is_reported(models: ThreadedModels, receiver: Receiver, tmp_path: Path) -> None:
    options = {"webhook_url": receiver.url, "webhook_secret": SECRET, "webhook_private": True}
    with Server(tmp_path / "data", upstream_url=models.url, **options) as server:
        completed = wait(server, create(server, lines(2)))
        failed = wait(server, create_of(server, "file-unknown"))
        deadline = time.monotonic() + 20
        while len(receiver.received) < 2:
            assert time.monotonic() < deadline, server.output
            time.sleep(0.05)
        assert SECRET not in server.output
    client = openai.OpenAI(api_key="none", webhook_secret=SECRET)
    found = {}
    for headers, body in receiver.received:
        event = client.webhooks.unwrap(body, headers)
        assert list(json.loads(body)) == ["id", "object", "created_at", "type", "data"]
        assert event.id == headers["webhook-id"]
        found[json.loads(body)["data"]["id"]] = event.type
    assert found == {completed["id"]: "batch.completed", failed["id"]: "batch.failed"}
