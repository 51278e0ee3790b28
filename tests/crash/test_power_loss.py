"""The power fails while clients upload, delete, attach and run batches: whatever the disk kept, what was acknowledged holds.

A server runs under strace. From what it did to its data directory, states are made that a power failure may leave
(`power_loss.py`); each is opened like an installation, and compared with what the clients were told by that moment.
`POWER_STATES` says how many states. `POWER_RECORDING` takes the recording of an earlier run in place of a new one, and
with it `POWER_SEED` and `POWER_STATE` repeat one state.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from filestead.blobs.local.store import LocalBlobs
from filestead.database.engines.sqlite import SqliteDatabase
from filestead.domain.audit.chain import find_broken
from filestead.domain.files.sweep import Sweeper
from filestead.domain.files.verify import verify
from filestead.domain.integrity import Violation
from filestead.domain.uploads.verify import find_damaged_parts
from filestead.installation.backends import build_backends
from filestead.installation.embedded import DATABASE, OWN_FILES, EmbeddedInstallation
from filestead.settings import load as load_settings
from tests.batches import runs
from tests.batches.models import ThreadedModels
from tests.crash import disk_log
from tests.crash.harness import garbage, sha256, sql
from tests.crash.power_load import LINES, Client, Progress, Told
from tests.crash.power_loss import LOSSES, WORST, Loss, PowerLoss, build
from tests.support.model_server import Fault, ModelServer, Received
from tests.support.promises import Trials
from tests.support.servers import Server
from tests.support.waiting import wait_until

STATES = int(os.environ.get("POWER_STATES", "100"))
SEED = int(os.environ.get("POWER_SEED", "0")) or random.SystemRandom().getrandbits(32)
ONLY = os.environ.get("POWER_STATE")
RECORDING = os.environ.get("POWER_RECORDING")
THREADS = 3

pytestmark = [
    pytest.mark.embedded("records the system calls on a data directory"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing: no state after a power failure is tried"),
]  # fmt: skip


class RecordedServer(Server):
    """A server whose changes of the disk are recorded beside its data directory."""

    def _start(self, arguments: list[str], environment: dict[str, str]) -> Any:
        recorder = [*disk_log.STRACE, "-o", str(self.data_dir.parent.with_name("calls"))]
        return self._spawn([*recorder, *self._command(arguments)], environment)


def one_after_the_other(received: Received) -> Fault:
    """The lines of a batch have their results at different times."""
    number = int(str(received.json["messages"][-1]["content"]).split()[1])
    return Fault.slow(number * 0.02)


def record(folder: Path) -> None:
    """Run the load, and leave the calls, what clients were told, and when the first start was done."""
    (folder / "disk").mkdir()
    dice = random.Random(SEED)
    with ThreadedModels(ModelServer(instant=True, script=one_after_the_other)) as models:
        server = RecordedServer(
            folder / "disk" / "data", upstream_url=models.url, uploads_per_minute=0, sweep_seconds=0.2
        )
        try:
            store = server.client.post("/vector_stores", json={}).json()["id"]
            ready = time.time_ns()
            clients = [Client(server, store, random.Random(dice.random()), f"client{n}") for n in range(THREADS)]
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(Client.run, clients))
            time.sleep(0.5)  # a sweep
        finally:
            killed = EndOfProcess(folder / "calls", server.process.pid)
            server.kill()
    wait_until(killed.is_recorded, "strace runs")
    told = [vars(one) for client in clients for one in client.told]
    progress = [vars(one) for client in clients for one in client.progress]
    values = {"disk": str(folder / "disk"), "ready": ready, "told": told, "progress": progress}
    (folder / "told.json").write_text(json.dumps(values))


class EndOfProcess:
    """Looks for the line on the end of a process, in what strace writes from now on: lines can be very long."""

    def __init__(self, calls: Path, pid: int) -> None:
        self._file = calls.open("rb")
        self._file.seek(0, os.SEEK_END)
        self._line = re.compile(rb"^%d .*\+\+\+ killed" % pid, re.MULTILINE)
        self._read = b""

    def is_recorded(self) -> bool:
        self._read += self._file.read()
        return self._line.search(self._read) is not None


@dataclass
class Recording:
    """A recorded run."""

    folder: Path
    power: PowerLoss
    told: list[Told]
    progress: list[Progress]
    moments: list[int]
    """When a sync or an acknowledgement has just come, or a change just begun."""

    def choose(self, number: int) -> tuple[int, Loss, random.Random]:
        """The moment and the loss of a state."""
        dice = random.Random(f"{SEED} {number}")
        acknowledged = sorted(time + 1 for one in self.told for time in (one.stored, one.deleted) if time)
        if number % 3 == 0:
            return acknowledged[number // 3 % len(acknowledged)], WORST, dice
        return dice.choice(self.moments), dice.choice(LOSSES), dice

    def check(self, number: int, opened: "OpenedStates") -> None:
        """Make a state and look at it."""
        moment, loss, dice = self.choose(number)
        build(self.power.state(moment, loss, dice), opened.place)
        data_dir = opened.data_dir
        with opened.open():
            # The leases end, and what was interrupted is swept.
            sql(data_dir, "UPDATE blobs SET lease_until_us = 1 WHERE state != 'live'")
            assert opened.findings() == []
        assert garbage(data_dir) == {}
        contents = read_contents(data_dir)
        digests = {one.name: one.digest for one in self.told}
        outputs = {file_id for (file_id,) in sql(data_dir, "SELECT output_file_id FROM batches")}
        for file_id, (name, content) in contents.items():
            assert file_id in outputs or sha256(content) == digests[name], f"{file_id} {name} is another file"
        self.check_batches(data_dir, moment, contents)
        stored = {
            "upload": {upload for (upload,) in sql(data_dir, "SELECT id FROM uploads WHERE status = 'pending'")},
            "part": {part for (part,) in sql(data_dir, "SELECT id FROM upload_parts")},
            "store": {store for (store,) in sql(data_dir, "SELECT id FROM vector_stores")},
            "attachment": {file_id for (file_id,) in sql(data_dir, "SELECT file_id FROM vector_store_files")},
            "batch": {batch for (batch,) in sql(data_dir, "SELECT id FROM batches")},
        }
        for one in self.told:
            there = one.id in stored.get(one.kind, contents)
            assert there or not one.is_kept(moment), f"{one.id} ({one.kind} {one.name}) was acknowledged and is gone"
            assert not (there and one.is_gone(moment)), f"{one.id} ({one.kind}) was deleted and is back"

    def check_batches(self, data_dir: Path, moment: int, contents: dict[str, tuple[str, bytes]]) -> None:
        """Each line that a client saw done has one result, and an output that it saw is there."""
        results = {}
        for seq, batch, done, output in sql(
            data_dir, "SELECT seq, id, completed + failed, output_file_id FROM batches"
        ):
            if output is None:
                journal = sql(data_dir, "SELECT lines FROM batch_results WHERE batch = ?", seq)
                lines = [line for (block,) in journal for (line,) in struct.iter_unpack("<I", block)]
            else:
                lines = [json.loads(line)["custom_id"] for line in contents[output][1].splitlines()]
            assert len(set(lines)) == len(lines) == done, f"{batch}: {done} lines are done, and the results are {lines}"
            results[batch] = done, output
        for seen in self.progress:
            if seen.seen < moment:
                done, output = results[seen.batch]
                assert done >= seen.done, f"{seen.batch}: {seen.done} lines were done, now {done}"
                assert seen.output in (None, output), f"{seen.batch}: its output is gone"


def read_contents(data_dir: Path) -> dict[str, tuple[str, bytes]]:
    """Name and bytes of each file by its id, read without the product."""
    inline = dict(sql(data_dir, "SELECT key, data FROM inline_blobs"))

    def read(key: str) -> bytes:
        return inline[key] if key in inline else (data_dir / "blobs" / key[:2] / key).read_bytes()

    parts: dict[str, list[str]] = {}
    for key, part in sql(data_dir, "SELECT blob_key, part_key FROM blob_parts ORDER BY blob_key, number"):
        parts.setdefault(key, []).append(part)
    files = sql(data_dir, "SELECT id, filename, blob_key FROM files")
    return {file_id: (name, b"".join(map(read, parts.get(key, [key])))) for file_id, name, key in files}


class OpenedStates:
    """The installation in one folder, opened for each state as a command does.

    What does not depend on the state is kept: to compile the statements takes longer than all the rest.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.data_dir = place / "data"
        self._settings = load_settings(data_dir=self.data_dir)
        self._database: SqliteDatabase | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        with EmbeddedInstallation(self._settings).prepare(create=False):
            if self._database is None:
                self._database = SqliteDatabase(self.data_dir / DATABASE)
                blobs = LocalBlobs(self.data_dir, reserve_bytes=0, neighbours=OWN_FILES)
                self._backends = build_backends(self._settings, self._database, blobs)
            else:
                SqliteDatabase.__init__(self._database, self.data_dir / DATABASE)
            try:
                yield
            finally:
                self._database.close()

    def findings(self) -> list[Violation]:
        """Of `filestead sweep` and `filestead verify --deep`."""
        backends = self._backends

        async def look() -> list[Violation]:
            await Sweeper(backends.files, backends.blobs).sweep()
            report = await verify(backends.files, backends.blobs, deep=True)
            broken, _ = await find_broken(backends.audit)
            report.violations += [broken] if broken else []
            return report.violations + await find_damaged_parts(
                backends.uploads, backends.files, backends.blobs, deep=True
            )

        return asyncio.run(look())


def load(folder: Path) -> Recording:
    """Read a recorded run."""
    values = json.loads((folder / "told.json").read_text())
    log = disk_log.read(folder / "calls", Path(values["disk"]))
    told = [Told(**one) for one in values["told"]]
    moments = [end + 1 for syncs in log.syncs.values() for _, end in syncs]
    moments += [change.start + 1 for change in log.changes]
    moments += [time + 1 for one in told for time in (one.stored, one.deleted)]
    progress = [Progress(**one) for one in values["progress"]]
    return Recording(folder, PowerLoss(log), told, progress, [moment for moment in moments if moment > values["ready"]])


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    if RECORDING:
        return load(Path(RECORDING))
    folder = tmp_path_factory.mktemp("power")
    record(folder)
    return load(folder)


@pytest.mark.timeout(600 + STATES)
@pytest.mark.promise("R-02")
def test_what_was_acknowledged_survives_a_power_failure(recording: Recording, tmp_path: Path, trials: Trials) -> None:
    print(f"POWER_SEED={SEED} POWER_RECORDING={recording.folder}")
    opened = OpenedStates(tmp_path / "state")
    for number in [int(ONLY)] if ONLY else range(STATES):
        try:
            recording.check(number, opened)
        except Exception as error:
            moment, loss, _ = recording.choose(number)
            raise AssertionError(
                f"{error}\nstate {number} ({loss}, {moment}); repeat: POWER_RECORDING={recording.folder} "
                f"POWER_SEED={SEED} POWER_STATE={number}"
            ) from error
        trials()


@pytest.mark.promise("R-02")
def test_a_server_starts_after_a_power_failure(recording: Recording, tmp_path: Path) -> None:
    moment, loss, dice = recording.choose(STATES)
    build(recording.power.state(moment, loss, dice), tmp_path)
    with (
        ThreadedModels(ModelServer(instant=True)) as models,
        Server(tmp_path / "data", upstream_url=models.url, uploads_per_minute=0) as server,
    ):
        server.upload(b"again")
        kept = {one.id: one.digest for one in recording.told if one.kind == "file" and one.is_kept(moment)}
        for file_id, digest in kept.items():
            assert sha256(server.client.get(f"/files/{file_id}/content").content) == digest, (moment, loss)
        for one in recording.told:
            if one.kind == "batch" and one.is_kept(moment):
                assert runs.wait(server, {"id": one.id})["request_counts"]["completed"] == LINES, (moment, loss)
