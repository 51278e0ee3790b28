"""`filestead scrub`, on both kinds of installation: all damage is found beside a server, and nothing else is reported."""

import asyncio
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from filestead.domain.errors import StorageFailed
from filestead.domain.scrub import UNREADABLE_IN_A_ROW, Damage, Pace, Scrub, ScrubPosition
from filestead.installation import Backends
from filestead.installation.scrub_state import SCRUB_STATE, open_scrub_state
from tests.nodes.places import Place, Places, fill
from tests.support.batch_worker import input_of
from tests.support.parts import add_part, create_upload, upload_in_parts
from tests.support.promises import Trials

pytestmark = pytest.mark.embedded("chooses itself where its installations are")

FLIPS = 1_000 if os.environ.get("TORTURE") else 30
"""For each kind of installation."""


@pytest.fixture(params=["embedded", "shared"])
def place(places: Places, request: pytest.FixtureRequest) -> Place:
    made: Place = getattr(places, request.param)()
    return made


def scrubbed(place: Place, *flags: str, rate: int = 0) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """The exit status, what is damaged, and the totals."""
    done = place.run("scrub", "--json", "--rate", str(rate), *flags)
    assert done.stderr == "", done.stderr
    *found, sums = map(json.loads, done.stdout.splitlines())
    assert sums["damaged"] == len(found)
    return done.returncode, found, sums


async def scrub(backends: Backends, **options: Any) -> list[Damage]:
    """A whole pass in this process."""
    work = Scrub(backends.contents, backends.blobs, Pace(0, time.monotonic), now=time.monotonic, time=time.time)
    return (await work.run(ScrubPosition(), **options)).damages


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_each_kind_of_content_is_compared_beside_a_server(place: Place) -> None:
    lines = input_of("first", "second")
    with place.serve(role="api", upstream_url="http://127.0.0.1:9") as server:
        stored = server.upload(secrets.token_bytes(20_000))["id"]
        inline = server.upload(b"small")["id"]
        truncated = server.upload(secrets.token_bytes(20_000))["id"]
        in_parts = upload_in_parts(server.client, b"first", b"second")["file"]["id"]
        pending = create_upload(server.client, 10)["id"]
        add_part(server.client, pending, b"0123456789")
        file_id = upload_in_parts(server.client, lines[:100], lines[100:], purpose="batch")["file"]["id"]
        members = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = server.client.post("/batches", json=members).json()["id"]
        assert server.client.delete(f"/files/{file_id}").status_code == 200
        gone = server.upload(b"gone")["id"]
        intact = server.upload(b"intact")["id"]

        status, found, sums = scrubbed(place)
        assert (status, found, sums["blobs"], sums["complete"]) == (0, [], 10, True)

        keys = dict(place.inside.sql("SELECT id, blob_key FROM files"))
        parts = "SELECT part_key FROM blob_parts WHERE blob_key = ? ORDER BY number"
        ((key,),) = place.inside.sql("SELECT input_blob_key FROM batches")
        keys[batch] = place.inside.sql(parts, key)[0][0]
        keys[in_parts] = place.inside.sql(parts, keys[in_parts])[1][0]
        ((keys[pending],),) = place.inside.sql("SELECT blob_key FROM upload_parts WHERE upload_id = ?", pending)
        for owner in (stored, inline, in_parts, pending, batch):
            place.damage(keys[owner], flipped(place.content(keys[owner]), 21))
        place.damage(keys[truncated], place.content(keys[truncated])[:-1])
        place.damage(keys[gone], None)

        status, found, sums = scrubbed(place)
        ((project,),) = place.inside.sql("SELECT DISTINCT project_id FROM files")
        changed, short = "the blob's SHA-256 is not that of the upload", "the blob has 19999 bytes instead of 20000"
        evidence = dict.fromkeys((stored, inline, in_parts, pending, batch), changed)
        evidence |= {truncated: short, gone: "the blob is missing"}
        kinds = {pending: "upload", batch: "batch"}
        assert (status, sums["complete"]) == (3, True)
        assert {one["id"]: one for one in found} == {
            owner: {
                "id": owner,
                "kind": kinds.get(owner, "file"),
                "project_id": project,
                "blob_key": keys[owner],
                "evidence": text,
            }
            for owner, text in evidence.items()
        }

        # What was deleted, cancelled or restored is not damaged any more.
        for owner in (stored, truncated, in_parts, gone):
            assert server.client.delete(f"/files/{owner}").status_code == 200
        assert server.client.post(f"/uploads/{pending}/cancel").status_code == 200
        place.damage(keys[inline], b"small")
        status, found, _ = scrubbed(place)
        assert (status, [one["id"] for one in found]) == (3, [batch])
        assert server.client.get(f"/files/{intact}/content").content == b"intact"
    assert place.run("verify").returncode == 0  # the file with the position belongs there


@pytest.mark.promise("R-20")
def test_every_flipped_bit_is_found(place: Place, trials: Trials) -> None:
    """Of contents, and of the digests and sizes in their rows."""
    sizes = [1, 1_000, 50_000]
    ids = fill(place, sizes) + fill(place, sizes, inline=True)
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    with place.backends() as backends, asyncio.Runner() as runner:
        rows = {row[0]: row[1:] for row in place.inside.sql("SELECT id, blob_key, bytes, sha256 FROM files")}
        contents = {file_id: place.content(rows[file_id][0]) for file_id in ids}
        assert runner.run(scrub(backends)) == []
        for number in range(FLIPS):
            file_id = chance.choice(ids)
            key, size, sha256 = rows[file_id]
            whole = {
                "content": contents[file_id],
                "bytes": size,
                "sha256": sha256,
            }
            harm = {
                "content": flipped(contents[file_id], chance.randrange(8 * size)),
                "bytes": size ^ 1 << chance.randrange(20),
                "sha256": flipped(sha256.encode(), 8 * chance.randrange(64)).decode(),
            }
            what = chance.choice(["content"] * 4 + ["bytes", "sha256"])
            for values in (harm, whole):
                if what == "content":
                    place.damage(key, values["content"])
                else:
                    place.inside.sql(f"UPDATE files SET {what} = ? WHERE id = ?", values[what], file_id)
                found = [damage.content.owner_id for damage in runner.run(scrub(backends))]
                assert found == ([file_id] if values is harm else []), f"seed {seed}, flip {number} of {what}"
            trials()


def test_exchanged_contents_are_found(place: Place) -> None:
    ids = fill(place, [1_000, 1_000])
    (one, first), (other, second) = place.inside.sql("SELECT blob_key, id FROM files")
    contents = place.content(one), place.content(other)
    place.damage(one, contents[1])
    place.damage(other, contents[0])
    with place.backends() as backends, asyncio.Runner() as runner:
        found = runner.run(scrub(backends))
    assert {damage.content.owner_id for damage in found} == {first, second} == set(ids)


def test_contents_that_are_deleted_meanwhile_are_not_damaged(place: Place) -> None:
    fill(place, [20_000] * 4)
    with place.serve() as server, place.backends() as backends, asyncio.Runner() as runner:
        ids = [file["id"] for file in server.client.get("/files").json()["data"]]
        small = [server.upload(b"small")["id"] for _ in range(3)]
        reads: list[int] = []

        def delete_all(position: ScrubPosition) -> None:
            if not reads:
                for file_id in (*ids, *small):
                    assert server.client.delete(f"/files/{file_id}").status_code == 200
            reads.append(position.blobs)

        assert runner.run(scrub(backends, progress=delete_all)) == []
    assert reads == [1, 2, 3, 4, 5, 6, 7]


def test_a_run_continues_where_the_last_one_has_stopped(places: Places) -> None:
    place = places.embedded()
    fill(place, [10] * 40)
    status, found, first = scrubbed(place, "--max-seconds", "0.5", rate=10)  # 20 blobs a second
    assert (status, found, first["complete"]) == (0, [], False)
    assert 1 <= first["blobs"] <= 12
    _, _, second = scrubbed(place)
    assert (second["blobs"], second["complete"]) == (40 - first["blobs"], True)
    _, _, third = scrubbed(place)
    assert (third["blobs"], third["complete"]) == (40, True)
    scrubbed(place, "--max-seconds", "0.2", rate=10)
    _, _, again = scrubbed(place, "--restart")
    assert (again["blobs"], again["complete"]) == (40, True)


@pytest.fixture
def running(places: Places) -> Iterator[tuple[Place, "subprocess.Popen[str]"]]:
    """A run over 60 blobs, one a second, which has saved a position."""
    place = places.embedded()
    fill(place, [10] * 60)
    process = subprocess.Popen(
        [sys.executable, "-m", "filestead.cli.main", "scrub", "--rate", "0.5", "--data-dir", str(place.data_dir)],
        env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not saved(place):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        yield place, process
    finally:
        process.kill()
        process.communicate()


def saved(place: Place) -> int:
    """How many blobs the position counts."""
    path = place.data_dir / SCRUB_STATE
    return int(json.loads(path.read_text())["blobs"]) if path.exists() and path.stat().st_size else 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_is_continued(
    running: "tuple[Place, subprocess.Popen[str]]", number: signal.Signals
) -> None:
    place, process = running
    second = place.run("scrub")
    assert (second.returncode, "another `filestead scrub` is running" in second.stderr) == (78, True), second.stderr
    process.send_signal(number)
    process.wait()
    before = saved(place)
    assert 0 < before < 60
    _, _, sums = scrubbed(place)
    assert (sums["blobs"], sums["complete"]) == (60 - before, True)


def test_a_directory_without_an_installation_is_left_alone(places: Places) -> None:
    place = places.embedded()
    refused = place.run("scrub")
    assert (refused.returncode, "holds no installation" in refused.stderr) == (78, True), refused.stderr
    assert not place.data_dir.exists()


def test_damage_is_reported_again_until_it_is_gone(places: Places) -> None:
    """Also by a run that stops before it comes to the blob."""
    place = places.embedded()
    fill(place, [10] * 3)
    key, damaged = place.inside.sql("SELECT blob_key, id FROM files ORDER BY blob_key DESC LIMIT 1")[0]
    content = place.content(key)
    place.damage(key, flipped(content, 3))
    text = place.run("scrub", "--rate", "0").stdout
    assert f"{damaged} of project" in text and f"(blob {key}); restore the blob from the backup" in text
    for _ in range(2):
        status, found, sums = scrubbed(place, "--max-seconds", "0")
        assert (status, [one["id"] for one in found], sums["complete"]) == (3, [damaged], False)
    place.damage(key, content)
    assert scrubbed(place, "--max-seconds", "0")[:2] == (0, [])
    assert json.loads((place.data_dir / SCRUB_STATE).read_text())["damaged"] == []


def test_a_position_that_is_not_of_this_installation_is_not_used(tmp_path: Path) -> None:
    saved = ScrubPosition("zz", 1, 2, 3, 4, ["a"])
    with open_scrub_state(tmp_path, "here") as state:
        state.save(saved)
        assert state.load() == saved
    with open_scrub_state(tmp_path, "elsewhere") as state:
        assert state.load() == ScrubPosition()
    whole = (tmp_path / SCRUB_STATE).read_bytes()
    for damaged in (b"", b"\xff", b"[]", b"{}", whole[:-5], whole.replace(b"after", b"other")):
        (tmp_path / SCRUB_STATE).write_bytes(damaged)
        with open_scrub_state(tmp_path, "here") as state:
            assert state.load() == ScrubPosition()


def test_a_blob_that_cannot_be_read_is_damaged_and_a_disk_that_cannot_is_an_error(
    places: Places, tmp_path: Path
) -> None:
    place = places.embedded()
    fill(place, [10] * (UNREADABLE_IN_A_ROW + 1))
    (tmp_path / "target").write_bytes(b"")
    keys = [key for (key,) in place.inside.sql("SELECT blob_key FROM files ORDER BY blob_key")]
    with place.backends() as backends, asyncio.Runner() as runner:
        for number, key in enumerate(keys):
            path = place.data_dir / "blobs" / key[:2] / key
            path.unlink()
            path.symlink_to(tmp_path / "target")
            if number == 0:
                (damage,) = runner.run(scrub(backends))
                assert (damage.content.key, damage.evidence[:27]) == (key, "the blob cannot be read: op")
        with pytest.raises(StorageFailed):
            runner.run(scrub(backends))
