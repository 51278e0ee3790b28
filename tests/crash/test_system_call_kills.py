"""kill -9 at every system call that changes files, folders or sockets, those of SQLite included: every promise holds.

Each operation is run once to count its calls, and then once for each call at which its process is killed: in
`make test` for a few of them, which are others each day, in `make torture` for all. `TEST_SHARE` repeats a day.
"""

import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.batches import runs
from tests.batches.models import ThreadedModels
from tests.crash import system_calls
from tests.crash.harness import end_claims, expire, findings, send_form, sha256
from tests.crash.steps import KILLED, KilledInstallation
from tests.support import rotation
from tests.support.forked import ForkedProcess
from tests.support.installations import clean_environment
from tests.support.model_server import ModelServer
from tests.support.parts import add_part, create_upload, send_complete, send_part
from tests.support.promises import Trials
from tests.support.servers import Server
from tests.support.waiting import wait_until

TORTURE = os.environ.get("TORTURE") == "1"
SAMPLE = 2
"""Kills of each operation in `make test`."""
INLINE, BLOB = b"a row of the database", os.urandom(70_000)
TEXT = b"harbour lights at night"
LINES = 3

Installation = KilledInstallation[Server]
Request = Callable[[httpx2.Client], httpx2.Response]
Operation = Generator[Request, httpx2.Response | None, None]
"""Prepares, yields a request during which the server is killed, and checks what became of it in the next one."""

pytestmark = [
    pytest.mark.embedded("kills at system calls on a data directory"),
    pytest.mark.skipif(
        not system_calls.may_attach(),
        reason="attaching to a process takes root here (kernel.yama.ptrace_scope): kills at system calls are NOT tried",
    ),
]


# --- operations -----------------------------------------------------------------------------------------------------


def upload(content: bytes, installation: Installation, name: str) -> Operation:
    response = yield lambda client: send_form(client, name, content)
    installation.settle(name, content)
    found = [file_id for file_id, filename in installation.listed().items() if filename == name]
    if response is not None:
        assert found == [response.json()["id"]]
    assert len(found) <= 1


def delete(content: bytes, installation: Installation, name: str) -> Operation:
    file_id = installation.upload(name, content)
    response = yield lambda client: client.delete(f"/files/{file_id}")
    if response is not None:
        assert file_id not in installation.listed()
    if file_id not in installation.listed():
        installation.gone.add(file_id)


def part(installation: Installation, name: str) -> Operation:
    upload_id = create_upload(installation.victim.client, len(INLINE) + len(BLOB), name=name)["id"]
    first = add_part(installation.victim.client, upload_id, INLINE)
    response = yield lambda client: send_part(client, upload_id, BLOB)
    again = send_part(installation.victim.client, upload_id, BLOB, retries=1)
    assert again.status_code == 200, again.text
    if response is not None:
        assert response.json() == again.json()
    complete(installation, upload_id, [first, again.json()["id"]])


def complete(installation: Installation, upload_id: str, parts: list[str]) -> str:
    response = send_complete(installation.victim.client, upload_id, parts)
    assert response.status_code == 200, response.text
    file_id = str(response.json()["file"]["id"])
    installation.contents[file_id] = sha256(INLINE + BLOB)
    return file_id


def completion(installation: Installation, name: str) -> Operation:
    upload_id = create_upload(installation.victim.client, len(INLINE) + len(BLOB), name=name)["id"]
    parts = [add_part(installation.victim.client, upload_id, content) for content in (INLINE, BLOB)]
    response = yield lambda client: send_complete(client, upload_id, parts)
    if response is not None:
        assert name in installation.listed().values()
    file_id = complete(installation, upload_id, parts)
    if response is not None:
        assert response.json()["file"]["id"] == file_id
    assert list(installation.listed().values()).count(name) == 1


def attachment(installation: Installation, name: str) -> Operation:
    client = installation.victim.client
    store = client.post("/vector_stores", json={}).json()["id"]
    file_id = installation.upload(f"{name}.txt", TEXT)
    response = yield lambda client: client.post(f"/vector_stores/{store}/files", json={"file_id": file_id})
    client = installation.victim.client
    counts = client.get(f"/vector_stores/{store}").json()["file_counts"]
    listed = client.get(f"/vector_stores/{store}/files").json()["data"]
    assert [file["id"] for file in listed] in ([file_id], []), "attached or not"
    assert counts["total"] == len(listed)
    if response is not None:
        assert listed
    if not listed:
        assert client.post(f"/vector_stores/{store}/files", json={"file_id": file_id}).status_code == 200
    wait_until(lambda: client.get(f"/vector_stores/{store}/files/{file_id}").json()["status"] == "completed", "index")
    found = client.post(f"/vector_stores/{store}/search", json={"query": "harbour"}).json()["data"]
    assert [(each["file_id"], len(each["content"])) for each in found] == [(file_id, 1)]


def batch(installation: Installation, name: str) -> Operation:
    client = installation.victim.client
    lines = runs.encode(runs.lines(LINES))
    response = send_form(client, name, lines, purpose="batch")
    installation.contents[input_id := response.json()["id"]] = sha256(lines)
    body = {"input_file_id": input_id, "endpoint": runs.CHAT, "completion_window": "24h"}
    response = yield lambda client: client.post("/batches", json=body)
    client = installation.victim.client
    found = [each["id"] for each in client.get("/batches").json()["data"] if each["input_file_id"] == input_id]
    if response is not None:
        assert found == [response.json()["id"]]
    assert len(found) <= 1
    created = {"id": found[0]} if found else runs.create_of(installation.victim, input_id)
    ended = runs.wait(installation.victim, created)
    assert (ended["status"], runs.counts(ended)) == ("completed", (LINES, LINES, 0))
    output = client.get(f"/files/{ended['output_file_id']}/content").content
    assert sorted(runs.ids(runs.content(installation.victim, ended["output_file_id"]))) == runs.ids(runs.lines(LINES))
    installation.contents[ended["output_file_id"]] = sha256(output)


OPERATIONS: dict[str, Callable[[Installation, str], Operation]] = {
    "upload of a row": lambda *arguments: upload(INLINE, *arguments),
    "upload of a blob": lambda *arguments: upload(BLOB, *arguments),
    "delete of a row": lambda *arguments: delete(INLINE, *arguments),
    "delete of a blob": lambda *arguments: delete(BLOB, *arguments),
    "part": part,
    "completion": completion,
    "attachment": attachment,
    "batch": batch,
}


# --- kills ----------------------------------------------------------------------------------------------------------


class Tracer:
    """`system_calls.py` at a process."""

    def __init__(self, process: int, nth: int, folder: Path) -> None:
        self._output = folder / "system-calls"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-I", system_calls.__file__, str(process), str(nth)],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._lines, "not attached")
        assert self._lines()[0] == "attached", self._lines()

    def _lines(self) -> list[str]:
        return self._output.read_text().splitlines()

    @property
    def calls(self) -> list[str]:
        """Names of those so far."""
        return self._lines()[1:]

    def wait(self, seconds: float) -> None:
        """Until the process has ended, but no longer than this."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def detach(self) -> None:
        self._process.terminate()
        self._process.wait()


numbers = itertools.count()
BEHIND = {"delete of a row": 0.3, "delete of a blob": 0.3, "completion": 0.3}
"""Seconds after a response in which the calls of its background work come.

Jobs that begin after an attachment or a batch are killed at their steps, in `test_store_kill_points.py`.
"""


def run(installation: Installation, name: str, nth: int, trials: Callable[[], None]) -> list[str]:
    """Run an operation, kill it at its nth call, and check it in the next server. Returns the calls until then."""
    print(f"{name}, to be killed at call {nth}")
    operation = OPERATIONS[name](installation, f"{name} {next(numbers)}")
    request = next(operation)
    victim = installation.victim
    tracer = Tracer(victim.process.pid, nth, installation.data_dir.parent)
    response = None
    with contextlib.suppress(httpx2.TransportError):
        response = request(victim.client)
        assert response.status_code == 200, response.text
    tracer.wait(BEHIND.get(name, 0.05))
    tracer.detach()
    if 0 < nth <= len(tracer.calls):
        victim.kill()  # a tracer that ends at its nth call may have come to the name and not to the kill
        assert victim.process.wait(60) == KILLED
        trials()
        installation.restart()
    else:
        assert response is not None
    with pytest.raises(StopIteration):
        operation.send(response)
    installation.check(latest=2)
    return tracer.calls


def chosen(name: str, calls: int) -> Iterator[int]:
    """The calls at which to kill, counted from one."""
    if TORTURE:
        yield from range(1, calls + 1)
        return
    step = max(1, calls // SAMPLE)
    # Shares of neighbouring days are far from each other.
    yield from range(1 + (rotation.today() * 7 + len(name)) % step, calls + 1, step)


@pytest.fixture(scope="module")
def models() -> Iterator[ThreadedModels]:
    with ThreadedModels(ModelServer(instant=True)) as running:
        yield running


@pytest.fixture
def installation(tmp_path: Path, models: ThreadedModels) -> Iterator[Installation]:
    made = KilledInstallation(tmp_path / "data", Server, sweep_seconds=3_600, upstream_url=models.url)
    yield made
    made.victim.kill()


@pytest.mark.promise("R-01")
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_every_system_call(installation: Installation, name: str, trials: Trials) -> None:
    run(installation, name, 0, trials)  # what is done once, as the making of files for SQLite, is not counted
    calls = run(installation, name, 0, trials)
    assert len(calls) > 20, calls
    print(f"{name}: {len(calls)} calls: {' '.join(calls)}")
    for nth in chosen(name, len(calls)):
        run(installation, name, nth, trials)


# --- sweeps ---------------------------------------------------------------------------------------------------------


def sweep(installation: Installation, nth: int, trials: Callable[[], None]) -> list[str]:
    """Files expire, and `filestead sweep` is killed at its nth call; the next one does what is left."""
    expired = [installation.upload(f"{nth}", content) for content in (INLINE, BLOB, BLOB)]
    expire(installation.data_dir, *expired)
    installation.gone |= set(expired)
    environment: dict[str, Any] = clean_environment() | {"FILESTEAD_DATA_DIR": str(installation.data_dir)}
    command = ForkedProcess(["sweep"], environment, os.devnull, stopped=True)
    tracer = Tracer(command.pid, nth, installation.data_dir.parent)
    status = command.wait(60)
    tracer.wait(10)
    assert status == (KILLED if 0 < nth <= len(tracer.calls) else 0)
    if status == KILLED:
        trials()
        end_claims(installation.data_dir)
        findings(installation.data_dir)  # it sweeps
    installation.check(latest=4)
    return tracer.calls


@pytest.mark.promise("R-01", "R-18")
def test_a_sweep_is_killed_at_every_system_call(installation: Installation, trials: Trials) -> None:
    calls = sweep(installation, 0, trials)
    assert {"unlink", "fsync", "fdatasync", "pwrite64"} <= set(calls)
    print(f"{len(calls)} calls: {' '.join(calls)}")
    for nth in chosen("sweep", len(calls)):
        sweep(installation, nth, trials)
