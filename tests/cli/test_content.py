"""content: every byte, to the right place, and never half a file under a name that was asked for."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commandline import PROGRAM, CommandLine
from tests.client.proxy import Fault, Proxy
from tests.support.servers import Server

NOISE = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def noise(server: Server) -> Any:
    """A binary file on the server."""
    return server.upload(NOISE, name="noise.bin")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("words", [[], ["-o", "-"], ["--output", "/dev/stdout"], ["-o", ""]])
def test_to_a_pipe(cli: CommandLine, noise: Any, words: list[str]) -> None:
    done = cli("files", "content", noise["id"], *words)
    assert (done.code, done.err, done.data == NOISE) == (0, "", True)
    assert cli.names() == []


def test_formats_do_not_touch_content(cli: CommandLine, server: Server) -> None:
    file = server.upload(b'{"b": 1.0}\n{"a":2}', name="a.jsonl")
    done = cli("files", "content", file["id"], "--format", "yaml", "--transform", "a", "-r", env={"FORCE_COLOR": "1"})
    assert done.data == b'{"b": 1.0}\n{"a":2}'


def test_an_empty_file(cli: CommandLine, server: Server) -> None:
    file = server.upload(b"")
    assert cli("files", "content", file["id"]).data == b""
    assert cli("files", "content", file["id"], "-o", "empty").out == "Wrote output to: empty\n"
    assert (cli.folder / "empty").read_bytes() == b""


def test_to_a_new_file(cli: CommandLine, noise: Any) -> None:
    done = cli("files", "content", noise["id"], "-o", "out.bin")
    assert (done.code, done.out, done.err) == (0, "Wrote output to: out.bin\n", "")
    assert (cli.folder / "out.bin").read_bytes() == NOISE
    assert mode(cli.folder / "out.bin") == 0o600
    assert cli.names() == ["out.bin"]


def test_a_file_that_is_there_is_replaced_and_keeps_its_mode(cli: CommandLine, noise: Any) -> None:
    target = cli.folder / "out.bin"
    target.write_bytes(b"x" * 4_000_000)
    target.chmod(0o640)
    with target.open("rb") as reader:
        assert cli("files", "content", noise["id"], "-o", str(target)).code == 0
        assert reader.read() == b"x" * 4_000_000, "whoever has the old file open reads it to its end"
    assert target.read_bytes() == NOISE
    assert mode(target) == 0o640
    assert cli.names() == ["out.bin"]


def test_through_a_symbolic_link(cli: CommandLine, noise: Any) -> None:
    (cli.folder / "sub").mkdir()
    (cli.folder / "link").symlink_to("sub/real.bin")
    assert cli("files", "content", noise["id"], "-o", "link").code == 0
    assert (cli.folder / "link").is_symlink()
    assert (cli.folder / "sub" / "real.bin").read_bytes() == NOISE


def test_to_a_device(cli: CommandLine, noise: Any) -> None:
    assert cli("files", "content", noise["id"], "-o", "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()


WITHOUT_PRIVILEGE = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    if ctypes.CDLL(None).prctl(24, capability, 0, 0, 0):
        sys.exit("the privilege cannot be dropped")
os.execv(sys.argv[1], sys.argv[1:])
"""


def bound_by_modes(cli: CommandLine, *words: str) -> "subprocess.CompletedProcess[bytes]":
    """Run it as one for whom the modes of files count, also if that is root."""
    wrapper = [sys.executable, "-c", WITHOUT_PRIVILEGE] if os.geteuid() == 0 else []
    command = [*wrapper, PROGRAM, *words]
    return subprocess.run(command, cwd=cli.folder, env=cli.env, capture_output=True, timeout=60, check=False)


def test_targets_that_cannot_be_written_are_refused_after_the_errors_of_the_server(
    bare: CommandLine, server: Server
) -> None:
    folder = bare.folder
    (folder / "closed").mkdir(mode=0o555)
    (folder / "mine.txt").write_text("mine")
    (folder / "mine.txt").chmod(0o444)
    cases = {
        ".": "-o . is a directory; pass the path of a file, such as -o data.jsonl",
        "closed": "-o closed is a directory; pass the path of a file, such as -o closed/data.jsonl",
        "none/out.bin": f"-o none/out.bin cannot be written: directory {folder}/none does not exist",
        "closed/out.bin": f"-o closed/out.bin cannot be written: no permission to create files in {folder}/closed",
        "mine.txt": "-o mine.txt cannot be written: permission denied",
        "mine.txt/out": f"-o mine.txt/out cannot be written: directory {folder}/mine.txt does not exist",
    }
    with Proxy(server.port) as proxy:
        cli = bare.with_env(OPENAI_BASE_URL=proxy.base_url, OPENAI_API_KEY=str(server.key))
        stored = server.upload(b"hello")["id"]
        for target, message in cases.items():
            done = bound_by_modes(cli, "files", "content", stored, "-o", target)
            assert (done.returncode, done.stdout) == (1, b"")
            assert done.stderr.decode() == f"filestead: {message}\n"
            done = bound_by_modes(cli, "files", "content", "file-none", "-o", target)
            assert (done.returncode, b"404 Not Found" in done.stderr) == (1, True)
        assert len(proxy.seen) == 2 * len(cases)
    assert (folder / "mine.txt").read_text() == "mine"


def test_nothing_is_written_on_an_error(cli: CommandLine) -> None:
    done = cli("files", "content", "file-none", "-o", "out.bin")
    assert (done.code, cli.names()) == (1, [])
    (cli.folder / "out.bin").write_text("old")
    assert cli("files", "content", "file-none", "-o", "out.bin").code == 1
    assert (cli.folder / "out.bin").read_text() == "old"


def test_a_broken_download_goes_on_by_itself(cli: CommandLine, server: Server, noise: Any) -> None:
    for words in ((), ("-o", "out.bin")):
        with Proxy(server.port, [Fault(cut=1_000_000)]) as proxy:
            done = cli("files", "content", noise["id"], *words, "--base-url", proxy.base_url)
            assert done.code == 0, done.err
            assert proxy.seen[1].headers["range"] == "bytes=1000000-"
        assert (done.data if not words else (cli.folder / "out.bin").read_bytes()) == NOISE


def test_a_broken_download_that_cannot_go_on_prints_nothing_twice(cli: CommandLine, server: Server, noise: Any) -> None:
    # Without a validator the rest may be that of another file. A file starts anew, what is printed stays printed.
    words = ("files", "content", noise["id"])
    with Proxy(server.port, [Fault(cut=1_000_000, strip=("etag",)), Fault(strip=("etag",))]) as proxy:
        done = cli(*words, "--base-url", proxy.base_url)
    assert done.code == 1
    assert "was interrupted after 1000000 of 3000000 bytes" in done.err
    assert len(done.data) < 1_000_001 and NOISE.startswith(done.data)
    with Proxy(server.port, [Fault(cut=1_000_000, strip=("etag",)), Fault(strip=("etag",))]) as proxy:
        assert cli(*words, "-o", "out.bin", "--base-url", proxy.base_url).code == 0
    assert (cli.folder / "out.bin").read_bytes() == NOISE


def test_damaged_content_is_no_success(cli: CommandLine, server: Server, noise: Any) -> None:
    (cli.folder / "out.bin").write_text("old")
    with Proxy(server.port, [Fault(corrupt=2_999_999)] * 2) as proxy:
        for words in (("-o", "out.bin"), ()):
            done = cli("files", "content", noise["id"], *words, "--base-url", proxy.base_url)
            assert done.code == 1
            assert "is damaged: it does not match the server's digest" in done.err
    assert (cli.folder / "out.bin").read_text() == "old"
    assert cli.names() == ["out.bin"]
    assert len(done.data) < len(NOISE), "the end of a damaged file is held back"


def test_a_reader_that_has_enough(cli: CommandLine, noise: Any) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = cli("files", "content", noise["id"], stdout=writer)
    os.close(writer)
    assert (done.code, done.err) == (-13, ""), "ended by SIGPIPE, as cat is"
