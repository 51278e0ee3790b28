"""`filestead uploads` and `uploads:parts`, where the recorded runs do not reach: forms, retries, and a whole upload."""

import json
from pathlib import Path

import pytest

from tests.cli.commandline import CommandLine
from tests.cli.stub import Stub

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
