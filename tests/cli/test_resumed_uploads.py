"""`files create` of a large file that is killed, and started again: only the missing parts are sent."""

import contextlib
import hashlib
import json
import os
import stat
import time
from pathlib import Path

import pytest

from tests.cli.commandline import SECONDS, CommandLine
from tests.client.relay import MIB, Relay, write_random, write_sparse
from tests.support.servers import Server

pytestmark = pytest.mark.embedded("about the command line, which knows no kind of installation")

PART = 16 * MIB
SIZE = 7 * PART - 5
FILES = ("files", "create", "--purpose", "user_data", "--file", "large.bin", "--format", "jsonl")


def journals(cli: CommandLine) -> list[Path]:
    return sorted((cli.folder.parent / ".cache" / "filestead" / "uploads").glob("*"))


def kill_in_mid_upload(cli: CommandLine, relay: Relay, *words: str, recorded: int) -> None:
    """Kill an upload that the relay holds, when as many parts are recorded."""
    process = cli.start(*FILES, "--base-url", relay.base_url, *words)
    try:
        assert relay.held.wait(SECONDS)
        until = time.monotonic() + SECONDS
        while recorded and sum(len(path.read_bytes().splitlines()) - 1 for path in journals(cli)) < recorded:
            assert time.monotonic() < until, "no part was recorded"
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    relay.release()


def require_stored(server: Server, output: str, digest: str, size: int = SIZE) -> None:
    made = json.loads(output)
    assert made["bytes"] == size
    received = hashlib.sha256()
    with server.client.stream("GET", f"/files/{made['id']}/content") as response:
        for chunk in response.iter_bytes():
            received.update(chunk)
    assert received.hexdigest() == digest
    server.client.delete(f"/files/{made['id']}")


def test_a_killed_upload_continues(cli: CommandLine, server: Server) -> None:
    digest = write_random(cli.folder / "large.bin", SIZE)
    with contextlib.closing(Relay(server.port, hold_after=5 * PART)) as relay:
        kill_in_mid_upload(cli, relay, recorded=1)
        (journal,) = journals(cli)
        assert stat.S_IMODE(journal.stat().st_mode) == 0o600
        assert stat.S_IMODE(journal.parent.stat().st_mode) == 0o700
        assert server.key is not None
        assert server.key not in journal.read_text() + journal.name
        stored = len(journal.read_bytes().splitlines()) - 1
        done = cli(*FILES, "--base-url", relay.base_url)
        assert done.code == 0, done.err
        assert f"continuing an upload that was interrupted: {stored * PART} of {SIZE} bytes are stored" in done.err
        assert relay.passed < SIZE - stored * PART + MIB
        require_stored(server, done.out, digest)
    assert journals(cli) == []


def test_without_resuming_all_parts_are_sent(cli: CommandLine, server: Server) -> None:
    digest = write_random(cli.folder / "large.bin", SIZE)
    with contextlib.closing(Relay(server.port, hold_after=5 * PART)) as relay:
        kill_in_mid_upload(cli, relay, recorded=1)
        before = [path.read_bytes() for path in journals(cli)]
        done = cli(*FILES, "--base-url", relay.base_url, "--no-resume")
        assert (done.code, done.err) == (0, "")
        assert relay.passed > SIZE
        require_stored(server, done.out, digest)
    assert [path.read_bytes() for path in journals(cli)] == before


def test_a_file_that_changed_is_sent_anew(cli: CommandLine, server: Server) -> None:
    write_random(cli.folder / "large.bin", SIZE)
    with contextlib.closing(Relay(server.port, hold_after=5 * PART)) as relay:
        kill_in_mid_upload(cli, relay, recorded=1)
        upload_id = json.loads(journals(cli)[0].read_bytes().splitlines()[0])["upload_id"]
        digest = write_random(cli.folder / "large.bin", SIZE)
        done = cli(*FILES, "--base-url", relay.base_url)
        assert (done.code, done.err) == (0, "")
        assert relay.passed > SIZE
        require_stored(server, done.out, digest)
    assert server.client.post(f"/uploads/{upload_id}/cancel").json()["status"] == "cancelled"
    assert journals(cli) == []


def test_where_nothing_is_recorded(cli: CommandLine, server: Server) -> None:
    digest = write_random(cli.folder / "large.bin", SIZE)
    (cli.folder / "no-directory").write_text("")
    for env, words in (
        ({"XDG_CACHE_HOME": str(cli.folder / "no-directory")}, ()),
        ({"XDG_CACHE_HOME": str(cli.folder / "unused")}, ("--no-parts",)),
        ({"XDG_CACHE_HOME": str(cli.folder / "unused")}, ("--no-resume",)),
    ):
        done = cli(*FILES, *words, env=env)
        assert (done.code, done.err) == (0, "")
        require_stored(server, done.out, digest)
    assert cli.names() == ["large.bin", "no-directory"]
    assert journals(cli) == []


def test_old_journals_are_deleted(cli: CommandLine, server: Server) -> None:
    digest = write_random(cli.folder / "large.bin", SIZE)
    cache = cli.folder / "cache"
    folder = cache / "filestead" / "uploads"
    folder.mkdir(parents=True)
    for name in ("old.upload", "new.upload", "other"):
        (folder / name).write_text("x")
    two_days_ago = time.time() - 2 * 86_400
    for name in ("old.upload", "other"):
        os.utime(folder / name, (two_days_ago, two_days_ago))
    done = cli(*FILES, env={"XDG_CACHE_HOME": str(cache)})
    assert (done.code, done.err) == (0, "")
    require_stored(server, done.out, digest)
    assert sorted(path.name for path in folder.iterdir()) == ["new.upload", "other"]


@pytest.mark.parametrize(
    ("size", "cut_after", "least_cuts"),
    [
        (SIZE, PART * 3 // 2, 2),
        pytest.param(2_000_000_000, 100_000_000, 10, marks=[pytest.mark.torture, pytest.mark.timeout(1200)]),
    ],
    ids=["112 MiB", "2 GB"],
)
def test_a_proxy_that_cuts(cli: CommandLine, server: Server, size: int, cut_after: int, least_cuts: int) -> None:
    digest = write_sparse(cli.folder / "large.bin", size)
    with (
        contextlib.closing(Relay(server.port, cut_after=cut_after)) as relay,
        cli.start(*FILES, "--base-url", relay.base_url) as process,
    ):
        output, errors = process.communicate(timeout=900)
    assert (process.returncode, errors) == (0, b"")
    assert relay.cuts >= least_cuts
    assert relay.passed < size + (relay.cuts + 4) * PART, "a cut costs one part at most"
    require_stored(server, output.decode(), digest, size)
    assert journals(cli) == []
