"""Fixtures of the command line's tests."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commandline import PROGRAM, CommandLine
from tests.cli.stub import Stub
from tests.support.servers import Server


@pytest.fixture
def bare(tmp_path: Path) -> CommandLine:
    """`filestead` in an empty folder, told nothing."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    env = {"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8", "TERM": "xterm-256color", "PAGER": "cat"}
    return CommandLine(folder, env)


@pytest.fixture
def cli(bare: CommandLine, server: Server) -> CommandLine:
    """`filestead` in an empty folder, with the address and key of the server."""
    assert server.key is not None
    return bare.with_env(OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY=server.key)


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server of scripted responses."""
    with Stub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def stubbed(bare: CommandLine, stub: Stub) -> CommandLine:
    """`filestead` with the address of the stub."""
    return bare.with_env(OPENAI_BASE_URL=f"http://127.0.0.1:{stub.server_port}/v1", OPENAI_API_KEY="k")
