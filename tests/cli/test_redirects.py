"""Requests after a redirect: their method and their body are those of the official client."""

import pytest

from tests.cli.commandline import CommandLine
from tests.cli.stub import Stub

DELETE = ("files", "delete", "file-1")
STORE = ("vector-stores", "create", "--name", "a")
CANCEL = ("batches", "cancel", "batch_1")
OBJECT = '{"id":"x"}'


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("words", [DELETE, STORE, CANCEL])
def test_a_change_becomes_a_get(stubbed: CommandLine, stub: Stub, words: tuple[str, ...], status: int) -> None:
    stub.responses = [(status, "/v1/other?a=1"), (200, OBJECT)]
    done = stubbed(*words, "--format", "raw")
    assert (done.code, done.out, done.err) == (0, OBJECT + "\n", "")
    _, (line, headers, body) = stub.requests
    assert (line, body) == ("GET /v1/other?a=1", b"")
    assert not headers.keys() & {"content-type", "content-length"}
    assert headers["authorization"] == "Bearer k"


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("words", [DELETE, STORE, CANCEL])
def test_a_change_is_repeated(stubbed: CommandLine, stub: Stub, words: tuple[str, ...], status: int) -> None:
    stub.responses = [(status, "/v1/other"), (200, OBJECT)]
    assert stubbed(*words).code == 0
    (first, _, sent), (second, _, repeated) = stub.requests
    assert second == f"{first.split()[0]} /v1/other"
    assert repeated == sent
    assert bool(sent) == (words == STORE)


@pytest.mark.parametrize("status", [307, 308])
def test_a_file_is_not_sent_twice(stubbed: CommandLine, stub: Stub, status: int) -> None:
    (stubbed.folder / "a.txt").write_text("x")
    stub.responses = [(status, "/v1/other")]
    done = stubbed("files", "create", "--file", "a.txt", "--purpose", "batch")
    assert (done.code, done.out, len(stub.requests)) == (1, "", 1)
    assert "was redirected to" in done.err


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_read_stays_a_read(stubbed: CommandLine, stub: Stub, status: int) -> None:
    stub.responses = [(status, "other"), (200, OBJECT)]
    assert stubbed("files", "retrieve", "file-1").code == 0
    assert [line for line, *_ in stub.requests] == ["GET /v1/files/file-1", "GET /v1/files/other"]


@pytest.mark.parametrize("words", [DELETE, STORE, CANCEL])
def test_a_change_is_not_repeated_at_another_origin(stubbed: CommandLine, stub: Stub, words: tuple[str, ...]) -> None:
    stub.responses = [(307, "http://127.0.0.2:1/v1/other")]
    done = stubbed(*words)
    assert (done.code, len(stub.requests)) == (1, 1)
    assert "is not repeated at another origin" in done.err
