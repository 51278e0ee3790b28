"""The official Node package at one address: `tests/e2e/node/models.mjs` makes the checks, one JSON line each."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.programs import find_program, give_up
from tests.support.servers import Server

NODE = Path(__file__).parents[1] / "e2e" / "node"
CHECKS = [
    *("chat", "streamed_chat", "responses", "embeddings", "models", "transcription"),
    "files_in_chat_and_responses",
]

pytestmark = pytest.mark.embedded("rows and bytes are not concerned")


@pytest.fixture(scope="module")
def outcomes(server: Server) -> dict[str, str | None]:
    """Check -> what went wrong, if anything."""
    node = find_program("node")
    if not (NODE / "node_modules" / "openai").is_dir():
        give_up("`npm ci` has not been run in tests/e2e/node")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    environment |= {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.key or ""}
    done = subprocess.run(
        [node, "models.mjs"], cwd=NODE, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["check"]: line["error"] for line in lines}


def test_every_check_ran(outcomes: dict[str, str | None]) -> None:
    assert list(outcomes) == CHECKS


@pytest.mark.parametrize("check", CHECKS)
def test_node(outcomes: dict[str, str | None], check: str) -> None:
    assert outcomes[check] is None, outcomes[check]
