"""`verify`, `sweep`, backup and restore: each finding is named, and nothing else is."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving import KEY, Server, run_command

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.embedded("damages, copies or restores a data directory by hand")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped installation with four files of two projects, one of them expiring, and a sweep behind it."""
    data = tmp_path_factory.mktemp("sound") / "data"
    with Server(data, uploads_per_minute=0) as server:
        for number in range(3):
            server.upload(b"content %d" % number * 1000)
        server.upload(b"x", **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"})
        server.client.delete(f"/files/{server.upload()['id']}")
    assert run_command(data, "sweep").returncode == 0
    return data


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    copy = tmp_path / "data"
    shutil.copytree(sound, copy)
    return copy


def sql(data: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(data / "filestead.db")
    connection.create_function("filestead_now", 0, lambda: 0)
    with connection:
        rows = connection.execute(statement, values).fetchall()
    connection.close()
    return rows


def verify(data: Path, *arguments: str) -> tuple[int, list[dict[str, str]], dict[str, int]]:
    done = run_command(data, "verify", "--json", *arguments)
    *findings, sums = map(json.loads, done.stdout.splitlines())
    return done.returncode, findings, sums


def blob(data: Path) -> Path:
    """The blob of some file that does not expire."""
    ((key,),) = sql(data, "SELECT blob_key FROM files WHERE expires_at IS NULL ORDER BY id LIMIT 1")
    return data / "blobs" / str(key)[:2] / str(key)


def test_a_sound_installation_is_clean(data: Path) -> None:
    assert verify(data, "--deep") == (0, [], {"files": 4, "bytes": 27_001, "blobs": 4, "findings": 0})
    assert run_command(data, "verify").stdout == "4 files, 27001 bytes, 4 blobs, 0 findings\n"


@pytest.mark.parametrize("words", ["verify", "verify --deep", "sweep", "keys list", "keys revoke key_1"])
def test_only_the_commands_that_make_an_installation_make_one(tmp_path: Path, words: str) -> None:
    typo = tmp_path / "dat"
    done = run_command(typo, *words.split())
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == (
        f"filestead: {typo} holds no installation: start `filestead serve` on it, or name another --data-dir\n"
    )
    assert not typo.exists()


def test_a_key_may_be_the_first_thing_there_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    key = run_command(data, "keys", "create", "--project", "research").stdout.strip()
    with Server(data, key=None) as server:
        assert server.client.get("/files", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def remove(data: Path) -> None:
    blob(data).unlink()


def truncate(data: Path) -> None:
    os.truncate(blob(data), 5)


def grow(data: Path) -> None:
    with blob(data).open("ab") as file:
        file.write(b"x")


def flip(data: Path) -> None:
    path = blob(data)
    content = bytearray(path.read_bytes())
    content[4_000] ^= 1
    path.write_bytes(content)


def swap(data: Path) -> None:
    one, two = (data / "blobs" / str(key)[:2] / str(key) for (key,) in sql(data, "SELECT blob_key FROM files WHERE expires_at IS NULL LIMIT 2"))  # fmt: skip
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)


def orphan(data: Path) -> None:
    path = data / "blobs/00" / ("0" * 2 + "a" * 30)
    path.write_bytes(b"x")
    path.chmod(0o600)


def stale_staging(data: Path) -> None:
    path = data / "staging" / ("1" * 32)
    path.write_bytes(b"x")
    path.chmod(0o600)


def foreign_name(data: Path) -> None:
    (data / "blobs/00/README").write_text("x")


def link(data: Path) -> None:
    path = blob(data)
    elsewhere = data.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def wide_mode(data: Path) -> None:
    blob(data).chmod(0o644)


def ledger(data: Path) -> None:
    sql(data, "UPDATE projects SET bytes_used = bytes_used + 1")


def reservation(data: Path) -> None:
    sql(data, "UPDATE projects SET bytes_reserved = 1")


def doomed_with_file(data: Path) -> None:
    sql(data, "UPDATE blobs SET state = 'doomed', lease_until_us = 9000000000000000 WHERE key = ?", blob(data).name)


def live_without_file(data: Path) -> None:
    sql(data, "INSERT INTO blobs (key, project_id, state) SELECT ?, id, 'live' FROM projects LIMIT 1", "2" * 32)


def expired(data: Path) -> None:
    sql(data, "UPDATE files SET expires_at = 1 WHERE expires_at IS NOT NULL")


def abandoned(data: Path) -> None:
    sql(data, "INSERT INTO blobs (key, project_id, state, lease_until_us) SELECT ?, id, 'pending', 1 FROM projects LIMIT 1", "3" * 32)  # fmt: skip


def without_row(data: Path) -> None:
    sql(data, "PRAGMA foreign_keys = OFF")
    sql(data, "DELETE FROM organizations")


DAMAGE: list[tuple[Callable[[Path], None], list[str], int, int]] = [
    # damage, findings, exit status, exit status after `sweep --orphans`
    (remove, ["I-02"], 3, 3),
    (truncate, ["I-02"], 3, 3),
    (grow, ["I-02"], 3, 3),
    (flip, ["I-03"], 3, 3),
    (swap, ["I-03", "I-03"], 3, 3),
    (link, ["I-02", "I-06"], 3, 3),
    (ledger, ["I-12"], 3, 3),
    (reservation, ["I-12"], 3, 3),
    (doomed_with_file, ["I-21"], 3, 3),
    (live_without_file, ["I-21"], 3, 3),
    (without_row, ["I-18", "I-18"], 3, 3),
    (orphan, ["I-04"], 2, 0),
    (stale_staging, ["I-04"], 2, 0),
    (foreign_name, ["I-06"], 2, 2),
    (wide_mode, ["I-06"], 2, 2),
    (expired, ["I-10"], 2, 0),
    (abandoned, ["I-05"], 2, 0),
]


@pytest.mark.parametrize(("damage", "wanted", "status", "after"), DAMAGE, ids=[row[0].__name__ for row in DAMAGE])
def test_each_damage_is_named_and_nothing_else(
    data: Path, damage: Callable[[Path], None], wanted: list[str], status: int, after: int
) -> None:
    damage(data)
    code, findings, sums = verify(data, "--deep")
    assert sorted(finding["invariant"] for finding in findings) == wanted
    assert (code, sums["findings"]) == (status, len(wanted))
    assert all(finding["evidence"] and finding["remedy"] for finding in findings)
    before = len(list((data / "blobs").rglob("?" * 32)))
    assert run_command(data, "sweep", "--orphans").returncode == 0
    assert verify(data, "--deep")[0] == after
    if status == 3:
        assert len(list((data / "blobs").rglob("?" * 32))) == before, "a sweep must not make a broken promise worse"


def test_the_backup_of_the_manual(tmp_path: Path) -> None:
    """The very commands of docs/operate.md, beside a running server."""
    manual = (ROOT / "docs/operate.md").read_text()
    section = manual.partition("## Backup and restore")[2].partition("\n## ")[0]
    backup, restore = (block for block in re.findall(r"(?:^    .*\n)+", section, re.MULTILINE))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def shell(commands: str) -> None:
        environment["FILESTEAD_DATA_DIR"] = "data"
        subprocess.run(["sh", "-ec", commands], cwd=tmp_path, env=environment, check=True, capture_output=True)

    with Server(tmp_path / "data") as server:
        made = [server.upload(b"%d" % number * 1000, name=f"{number}.txt") for number in range(5)]
        shell(backup)
        server.upload(b"after the backup")
    shutil.rmtree(tmp_path / "data")
    shell(restore)
    with Server(tmp_path / "data", key=KEY) as server:
        assert [row["id"] for row in server.client.get("/files?order=asc").json()["data"]] == [
            row["id"] for row in made
        ]
        for number, row in enumerate(made):
            assert server.client.get(f"/files/{row['id']}/content").content == b"%d" % number * 1000
