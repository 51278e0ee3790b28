"""The official Node package against a real server: `node/files.mjs` makes the checks, one JSON line each."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.programs import find_program, give_up
from tests.support.servers import Server

NODE = Path(__file__).parent / "node"
CHECKS = [
    "upload_of_a_stream",
    "upload_of_a_buffer_with_any_name",
    "upload_that_expires",
    "list_follows_its_pages",
    "retrieve_gives_what_create_gave",
    "content_in_every_way",
    "delete_and_not_found",
    "refused_upload",
    "upload_in_parts",
    "vector_store_helpers",
    "wrong_key_and_wrong_project",
]


@pytest.fixture(scope="module")
def outcomes(server: Server) -> dict[str, str | None]:
    """Check -> what went wrong, if anything."""
    node = find_program("node")
    if not (NODE / "node_modules" / "openai").is_dir():
        give_up("`npm ci` has not been run in tests/e2e/node")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    environment |= {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.key or ""}
    done = subprocess.run(
        [node, "files.mjs"], cwd=NODE, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["check"]: line["error"] for line in lines}


def test_every_check_ran(outcomes: dict[str, str | None]) -> None:
    assert list(outcomes) == CHECKS


@pytest.mark.parametrize("check", CHECKS)
def test_node(outcomes: dict[str, str | None], check: str) -> None:
    assert outcomes[check] is None, outcomes[check]


def test_a_key_with_blanks(tmp_path: Path) -> None:
    node = find_program("node")
    if not (NODE / "node_modules" / "openai").is_dir():
        give_up("`npm ci` has not been run in tests/e2e/node")
    script = """
    import OpenAI, { toFile } from "openai";
    const client = new OpenAI();
    const file = await client.files.create({ file: await toFile(Buffer.from("hello"), "a.txt"), purpose: "user_data" });
    console.log(await (await client.files.content(file.id)).text());
    """
    with Server(tmp_path / "data", key=None, bootstrap_key="My API Key") as server:
        environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "My API Key"}
        done = subprocess.run(
            [node, "--input-type=module", "-e", script],
            cwd=NODE,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
