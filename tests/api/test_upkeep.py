"""`verify`, `sweep`, backup and restore: each finding is named, and nothing else is."""

import contextlib
import io
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

from filestead.cli.admin import sweep as sweep_command
from filestead.cli.admin import verify as verify_command
from tests.support.servers import KEY, Server, run_command

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.embedded("damages, copies or restores a data directory by hand")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped installation with four files of two projects, one of them expiring, and a sweep behind it."""
    data = tmp_path_factory.mktemp("sound") / "data"
    with Server(data, uploads_per_minute=0, inline_bytes=0) as server:
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


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        (None, []),
        ("DELETE FROM inline_blobs", ["I-02"]),
        ("UPDATE inline_blobs SET data = CAST('hell' AS BLOB)", ["I-02"]),
        ("UPDATE inline_blobs SET data = CAST('hellO' AS BLOB)", ["I-03"]),
    ],
)
def test_damage_of_an_inline_blob_is_named(tmp_path: Path, damage: str | None, wanted: list[str]) -> None:
    with Server(tmp_path / "data") as server:
        server.upload(b"hello")
    if damage is not None:
        sql(tmp_path / "data", damage)
    status, findings, sums = verify_here(tmp_path / "data")
    assert [finding["invariant"] for finding in findings] == wanted
    assert status == (3 if wanted else 0)
    assert sums["blobs"] == (damage is None or "UPDATE" in damage)


def verify(data: Path, *arguments: str) -> tuple[int, list[dict[str, str]], dict[str, int]]:
    done = run_command(data, "verify", "--json", *arguments)
    *findings, sums = map(json.loads, done.stdout.splitlines())
    return done.returncode, findings, sums


def verify_here(data: Path) -> tuple[int, list[dict[str, str]], dict[str, int]]:
    """`verify --deep --json` within this process, for speed."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        status = verify_command.verify(deep=True, json=True, data_dir=str(data))
    *findings, sums = map(json.loads, output.getvalue().splitlines())
    return status, findings, sums


def blob(data: Path) -> Path:
    """The blob of some file that does not expire."""
    ((key,),) = sql(data, "SELECT blob_key FROM files WHERE expires_at IS NULL ORDER BY id LIMIT 1")
    return data / "blobs" / str(key)[:2] / str(key)


def test_a_sound_installation_is_clean(data: Path) -> None:
    (data / "first-key").touch(mode=0o600)
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


def linked_shard(data: Path) -> None:
    shard = blob(data).parent
    shard.rename(data.parent / "elsewhere")
    shard.symlink_to(data.parent / "elsewhere")


def linked_blobs(data: Path) -> None:
    (data / "blobs").rename(data.parent / "elsewhere")
    (data / "blobs").symlink_to(data.parent / "elsewhere")


def linked_staging(data: Path) -> None:
    (data / "staging").rmdir()
    (data.parent / "elsewhere").mkdir()
    (data / "staging").symlink_to(data.parent / "elsewhere")


def linked_volume(data: Path) -> None:
    (data / "VOLUME").rename(data.parent / "elsewhere")
    (data / "VOLUME").symlink_to(data.parent / "elsewhere")


def linked_database(data: Path) -> None:
    (data / "filestead.db").rename(data.parent / "elsewhere")
    (data / "filestead.db").symlink_to(data.parent / "elsewhere")


def linked_lock(data: Path) -> None:
    (data / "lock").unlink()
    (data.parent / "precious").write_text("x" * 100)
    (data / "lock").symlink_to(data.parent / "precious")


def fifo_for_volume(data: Path) -> None:
    (data / "VOLUME").unlink()
    os.mkfifo(data / "VOLUME", 0o600)


def file_for_shard(data: Path) -> None:
    shard = next(shard for shard in (data / "blobs").iterdir() if not any(shard.iterdir()))
    shard.rmdir()
    shard.write_bytes(b"")


def foreign_in_data(data: Path) -> None:
    (data / "notes.txt").write_text("x")


def foreign_in_blobs(data: Path) -> None:
    (data / "blobs" / "fg").mkdir(mode=0o700)


def foreign_folder_in_shard(data: Path) -> None:
    (data / "blobs/00" / ("00" + "b" * 30)).mkdir(mode=0o700)


def fifo_among_blobs(data: Path) -> None:
    os.mkfifo(data / "blobs/00/pipe", 0o600)


def fifo_for_blob(data: Path) -> None:
    path = blob(data)
    path.unlink()
    os.mkfifo(path, 0o600)


def hard_link(data: Path) -> None:
    os.link(blob(data), data.parent / "second name")


def wide_folder(data: Path) -> None:
    (data / "blobs/00").chmod(0o755)


def wide_blobs(data: Path) -> None:
    (data / "blobs").chmod(0o777)


def wide_database(data: Path) -> None:
    (data / "filestead.db").chmod(0o644)


def wide_volume(data: Path) -> None:
    (data / "VOLUME").chmod(0o644)


def wide_first_key(data: Path) -> None:
    (data / "first-key").write_text("x")
    (data / "first-key").chmod(0o644)


def other_owner(data: Path) -> None:
    os.chown(blob(data), 12_345, -1)


def ledger(data: Path) -> None:
    sql(data, "UPDATE projects SET bytes_used = bytes_used + 1")


def reservation(data: Path) -> None:
    sql(data, "UPDATE projects SET bytes_reserved = 1")


def doomed_with_file(data: Path) -> None:
    sql(data, "UPDATE blobs SET state = 'doomed', lease_until_us = 9000000000000000 WHERE key = ?", blob(data).name)


def live_without_file(data: Path) -> None:
    sql(data, "INSERT INTO blobs (key, project_id, state) SELECT ?, id, 'live' FROM projects LIMIT 1", "2" * 32)


def attached_elsewhere(data: Path) -> None:
    sql(data, "INSERT INTO projects (id, organization_id, name, created_at) SELECT 'proj_x', organization_id, 'x', 1 FROM projects LIMIT 1")  # fmt: skip
    sql(data, "INSERT INTO vector_stores (id, project_id, created_at, last_active_at) VALUES ('vs_x', 'proj_x', 1, 1)")
    sql(data, "INSERT INTO vector_store_files (vector_store_id, file_id, project_id, created_at, status, chunk_tokens, chunk_overlap_tokens) SELECT 'vs_x', id, 'proj_x', 1, 'failed', 800, 400 FROM files LIMIT 1")  # fmt: skip


def add_batch(data: Path, **values: object) -> None:
    """A batch in progress, with its job and two lines in its journal."""
    columns = {"id": "batch_x", "status": "in_progress", "total": 3, "output_size": 4, "bytes_reserved": 4, **values}
    columns |= dict.fromkeys(("user_id", "endpoint", "completion_window", "input_file_id"), "x")
    columns |= dict.fromkeys(("output_lifetime", "created_at", "expires_at"), 1)
    marks = ", ".join("?" * len(columns))
    sql(data, f"INSERT INTO batches (project_id, organization_id, {', '.join(columns)}) SELECT id, organization_id, {marks} FROM projects LIMIT 1", *columns.values())  # fmt: skip
    sql(data, "UPDATE projects SET bytes_reserved = bytes_reserved + 4 WHERE id = (SELECT project_id FROM batches)")
    sql(data, "INSERT INTO batch_results SELECT seq, 'output', 0, 1, CAST(char(1,0,0,0,2,0,0,0) AS BLOB), CAST('1' || char(10) || '2' || char(10) AS BLOB) FROM batches")  # fmt: skip
    sql(data, "INSERT INTO jobs (kind, subject, project_id, due_us, created_us) SELECT 'batch', id, project_id, 1, 1 FROM batches")  # fmt: skip


def batch_without_job(data: Path) -> None:
    add_batch(data)
    sql(data, "DELETE FROM jobs WHERE kind = 'batch'")


def batch_without_input(data: Path) -> None:
    add_batch(data, input_blob_key="4" * 32)


def batch_that_keeps_its_input(data: Path) -> None:
    add_batch(data, status="expired", input_blob_key=blob(data).name)


def batch_with_a_wrong_count(data: Path) -> None:
    add_batch(data, status="completed", completed=2)


def batch_with_more_lines_than_results(data: Path) -> None:
    add_batch(data, completed=2, failed=1)


def batch_with_a_line_twice(data: Path) -> None:
    add_batch(data)
    sql(data, "UPDATE batch_results SET lines = CAST(char(1,0,0,0,1,0,0,0) AS BLOB)")


def batch_with_another_size(data: Path) -> None:
    add_batch(data)
    sql(data, "UPDATE batches SET output_size = 3")


def results_of_another_size(data: Path) -> None:
    add_batch(data, status="expired")
    sql(data, "UPDATE batches SET error_file_id = (SELECT id FROM files WHERE bytes > 0 LIMIT 1)")


def event_without_job(data: Path) -> None:
    sql(data, "INSERT INTO webhook_events SELECT 'evt_x', id, 'batch.failed', 'batch_x', 1 FROM projects LIMIT 1")


def expired(data: Path) -> None:
    sql(data, "UPDATE files SET expires_at = 1 WHERE expires_at IS NOT NULL")


def abandoned(data: Path) -> None:
    sql(data, "INSERT INTO blobs (key, project_id, state, lease_until_us) SELECT ?, id, 'pending', 1 FROM projects LIMIT 1", "3" * 32)  # fmt: skip


def without_row(data: Path) -> None:
    sql(data, "PRAGMA foreign_keys = OFF")
    sql(data, "DELETE FROM organizations")


DAMAGE = [
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
    (attached_elsewhere, ["I-26"], 3, 3),
    (add_batch, [], 0, 0),
    (batch_without_job, ["I-27"], 3, 3),
    (batch_without_input, ["I-28"], 3, 3),
    (batch_that_keeps_its_input, ["I-28"], 3, 3),
    (batch_with_a_wrong_count, ["I-29"], 3, 3),
    (batch_with_more_lines_than_results, ["I-31"], 3, 3),
    (batch_with_a_line_twice, ["I-31"], 3, 3),
    (batch_with_another_size, ["I-31"], 3, 3),
    (results_of_another_size, ["I-30"], 3, 3),
    (event_without_job, ["I-32"], 2, 2),
    (without_row, ["I-18", "I-18"], 3, 3),
    (orphan, ["I-04"], 2, 0),
    (stale_staging, ["I-04"], 2, 0),
    (foreign_name, ["I-06"], 2, 2),
    (wide_mode, ["I-06"], 2, 2),
    (foreign_in_data, ["I-06"], 2, 2),
    (foreign_in_blobs, ["I-06"], 2, 2),
    (foreign_folder_in_shard, ["I-06"], 2, 2),
    (fifo_among_blobs, ["I-06"], 2, 2),
    (fifo_for_blob, ["I-02", "I-06"], 3, 3),
    (hard_link, ["I-06"], 2, 2),
    (wide_folder, ["I-06"], 2, 2),
    (wide_blobs, ["I-06"], 2, 2),
    (wide_volume, ["I-06"], 2, 2),
    (wide_first_key, ["I-06"], 2, 2),
    pytest.param(
        other_owner, ["I-06"], 2, 2, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives away")
    ),
    (expired, ["I-10"], 2, 0),
    (abandoned, ["I-05"], 2, 0),
]


@pytest.mark.parametrize(
    ("damage", "wanted", "status", "after"), DAMAGE, ids=lambda value: getattr(value, "__name__", "")
)
def test_each_damage_is_named_and_nothing_else(
    data: Path, damage: Callable[[Path], None], wanted: list[str], status: int, after: int
) -> None:
    damage(data)
    code, findings, sums = verify_here(data)
    assert sorted(finding["invariant"] for finding in findings) == wanted
    assert (code, sums["findings"]) == (status, len(wanted))
    assert all(finding["evidence"] and finding["remedy"] for finding in findings)
    before = len(list((data / "blobs").rglob("?" * 32)))
    assert sweep_command.sweep(orphans=True, data_dir=str(data)) == 0
    assert verify_here(data)[0] == after
    if status == 3:
        assert len(list((data / "blobs").rglob("?" * 32))) == before, "a sweep must not make a broken promise worse"


@pytest.mark.parametrize(
    ("damage", "status", "after"),
    [(flip, 3, 3), (foreign_name, 2, 2), (orphan, 2, 0)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_exit_status_of_the_commands(data: Path, damage: Callable[[Path], None], status: int, after: int) -> None:
    damage(data)
    assert verify(data, "--deep")[0] == status
    assert run_command(data, "sweep", "--orphans").returncode == 0
    assert verify(data, "--deep")[0] == after


NOT_OURS = [
    linked_shard, linked_blobs, linked_staging, linked_volume, linked_database, linked_lock, fifo_for_volume,
    file_for_shard,
]  # fmt: skip


@pytest.mark.parametrize("damage", NOT_OURS, ids=lambda damage: damage.__name__)
def test_what_is_reached_by_a_link_is_named_and_never_touched(data: Path, damage: Callable[[Path], None]) -> None:
    """`verify` names it, whatever opens an installation to change it refuses, and what is elsewhere stays as it is."""
    damage(data)
    elsewhere = data.parent / "elsewhere"
    if elsewhere.is_dir():
        (elsewhere / ("0" * 2 + "a" * 30)).write_bytes(b"x")
    before = contents_outside(data)
    code, findings, _ = verify(data, "--deep")
    assert [finding["invariant"] for finding in findings] == ["I-06"]
    assert code == 2
    for words in (["sweep", "--orphans"], ["serve"], ["keys", "create", "--project", "p"]):
        done = run_command(data, *words)
        assert done.returncode == 78, done.stdout + done.stderr
        assert f"{data}/" in done.stderr and " instead of a " in done.stderr
    assert contents_outside(data) == before


def contents_outside(data: Path) -> dict[Path, bytes]:
    paths = [path for path in data.parent.rglob("*") if path.is_file() and not path.is_relative_to(data)]
    return {path: path.read_bytes() for path in paths}


@pytest.mark.parametrize("linked", ["blobs", "blobs/aa", "staging"])
def test_a_link_that_came_after_the_start_is_not_followed_by_a_sweep(tmp_path: Path, linked: str) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    with Server(data, sweep_seconds=3600):
        folder = elsewhere / "aa" if linked == "blobs" else elsewhere
        folder.mkdir(parents=True)
        for key in ("a" * 32, "aa" + "b" * 30):
            (folder / key).write_bytes(b"not ours")
        (data / linked).rename(tmp_path / "moved")
        (data / linked).symlink_to(elsewhere)
        doomed = "INSERT INTO blobs (key, project_id, state, lease_until_us) SELECT ?, id, 'doomed', 1 FROM projects"
        sql(data, doomed, "a" * 32)
        run_command(data, "sweep", "--orphans")
        assert [path.read_bytes() for path in folder.iterdir()] == [b"not ours"] * 2


@pytest.mark.parametrize("damage", [wide_folder, wide_blobs, wide_database], ids=lambda damage: damage.__name__)
def test_a_start_says_what_others_could_read(data: Path, damage: Callable[[Path], None]) -> None:
    damage(data)
    with Server(data) as server:
        assert re.search(rf"{data}\S*: the \w+'s mode is not 0[67]00; chmod", server.output)


def test_a_sound_start_warns_of_nothing(data: Path) -> None:
    foreign_in_data(data)  # which harms nobody
    with Server(data) as server:
        assert "chmod" not in server.output and "notes" not in server.output


def test_the_backup_of_the_manual(tmp_path: Path) -> None:
    """The very commands of docs/operate.md, beside a running server."""
    manual = (ROOT / "docs/operate.md").read_text()
    section = manual.partition("## Backup and restore")[2].partition("\n## ")[0]
    (block,) = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    *backup, restore = block.replace("/backups", "backups").replace("/var/lib/filestead", "data").strip().splitlines()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def shell(commands: str) -> None:
        environment["FILESTEAD_DATA_DIR"] = "data"
        subprocess.run(["sh", "-ec", commands], cwd=tmp_path, env=environment, check=True, capture_output=True)

    with Server(tmp_path / "data") as server:
        made = [server.upload(b"%d" % number * 1000, name=f"{number}.txt") for number in range(5)]
        shell("\n".join(["mkdir backups", *backup]))
        server.upload(b"after the backup")
    shutil.rmtree(tmp_path / "data")
    shell(restore)
    with Server(tmp_path / "data", key=KEY) as server:
        assert [row["id"] for row in server.client.get("/files?order=asc").json()["data"]] == [
            row["id"] for row in made
        ]
        for number, row in enumerate(made):
            assert server.client.get(f"/files/{row['id']}/content").content == b"%d" % number * 1000
