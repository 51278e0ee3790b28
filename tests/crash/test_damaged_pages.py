"""Bits of the database file are flipped: no bytes are served that were not stored, errors are clear, `verify` says so.

SQLite has no checksums of its pages: it notices damage of their structure, but a damaged index may lead to another row.
Contents have their SHA-256. `FLIPS` is the
number of bits, each in a copy of its own; `FLIP_SEED` repeats a run.
"""

import contextlib
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from filestead.installation import DATABASE
from tests.crash.harness import error_of
from tests.support.promises import Trials
from tests.support.servers import Server, run_command

TORTURE = os.environ.get("TORTURE") == "1"
FLIPS = int(os.environ.get("FLIPS", "60" if TORTURE else "4"))
SEED = int(os.environ.get("FLIP_SEED", "0")) or random.SystemRandom().getrandbits(32)
PAGE_BYTES = 4096
SETTINGS = {"uploads_per_minute": 0, "sweep_seconds": 3_600}
OBJECTS = ("files", "blobs", "inline_blobs", "files_by_time", "sqlite_autoindex_files_1")
"""Tables and indexes."""

pytestmark = pytest.mark.embedded("damages the database of a data directory")


@dataclass
class Intact:
    """An installation at rest, all of it in the file of its database, and what clients know of it."""

    data_dir: Path
    contents: dict[str, bytes]
    pages: dict[str, list[int]]
    """Numbers of the leaf pages of a table or index."""

    def copy(self, target: Path) -> Path:
        shutil.copytree(self.data_dir, target)
        return target


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Intact:
    data_dir = tmp_path_factory.mktemp("pages") / "data"
    with Server(data_dir, **SETTINGS) as server:
        contents = {}
        for number in range(60):
            content = b"%d " % number * (20_000 if number % 20 == 0 else 100)
            contents[server.upload(content, name=f"{number}.txt")["id"]] = content
    with closing(sqlite3.connect(data_dir / DATABASE)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        rows = connection.execute("SELECT name, pageno FROM dbstat WHERE pagetype = 'leaf'").fetchall()
    pages: dict[str, list[int]] = {}
    for name, page in rows:
        pages.setdefault(name, []).append(page)
    assert set(OBJECTS) <= pages.keys()
    return Intact(data_dir, contents, pages)


def flip(data_dir: Path, page: int, offset: int, bit: int) -> None:
    with (data_dir / DATABASE).open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES + offset)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1 << bit]))


def use(data_dir: Path, contents: dict[str, bytes]) -> set[str]:
    """List, read, upload and delete; returns the files that are not as they were stored.

    Each response is a success, or an error in the envelope; and the server lives. A damaged index may lead to the row of
    another file, as pages of SQLite have no checksums.
    """
    wrong = set()
    with started(data_dir) as server:
        if server is None:
            return set(contents)
        client = server.client
        for file_id, content in contents.items():
            response = client.get(f"/files/{file_id}/content")
            if response.status_code != 200:
                assert_is_clear(response)
                wrong.add(file_id)
            elif response.content != content:
                assert response.content in contents.values(), f"content that no file of the project has: {file_id}"
                wrong.add(file_id)
            response = client.get(f"/files/{file_id}")
            if response.status_code != 200:
                assert_is_clear(response)
                wrong.add(file_id)
        for response in (
            client.get("/files"),
            client.post("/files", data={"purpose": "user_data"}, files={"file": ("new", b"new")}),
            client.delete(f"/files/{next(iter(contents))}"),
        ):
            if response.status_code != 200:
                assert_is_clear(response)
                wrong.add(str(response.request.url))
        assert httpx2.get(server.origin + "/health").status_code == 200
    return wrong


@contextlib.contextmanager
def started(data_dir: Path) -> Iterator[Server | None]:
    """A server; None if it refuses the database, and says so."""
    refusal = ""
    try:
        server = Server(data_dir, **SETTINGS)
    except RuntimeError as error:
        refusal = str(error)
    if refusal:
        assert "filestead: the database is damaged" in refusal
        yield None
        return
    with server:
        yield server


def assert_is_clear(response: httpx2.Response) -> None:
    """A file that cannot be found by a damaged index is not found; all else is a failure of the server."""
    assert response.status_code in (404, 500), response.text
    assert error_of(response)["message"]


PAGE_TYPE = 0
"""The byte of a page that says what it is."""


@pytest.mark.promise("R-20")
@pytest.mark.parametrize("name", OBJECTS)
def test_a_page_that_is_none_is_reported(intact: Intact, tmp_path: Path, name: str) -> None:
    data_dir = intact.copy(tmp_path / "data")
    flip(data_dir, intact.pages[name][0], PAGE_TYPE, 4)
    assert use(data_dir, intact.contents), "nothing was read from the page"
    done = run_command(data_dir, "verify", "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    assert (done.returncode, found[0]["severity"]) == (3, "A"), done.stderr
    assert "I-18" in {each["invariant"] for each in found}
    assert "restore the last backup" in {each["remedy"] for each in found}


@pytest.mark.promise("R-20")
def test_a_flipped_bit_that_clients_notice_is_found_by_verify(intact: Intact, tmp_path: Path, trials: Trials) -> None:
    print(f"FLIPS={FLIPS} FLIP_SEED={SEED}")
    dice = random.Random(SEED)
    noticed = 0
    for number in range(FLIPS):
        name = OBJECTS[number % len(OBJECTS)]
        place = dice.choice(intact.pages[name]), dice.randrange(PAGE_BYTES), dice.randrange(8)
        print(f"{name}: page, offset, bit: {place}")
        data_dir = intact.copy(tmp_path / f"data{number}")
        flip(data_dir, *place)
        before = classes_of_findings(data_dir)
        if use(data_dir, intact.contents):
            assert "A" in before, "a file is lost or taken for another one, and verify --deep finds nothing"
            noticed += 1
        trials()
        shutil.rmtree(data_dir)
    print(f"{noticed} of {FLIPS} flips were noticed by a client")


def classes_of_findings(data_dir: Path) -> set[str]:
    done = run_command(data_dir, "verify", "--deep", "--json")
    assert done.stdout, done.stderr
    return {json.loads(line)["severity"] for line in done.stdout.splitlines()[:-1]}
