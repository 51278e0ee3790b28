"""The five uploads of README.md, run as they are printed there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.programs import find_program, give_up
from tests.support.servers import Server

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
NODE_MODULES = ROOT / "tests/e2e/node/node_modules"
SIZE = str(len(README.encode()))


def block(language: str, mention: str) -> str:
    """The one block of code in `language` that mentions a word."""
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if mention in text]
    assert len(found) == 1
    return found[0]


def command(first_words: str) -> str:
    """The one command line that begins so."""
    found = [line.strip() for line in README.splitlines() if line.startswith(f"    {first_words}")]
    assert len(found) == 1
    return found[0]


def run(words: list[str], server: Server, folder: Path) -> str:
    (folder / "README.md").write_text(README)
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": programs, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.key or ""}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("first_words", ["curl", "filestead files create"])
def test_the_commands_upload_the_readme(server: Server, tmp_path: Path, first_words: str) -> None:
    if first_words == "curl":
        find_program("curl")
    printed = run(["sh", "-ec", command(first_words)], server, tmp_path)
    assert re.search(rf'"bytes": ?{SIZE}\b', printed)


@pytest.mark.parametrize("package", ["openai", "filestead"])
def test_the_python_programs_upload_the_readme_and_download_it(server: Server, tmp_path: Path, package: str) -> None:
    printed = run([sys.executable, "-c", block("python", f"from {package} import")], server, tmp_path)
    assert re.fullmatch(rf"file-\w+ {SIZE}\n", printed)


def test_the_node_program_uploads_the_readme_and_downloads_it(server: Server, tmp_path: Path) -> None:
    node = find_program("node")
    if not (NODE_MODULES / "openai").is_dir():
        give_up("`npm ci` has not been run in tests/e2e/node")
    (tmp_path / "upload.mjs").write_text(block("js", "openai"))
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    assert re.fullmatch(rf"file-\w+ {SIZE}\n", run([node, "upload.mjs"], server, tmp_path))
