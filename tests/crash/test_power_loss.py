"""The power fails while clients upload and delete: whatever the disk kept, what was acknowledged holds.

A server runs under strace. From what it did to its data directory, states are made that a power failure may leave
(`power_loss.py`); each is opened like an installation, and compared with what the clients were told by that moment.
`POWER_STATES` says how many states. `POWER_RECORDING` takes the recording of an earlier run in place of a new one, and
with it `POWER_SEED` and `POWER_STATE` repeat one state.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from filestead.blobs.local.store import LocalBlobs
from filestead.database.engines.sqlite import SqliteDatabase
from filestead.domain.files.sweep import Sweeper
from filestead.domain.files.verify import verify
from filestead.domain.integrity import Violation
from filestead.domain.uploads.verify import find_damaged_parts
from filestead.installation.backends import build_backends
from filestead.installation.embedded import DATABASE, OWN_FILES, EmbeddedInstallation
from filestead.settings import load as load_settings
from tests.crash import disk_log
from tests.crash.harness import garbage, send_form, sha256, sql, wait_until
from tests.crash.power_loss import LOSSES, WORST, Loss, PowerLoss, build
from tests.support.parts import add_part, create_upload, send_complete
from tests.support.promises import Trials
from tests.support.servers import Server

STATES = int(os.environ.get("POWER_STATES", "100"))
SEED = int(os.environ.get("POWER_SEED", "0")) or random.SystemRandom().getrandbits(32)
ONLY = os.environ.get("POWER_STATE")
RECORDING = os.environ.get("POWER_RECORDING")
THREADS = 3
STEPS = 30
"""Of each client."""
SIZES = (1, 500, 3_000, 16_000, 16_000, 16_000, 20_000, 60_000, 200_000)
PARTS = (30_000, 70_000)

pytestmark = [
    pytest.mark.embedded("records the system calls on a data directory"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing: no state after a power failure is tried"),
]  # fmt: skip


class RecordedServer(Server):
    """A server whose changes of the disk are recorded beside its data directory."""

    def _start(self, arguments: tuple[str, ...], code: str, environment: dict[str, str]) -> Any:
        recorder = [*disk_log.STRACE, "-o", str(self.data_dir.parent.with_name("calls"))]
        return self._spawn([*recorder, *self._command(arguments, code)], environment)


@dataclass
class Told:
    """What a client was told. Times in ns, and 0 for what did not come to pass."""

    kind: str
    """`file`, or `part` of an upload."""
    name: str
    digest: str
    sent: int
    id: str = ""
    stored: int = 0
    deleting: int = 0
    deleted: int = 0

    def is_kept(self, moment: int) -> bool:
        """Whether it must be there."""
        return 0 < self.stored < moment and not 0 < self.deleting < moment

    def is_gone(self, moment: int) -> bool:
        """Whether it must not be there."""
        return 0 < self.deleted < moment


class Client:
    """One of the clients: it uploads small and large files, in one request or in parts, and deletes some of them."""

    def __init__(self, server: Server, dice: random.Random, name: str) -> None:
        self._http = httpx2.Client(base_url=server.base_url, headers=server.client.headers, timeout=60)
        self._dice = dice
        self._name = name
        self._numbers = itertools.count()
        self.told: list[Told] = []

    def run(self) -> None:
        with self._http:
            for _ in range(STEPS):
                kept = [one for one in self.told if one.kind == "file" and one.is_kept(time.time_ns())]
                choice = self._dice.random()
                if kept and choice < 0.3:
                    self._delete(self._dice.choice(kept))
                elif choice < 0.45:
                    self._upload_in_parts()
                else:
                    self._upload(self._dice.randbytes(self._dice.choice(SIZES)))

    def _tell(self, kind: str, content: bytes) -> Told:
        told = Told(kind, f"{self._name}-{next(self._numbers)}", sha256(content), time.time_ns())
        self.told.append(told)
        return told

    def _upload(self, content: bytes) -> None:
        told = self._tell("file", content)
        response = send_form(self._http, told.name, content)
        assert response.status_code == 200, response.text
        told.id, told.stored = response.json()["id"], time.time_ns()

    def _upload_in_parts(self) -> None:
        contents = [self._dice.randbytes(size) for size in PARTS]
        whole = self._tell("file", b"".join(contents))
        upload = create_upload(self._http, sum(PARTS), name=whole.name)["id"]
        parts = []
        for content in contents:
            part = self._tell("part", content)
            part.id = add_part(self._http, upload, content)
            part.stored = time.time_ns()
            parts.append(part)
        if self._dice.random() < 0.3:
            return
        for part in parts:  # from now on they may belong to the file
            part.deleting = time.time_ns()
        response = send_complete(self._http, upload, [part.id for part in parts])
        assert response.status_code == 200, response.text
        whole.id, whole.stored = response.json()["file"]["id"], time.time_ns()

    def _delete(self, told: Told) -> None:
        told.deleting = time.time_ns()
        assert self._http.delete(f"/files/{told.id}").status_code == 200
        told.deleted = time.time_ns()


def record(folder: Path) -> None:
    """Run the load, and leave the calls, what clients were told, and when the first start was done."""
    (folder / "disk").mkdir()
    dice = random.Random(SEED)
    server = RecordedServer(folder / "disk" / "data", uploads_per_minute=0, sweep_seconds=0.2)
    try:
        ready = time.time_ns()
        clients = [Client(server, random.Random(dice.random()), f"client{n}") for n in range(THREADS)]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(Client.run, clients))
        time.sleep(0.5)  # a sweep
    finally:
        server.kill()
    calls = folder / "calls"
    wait_until(lambda: f"{server.process.pid} " in (last := _last_lines(calls)) and "+++ killed" in last, "strace runs")
    told = [vars(one) for client in clients for one in client.told]
    (folder / "told.json").write_text(json.dumps({"disk": str(folder / "disk"), "ready": ready, "told": told}))


def _last_lines(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2000))
        return file.read().decode()


@dataclass
class Recording:
    """A recorded run."""

    folder: Path
    power: PowerLoss
    told: list[Told]
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
        for file_id, (name, content) in contents.items():
            assert sha256(content) == digests[name], f"{file_id} {name} is another file"
        stored = contents.keys() | {part for (part,) in sql(data_dir, "SELECT id FROM upload_parts")}
        for one in self.told:
            if one.is_kept(moment):
                assert one.id in stored, f"{one.id} ({one.kind} {one.name}) was acknowledged and is gone"
            assert not (one.is_gone(moment) and one.id in stored), f"{one.id} was deleted and is back"


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
    return Recording(folder, PowerLoss(log), told, [moment for moment in moments if moment > values["ready"]])


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    if RECORDING:
        return load(Path(RECORDING))
    folder = tmp_path_factory.mktemp("power")
    record(folder)
    return load(folder)


@pytest.mark.timeout(900)
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
    with Server(tmp_path / "data", uploads_per_minute=0) as server:
        server.upload(b"again")
        kept = {one.id: one.digest for one in recording.told if one.kind == "file" and one.is_kept(moment)}
        for file_id, digest in kept.items():
            assert sha256(server.client.get(f"/files/{file_id}/content").content) == digest, (moment, loss)
