"""Completion of ids: which list is asked, what is offered, and that nothing else comes of it."""

import json
import socket
import time
from pathlib import Path

import pytest

from tests.cli.commandline import CommandLine
from tests.cli.stub import Stub
from tests.cli.test_completion import in_bash

FILES = {"data": [{"id": "file-1", "filename": "a\tb.txt"}, {"id": "file-2", "filename": "b.txt"}], "has_more": True}
STORES = {
    "data": [{"id": "vs_1", "name": "manuals", "status": "completed"}, {"id": "vs_2", "name": None, "status": "x"}]
}


def complete(cli: CommandLine, line: str, style: str = "bash") -> list[str]:
    done = cli("__complete", *line.split(" "), env={"COMPLETION_STYLE": style})
    assert (done.code, done.err) == (0, "")
    return done.out.splitlines()


@pytest.mark.parametrize(
    ("line", "path", "wanted"),
    [
        ("files retrieve ", "/files", ["file-1", "file-2"]),
        ("files delete file-2", "/files", ["file-2"]),
        ("files content --file-id ", "/files", ["file-1", "file-2"]),
        ("files content --file-id=f", "/files", ["--file-id=file-1", "--file-id=file-2"]),
        ("files retrieve --format json ", "/files", ["file-1", "file-2"]),
        ("--format json files retrieve ", "/files", ["file-1", "file-2"]),
        ("vector-stores create --file-id ", "/files", ["file-1", "file-2"]),
        ("vector-stores search ", "/vector_stores", ["vs_1", "vs_2"]),
        ("vector-stores:files list ", "/vector_stores", ["vs_1", "vs_2"]),
        ("vector-stores:files retrieve vs_1 ", "/vector_stores/vs_1/files", ["file-1", "file-2"]),
        ("vector-stores:files delete --vector-store-id vs_1 ", "/vector_stores/vs_1/files", ["file-1", "file-2"]),
        ("vector-stores:files create vs_1 --file-id ", "/files", ["file-1", "file-2"]),
        ("vector-stores:file-batches create vs_1 --file.file-id ", "/files", ["file-1", "file-2"]),
    ],
)
def test_ids_of_the_server(stubbed: CommandLine, stub: Stub, line: str, path: str, wanted: list[str]) -> None:
    stub.responses = [(200, json.dumps(STORES if path.endswith("stores") else FILES))]
    assert complete(stubbed, line) == wanted
    assert [request for request, _, _ in stub.requests] == [f"GET /v1{path}?limit=100"]
    assert stub.requests[0][1]["authorization"] == "Bearer k"


def test_names_beside_the_ids(stubbed: CommandLine, stub: Stub) -> None:
    stub.responses = [(200, json.dumps(FILES)), (200, json.dumps(STORES))]
    assert complete(stubbed, "files retrieve ", "fish") == ["file-1\ta\\u0009b.txt", "file-2\tb.txt"]
    assert complete(stubbed, "vector-stores delete ", "zsh") == ["vs_1\tmanuals", "vs_2\tnull"]


@pytest.mark.parametrize(
    "line",
    [
        "files retrieve file-1 ",
        "files list ",
        "files list --after=",
        "vector-stores:files retrieve --file-id ",
        "vector-stores:file-batches retrieve vs_1 ",
        "uploads complete ",
        "nope retrieve ",
    ],
)
def test_what_asks_no_server(stubbed: CommandLine, stub: Stub, line: str) -> None:
    done = stubbed("__complete", *line.split(" "), env={"COMPLETION_STYLE": "bash"})
    assert done.out in {"", "files\n"} or line.startswith("nope")
    assert stub.requests == []


def test_the_server_and_the_key_of_the_command_line(bare: CommandLine, stub: Stub) -> None:
    stub.responses = [(200, json.dumps(FILES))]
    line = f"files retrieve --base-url http://127.0.0.1:{stub.server_port}/v1 --api-key other "
    assert complete(bare, line) == ["file-1", "file-2"]
    assert stub.requests[0][1]["authorization"] == "Bearer other"


@pytest.mark.parametrize(
    "response",
    [
        (401, '{"error":{"message":"no"}}'),
        (500, "broken"),
        (200, "<html>"),
        (200, '{"data":[{"id":'),
        (200, '{"data":[{"name":"x"},5,null,{"id":7}]}'),
    ],
)
def test_a_server_that_has_none(stubbed: CommandLine, stub: Stub, response: tuple[int, str]) -> None:
    stub.responses = [response]
    assert complete(stubbed, "files retrieve ") in ([], ["7"])
    assert len(stub.requests) == 1, "no retries while a shell waits"


@pytest.mark.timing
def test_a_server_that_is_silent(bare: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = bare.with_env(OPENAI_BASE_URL=f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        started = time.monotonic()
        assert complete(slow, "files retrieve ") == []
        assert time.monotonic() - started < 5
    assert complete(bare.with_env(OPENAI_BASE_URL="nonsense"), "files retrieve ") == []


def test_a_hostile_server_runs_nothing(stubbed: CommandLine, stub: Stub, tmp_path: Path) -> None:
    names = ["$(touch ran)", "`touch ran`", "a b", "x;touch ran", "file-ok", "a\nb", "~root", "*"]
    stub.responses = [(200, json.dumps({"data": [{"id": name, "filename": "$(touch ran)"} for name in names]}))] * 2
    assert complete(stubbed, "files retrieve ") == ["file-ok"]
    assert in_bash(stubbed, "files", "retrieve", "") == ["file-ok"]
    assert stubbed.names() == []
