"""Values that refer to standard input: `@-` and its other spellings, in query parameters, JSON and forms."""

import base64
import json
from typing import Any

import pytest

from filestead.cli.client.grammar.values import STDIN_PATHS
from tests.cli.commandline import CommandLine
from tests.cli.stub import Stub

STORE = ("vector-stores", "create", "--name")


OBJECT = (200, '{"id":"vs_1"}')
PAGE = (200, '{"data":[],"has_more":false}')


def sent(stub: Stub) -> Any:
    """The members of the one JSON body that was sent."""
    ((_, _, body),) = stub.requests
    return json.loads(body)


@pytest.mark.parametrize("path", sorted(STDIN_PATHS))
def test_a_text_from_standard_input(stubbed: CommandLine, stub: Stub, path: str) -> None:
    stub.responses = [OBJECT]
    done = stubbed(*STORE, f"@{path}", stdin="näme: x\n".encode())
    assert (done.code, done.err) == (0, "")
    assert sent(stub) == {"name": "näme: x\n"}


@pytest.mark.parametrize(
    ("reference", "data", "text"),
    [
        ("@data://-", b"text", base64.b64encode(b"text").decode()),
        ("@-", b"\x00\xff", base64.b64encode(b"\x00\xff").decode()),
        ("@file://-", b"a\xffb", "a\ufffdb"),
        ("@file:///dev/stdin", b"x", "x"),
        ("@-", b"", ""),
        ("\\@-", b"", "@-"),
        ("-", b"", "-"),
    ],
)
def test_how_the_bytes_are_written(stubbed: CommandLine, stub: Stub, reference: str, data: bytes, text: str) -> None:
    stub.responses = [OBJECT]
    done = stubbed(*STORE, reference, stdin=data)
    assert (done.code, done.err) == (0, "")
    assert sent(stub) == {"name": text}


def test_inside_of_a_mapping(stubbed: CommandLine, stub: Stub) -> None:
    stub.responses = [OBJECT]
    assert stubbed("vector-stores", "create", "--metadata", '{a: "@-", b: "x"}', stdin=b"from stdin").code == 0
    assert sent(stub) == {"metadata": {"a": "from stdin", "b": "x"}}


def test_in_a_query(stubbed: CommandLine, stub: Stub) -> None:
    stub.responses = [PAGE, PAGE]
    assert stubbed("files", "list", "--after", "@-", stdin=b"file-1").code == 0
    assert stubbed("files", "list", "--after", "@-").code == 0
    assert [line for line, *_ in stub.requests] == ["GET /v1/files?after=file-1", "GET /v1/files?after="]


@pytest.mark.parametrize("reference", ["@-", "@data://-", "@file:///dev/fd/0"])
def test_in_a_form_it_is_a_file(stubbed: CommandLine, stub: Stub, reference: str) -> None:
    (stubbed.folder / "a.txt").write_text("x")
    stub.responses = [OBJECT]
    assert stubbed("files", "create", "--file", "a.txt", "--purpose", reference, stdin=b"batch").code == 0
    ((_, _, body),) = stub.requests
    assert b'name="purpose"; filename="anonymous_file"' in body
    assert b"\r\n\r\nbatch\r\n" in body


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        ((*STORE, "@-", "--description", "@data://-"), b"x", "standard input can be read once only"),
        (("files", "create", "--file", "-", "--purpose", "@-"), b"x", "standard input can be read once only"),
        (("vector-stores", "create"), b'{name: "@-"}', "standard input cannot hold both"),
        (("files", "create", "--purpose", "batch"), b"file: [a.txt, '-']", "standard input cannot hold both"),
    ],
)
def test_standard_input_is_used_once(
    stubbed: CommandLine, stub: Stub, words: tuple[str, ...], stdin: bytes, message: str
) -> None:
    done = stubbed(*words, stdin=stdin)
    assert (done.code, done.out, stub.requests) == (1, "", [])
    assert message in done.err
