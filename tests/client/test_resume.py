"""`create_file(resume=...)`: an upload in parts that a later call continues, and what makes it begin anew."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from filestead import APIConnectionError, APIStatusError
from filestead.client._parts import async_creation, async_upload, creation, upload
from filestead.client._parts.journal import open_journal
from tests.client.proxy import Fault, raw_response
from tests.support.servers import Server

pytestmark = pytest.mark.embedded("about the client, behind a proxy that makes the faults")

PART = 100_000
CONTENT = os.urandom(550_001)
"""Six parts."""
CREATE, SEND, COMPLETE, CANCEL = "/uploads", "/uploads/ID/parts", "/uploads/ID/complete", "/uploads/ID/cancel"
LOST = Fault(drop_response=True)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (async_creation, creation, async_upload, upload):
        monkeypatch.setattr(module, "PART_BYTES", PART)
    for module in (async_creation, creation):
        monkeypatch.setattr(module, "PARTS_ABOVE_BYTES", PART)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    return tmp_path / "a.bin"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


class Interrupted:
    """An upload that ended with its connection, and the client that may continue it."""

    def __init__(self, connect: Any, path: Path, journal: Path, *faults: Fault) -> None:
        self.client, self.proxy = connect(*faults, max_retries=0)
        self.path, self.journal = path, journal
        with pytest.raises((APIConnectionError, APIStatusError)):
            self.client.create_file(path, "user_data", resume=journal, parallel_parts=1)
        self.proxy.seen.clear()

    @property
    def upload_id(self) -> str:
        return str(json.loads(self.journal.read_bytes().splitlines()[0])["upload_id"])

    def routes(self) -> list[str]:
        return [re.sub(r"upload_\w+", "ID", seen.target.removeprefix("/v1")) for seen in self.proxy.seen]

    def go_on(self, file: Any = None, purpose: str = "user_data") -> Any:
        return self.client.create_file(file or self.path, purpose, resume=self.journal, parallel_parts=1)


def content_of(server: Server, file_id: str) -> bytes:
    return server.client.get(f"/files/{file_id}/content").content


@pytest.mark.parametrize("stored", [0, 1, 4, 5])
@pytest.mark.parametrize("fault", [Fault(cut_upload=10), LOST], ids=["cut", "lost"])
def test_only_missing_parts_are_sent(
    connect_with_faults: Any, server: Server, path: Path, journal: Path, stored: int, fault: Fault
) -> None:
    before = Interrupted(connect_with_faults, path, journal, *[Fault()] * (1 + stored), fault)
    made = before.go_on()
    assert before.routes() == [*[SEND] * (6 - stored), COMPLETE]
    assert content_of(server, made.id) == CONTENT
    assert not journal.exists()


@pytest.mark.promise("R-16")
def test_a_lost_completion_makes_no_second_file(
    connect_with_faults: Any, server: Server, path: Path, journal: Path
) -> None:
    before = Interrupted(connect_with_faults, path, journal, *[Fault()] * 7, LOST)
    made = before.go_on()
    assert before.routes() == [COMPLETE]
    assert content_of(server, made.id) == CONTENT
    files = server.client.get("/files", params={"limit": 10, "order": "desc"}).json()["data"]
    assert [file["id"] for file in files if file["created_at"] >= made.created_at].count(made.id) == 1
    assert not journal.exists()


def test_progress_begins_with_what_is_stored(connect_with_faults: Any, path: Path, journal: Path) -> None:
    before = Interrupted(connect_with_faults, path, journal, *[Fault()] * 4, Fault(cut_upload=10))
    seen: list[int] = []
    before.client.create_file(path, "user_data", resume=journal, on_progress=lambda done, _: seen.append(done))
    assert seen[0] > 3 * PART
    assert seen[-1] == len(CONTENT)


@pytest.mark.parametrize("kind", ["bytes", "file object"])
def test_other_sources(connect_with_faults: Any, server: Server, path: Path, journal: Path, kind: str) -> None:
    file: Any = CONTENT if kind == "bytes" else path.open("rb")
    before = Interrupted(connect_with_faults, file, journal, *[Fault()] * 3, Fault(cut_upload=10))
    made = before.go_on(CONTENT if kind == "bytes" else path.open("rb"))
    assert before.routes() == [*[SEND] * 4, COMPLETE]
    assert content_of(server, made.id) == CONTENT


def test_equal_parts(connect_with_faults: Any, server: Server, path: Path, journal: Path) -> None:
    path.write_bytes(bytes(6 * PART))
    before = Interrupted(connect_with_faults, path, journal, *[Fault()] * 4, LOST)
    made = before.go_on()
    assert content_of(server, made.id) == bytes(6 * PART)


# --- what makes it begin anew ---------------------------------------------------------------------------------------

ANEW = [CREATE, *[SEND] * 6, COMPLETE]


def test_a_cancelled_upload(connect_with_faults: Any, server: Server, path: Path, journal: Path) -> None:
    before = Interrupted(connect_with_faults, path, journal, *[Fault()] * 4, Fault(cut_upload=10))
    assert server.client.post(f"/uploads/{before.upload_id}/cancel").status_code == 200
    made = before.go_on()
    assert before.routes() == [SEND, CANCEL, *ANEW]
    assert content_of(server, made.id) == CONTENT


@pytest.mark.parametrize("status", ["404 Not Found", "400 X", "403 X"])
def test_an_unknown_or_expired_upload(
    connect_with_faults: Any, server: Server, path: Path, journal: Path, status: str
) -> None:
    before = Interrupted(connect_with_faults, path, journal, *[Fault()] * 4, Fault(cut_upload=10))
    before.proxy.faults.append(Fault(response=raw_response(status)))
    made = before.go_on()
    assert before.routes() == [SEND, CANCEL, *ANEW]
    assert content_of(server, made.id) == CONTENT


@pytest.mark.parametrize("keeps_time", [False, True])
def test_a_changed_file(connect_with_faults: Any, server: Server, path: Path, journal: Path, keeps_time: bool) -> None:
    before = Interrupted(connect_with_faults, path, journal, *[Fault()] * 4, Fault(cut_upload=10))
    stat = path.stat()
    changed = b"x" + CONTENT[1:]
    with path.open("r+b") as file:
        file.write(b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + (0 if keeps_time else 1)))
    made = before.go_on()
    assert before.routes() == [CANCEL, *ANEW]
    assert content_of(server, made.id) == changed


def test_another_purpose(connect_with_faults: Any, path: Path, journal: Path) -> None:
    before = Interrupted(connect_with_faults, path, journal, *[Fault()] * 4, Fault(cut_upload=10))
    assert before.go_on(purpose="assistants").purpose == "assistants"
    assert before.routes() == [CANCEL, *ANEW]


@pytest.mark.parametrize("end", [b"", b"{", b'{"start": 100000, "id": 5}\n', b"\xff\x00", b'[]\n{"start":7}'])
def test_a_torn_journal(connect_with_faults: Any, server: Server, path: Path, journal: Path, end: bytes) -> None:
    before = Interrupted(connect_with_faults, path, journal, *[Fault()] * 3, Fault(cut_upload=10))
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + lines[1] + end)
    before.proxy.faults += [Fault(), Fault(cut_upload=10)]
    with pytest.raises(APIConnectionError):
        before.go_on()
    made = before.go_on()
    assert before.routes() == [SEND, SEND, *[SEND] * 4, COMPLETE]
    assert content_of(server, made.id) == CONTENT


@pytest.mark.parametrize("text", [b"", b"garbage\n", b"{}\n", b'{"format":2}\n', b"\n" * 100, b"[" * 5000])
def test_a_file_that_is_no_journal(connect_with_faults: Any, path: Path, journal: Path, text: bytes) -> None:
    journal.write_bytes(text)
    journal.chmod(0o600)
    client, proxy = connect_with_faults()
    assert client.create_file(path, "user_data", resume=journal).bytes == len(CONTENT)
    assert len(proxy.seen) == 8
    assert not journal.exists()


def test_a_journal_in_use(connect_with_faults: Any, path: Path, journal: Path) -> None:
    client, proxy = connect_with_faults()
    with open_journal(journal, {}) as held:
        assert held is not None
        held.begin("upload_other", PART)
        assert open_journal(journal, {}) is None
        assert client.create_file(path, "user_data", resume=journal).bytes == len(CONTENT)
        assert "upload_other" in journal.read_text()
    assert len(proxy.seen) == 8


@pytest.mark.parametrize("kind", ["link", "directory", "writable"])
def test_a_path_that_is_not_the_users_alone(connect_with_faults: Any, path: Path, journal: Path, kind: str) -> None:
    other = journal.with_name("other")
    other.write_text("untouched")
    if kind == "link":
        journal.symlink_to(other)
    elif kind == "directory":
        journal.mkdir()
    else:
        journal.write_text("untouched")
        journal.chmod(0o666)
    client, _ = connect_with_faults()
    assert client.create_file(path, "user_data", resume=journal).bytes == len(CONTENT)
    assert other.read_text() == "untouched"
    assert kind != "writable" or journal.read_text() == "untouched"


# --- what is kept ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["500 X", "503 X", "429 X"])
def test_a_server_that_fails(connect_with_faults: Any, path: Path, journal: Path, status: str) -> None:
    refused = Fault(response=raw_response(status))
    before = Interrupted(connect_with_faults, path, journal, *[Fault()] * 4, refused)
    before.proxy.faults.append(Fault(response=raw_response(status)))
    with pytest.raises(APIStatusError):
        before.go_on()
    before.go_on()
    assert before.routes() == [SEND, *[SEND] * 3, COMPLETE]


def test_a_refused_upload_is_not_kept(connect_with_faults: Any, path: Path, journal: Path) -> None:
    before = Interrupted(connect_with_faults, path, journal, *[Fault()] * 4, Fault(response=raw_response("400 X")))
    assert not journal.exists()
    before.go_on()
    assert before.routes() == ANEW


def test_nothing_is_recorded_by_default(
    connect_with_faults: Any, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    client, _ = connect_with_faults(*[Fault()] * 4, Fault(cut_upload=10), max_retries=0)
    with pytest.raises(APIConnectionError):
        client.create_file(path, "user_data")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]
