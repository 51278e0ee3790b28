"""Other people's packages at one address: each uploads a file and asks a model about it, with base URL and key alone.

They are installed from their registries, each in some seconds; those that take longer run in `make torture` alone.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_client_programs import DRIVE_SECONDS, INSTALL_SECONDS, ClientProgram, drive, install
from tests.support.event_server import EventServer
from tests.support.servers import Server

pytestmark = pytest.mark.embedded("one kind of installation is enough for foreign clients")

DRIVERS = Path(__file__).parent / "model_programs"
FACT = "A quokka is a marsupial."

MODEL_PROGRAMS = {
    "AI SDK": ClientProgram("ai_sdk_text.mjs", ("@ai-sdk/openai@4.0.118", "ai@7.0.173")),
    "LangChain": ClientProgram("langchain_chat.py", ("langchain-openai==1.7.4",)),
    "LlamaIndex": ClientProgram("llama_index_chat.py", ("llama-index-llms-openai==0.8.3",)),
    "pydantic-ai": ClientProgram("pydantic_ai_agent.py", ("pydantic-ai-slim[openai]==2.68.0",)),
    "openai-agents": ClientProgram("openai_agents.py", ("openai-agents==0.24.0",)),
    "LiteLLM": ClientProgram("litellm_completion.py", ("litellm==1.110.2",)),
}
LONG = ("LiteLLM", "LlamaIndex")
"""Those that take longer than a minute to install."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[EventServer]:
    with EventServer(models=("m", "gpt-4o")) as made:
        yield made


@pytest.fixture(scope="module")
def server(upstream: EventServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("programs") / "data", upstream_url=upstream.url) as made:
        yield made


@pytest.mark.timeout(INSTALL_SECONDS + DRIVE_SECONDS + 120)
@pytest.mark.rotating(2)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.torture) if name in LONG else name for name in MODEL_PROGRAMS]
)
def test_model_program(server: Server, upstream: EventServer, tmp_path: Path, name: str) -> None:
    program = MODEL_PROGRAMS[name]
    source = tmp_path / "facts.txt"
    source.write_text(FACT)
    folder = tmp_path / "environment"
    folder.mkdir()
    upstream.requests.clear()
    try:
        command = install(program, folder, DRIVERS)
        seen = drive([*command, str(source)], server, source)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert tuple(seen) == ("upload", "answer", "stream")
    assert seen["upload"]["id"].startswith("file-")
    assert all(seen[operation]["text"].startswith("echo: ") for operation in ("answer", "stream"))
    bodies = [request.body.decode() for request in upstream.requests if request.method == "POST"]
    assert any(FACT in body for body in bodies)
    assert not any(seen["upload"]["id"] in body for body in bodies)
