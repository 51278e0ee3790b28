"""Other people's packages as clients: each is installed from its registry and uses its own way to files.

They are many and large, so this runs in `make torture` alone. What a package does not offer is not in its row; a package that
cannot be installed here is skipped with the reason.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.programs import find_program
from tests.serving import Server

pytestmark = [pytest.mark.torture, pytest.mark.embedded("one kind of installation is enough for foreign clients")]

DRIVERS = Path(__file__).parent / "client_programs"
INSTALL_SECONDS = 240
DRIVE_SECONDS = 120
FIVE = ("upload", "list", "retrieve", "content", "delete")
LINE = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}
CONTENT = b"".join(json.dumps(LINE | {"custom_id": str(n)}).encode() + b"\n" for n in range(500))


@dataclass(frozen=True, slots=True)
class ClientProgram:
    """Packages of pip, or of npm for a driver in JavaScript, and what their driver does."""

    driver: str
    packages: tuple[str, ...]
    operations: tuple[str, ...] = FIVE


CLIENT_PROGRAMS = {
    "openai 1": ClientProgram("openai_package.py", ("openai==1.109.1",)),
    "openai 2": ClientProgram("openai_package.py", ("openai==2.54.0",)),
    "openai 3": ClientProgram("openai_package.py", ("openai==3.57.0",)),
}


def install(program: ClientProgram, folder: Path) -> list[str]:
    """Make a throw-away environment; returns the command that runs the driver. Skips if the registry does not give it."""
    if program.driver.endswith(".mjs"):
        command = [find_program("npm"), "install", "--no-audit", "--no-fund", "--prefix", folder, *program.packages]
        shutil.copy(DRIVERS / program.driver, folder)  # Node looks for packages beside the script
        runner = [find_program("node"), str(folder / program.driver)]
    else:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
        python = str(folder / "bin" / "python")
        command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *program.packages]
        runner = [python, str(DRIVERS / program.driver)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"NOT TRIED: {' '.join(program.packages)} takes longer than {INSTALL_SECONDS} s to install")
    if done.returncode:
        pytest.skip(f"NOT TRIED: {' '.join(program.packages)} cannot be installed: {done.stderr.strip()[-300:]}")
    return runner


def drive(command: list[str], server: Server, source: Path) -> dict[str, dict[str, Any]]:
    """Operation -> what the driver saw of it."""
    ours = ("OPENAI_", "FILESTEAD_", "AWS_", "PYTHON", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.key or "", "HOME": str(source.parent)}
    environment |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONDONTWRITEBYTECODE": "1"}  # nothing but loopback
    words = [*command, str(source)]
    done = subprocess.run(
        words, env=environment, cwd=source.parent, capture_output=True, text=True, timeout=DRIVE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    steps = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"operation"')]
    return {step.pop("operation"): step for step in steps}


@pytest.mark.timeout(INSTALL_SECONDS + DRIVE_SECONDS + 120)
@pytest.mark.parametrize("name", CLIENT_PROGRAMS)
def test_client_program(server: Server, tmp_path: Path, name: str) -> None:
    program = CLIENT_PROGRAMS[name]
    source = tmp_path / "lines.jsonl"
    source.write_bytes(CONTENT)
    other = server.upload(b"another file")["id"]
    folder = tmp_path / "environment"
    folder.mkdir()
    try:
        seen = drive(install(program, folder), server, source)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert tuple(seen) == program.operations
    check(server, seen, other)


def check(server: Server, seen: dict[str, dict[str, Any]], other: str) -> None:
    """Hold what the program saw against what the server has."""
    file_id = seen["upload"]["id"]
    if "list" in seen:
        assert {file_id, other} <= set(seen["list"]["ids"])
    if "retrieve" in seen:
        assert seen["retrieve"]["id"] == file_id
        assert seen["retrieve"]["bytes"] == len(CONTENT)
        assert seen["retrieve"]["filename"]
    if "content" in seen:
        assert seen["content"]["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    if "delete" in seen:
        assert seen["delete"]["deleted"] is True
        assert server.client.get(f"/files/{file_id}").status_code == 404
    else:
        assert server.client.get(f"/files/{file_id}/content").content == CONTENT
        server.client.delete(f"/files/{file_id}").raise_for_status()
    assert server.client.get(f"/files/{other}").status_code == 200
