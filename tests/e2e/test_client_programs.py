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
from tests.support.servers import Server

pytestmark = [pytest.mark.torture, pytest.mark.embedded("one kind of installation is enough for foreign clients")]

DRIVERS = Path(__file__).parent / "client_programs"
INSTALL_SECONDS = 240
DRIVE_SECONDS = 120
NOBODY = "http://127.0.0.1:9"
FIVE = ("upload", "list", "retrieve", "content", "delete")
LINES = 500
LINE = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}
CONTENT = b"".join(json.dumps(LINE | {"custom_id": str(n)}).encode() + b"\n" for n in range(LINES))


@dataclass(frozen=True, slots=True)
class ClientProgram:
    """Packages of pip, or of npm for a driver in JavaScript, and what their driver does."""

    driver: str
    packages: tuple[str, ...]
    operations: tuple[str, ...] = FIVE


CLIENT_PROGRAMS = {
    "openai 0, by requests": ClientProgram("openai_0.py", ("openai==0.28.1",)),
    "openai 1": ClientProgram("openai_package.py", ("openai==1.109.1",)),
    "openai 2": ClientProgram("openai_package.py", ("openai==2.54.0",)),
    "openai 3": ClientProgram("openai_package.py", ("openai==3.57.0",)),
    "openai of Node 3, by axios": ClientProgram("openai_3.mjs", ("openai@3.3.0",)),
    "openai of Node 4, by node-fetch": ClientProgram("openai_4.mjs", ("openai@4.104.0",)),
    "openai of Node 6, by fetch": ClientProgram("openai.mjs", ("openai@6.49.0",)),
    "AI SDK": ClientProgram(
        "ai_sdk.mjs", ("@ai-sdk/openai@4.0.118", "ai@7.0.173"), ("upload", "retrieve", "content", "delete")
    ),
    "LangChain": ClientProgram("langchain_openai_client.py", ("langchain-openai==1.7.4",)),
    "LlamaIndex": ClientProgram("llama_index_client.py", ("llama-index-llms-openai==0.8.3",)),
    "pydantic-ai": ClientProgram("pydantic_ai_client.py", ("pydantic-ai-slim[openai]==2.68.0",)),
    "Portkey": ClientProgram("portkey_client.py", ("portkey-ai==2.3.4",)),
    "LiteLLM": ClientProgram("litellm_functions.py", ("litellm==1.110.2",)),
    "any-llm": ClientProgram("any_llm_files.py", ("any-llm-sdk[openai]==1.40.2",)),
    "instructor": ClientProgram(
        "instructor_cli.py", ("instructor==1.17.0", "tqdm==4.70.1"), ("upload", "list", "delete")
    ),
    "DSPy": ClientProgram("dspy_training.py", ("dspy==3.4.1",), ("upload", "retrieve", "delete")),
    "curator": ClientProgram("curator_batches.py", ("bespokelabs-curator==0.1.31",), ("upload", "delete")),
    "inspect-ai": ClientProgram("inspect_batches.py", ("inspect-ai==0.3.285", "openai==3.57.0"), ("upload", "content")),
    "distilabel": ClientProgram(
        "distilabel_batches.py", ("distilabel[openai]==1.5.3", "requests==2.34.2"), ("upload", "content")
    ),
    "Together": ClientProgram("together_client.py", ("together==3.1.1",), ("list", "retrieve", "content", "delete")),
}


def install(program: ClientProgram, folder: Path, drivers: Path = DRIVERS) -> list[str]:
    """Make a throw-away environment; returns the command that runs the driver. Skips if the registry does not give it."""
    if program.driver.endswith(".mjs"):
        command = [find_program("npm"), "install", "--no-audit", "--no-fund", "--prefix", folder, *program.packages]
        shutil.copy(drivers / program.driver, folder)  # Node looks for packages beside the script
        runner = [find_program("node"), str(folder / program.driver)]
    else:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
        python = str(folder / "bin" / "python")
        command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *program.packages]
        runner = [python, str(drivers / program.driver)]
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
    environment |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONDONTWRITEBYTECODE": "1"}
    # What would report to its makers or fetch lists of models finds nobody.
    environment |= {"http_proxy": NOBODY, "https_proxy": NOBODY, "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        command, env=environment, cwd=source.parent, capture_output=True, text=True, timeout=DRIVE_SECONDS, check=False
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
        command = install(program, folder)
        words = [*command, str(source)]
        if "upload" not in program.operations:
            words.append(server.upload(CONTENT, purpose="batch", name=source.name)["id"])
        seen = drive(words, server, source)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert tuple(seen) == program.operations
    check(server, seen, seen["upload"]["id"] if "upload" in seen else words[-1], other)


def check(server: Server, seen: dict[str, dict[str, Any]], file_id: str, other: str) -> None:
    """Hold what the program saw against what the server has."""
    if "list" in seen:
        assert {file_id, other} <= set(seen["list"]["ids"])
    if "retrieve" in seen:
        assert seen["retrieve"]["id"] == file_id
        assert seen["retrieve"].get("bytes", len(CONTENT)) == len(CONTENT)
        assert seen["retrieve"].get("filename", "lines.jsonl") == "lines.jsonl"
    sent = seen.get("upload", {}).get("sha256", hashlib.sha256(CONTENT).hexdigest())
    if "content" in seen:
        assert seen["content"] in ({"sha256": sent}, {"lines": LINES})
    if "delete" in seen:
        assert seen["delete"]["deleted"] is True
        assert server.client.get(f"/files/{file_id}").status_code == 404
    else:
        stored = server.client.get(f"/files/{file_id}/content").content
        assert hashlib.sha256(stored).hexdigest() == sent
        server.client.delete(f"/files/{file_id}").raise_for_status()
    assert server.client.get(f"/files/{other}").status_code == 200
