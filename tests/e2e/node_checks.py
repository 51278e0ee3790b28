"""Runs a script of `tests/e2e/node` with the official Node package: it prints one JSON line for each check."""

import json
import os
import subprocess
from pathlib import Path

from tests.e2e.programs import find_program, give_up
from tests.support.servers import Server

NODE = Path(__file__).parent / "node"


def find_node() -> str:
    """The program; skips the test without it or without the packages."""
    node = find_program("node")
    if not (NODE / "node_modules" / "openai").is_dir():
        give_up("`npm ci` has not been run in tests/e2e/node")
    return node


def run_checks(script: str, server: Server) -> dict[str, str | None]:
    """Check -> what went wrong, if anything."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    environment |= {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.key or ""}
    done = subprocess.run(
        [find_node(), script], cwd=NODE, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["check"]: line["error"] for line in lines}
