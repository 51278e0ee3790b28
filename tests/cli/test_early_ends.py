"""Responses that are cut off, readers that close standard output early, and pagers that fail."""

import os
import signal
import subprocess
import sys

import pytest

from filestead.cli.client.grammar.model import ParsedArgs
from filestead.cli.client.output import Output, _count_lines, parse_page
from filestead.cli.errors import CommandError
from tests.cli.commandline import CommandLine
from tests.cli.stub import Stub
from tests.e2e.programs import find_program

FORMAT_NAMES = ("auto", "json", "jsonl", "pretty", "raw", "yaml", "explore")
CUT_OFF = [
    '{"id":"file-1","object":"fi',
    '{"id":"file-1"',
    '{"a":[1,2',
    "[",
    '{"a":',
    '{"a"',
    '{"a":{"b":1}',
    '{"a":1,',
]


@pytest.mark.parametrize("format_", FORMAT_NAMES)
@pytest.mark.parametrize("text", CUT_OFF)
def test_a_response_that_is_cut_off(format_: str, text: str) -> None:
    output = Output(ParsedArgs({"format": format_, "transform": "id"}), "title")
    with pytest.raises(CommandError, match="the response is cut off"):
        output.print_result(text)
    with pytest.raises(CommandError, match="the response is cut off"):
        parse_page('{"data":[{"id":"a"},' + text)


@pytest.mark.parametrize("text", ['{"a":1} x', '{"a":"}"}', "[]", '{"a":"\\"}"}', " {}\n", "12", '"s"', "not json", ""])
def test_a_response_that_is_whole(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    Output(ParsedArgs({"format": "json"}), "title").print_result(text)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("format_", FORMAT_NAMES)
@pytest.mark.parametrize("words", [("files", "retrieve", "f"), ("files", "list")])
def test_a_cut_response_fails(stubbed: CommandLine, stub: Stub, format_: str, words: tuple[str, ...]) -> None:
    stub.responses = [(200, '{"object":"list","data":[{"id":"file-1"}],"has_mo')]
    done = stubbed(*words, "--format", format_)
    assert (done.code, done.out) == (1, "")
    assert "filestead: the response is cut off" in done.err


def test_a_closed_standard_output(stubbed: CommandLine, stub: Stub) -> None:
    items = ",".join(f'{{"id":"file-{n}","text":"{"x" * 60}"}}' for n in range(2000))
    for count, words in (
        (1, ("files", "list")),
        (0, ("--help",)),
        (0, ("files", "--help")),
        (0, ("completion", "bash")),
    ):
        stub.responses = [(200, f'{{"data":[{items}],"has_more":false}}')] * count
        reader, writer = os.pipe()
        os.close(reader)
        with stubbed.start(*words, stdout=writer) as process:
            os.close(writer)
            assert process.wait(60) == -signal.SIGPIPE, words
            assert process.stderr is not None
            assert process.stderr.read() == b""


def test_a_reader_that_has_enough(stubbed: CommandLine, stub: Stub) -> None:
    items = ",".join(f'{{"id":"file-{n}","text":"{"x" * 60}"}}' for n in range(5000))
    stub.responses = [(200, f'{{"data":[{items}],"has_more":false}}')]
    script = 'filestead files list --format jsonl | head -n 1 >/dev/null; echo "${PIPESTATUS[0]}"'
    bash = find_program("bash")
    done = subprocess.run([bash, "-c", script], env=stubbed.env, capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (b"141\n", b"")


# --- pagers ---------------------------------------------------------------------------------------------------------

PAGE = '{"data":[' + ",".join(f'{{"id":"file-{n}"}}' for n in range(200)) + '],"has_more":false}'


def pager(cli: CommandLine, code: str) -> str:
    path = cli.folder / "pager"
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("code", "status"),
    [("cat >/dev/null; exit 3", 3), ("exit 7", 7), ("kill -TERM $$", 143), ("exec cat >/dev/null", 0)],
)
def test_a_pager_that_fails(stubbed: CommandLine, stub: Stub, code: str, status: int) -> None:
    stub.responses = [(200, PAGE)]
    done = stubbed.on_terminal("files", "list", rows=10, env={"PAGER": pager(stubbed, code)})
    assert done.code == status
    message = f"filestead: the pager {stubbed.folder}/pager ended with status {status}\n"
    assert done.err == (message if status else "")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb\n", 2),
        ("\n", 1),
        ("x" * 40 + "\n", 1),
        ("x" * 41 + "\n", 2),
        ("x" * 81 + "\ny\n", 4),
        ("文" * 20 + "\n", 1),
        ("文" * 21 + "\n", 2),
        ("\x1b[1m" + "x" * 40 + "\x1b[0m\n", 1),
        ("a\u2028b\n", 1),
    ],
)
def test_lines_of_a_terminal_are_counted_with_those_that_it_wraps(text: str, lines: int) -> None:
    assert _count_lines(text, 40) == lines


def test_a_list_of_few_long_lines_is_paged(stubbed: CommandLine, stub: Stub) -> None:
    items = ",".join(f'{{"id":"file-{n}","text":"{"x" * 60}"}}' for n in range(3))
    for rows, pages in ((9, b"paged"), (10, b"")):
        stub.responses = [(200, f'{{"data":[{items}],"has_more":false}}')]
        done = stubbed.on_terminal(
            "files", "list", "--format", "jsonl", rows=rows, columns=50, env={"PAGER": pager(stubbed, "echo paged")}
        )
        assert done.data.startswith(pages or b"\x1b") and done.code == 0


def test_a_list_that_fails_behind_a_pager(stubbed: CommandLine, stub: Stub) -> None:
    stub.responses = [(200, PAGE.replace("false", "true")), (400, '{"error":{"message":"no"}}')]
    done = stubbed.on_terminal("files", "list", rows=10, env={"PAGER": pager(stubbed, "cat >/dev/null; exit 3")})
    assert done.code == 1, "the reason is not the pager"
    assert "400" in done.err and "pager" not in done.err


def test_a_command_that_has_used_an_object_store_ends_at_once() -> None:
    """The end of the interpreter and the threads of the driver abort each other now and then; `abort` stands for it."""
    pytest.importorskip("obstore")
    code = "import atexit, obstore, os, sys; from filestead.cli.main import main; atexit.register(os.abort); main()"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("filestead ")
