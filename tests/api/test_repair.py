"""`verify --repair`: what it lists, what it does, and what it leaves, on both kinds of installation."""

import contextlib
import io
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from filestead.cli.admin.verify import verify as verify_command
from filestead.cli.errors import UsageError
from tests.support.installations import OnDisk, Place, environment_of, place_of
from tests.support.servers import Server, run_command, wait_for_uploads

PART = 1 << 20
ORPHAN = "aa" + "0" * 30
ABANDONED = "bb" + "0" * 30
CLEAN = {"I-04", "I-05", "I-12", "I-23", "I-24", "I-34"}


def run(data: Path, **flags: bool) -> tuple[int, str]:
    """`verify` with these flags, within this process: its exit status, and what it prints."""
    with environment_of(data), contextlib.redirect_stdout(io.StringIO()) as output:
        status = verify_command(**flags)
    return status, output.getvalue()


def command(data: Path, **flags: bool) -> tuple[int, list[dict[str, Any]]]:
    """The same with `--json`: the lines that it prints."""
    status, text = run(data, json=True, **flags)
    return status, [json.loads(line) for line in text.splitlines()]


def names(lines: list[dict[str, Any]], *, repaired: bool | None = None) -> list[str]:
    """The invariants of findings; with `repaired`, of those that are repaired, or left."""
    found = [line for line in lines if "invariant" in line]
    return sorted(line["invariant"] for line in found if repaired is None or (line["repair"] is not None) == repaired)


def reports(lines: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What is printed before a repair, and after it."""
    end = next(index for index, line in enumerate(lines) if "findings" in line) + 1
    return lines[:end], lines[end:]


def state(data: Path) -> tuple[object, ...]:
    """Everything there is: rows, blobs, and the data directory."""
    place = place_of(data)
    tree = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} if data.exists() else {}
    return place.dump(), place.stored(), place.staged(), tree


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A stopped installation: three files, one of them in a vector store, and an upload in parts that is pending."""
    data = tmp_path / "data"
    with Server(data, inline_bytes=0, sweep_seconds=3600) as server:
        made = [server.upload(b"content %d" % number * 100, name=f"{number}.txt") for number in range(3)]
        form = {"filename": "a", "purpose": "user_data", "bytes": 9, "mime_type": "text/plain"}
        upload = server.client.post("/uploads", json=form).json()
        server.client.post(f"/uploads/{upload['id']}/parts", files={"data": ("a", b"part")}).raise_for_status()
        server.client.post("/vector_stores", json={"file_ids": [made[0]["id"]]}).raise_for_status()
    return data


def leak(place: Place) -> None:
    """Leave something of each kind that a repair deletes, and let each sum drift."""
    place.leave(ORPHAN)
    place.leave(ABANDONED)
    place.sql("INSERT INTO blobs (key, project_id, state, lease_until_us, bytes_reserved) SELECT ?, id, 'pending', 1, 5 FROM projects", ABANDONED)  # fmt: skip
    place.sql("UPDATE projects SET bytes_used = bytes_used + 7, bytes_reserved = 0")
    place.sql("UPDATE uploads SET bytes_received = 0")
    place.sql(f"INSERT INTO vector_store_chunks VALUES ({999 * PART}, 'x', 0, 1)")
    data = "CAST('x' AS BLOB)" if isinstance(place, OnDisk) else "'x'::bytea"
    place.sql(f"INSERT INTO index_postings VALUES ({999 * PART}, {data})")


@pytest.mark.promise("V-02")
def test_a_dry_run_changes_nothing_and_a_repair_mends_leaks_and_sums_alone(data: Path) -> None:
    place = place_of(data)
    assert command(data, deep=True)[0] == 0
    leak(place)
    ((lost, kept),) = place.sql("SELECT min(blob_key), max(blob_key) FROM files")
    place.lose(lost)
    before = state(data)
    status, lines = command(data, repair=True)
    assert (status, set(names(lines, repaired=True)), names(lines, repaired=False)) == (3, CLEAN, ["I-02"])
    assert lines[-1]["to_repair"] == len(names(lines, repaired=True))
    assert state(data) == before
    assert command(data, repair=True) == (status, lines)

    rows = place.sql("SELECT id, bytes, blob_key, sha256 FROM files ORDER BY id")
    status, lines = command(data, repair=True, yes=True)
    _, again = reports(lines)
    assert (status, names(again), again[-1]["findings"]) == (3, ["I-02"], 1)
    assert place.sql("SELECT id, bytes, blob_key, sha256 FROM files ORDER BY id") == rows, "files are left"
    stored = place.stored()
    assert kept in stored
    assert not {ORPHAN, ABANDONED} & stored
    assert place.sql("SELECT bytes_received FROM uploads") == [(4,)]
    status, lines = command(data, repair=True)
    assert (status, names(lines), lines[-1]["to_repair"]) == (3, ["I-02"], 0)
    unchanged = state(data)
    assert command(data, repair=True, yes=True) == (status, lines), "there is nothing to do"
    assert state(data) == unchanged


@pytest.mark.embedded("what is planned from the findings does not depend on the installation")
def test_a_wrong_ledger_of_blobs_stops_all_deletions(data: Path) -> None:
    place = place_of(data)
    leak(place)
    place.sql("UPDATE blobs SET state = 'doomed', lease_until_us = 1 WHERE key = (SELECT min(blob_key) FROM files)")
    stored = place.stored()
    status, lines = command(data, repair=True, yes=True)
    assert status == 3
    before, after = reports(lines)
    assert "I-21" in names(before, repaired=False)
    assert set(names(before, repaired=True)) == {"I-12", "I-34"}
    assert place.stored() == stored
    assert not {"I-12", "I-34"} & set(names(after))


def test_a_repair_beside_a_running_server_takes_no_upload_in_progress(tmp_path: Path) -> None:
    data, go_on = tmp_path / "data", threading.Event()
    body = b"x" * 3_000_000
    with Server(data, inline_bytes=0, uploads_per_minute=0) as server, ThreadPoolExecutor() as pool:

        def content() -> Iterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + body
            assert go_on.wait(60)
            yield b"\r\n--b--\r\n"

        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        sent = pool.submit(server.client.post, "/files", content=content(), headers=headers)
        try:
            wait_for_uploads(server, 1)
            server.place.leave(ORPHAN)
            server.place.sql("UPDATE projects SET bytes_used = bytes_used + 7")
            status, lines = command(data, repair=True, yes=True)
            assert {"I-04", "I-12"} <= set(names(lines))
            assert (status, lines[-1]["findings"]) == (0, 0)
        finally:
            go_on.set()
        made = sent.result()
        assert made.status_code == 200, made.text
        assert server.client.get(f"/files/{made.json()['id']}/content").content == body
        assert ORPHAN not in server.place.stored()
    assert command(data, deep=True)[0] == 0


@pytest.mark.embedded("words, which do not depend on the installation")
def test_what_is_printed_teaches_the_next_step(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run_command(data, "keys", "create", "--project", "p").returncode == 0
    place_of(data).leave(ORPHAN)
    with pytest.raises(UsageError, match="--yes requires --repair"):
        run(data, yes=True)
    status, text = run(data, repair=True)
    assert status == 2
    assert f"I-04 (B) {ORPHAN}: the blob has no row in the database; to repair: it is deleted" in text
    assert text.endswith("nothing was changed: run `filestead verify --repair --yes` to repair these\n")
    done = run_command(data, "verify", "--repair", "--yes")
    assert done.returncode == 0, done.stdout
    assert "1 findings were repaired; checked again:\n0 files" in done.stdout
    assert run(data, repair=True)[1].endswith("there is nothing to repair; nothing was changed\n")
