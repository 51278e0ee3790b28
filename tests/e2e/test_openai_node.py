"""The official Node package against a real server: `node/files.mjs` makes the checks, one JSON line each."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.node_checks import NODE, find_node, run_checks
from tests.support.servers import Server

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
    return run_checks("files.mjs", server)


def test_every_check_ran(outcomes: dict[str, str | None]) -> None:
    assert list(outcomes) == CHECKS


@pytest.mark.parametrize("check", CHECKS)
def test_node(outcomes: dict[str, str | None], check: str) -> None:
    assert outcomes[check] is None, outcomes[check]


def test_a_key_with_blanks(tmp_path: Path) -> None:
    node = find_node()
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
