"""Ctrl-C in the middle: no half file under a name that was asked for, nothing on the server, and going on later."""

import os
import signal
import threading
from typing import Any

import pytest

from tests.cli.commandline import CommandLine, Screen, interrupt
from tests.client.proxy import Fault, Proxy
from tests.support.servers import Server
from tests.support.waiting import wait_until

NOISE = os.urandom(3_000_000)
CUT = 2_500_000


@pytest.fixture(scope="module")
def noise(server: Server) -> Any:
    return server.upload(NOISE, name="noise.bin")


def written(cli: CommandLine) -> int:
    return max((path.stat().st_size for path in cli.folder.glob(".*.part")), default=0)


@pytest.mark.parametrize("old", [None, b"the old content"])
def test_an_interrupted_download_goes_on_when_run_again(
    cli: CommandLine, server: Server, noise: Any, old: bytes | None
) -> None:
    target = cli.folder / "out.bin"
    if old is not None:
        target.write_bytes(old)
    pause = threading.Event()
    words = ("files", "content", noise["id"], "-o", "out.bin", "--base-url")
    with Proxy(server.port, [Fault(cut=CUT, pause=pause)]) as proxy:
        with cli.start(*words, proxy.base_url) as process:
            wait_until(lambda: written(cli) > 1_000_000)
            assert interrupt(process) == -signal.SIGINT
            assert process.communicate() == (b"", b"")
        pause.set()
        assert (target.read_bytes() if target.exists() else None) == old
        kept = written(cli)
        assert 1_000_000 < kept <= CUT
        again = cli(*words, proxy.base_url)
        assert (again.code, again.err) == (0, "")
        assert proxy.seen[1].headers["range"] == f"bytes={kept}-"
    assert target.read_bytes() == NOISE
    assert cli.names() == ["out.bin"]


def test_an_interrupted_download_beside_a_terminal_leaves_nothing(cli: CommandLine, server: Server, noise: Any) -> None:
    pause, out, err = threading.Event(), Screen(), Screen()
    with Proxy(server.port, [Fault(cut=CUT, pause=pause)]) as proxy:
        words = ("files", "content", noise["id"], "--base-url", proxy.base_url)
        with cli.start(*words, stdout=out.descriptor, stderr=err.descriptor) as process:
            wait_until(lambda: cli.names() != [] and (cli.folder / cli.names()[0]).stat().st_size > 0)
            assert interrupt(process) == -signal.SIGINT
        pause.set()
    assert cli.names() == []
    assert out.close() == b""
    err.close()


def test_an_interrupted_upload_leaves_nothing_on_the_server(cli: CommandLine, server: Server) -> None:
    before = server.client.get("/files").json()["data"]
    reader, writer = os.pipe()
    with cli.start("files", "create", "--file", "-", "--purpose", "user_data", stdin=reader) as process:
        os.write(writer, NOISE)
        wait_until(server.place.staged)
        assert interrupt(process) == -signal.SIGINT
        assert process.communicate() == (b"", b"")
    os.close(writer)
    os.close(reader)
    wait_until(lambda: not server.place.staged())
    assert server.client.get("/files").json()["data"] == before


def test_interrupting_with_a_bar_brings_the_cursor_back(cli: CommandLine, server: Server, noise: Any) -> None:
    pause, err = threading.Event(), Screen()
    with Proxy(server.port, [Fault(cut=CUT, pause=pause)]) as proxy:
        words = ("files", "content", noise["id"], "-o", "out.bin", "--base-url", proxy.base_url)
        with cli.start(*words, stderr=err.descriptor) as process:
            wait_until(lambda: written(cli) > 1_000_000)
            assert interrupt(process) == -signal.SIGINT
        pause.set()
    drawn = err.close()
    assert b"Traceback" not in drawn
    assert drawn.count(b"\x1b[?25l") == drawn.count(b"\x1b[?25h") > 0


def test_interrupting_a_wait_for_the_server(cli: CommandLine, server: Server) -> None:
    pause = threading.Event()
    with Proxy(server.port, [Fault(cut=1, pause=pause)]) as proxy:
        with cli.start("files", "list", "--base-url", proxy.base_url) as process:
            wait_until(lambda: len(proxy.seen) == 1)
            assert interrupt(process) == -signal.SIGINT
            assert process.communicate() == (b"", b"")
        pause.set()
