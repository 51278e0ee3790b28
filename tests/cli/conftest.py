"""Fixtures of the command line's tests."""

import os
from pathlib import Path

import pytest

from tests.cli.commandline import PROGRAM, CommandLine
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
