"""The clock jumps while a server runs or is stopped: no file is lost and no client is locked out."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.batches import runs
from tests.batches.models import ThreadedModels
from tests.support import parts
from tests.support.model_server import Fault, ModelServer
from tests.support.servers import Server

pytestmark = pytest.mark.embedded("moves the clock of the server's process")

HOUR, DAY = 3_600, 86_400


class Machine:
    """A data directory, and a clock that can be set."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offset = folder / "offset"

    def set_clock(self, offset: float) -> None:
        other = self._offset.with_suffix(".new")
        other.write_text(str(offset))
        other.rename(self._offset)

    def server(self, **settings: Any) -> Server:
        env = {"MOVED_CLOCK": str(self._offset)}
        options = {"sweep_seconds": 0.1, **settings}
        return Server(
            self._folder / "data", module="tests.attack.moved_clock", own_interpreter=True, env=env, **options
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["running", "down"])
@pytest.mark.promise("R-14")
def test_a_short_clock_jump_of_a_month_deletes_nothing(machine: Machine, how: str) -> None:
    server = machine.server()
    with server:
        batch = server.upload(b'{"custom_id": "1"}\n', purpose="batch", name="a.jsonl")
        assert batch["expires_at"] == batch["created_at"] + 30 * DAY
        if how == "down":
            server.stop()
            machine.set_clock(31 * DAY)
            server = machine.server()
        else:
            machine.set_clock(31 * DAY)
        with server:
            until(lambda: server.client.get(f"/files/{batch['id']}").status_code == 404)
            until(lambda: "ahead of the time that has passed" in server.output)
            # Many sweeps later, in each of which it was the first to go.
            seen = server.upload(b"x")
            for _ in range(3):
                server.client.delete(f"/files/{server.upload(b'y')['id']}")
                time.sleep(0.2)
            machine.set_clock(0)
            until(lambda: server.client.get(f"/files/{batch['id']}").status_code == 200)
            assert server.client.get(f"/files/{batch['id']}/content").content == b'{"custom_id": "1"}\n'
            assert server.client.get(f"/files/{seen['id']}").status_code == 200
            until(lambda: "clock went back" in server.output)
            assert server.output.count("ahead of the time that has passed") == 1, "one line a jump"


@pytest.mark.promise("R-14")
def test_an_hour_ahead_and_back_locks_nobody_out(machine: Machine) -> None:
    machine.set_clock(HOUR)
    with machine.server(uploads_per_minute=3) as server:
        for _ in range(3):
            server.upload()
        machine.set_clock(0)
        server.upload()


@pytest.mark.promise("R-14")
def test_a_clock_jump_ends_no_batch_that_runs(machine: Machine) -> None:
    """An hour is more than an upload in parts has, and a month more than a batch: both go on when the clock is right."""
    gate = threading.Event()
    with (
        ThreadedModels(ModelServer(instant=True, models=("m",))) as models,
        machine.server(upstream_url=models.url, sweep_seconds=0.5) as server,
    ):
        models.server.script = lambda received: Fault.held(gate)
        upload = parts.create_upload(server.client, 2)
        first = parts.add_part(server.client, upload["id"], b"a")
        batch = runs.create(server, runs.lines(3))
        runs.wait(server, batch, lambda found: found["status"] == "in_progress" and models.server.requests)
        machine.set_clock(31 * DAY)
        until(lambda: "ahead of the time that has passed" in server.output)
        refused = parts.send_part(server.client, upload["id"], b"b")
        assert (refused.status_code, "expired" in refused.json()["error"]["message"]) == (400, True), refused.text
        time.sleep(2.5)  # a worker reads the state of its batch each second
        assert runs.get(server, batch)["status"] == "in_progress"
        machine.set_clock(0)
        until(lambda: "clock went back" in server.output)
        gate.set()
        done = runs.wait(server, batch)
        assert (done["status"], runs.counts(done), done["expired_at"]) == ("completed", (3, 3, 0), None)
        second = parts.add_part(server.client, upload["id"], b"b")
        completed = parts.send_complete(server.client, upload["id"], [first, second])
        assert completed.status_code == 200, completed.text
        assert server.client.get(f"/files/{completed.json()['file']['id']}/content").content == b"ab"
