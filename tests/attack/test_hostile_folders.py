"""Downloads into a folder that others may write to, and names that the server chose."""

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from filestead import FileObject, FilesClient, IntegrityError
from filestead.client._download.filenames import safe_filename
from tests.cli.commandline import PROGRAM, CommandLine
from tests.client.any_client import KINDS, AnyClient
from tests.client.proxy import Fault, Proxy, raw_response
from tests.support.servers import Server

CONTENT = os.urandom(300_001)
OTHER = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's file")


@pytest.fixture(scope="module")
def stored(server: Server) -> str:
    return server.upload(CONTENT, purpose="vision", name="a.png")["id"]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder as /tmp: open to all, and sticky."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def link(path: Path) -> None:
    precious = path.parent.parent / "precious"
    precious.write_bytes(b"precious")
    path.symlink_to(precious)


def hard_link(path: Path) -> None:
    precious = path.parent.parent / "precious"
    precious.write_bytes(b"precious")
    path.hardlink_to(precious)


def foreign(path: Path) -> None:
    path.write_bytes(CONTENT[:1000])
    os.chown(path, OTHER, OTHER)


def writable(path: Path) -> None:
    path.write_bytes(CONTENT[:1000])
    path.chmod(0o622)


PLANTS: list[Any] = [
    link,
    lambda path: path.symlink_to("nowhere"),
    hard_link,
    os.mkfifo,
    Path.mkdir,
    pytest.param(foreign, marks=AS_ROOT),
    writable,
    pytest.param(lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3)), marks=AS_ROOT),
]
IDS = ["link", "dangling", "hard link", "fifo", "folder", "foreign", "writable", "device"]


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[AnyClient]:
    shell = AnyClient(request.param, base_url=server.base_url, api_key=server.key)
    yield shell
    shell.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("plant", PLANTS, ids=IDS)
def test_a_planted_part_is_not_used(
    client: AnyClient, stored: str, shared: Path, plant: Callable[[Path], None]
) -> None:
    part = shared / f".out.{stored}.part"
    plant(part)
    note = shared / f".out.{stored}.part.etag"
    note.write_text(f'"{"0" * 16}"')
    before = os.lstat(part)
    assert client.download_file(stored, shared / "out").read_bytes() == CONTENT
    after = os.lstat(part)
    assert (after.st_ino, after.st_uid, after.st_mode) == (before.st_ino, before.st_uid, before.st_mode)
    assert stat.S_ISREG(os.lstat(shared / "out").st_mode)
    precious = shared.parent / "precious"
    assert not precious.exists() or precious.read_bytes() == b"precious"
    assert sorted(os.listdir(shared)) == sorted([part.name, note.name, "out"])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("plant", PLANTS[:-1], ids=IDS[:-1])
def test_a_planted_note_is_not_used(server: Server, stored: str, shared: Path, plant: Callable[[Path], None]) -> None:
    """The note would say that another's bytes are the beginning of the file."""
    (shared / f".out.{stored}.part").write_bytes(CONTENT[:1000])
    (shared / f".out.{stored}.part").chmod(0o600)
    plant(shared / f".out.{stored}.part.etag")
    with Proxy(server.port, [Fault(cut=100_000)]) as proxy:
        with FilesClient(base_url=proxy.base_url, api_key=server.key, max_retries=0) as client:
            with pytest.raises(IntegrityError):
                client.download_file(stored, shared / "out")
            client.download_file(stored, shared / "out")
        assert "range" not in proxy.seen[0].headers
    assert (shared / "out").read_bytes() == CONTENT
    precious = shared.parent / "precious"
    assert not precious.exists() or precious.read_bytes() == b"precious"


@pytest.mark.parametrize("note", ['"e"\r\nX-Evil: 1', 'W/"weak"', "no quotes", '"a"b"', '"' + "x" * 100_000 + '"', ""])
def test_a_note_that_is_no_validator(server: Server, stored: str, shared: Path, note: str) -> None:
    for name, data in ((f".out.{stored}.part", CONTENT[:1000]), (f".out.{stored}.part.etag", note.encode())):
        (shared / name).write_bytes(data)
        (shared / name).chmod(0o600)
    with Proxy(server.port) as proxy, FilesClient(base_url=proxy.base_url, api_key=server.key) as client:
        client.download_file(stored, shared / "out")
        assert "if-range" not in proxy.seen[0].headers
    assert (shared / "out").read_bytes() == CONTENT
    assert os.listdir(shared) == ["out"]


def test_a_part_that_is_swapped_does_not_become_the_target(server: Server, stored: str, shared: Path) -> None:
    shared.chmod(0o777)  # Without the sticky bit anyone may rename.
    part = shared / f".out.{stored}.part"

    def swap(position: int, total: int | None) -> None:
        if part.exists() and position == total:
            part.unlink()
            part.write_bytes(b"evil")

    client = FilesClient(base_url=server.base_url, api_key=server.key)
    with client, pytest.raises(OSError, match="moved or replaced during the download"):
        client.download_file(stored, shared / "out", on_progress=swap)
    assert not (shared / "out").exists()
    assert part.read_bytes() == b"evil"


@AS_ROOT
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["link", "dangling", "fifo"])
def test_a_target_that_another_user_planted(client: AnyClient, stored: str, shared: Path, kind: str) -> None:
    target, precious = shared / "out", shared.parent / "precious"
    if kind == "fifo":
        os.mkfifo(target)
        reader = threading.Thread(target=target.read_bytes, daemon=True)
        reader.start()
    else:
        target.symlink_to(precious)
    if kind == "link":
        precious.write_bytes(b"precious")
    os.chown(target, OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(PermissionError, match="created by another user"):
        client.download_file(stored, target)
    if kind == "fifo":
        target.write_bytes(b"")
        reader.join(30)
    assert (precious.read_bytes() if kind == "link" else not precious.exists()) in (b"precious", True)
    # One's own link is followed there, as everywhere.
    target.unlink()
    target.symlink_to(precious)
    client.download_file(stored, target)
    assert precious.read_bytes() == CONTENT


@AS_ROOT
def test_the_mode_of_another_users_file_is_not_taken_over(client: AnyClient, stored: str, shared: Path) -> None:
    target = shared / "out"
    foreign(target)
    target.chmod(0o666)
    before = os.umask(0o077)
    try:
        client.download_file(stored, target)
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.stat().st_uid == 0


NAMES = {
    ".bashrc": "bashrc",
    "-rf": "rf",
    "--output=x": "output=x",
    ".-.-.x": "x",
    " .x": "x",
    "..": "file-1",
    ".": "file-1",
    "---": "file-1",
    "": "file-1",
    "a/../.ssh": "ssh",
    "..\\.x": "x",
    "\x1b[31mred\u202e.txt": "[31mred.txt",
    "a.txt\x00.exe": "a.txt.exe",
    "\u200b.profile": "profile",
    "ü.png": "ü.png",
    "a.tar.gz": "a.tar.gz",
    "x" * 500 + ".jsonl": "x" * 249 + ".jsonl",
    "ü" * 500 + ".jsonl": "ü" * 124 + ".jsonl",
    "x." + "y" * 500: "x." + "y" * 253,
    "🦊" * 100: "🦊" * 63,
}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_the_server_chose(name: str) -> None:
    assert safe_filename(name, "file-1") == NAMES[name]


@pytest.mark.parametrize("file_id", ["..", "-rf", "../x", "\x1b"])
def test_the_name_in_place_of_one_is_safe_too(file_id: str) -> None:
    assert safe_filename("", file_id) in {"rf", "x", "download"}


@pytest.mark.parametrize("name", [".netrc", "-rf", "../../x", "n" * 400 + ".bin"])
def test_a_folder_and_a_terminal_get_safe_names(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    wanted = safe_filename(name, "file-1")
    described = FileObject(id="file-1", purpose="vision", filename=name, bytes=1, created_at=1)
    import msgspec

    body = msgspec.json.encode(described)
    proxy = Proxy(0, [Fault(response=raw_response("200 OK", body=each)) for each in (body, b"x")])
    with proxy, FilesClient(base_url=proxy.base_url, api_key="k") as client:
        assert client.download_file("file-1", folder) == folder / wanted
    env = {
        "PATH": str(PROGRAM.parent),
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "OPENAI_API_KEY": "k",
    }
    head = f'Content-Disposition: attachment; filename="{name}"'
    with Proxy(0, [Fault(response=raw_response("200 OK", head, body=b"\x00"))] * 2) as proxy:
        for _ in range(2):  # The second one finds the name taken.
            cli = CommandLine(folder, env)
            assert cli.on_terminal("files", "content", "file-1", "--base-url", proxy.base_url).code == 0
    names = os.listdir(folder)
    assert len(names) == 3
    assert wanted in names and all(each.startswith(Path(wanted).stem[:200]) for each in names)
    assert os.listdir(tmp_path) == ["folder"]
