"""`filestead backup` and `filestead restore`, run as a user runs them, while a server works."""

import asyncio
import contextlib
import hashlib
import json
import random
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from filestead import settings
from filestead.domain.errors import CannotStart
from filestead.installation import EmbeddedInstallation, backup, restore
from tests.nodes.places import KEY, Place, Places, fill, searchable
from tests.support.batch_worker import input_of
from tests.support.parts import add_part, create_upload, upload_in_parts
from tests.support.servers import Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.embedded("chooses itself where its installations are")

Way = tuple[Place, Place]


@pytest.fixture(params=["embedded-shared", "shared-embedded"])
def way(places: Places, request: pytest.FixtureRequest) -> Way:
    source, _, target = request.param.partition("-")
    return getattr(places, source)(), getattr(places, target)()


@dataclass
class Clients:
    """Threads that upload and delete; they record what was acknowledged."""

    server: Server
    kept: dict[str, str] = field(default_factory=dict)
    """File id -> SHA-256, of uploads that were acknowledged and that no client will delete."""
    count: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def _work(self, seed: int) -> None:
        chance = random.Random(seed)
        with httpx2.Client(
            base_url=self.server.base_url, headers={"authorization": f"Bearer {KEY}"}, timeout=60
        ) as http:
            while not self._ended.is_set():
                content = chance.randbytes(chance.choice([0, 10, 5_000, 300_000]))
                made = http.post("/files", data={"purpose": "user_data"}, files={"file": ("a.bin", content)})
                assert made.status_code == 200, made.text
                self.count += 1
                if chance.random() < 0.5:
                    self.kept[made.json()["id"]] = hashlib.sha256(content).hexdigest()
                else:
                    time.sleep(0.02)
                    assert http.delete(f"/files/{made.json()['id']}").status_code == 200

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._work, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()


@pytest.mark.promise("R-24")
def test_a_backup_has_every_file_that_was_acknowledged_before_it(way: Way, tmp_path: Path) -> None:
    source, target = way
    with source.serve() as server:
        texts = [server.upload(f"text {number}".encode(), name=f"{number}.txt")["id"] for number in range(3)]
        store = searchable(server, texts)
        found = server.client.post(f"/vector_stores/{store}/search", json={"query": "text"}).json()
        parts = [secrets.token_bytes(500_000), b"end"]
        in_parts = upload_in_parts(server.client, *parts)["file"]
        clients = Clients(server)
        with clients.working():
            while clients.count < 40:
                time.sleep(0.01)
            before = dict(clients.kept)
            done = source.run("backup", str(tmp_path / "backup"), "--json")
            during = clients.count
        assert during > 40, "nothing was uploaded meanwhile"
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["damaged"] == []
    restored = target.run("restore", str(tmp_path / "backup"))
    assert restored.returncode == 0, restored.stderr
    verified = target.run("verify", "--deep")
    assert verified.returncode == 0, verified.stdout
    with target.serve(key=None) as server:
        for file_id, digest in before.items():
            assert hashlib.sha256(server.client.get(f"/files/{file_id}/content").content).hexdigest() == digest
        assert server.client.get(f"/files/{in_parts['id']}/content").content == b"".join(parts)
        assert server.client.post(f"/vector_stores/{store}/search", json={"query": "text"}).json() == found
        server.upload(b"after the restoration")


def test_a_pending_upload_goes_on_after_the_restoration_of_a_data_directory(places: Places, tmp_path: Path) -> None:
    source, target = places.embedded(), places.embedded()
    with source.serve() as server:
        pending = create_upload(server.client, 10)
        part = add_part(server.client, pending["id"], b"0123456789")
        assert source.run("backup", str(tmp_path / "backup")).returncode == 0
    assert target.run("restore", str(tmp_path / "backup")).returncode == 0
    with target.serve(key=None) as server:
        made = server.client.post(f"/uploads/{pending['id']}/complete", json={"part_ids": [part]}).json()
        assert server.client.get(f"/files/{made['file']['id']}/content").content == b"0123456789"


@pytest.mark.rotating(3)
@pytest.mark.parametrize(
    ("parts", "inline_bytes"), [pytest.param(0, 0, id="one blob"), (0, 16_384), pytest.param(2, 0, id="parts")]
)
def test_the_input_of_a_batch_is_in_the_backup_although_its_file_was_deleted(
    places: Places, tmp_path: Path, parts: int, inline_bytes: int
) -> None:
    source, target = places.embedded(), places.embedded()
    content = input_of("first", "second")
    with source.serve(role="api", upstream_url="http://127.0.0.1:9", inline_bytes=inline_bytes) as server:
        if parts:
            file = upload_in_parts(server.client, content[:100], content[100:], purpose="batch")["file"]
        else:
            file = server.upload(content, purpose="batch", name="b.jsonl")
        members = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = server.client.post("/batches", json=members).json()
        assert server.client.delete(f"/files/{file['id']}").status_code == 200
        done = source.run("backup", str(tmp_path / "backup"))
        assert (done.returncode, done.stdout) == (
            0,
            f"0 files, {parts or 1} blobs, {len(content)} bytes in the backup\n",
        )
    assert target.run("restore", str(tmp_path / "backup")).returncode == 0
    assert target.run("verify", "--deep").returncode == 0
    (key,) = {row["input_blob_key"] for row in target.rows()["batches"]}
    assert parts or target.content(key) == content
    with target.serve(key=None, role="api") as server:
        assert server.client.get(f"/batches/{batch['id']}").json() == batch


@pytest.mark.rotating(3)
@pytest.mark.parametrize("rounds", [1, 3])
def test_a_file_that_is_deleted_during_the_backup_is_not_in_it(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    """Its row was read, and its content is gone: the rows are read again, or it is deleted from them in the last round."""
    monkeypatch.setattr(backup, "ROUNDS", rounds)
    source, target = places.embedded(), places.embedded()
    with source.serve() as server:
        ids = [server.upload(secrets.token_bytes(17_000), name=f"{number}.bin")["id"] for number in range(30)]
        # Contents are read in the order of their keys.
        in_order = source.inside.sql("SELECT id, blob_key FROM files ORDER BY blob_key")
        stored, gone = in_order[0][0], in_order[-1][0]
        reports: list[int] = []

        def delete_once(done: int, total: int | None) -> None:
            reports.append(done)
            if len(reports) == 15:
                for file_id in (stored, gone):
                    assert server.client.delete(f"/files/{file_id}").status_code == 200
                # The content goes after the response.
                wait_until(lambda: not {in_order[0][1], in_order[-1][1]} & source.inside.stored(), "it stays")

        loaded = settings.load(data_dir=source.data_dir)
        where = tmp_path / "backup"
        made = asyncio.run(backup.back_up(EmbeddedInstallation(loaded), loaded, where, progress=delete_once))
    left = set(ids) - ({gone} if rounds == 1 else {stored, gone})
    assert (made.damaged, made.files, made.blobs) == ([], len(left), len(left))
    assert len(blobs(where)) == len(left)
    assert target.run("restore", str(where)).returncode == 0
    assert target.run("verify", "--deep").returncode == 0
    with target.serve(key=None) as server:
        there = {file["id"] for file in server.client.get("/files", params={"limit": 1000}).json()["data"]}
    assert there == left


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of three files."""
    folder = tmp_path_factory.mktemp("whole")
    fill(Place(folder / "data"), [100, 3_000_000, 5])
    loaded = settings.load(data_dir=folder / "data")
    done = asyncio.run(backup.back_up(EmbeddedInstallation(loaded), loaded, folder / "backup"))
    assert (done.files, done.blobs, done.bytes, done.damaged) == (3, 3, 3_000_105, [])
    return folder / "backup"


@pytest.fixture
def made(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "backup")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def recount(manifest: Path) -> None:
    """Change what nothing but the digest of the manifest protects."""
    text = manifest.read_text()
    assert '"files": 3' in text
    manifest.write_text(text.replace('"files": 3', '"files": 4'))


def swap(backup: Path) -> None:
    one, other, *_ = sorted(blobs(backup))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def blobs(backup: Path) -> list[Path]:
    return sorted((backup / "blobs").rglob("?" * 32), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda backup: flip(blobs(backup)[0]), id="a bit of a small blob"),
        pytest.param(lambda backup: flip(blobs(backup)[-1]), id="a bit of a large blob"),
        pytest.param(lambda backup: blobs(backup)[0].unlink(), id="a lost blob"),
        pytest.param(lambda backup: blobs(backup)[0].write_bytes(b""), id="an empty blob"),
        pytest.param(swap, id="two blobs exchanged"),
        pytest.param(lambda backup: flip(backup / "filestead.db"), id="a bit of the database"),
        pytest.param(lambda backup: (backup / "filestead.db").unlink(), id="no database"),
        pytest.param(lambda backup: flip(backup / "manifest.json"), id="a bit of the manifest"),
        pytest.param(lambda backup: recount(backup / "manifest.json"), id="a count of the manifest"),
        pytest.param(lambda backup: flip(backup / "COMPLETE"), id="a bit of the marker"),
        pytest.param(lambda backup: (backup / "COMPLETE").unlink(), id="no marker"),
    ],
)
def test_a_damaged_backup_is_refused(places: Places, made: Path, damage: Callable[[Path], None]) -> None:
    target = places.embedded()
    loaded = settings.load(data_dir=target.data_dir)
    asyncio.run(restore.check(made, loaded))
    damage(made)
    for attempt in (restore.check(made, loaded), restore.restore(made, EmbeddedInstallation(loaded), loaded)):
        with pytest.raises((CannotStart, restore.RestoreFailed), match="se another backup"):
            asyncio.run(attempt)
    assert not (target.data_dir / "filestead.db").exists()


def test_only_an_empty_directory_is_used(places: Places, made: Path, tmp_path: Path) -> None:
    served = places.embedded()
    fill(served, [1])
    there = served.run("restore", str(made))
    assert (there.returncode, "is not empty" in there.stderr) == (78, True), there.stderr
    over = served.run("backup", str(made))
    assert (over.returncode, "is not empty" in over.stderr) == (78, True), over.stderr
    no_backup = places.embedded().run("restore", str(served.data_dir))
    assert (no_backup.returncode, "is no complete backup" in no_backup.stderr) == (78, True), no_backup.stderr
    nothing = places.embedded().run("backup", str(tmp_path / "b2"))
    assert (nothing.returncode, "holds no installation" in nothing.stderr) == (78, True), nothing.stderr


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_killed_command_leaves_nothing_that_looks_complete(places: Places, tmp_path: Path, command: str) -> None:
    source = places.embedded()
    fill(source, [2_000_000] * 30)
    assert source.run("backup", str(tmp_path / "whole")).returncode == 0
    for number in range(10):  # it may have come to its end before it is killed
        cut, target = tmp_path / f"cut{number}", places.embedded()
        place, words = (source, ["backup", str(cut)]) if command == "backup" else (target, ["restore", str(tmp_path / "whole")])  # fmt: skip
        watched, last = (cut, "COMPLETE") if command == "backup" else (target.data_dir, "filestead.db")
        process = subprocess.Popen(
            [sys.executable, "-m", "filestead.cli.main", *words],
            env=place.environment | {"FILESTEAD_DATA_DIR": str(place.data_dir)},
        )
        deadline = time.monotonic() + 60
        while not list(watched.glob("blobs/*/*")):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()
        process.wait()
        if not (watched / last).exists():
            break
    if command == "backup":
        refused = target.run("restore", str(cut))
        assert (refused.returncode, "is no complete backup" in refused.stderr) == (78, True), refused.stderr
    else:
        refused = target.run("serve")
        assert (refused.returncode, "holds blobs but the database" in refused.stderr) == (78, True), refused.stderr


@pytest.mark.rotating(3)
@pytest.mark.parametrize("content", [pytest.param(b"other bytes", id="changed"), pytest.param(None, id="lost")])
@pytest.mark.parametrize("inline", [pytest.param(False, id="stored"), pytest.param(True, id="inline")])
def test_a_damaged_file_does_not_prevent_a_backup_of_the_others(
    places: Places, tmp_path: Path, content: bytes | None, inline: bool
) -> None:
    source, target = places.embedded(), places.embedded()
    ids = fill(source, [10, 20], inline=inline)
    lost = source.rows()["files"][0]
    source.damage(lost["blob_key"], content and content[: lost["bytes"]])
    done = source.run("backup", str(tmp_path / "backup"))
    assert (done.returncode, lost["id"] in done.stdout) == (1, True), done.stdout
    assert target.run("restore", str(tmp_path / "backup")).returncode == 1
    with target.serve(key=None) as server:
        answers = {file_id: server.client.get(f"/files/{file_id}/content") for file_id in ids}
        assert {file_id for file_id, answer in answers.items() if answer.status_code == 200} == set(ids) - {lost["id"]}
        assert answers[lost["id"]].json()["error"]["code"] == "file_corrupt"


def test_a_later_backup_links_to_an_earlier_one(places: Places, tmp_path: Path) -> None:
    source, target = places.embedded(), places.embedded()
    first, second = tmp_path / "first", tmp_path / "second"
    with source.serve() as server:
        old = server.upload(b"old" * 100_000)
        assert source.run("backup", str(first)).returncode == 0
        new = server.upload(b"new" * 100_000)
        small = server.upload(b"small")
        assert source.run("backup", str(second), "--base", str(first)).returncode == 0
    shared = {path.name for path in blobs(first)}
    assert sorted((path.name in shared, path.stat().st_nlink) for path in blobs(second)) == [(False, 1), (True, 2)]
    shutil.rmtree(first)
    assert target.run("restore", str(second)).returncode == 0
    with target.serve(key=None) as server:
        for file, content in ((old, b"old" * 100_000), (new, b"new" * 100_000), (small, b"small")):
            assert server.client.get(f"/files/{file['id']}/content").content == content
