"""Starting: what must not be served is refused with one clear sentence, and what dies is replaced."""

import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.cli.commandline import Screen
from tests.crash.harness import findings, sql, wait_until_quiet
from tests.support.installations import clean_environment
from tests.support.servers import KEY, Server, run_command
from tests.support.waiting import wait_until

CONFIGURATION = 78


def tree(directory: Path) -> dict[str, bytes | None]:
    """Everything below a directory, but for the database's side files, which come and go."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
        if not path.name.endswith(("-wal", "-shm")) and path.name not in ("lock", "filestead.db")
    }


def refused(data_dir: Path, *words: str, **settings: object) -> None:
    """`serve` ends at once with 78 and prints one sentence that has these words, and nothing else."""
    try:
        server = Server(data_dir, key=None, **settings)
    except RuntimeError as error:
        ending, *output = str(error).splitlines()
    else:
        server.kill()
        pytest.fail("it serves")
    assert ending == f"the server ended with {CONFIGURATION}:"
    (sentence,) = output
    assert re.fullmatch(r"filestead: .+", sentence)
    assert [word for word in words if word not in sentence] == []


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """An installation with a file, at rest."""
    with Server(tmp_path / "data") as server:
        server.upload(b"content")
        server.upload(bytes(20_000))  # not a row
    return tmp_path / "data"


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_second_server(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        before = tree(server.data_dir)
        refused(server.data_dir, f"process {server.process.pid}", "stop it first", "--data-dir")
        assert tree(server.data_dir) == before
        server.upload()
    with Server(tmp_path / "data"):
        pass


def test_somebody_elses_directory(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    refused(tmp_path, str(tmp_path), "thesis.txt", "not empty")
    assert tree(tmp_path) == {"thesis.txt": b"years of work"}


def test_what_a_first_start_leaves_that_was_killed_before_it_wrote_the_database(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("lock", "filestead.db", "filestead.db-journal"):
        (tmp_path / "data" / name).touch()
    with Server(tmp_path / "data") as server:
        assert server.upload(b"a row")["bytes"] == 5


def lose_database(data_dir: Path) -> None:
    for path in data_dir.glob("filestead.db*"):
        path.unlink()


def empty_database(data_dir: Path) -> None:
    lose_database(data_dir)
    (data_dir / "filestead.db").touch(0o600)


def lose_volume(data_dir: Path) -> None:
    (data_dir / "VOLUME").unlink()


def lose_blobs(data_dir: Path) -> None:
    shutil.rmtree(data_dir / "blobs")


def lose_everything_but_the_database(data_dir: Path) -> None:
    lose_volume(data_dir)
    lose_blobs(data_dir)
    shutil.rmtree(data_dir / "staging")


def swap_volume(data_dir: Path) -> None:
    (data_dir / "VOLUME").write_text("inst-another\n")


def newer_schema(data_dir: Path) -> None:
    sql(data_dir, "UPDATE alembic_version SET version_num = '9999'")


def overwrite_database(data_dir: Path) -> None:
    lose_database(data_dir)
    (data_dir / "filestead.db").write_bytes(b"not a database, but long enough to be looked at" * 100)


HARMS: dict[Callable[[Path], None], tuple[str, ...]] = {
    lose_database: ("filestead.db is missing", "backup"),
    empty_database: ("filestead.db is missing or empty", "backup"),
    lose_volume: ("VOLUME", "Mount the right volume"),
    lose_blobs: (),
    lose_everything_but_the_database: ("VOLUME", "Mount the right volume"),
    swap_volume: ("inst-another", "another installation"),
    newer_schema: ("9999", "newer"),
    overwrite_database: (),
}


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_directory_that_is_not_whole(installation: Path, harm: Callable[[Path], None]) -> None:
    harm(installation)
    before = tree(installation)
    refused(installation, *HARMS[harm])
    assert tree(installation) == before
    refused(installation, *HARMS[harm])


def test_an_empty_database_beside_small_files_alone(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        server.upload(b"a row")
    empty_database(tmp_path / "data")
    refused(tmp_path / "data", "filestead.db is missing or empty", "backup")


def test_verify_names_the_files_of_a_lost_folder(installation: Path) -> None:
    lose_blobs(installation)
    done = run_command(installation, "verify", "--json")
    assert done.returncode == 3, done.stderr
    assert "I-02" in done.stdout


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "data", str(tmp_path / "file" / "data"), "cannot use the data directory")


@pytest.fixture
def read_only(installation: Path) -> Iterator[Path]:
    """The installation on a file system that takes no writes."""
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("a read-only mount takes root, and CI must have it")
        pytest.skip("a read-only mount takes root: starting on one is NOT tested here")
    subprocess.run(["mount", "--bind", installation, installation], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", installation], check=True)
    try:
        yield installation
    finally:
        subprocess.run(["umount", "--lazy", installation], check=True)


def test_a_read_only_directory(read_only: Path) -> None:
    refused(read_only, str(read_only), "cannot use the data directory")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with Server(tmp_path / "one") as server:
        refused(tmp_path / "two", f"port {server.port}", "--port", env={"FILESTEAD_PORT": str(server.port)})
        assert not (tmp_path / "two").exists(), "a refused start made an installation"
        # The commonest case of all.
        refused(tmp_path / "one", "another Filestead serves", env={"FILESTEAD_PORT": str(server.port)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("workers", "0"), ("port", "70000"), ("max_file_bytes", "many"), ("validation", "maybe")),
        *(("idle_seconds", "0"), ("max_file_size", "1"), ("sweep_seconds", "")),
    ],
)
def test_a_wrong_setting_names_itself(tmp_path: Path, name: str, value: str) -> None:
    if not value:  # empty counts as not given
        with Server(tmp_path / "data", **{name: value}):
            return
    refused(tmp_path / "data", f"FILESTEAD_{name.upper()}", env={f"FILESTEAD_{name.upper()}": value})
    assert not (tmp_path / "data").exists()


# --- the first start ------------------------------------------------------------------------------------------------


def works(server: Server, key: str) -> bool:
    headers = {b"Authorization": b"Bearer " + key.encode()}
    return httpx2.get(server.base_url + "/files", headers=headers).status_code == 200


def test_the_first_key_is_shown_once_and_works(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--print-key", key=None) as server:
        (key,) = re.findall(r"^export OPENAI_API_KEY=(\S+)$", server.output, re.MULTILINE)
        assert server.output.count("shown only this once") == 1
        assert server.output.count(key) == 1
        assert not (server.data_dir / "first-key").exists()
    with Server(tmp_path / "data", key=None) as server:
        assert key not in server.output
        assert "OPENAI_API_KEY" not in server.output
        assert httpx2.get(server.base_url + "/files", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert httpx2.get(server.base_url + "/files").status_code == 401
    assert not any(key.encode() in (content or b"") for content in tree(tmp_path / "data").values())
    assert key.encode() not in (tmp_path / "data" / "filestead.db").read_bytes()


@pytest.mark.parametrize("asked", [{"arguments": ["--print-key"]}, {"print_key": "true"}, {}])
def test_the_first_key_is_for_a_file_where_output_is_no_terminal(tmp_path: Path, asked: dict[str, Any]) -> None:
    arguments = asked.pop("arguments", ())
    with Server(tmp_path / "data", *arguments, key=None, **asked) as server:
        path = server.data_dir / "first-key"
        if arguments or asked:
            assert not path.exists()
            assert re.search(r"^export OPENAI_API_KEY=sk-\S+$", server.output, re.MULTILINE)
            return
        key = path.read_text().removesuffix("\n")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert key not in server.output
        assert f"Your first key is in {path}" in server.output
        assert f'export OPENAI_API_KEY="$(cat {path})"' in server.output
        assert works(server, key)
    with Server(tmp_path / "data", key=None) as server:
        assert path.read_text() == f"{key}\n", "a later start makes no other key"
        assert f"The first key is still in {path}" in server.output
        path.unlink()
    with Server(tmp_path / "data", key=None) as server:
        assert works(server, key)
        assert not path.exists()
        assert "first key" not in server.output


def test_the_first_key_is_printed_once_on_a_terminal(tmp_path: Path) -> None:
    screen = Screen()
    environment = clean_environment() | {"FILESTEAD_DATA_DIR": str(tmp_path / "data"), "FILESTEAD_PORT": "0"}
    command = [sys.executable, "-m", "filestead.cli.main", "serve"]
    with subprocess.Popen(command, env=environment, stdout=screen.descriptor, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: b"print(file.id" in screen.kept, "the server says nothing", 60)
        process.terminate()
        assert process.wait(60) == 0
    shown = screen.close().decode()
    (key,) = re.findall(r"^export OPENAI_API_KEY=(sk-\S+)$", shown, re.MULTILINE)
    assert shown.count(key) == shown.count("sk-") == 1
    assert not (tmp_path / "data" / "first-key").exists()


def test_a_first_key_of_a_start_that_was_cut_off_is_replaced(tmp_path: Path) -> None:
    """The key is in the file before it is in the database; a link in its place is not followed."""
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "data" / "first-key").symlink_to(tmp_path / "precious")
    with Server(tmp_path / "data", key=None) as server:
        assert works(server, (server.data_dir / "first-key").read_text().strip())
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_first_key_that_cannot_be_written_is_not_made(tmp_path: Path) -> None:
    """No key is stored that nobody has."""
    (tmp_path / "data" / "first-key").mkdir(mode=0o700, parents=True)
    with Server(tmp_path / "data", key=None) as server:
        assert "no first key was created" in server.output
        assert "keys create --project default" in server.output
        assert run_command(server.data_dir, "keys", "list", "--json").stdout == ""


def test_a_bootstrap_key_on_an_existing_installation_lasts(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--print-key", key=None):
        pass
    with Server(tmp_path / "data", key=None, bootstrap_key="My API Key") as server:
        assert works(server, "My API Key")
        (key_id,) = re.findall(r"the bootstrap key was added to this existing installation as (key_\w+)", server.output)
        assert "My API Key" not in server.output
    with Server(tmp_path / "data", key=None) as server:
        assert works(server, "My API Key"), "it stays valid without the setting"
        assert run_command(server.data_dir, "keys", "revoke", key_id).returncode == 0
    with Server(tmp_path / "data", key=None, bootstrap_key="My API Key") as server:
        assert not works(server, "My API Key")
        assert f"the bootstrap key ({key_id}) was revoked and is not valid" in server.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can serve as root")
def test_serving_as_root_is_warned_of_in_one_line(installation: Path) -> None:
    with Server(installation) as server:
        assert server.output.count("running as root") == 1


@pytest.mark.parametrize("key", ["x", "no-prefix", "sk-" + "a" * 500, "with:colon/slash+plus=", "My API Key", "a  b c"])
def test_a_bootstrap_key_of_any_shape(tmp_path: Path, key: str) -> None:
    for _ in range(2):
        with Server(tmp_path / "data", key=None, bootstrap_key=key) as server:
            assert key not in server.output or key == "x"
            headers = {b"Authorization": b"Bearer " + key.encode()}
            assert httpx2.get(server.base_url + "/files", headers=headers).status_code == 200
            assert httpx2.get(server.base_url + "/files", headers={"Authorization": "Bearer y"}).status_code == 401


@pytest.mark.parametrize(
    ("key", "reason"),
    [("Ünïcode", "not ASCII"), (" key", "begins or ends with a blank"), ("key ", "blank"), ("a\tb", "control")],
)
def test_a_bootstrap_key_that_no_header_can_carry(tmp_path: Path, key: str, reason: str) -> None:
    refused(tmp_path / "data", "FILESTEAD_BOOTSTRAP_KEY", reason, bootstrap_key=key)
    assert not (tmp_path / "data").exists()


def test_only_the_owner_may_look(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Server(tmp_path / "data") as server:
            server.upload(os.urandom(1000))
            server.upload(os.urandom(3_000_000))
            for path in [server.data_dir, *server.data_dir.rglob("*")]:
                wanted = 0o700 if path.is_dir() else 0o600
                assert stat.S_IMODE(path.lstat().st_mode) == wanted, path
            assert findings(server.data_dir) == []
    finally:
        os.umask(before)


def test_a_directory_that_others_could_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    with Server(tmp_path / "data") as server:
        assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700


# --- several workers ------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "data", workers=2, uploads_per_minute=0, shutdown_seconds=2) as server:
        yield server


def workers(server: Server) -> list[psutil.Process]:
    return [child for child in psutil.Process(server.process.pid).children() if child.status() != "zombie"]


def upload_on_a_new_connection(server: Server) -> bool:
    """Each connection may get another worker, and one that has just died may have taken it."""
    with contextlib.suppress(httpx2.TransportError):
        headers = {"Authorization": f"Bearer {KEY}"}
        form = {"purpose": (None, b"user_data"), "file": ("a", b"content")}
        return httpx2.post(server.base_url + "/files", headers=headers, files=form, timeout=60).status_code == 200
    return False


def test_a_killed_worker_is_replaced(pair: Server) -> None:
    wait_until(lambda: len(workers(pair)) == 2, "there are not two workers")
    first, second = workers(pair)
    first.kill()
    wait_until(lambda: len({worker.pid for worker in workers(pair)} - {first.pid}) == 2, "no worker came instead")
    assert second.is_running()
    assert all(upload_on_a_new_connection(pair) for _ in range(20))
    wait_until_quiet(pair.data_dir)
    assert findings(pair.data_dir) == []
    assert pair.stop() == 0
    wait_until(lambda: not second.is_running(), "a worker outlived its supervisor")


def test_workers_end_with_a_killed_supervisor(pair: Server) -> None:
    wait_until(lambda: len(workers(pair)) == 2, "there are not two workers")
    orphans = workers(pair)
    pair.upload()
    pair.kill()
    wait_until(lambda: not any(orphan.is_running() for orphan in orphans), "the workers went on")
    with Server(pair.data_dir) as server:
        assert len(server.client.get("/files").json()["data"]) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.timing
def test_a_clean_end(tmp_path: Path, count: int, number: signal.Signals) -> None:
    server = Server(tmp_path / "data", workers=count)
    server.upload()
    began = time.monotonic()
    # Ctrl-C may also end it as a process without a handler.
    assert server.stop(number) in ((0,) if number == signal.SIGTERM else (0, -number, 128 + number)), server.output
    assert time.monotonic() - began < 6
    assert "Traceback" not in server.output
