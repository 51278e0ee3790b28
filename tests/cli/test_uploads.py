"""`filestead uploads` and `uploads:parts`, where the recorded runs do not reach: forms, retries, and files create in parts."""

import itertools
import json
import os
from pathlib import Path

import pytest

from tests.cli.commandline import CommandLine
from tests.cli.stub import Stub
from tests.client.proxy import Fault, Proxy, raw_response
from tests.support.servers import Server

PART = '{"id":"part_1","object":"upload.part"}'
CREATE = ("uploads:parts", "create", "upload_1", "--data")


def test_a_part_has_the_name_of_its_file(stubbed: CommandLine, stub: Stub) -> None:
    (stubbed.folder / "part one.bin").write_bytes(b"\x00\xff")
    stub.responses = [(200, PART)]
    assert stubbed(*CREATE, "part one.bin").code == 0
    line, _, body = stub.requests[0]
    assert line == "POST /v1/uploads/upload_1/parts"
    assert b'name="data"; filename="part one.bin"' in body and b"\r\n\r\n\x00\xff\r\n" in body


def test_a_part_from_standard_input(stubbed: CommandLine, stub: Stub) -> None:
    stub.responses = [(200, PART)] * 2
    (stubbed.folder / "x.yaml").write_bytes(b"{data: 5}")
    with (stubbed.folder / "x.yaml").open("rb") as file:
        assert stubbed(*CREATE, "-", stdin=file).code == 0
    body = stub.requests[0][2]
    assert stub.requests[0][1]["transfer-encoding"] == "chunked"
    assert b'filename="anonymous_file"' in body and b"{data: 5}" in body


@pytest.mark.parametrize(("words", "stdin"), [((*CREATE, ""), None), (CREATE[:-1], b"{data: 5}")])
def test_a_plain_value_is_sent_again(
    stubbed: CommandLine, stub: Stub, words: tuple[str, ...], stdin: bytes | None
) -> None:
    stub.responses = [(500, "busy"), (200, PART)]
    assert stubbed(*words, stdin=stdin).code == 0
    assert len(stub.requests) == 2
    assert b"filename" not in stub.requests[1][2]


def test_a_file_is_not_sent_again(stubbed: CommandLine, stub: Stub) -> None:
    (stubbed.folder / "a.txt").write_text("a")
    stub.responses = [(500, "busy")]
    assert stubbed(*CREATE, "a.txt").code == 1
    assert len(stub.requests) == 1


def test_the_same_for_files(stubbed: CommandLine, stub: Stub) -> None:
    stub.responses = [(500, "busy"), (200, '{"id":"file-1"}')]
    assert stubbed("files", "create", "--file", "", "--purpose", "batch").code == 0
    assert len(stub.requests) == 2


def test_members_of_a_body(stubbed: CommandLine, stub: Stub) -> None:
    stub.responses = [(200, '{"id":"upload_1"}')]
    words = ("uploads", "create", "--bytes", "0x10", "--expires-after.anchor", "created_at")
    piped = b"{filename: a, mime_type: t/x, purpose: batch, expires_after: {seconds: '3600'}}"
    assert stubbed(*words, stdin=piped).code == 0
    assert json.loads(stub.requests[0][2]) == {
        "bytes": 16,
        "filename": "a",
        "mime_type": "t/x",
        "purpose": "batch",
        "expires_after": {"anchor": "created_at", "seconds": 3600},
    }


def test_a_directory_is_no_part(stubbed: CommandLine, stub: Stub, tmp_path: Path) -> None:
    done = stubbed(*CREATE, str(tmp_path))
    assert (done.code, stub.requests) == (1, [])
    assert "Is a directory" in done.err


# --- files create ---------------------------------------------------------------------------------------------------

MIB = 1024 * 1024
LARGE, SMALLER = 70 * MIB, 40 * MIB
FILES = ("files", "create", "--purpose", "user_data", "--file", "large.bin")
IN_PARTS = ["/uploads", "/parts", "/complete"]


def make_file(cli: CommandLine, size: int) -> bytes:
    content = os.urandom(MIB) * (size // MIB - 1) + os.urandom(MIB)
    (cli.folder / "large.bin").write_bytes(content)
    return content


def routes(proxy: Proxy) -> list[str]:
    """The last words of the paths, each once in a row."""
    return [key for key, _ in itertools.groupby("/" + seen.target.rpartition("/")[2] for seen in proxy.seen)]


@pytest.mark.parametrize(
    ("size", "words", "faults", "wanted"),
    [
        (LARGE, (), [], IN_PARTS),
        (LARGE, ("--no-parts",), [], ["/files"]),
        (LARGE, (), [Fault(response=raw_response("404 Not Found"))], ["/uploads", "/files"]),
        (LARGE, (), [Fault(), Fault(cut_upload=MIB)], IN_PARTS),
        (SMALLER, (), [], ["/files"]),
        (SMALLER, (), [Fault(cut_upload=MIB)], ["/files", *IN_PARTS]),
    ],
)
def test_large_files(
    cli: CommandLine, server: Server, size: int, words: tuple[str, ...], faults: list[Fault], wanted: list[str]
) -> None:
    content = make_file(cli, size)
    with Proxy(server.port, faults) as proxy:
        words = (
            *words,
            "--filename",
            "ü.bin",
            "--expires-after.anchor",
            "created_at",
            "--expires-after.seconds",
            "7200",
        )
        done = cli(*FILES, *words, "--format", "jsonl", "--base-url", proxy.base_url)
    assert done.code == 0, done.err
    assert routes(proxy) == wanted
    made = json.loads(done.out)
    assert (made["object"], made["filename"], made["bytes"]) == ("file", "ü.bin", size)
    assert made["expires_at"] - made["created_at"] == 7200
    assert server.client.get(f"/files/{made['id']}").json() == made
    assert server.client.get(f"/files/{made['id']}/content").content == content


@pytest.mark.parametrize(
    ("words", "faults", "wanted"),
    [
        (("--no-parts",), [Fault(cut_upload=MIB)], ["/files"]),
        ((), [Fault(cut_upload=MIB), Fault(response=raw_response("404 Not Found"))], ["/files", "/uploads"]),
    ],
)
def test_a_broken_connection_without_parts(
    cli: CommandLine, server: Server, words: tuple[str, ...], faults: list[Fault], wanted: list[str]
) -> None:
    make_file(cli, SMALLER)
    with Proxy(server.port, faults) as proxy:
        done = cli(*FILES, *words, "--base-url", proxy.base_url)
    assert (done.code, done.out) == (1, "")
    assert routes(proxy) == wanted
    assert done.err.startswith("filestead: POST http://")


def test_a_refused_upload_in_parts(cli: CommandLine) -> None:
    make_file(cli, LARGE)
    done = cli(*FILES, "--purpose", "nonsense")
    assert done.code == 1
    assert "'nonsense' is not one of" in json.loads(done.out)["message"]
    assert done.err.startswith('POST "http://') and "/uploads" in done.err


def test_other_members_are_sent_whole(cli: CommandLine, server: Server) -> None:
    make_file(cli, LARGE)
    with Proxy(server.port) as proxy:
        done = cli(*FILES, "--base-url", proxy.base_url, stdin=b"{extra: 1}")
    assert done.code == 1, "the server knows no such member"
    assert routes(proxy) == ["/files"]
