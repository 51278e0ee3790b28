"""What a terminal gets: text and bars, but nothing that could command it; and pagers and colours."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commandline import CommandLine
from tests.client.proxy import Fault, Proxy, raw_response
from tests.support.servers import Server

NOISE = os.urandom(2_000_000)


@pytest.fixture(scope="module")
def noise(server: Server) -> Any:
    return server.upload(NOISE, name="noise.bin")


# --- content --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"hello\n", "naïve – データ 🦊\r\n\tx\n".encode(), b"", b"no newline", "ü".encode() * 200_000],
    ids=["ascii", "unicode", "empty", "unended", "long"],
)
def test_text_is_printed(cli: CommandLine, server: Server, content: bytes) -> None:
    file = server.upload(content)
    done = cli.on_terminal("files", "content", file["id"])
    assert (done.code, done.data, done.err) == (0, content, "")
    assert cli.names() == []


@pytest.mark.parametrize(
    "content",
    [NOISE, b"\x1b[31mred", b"a\x1b]0;title\x07", "a\x9b31m".encode(), b"a\x00b", b"\xff\xfea", b"\x08\x08", b"\x7f"],
    ids=["noise", "colour", "title", "csi", "nul", "utf-16", "backspace", "delete"],
)
def test_what_is_no_text_is_saved_under_a_new_name(cli: CommandLine, server: Server, content: bytes) -> None:
    file = server.upload(content, name="odd.bin")
    written = []
    for _ in range(2):
        done = cli.on_terminal("files", "content", file["id"])
        assert (done.code, done.err) == (0, "")
        written.append(done.out.removeprefix("Wrote output to: ").removesuffix("\n"))
    assert written[0] == "odd.bin"
    assert re.fullmatch(r"\./odd-\d{9}\.bin", written[1])
    assert cli.names() == sorted(name.removeprefix("./") for name in written)
    for name in written:
        assert (cli.folder / name).read_bytes() == content
        assert stat.S_IMODE((cli.folder / name).stat().st_mode) == 0o600


def test_a_name_that_is_too_long_for_a_file_is_cut_in_front_of_its_extension(cli: CommandLine, server: Server) -> None:
    file = server.upload(b"\x00", name="测" * 251 + ".bin")
    assert file["filename"] == "测" * 251 + ".bin"
    for _ in range(2):
        assert cli.on_terminal("files", "content", file["id"]).code == 0
    assert len(cli.names()) == 2
    assert "测" * 83 + ".bin" in cli.names()
    assert all(re.fullmatch(r"测{80,83}(-\d{9})?\.bin", name) for name in cli.names())


def test_a_name_of_the_server_is_a_name_and_no_path(cli: CommandLine, server: Server) -> None:
    file = server.upload(b"\x00", name="passwd")
    head = rb"(?im)^content-disposition:[^\r]*"
    evil = b'Content-Disposition: attachment; filename="../../up/\x1b[31mx.bin"'
    with Proxy(server.port, [Fault(edit=lambda answer: re.sub(head, evil, answer))]) as proxy:
        done = cli.on_terminal("files", "content", file["id"], "--base-url", proxy.base_url)
    assert done.code == 0
    assert b"\x1b" not in done.data
    assert cli.names() == ["[31mx.bin"]


def test_commands_behind_the_first_block_do_not_reach_the_terminal(cli: CommandLine, server: Server) -> None:
    start = "text ü\n" * 60_000
    file = server.upload((start + "\x1b[31mred\x07 \x9b1m").encode() + b"\xff end")
    done = cli.on_terminal("files", "content", file["id"])
    assert done.code == 0
    assert done.out == start + "\\u001b[31mred\\u0007 \\u009b1m\ufffd end"


def test_binary_is_printed_where_it_is_asked_for(cli: CommandLine, server: Server) -> None:
    file = server.upload(b"\x1b[31m\x00")
    done = cli.on_terminal("files", "content", file["id"], "-o", "-")
    assert (done.code, done.data, cli.names()) == (0, b"\x1b[31m\x00", [])


# --- results --------------------------------------------------------------------------------------------------------


def test_raw_output_cannot_command_the_terminal(cli: CommandLine, server: Server) -> None:
    body = rb'{"filename": "\u001b]0;a\u0007\u009b31m\u202e\tb\n"}'
    hostile = Fault(response=raw_response("200 OK", "Content-Type: application/json", body=body))
    with Proxy(server.port, [hostile, hostile]) as proxy:
        words = ("files", "retrieve", "x", "-r", "--transform", "filename", "--base-url", proxy.base_url)
        assert cli.on_terminal(*words).out == "\\u001b]0;a\\u0007\\u009b31m\\u202e\tb\n\n"
        assert cli(*words).out == "\x1b]0;a\x07\x9b31m\u202e\tb\n\n"


@pytest.mark.parametrize(
    ("env", "terminal", "coloured"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, True, False),
        ({"NO_COLOR": "1"}, True, True),
        ({"TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": "yes"}, False, False),
    ],
)
def test_colours_of_json(cli: CommandLine, noise: Any, env: dict[str, str], terminal: bool, coloured: bool) -> None:
    run = cli.on_terminal if terminal else cli
    for words in ((noise["id"],), ("file-none",)):
        done = run("files", "retrieve", *words, "--format", "jsonl", "--format-error", "json", env=env)
        assert ("\x1b[" in done.out) is coloured
        json.loads(re.sub(r"\x1b\[[0-9;]*m", "", done.out))


@pytest.mark.parametrize("layout", ["yaml", "raw"])
def test_the_other_formats_have_no_colours(cli: CommandLine, noise: Any, layout: str) -> None:
    done = cli.on_terminal("files", "retrieve", noise["id"], "--format", layout, env={"FORCE_COLOR": "1"})
    assert done.code == 0
    assert b"\x1b" not in done.data


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_of_pretty(cli: CommandLine, noise: Any, env: dict[str, str], coloured: bool) -> None:
    done = cli.on_terminal("files", "retrieve", noise["id"], "--format", "pretty", env=env, columns=50)
    assert ("\x1b[" in done.out) is coloured
    lines = re.sub(r"\x1b\[[0-9;]*m", "", done.out).splitlines()
    assert max(map(len, lines)) <= 50
    assert "\x1b" not in cli("files", "retrieve", noise["id"], "--format", "pretty", env={"FORCE_COLOR": "1"}).out


# --- pager ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(server: Server) -> list[str]:
    """Ids of enough files to fill a small terminal, newest first."""
    return [server.upload(b"x", purpose="evals")["id"] for _ in range(12)][::-1]


LIST = ("files", "list", "--purpose", "evals", "-r", "--transform", "id")


def pager(cli: CommandLine, code: str) -> str:
    """A pager of its own, which leaves a trace."""
    path = cli.folder / "pager"
    path.write_text(f'#!/bin/sh\necho "$@" > args\n{code}\n')
    path.chmod(0o755)
    return str(path)


def test_a_list_that_fills_the_terminal_is_paged(cli: CommandLine, many: list[str]) -> None:
    env = {"PAGER": pager(cli, "exec cat")}
    words = (*LIST, "--limit", "5")
    long = cli.on_terminal(*words, rows=10, env=env)
    assert (long.code, long.out.split()) == (0, many)
    assert (cli.folder / "args").exists()
    (cli.folder / "args").unlink()
    short = cli.on_terminal(*words, rows=40, env=env)
    assert (short.code, short.out.split()) == (0, many)
    assert not (cli.folder / "args").exists()


def test_what_is_never_paged(cli: CommandLine, many: list[str]) -> None:
    env = {"PAGER": pager(cli, "exec cat")}
    assert cli(*LIST, env=env).out.split() == many
    assert cli.on_terminal("files", "list", "--purpose", "evals", "--format", "yaml", rows=5, env=env).code == 0
    assert not (cli.folder / "args").exists()


def test_a_pager_may_have_arguments(cli: CommandLine, many: list[str]) -> None:
    env = {"PAGER": f"{pager(cli, 'exec cat')} -X 'two words'"}
    assert cli.on_terminal(*LIST, rows=5, env=env).out.split() == many
    assert (cli.folder / "args").read_text() == "-X two words\n"


def test_quitting_the_pager_ends_the_list(cli: CommandLine, many: list[str]) -> None:
    done = cli.on_terminal(*LIST, "--limit", "1", rows=5, env={"PAGER": pager(cli, "head -n 1")})
    assert (done.code, done.out.split(), done.err) == (0, many[:1], "")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("no-such-pager -x", 'pager "no-such-pager" not found; set PAGER, or pipe the list through cat'),
        ('less "', 'cannot parse PAGER (less "): No closing quotation'),
    ],
)
def test_pagers_that_cannot_be_used(cli: CommandLine, many: list[str], named: str, message: str) -> None:
    done = cli.on_terminal(*LIST, rows=5, env={"PAGER": named})
    assert (done.code, done.data, done.err) == (1, b"", f"filestead: {message}\n")


def test_an_empty_pager_is_less(cli: CommandLine, many: list[str]) -> None:
    (cli.folder / "less").symlink_to("pager")
    pager(cli, "exec cat")
    for named in ("", " "):
        done = cli.on_terminal(*LIST, rows=5, env={"PAGER": named, "PATH": f"{cli.folder}:{cli.env['PATH']}"})
        assert (done.code, done.out.split()) == (0, many)
        (cli.folder / "args").unlink()


def test_what_came_before_a_failing_page_is_printed(cli: CommandLine, server: Server, many: list[str]) -> None:
    failure = Fault(
        response=raw_response("418 Teapot", "Content-Type: application/json", body=b'{"error": {"message": "no"}}')
    )
    words = (*LIST, "--limit", "3")
    for rows in (40, 5):
        with Proxy(server.port, [Fault(), Fault(), failure]) as proxy:
            done = cli.on_terminal(*words, "--base-url", proxy.base_url, rows=rows, env={"FORCE_COLOR": "0"})
        assert done.code == 1
        assert done.out.split("{")[0].split() == many[:6]
        assert "418 Teapot" in done.err


# --- bars -----------------------------------------------------------------------------------------------------------

BAR = re.compile(r"━")


def test_a_bar_is_drawn_on_the_error_terminal(cli: CommandLine, noise: Any) -> None:
    done = cli.on_terminal("files", "content", noise["id"], "-o", "out.bin")
    assert (done.code, done.out) == (0, "Wrote output to: out.bin\n")
    assert BAR.search(done.err)
    assert noise["id"] in done.err
    assert done.err.endswith("\x1b[2K"), "the bar is gone at the end"
    (cli.folder / "up.bin").write_bytes(NOISE)
    up = cli.on_terminal("files", "create", "--file", "up.bin", "--purpose", "user_data", env={"FORCE_COLOR": "0"})
    assert json.loads(up.out)["bytes"] == len(NOISE)
    assert BAR.search(up.err)
    assert "up.bin" in up.err


def test_the_bar_is_beside_piped_content(cli: CommandLine, noise: Any) -> None:
    done = cli.on_terminal("files", "content", noise["id"], stdout=subprocess.DEVNULL)
    assert BAR.search(done.err)
    target = cli.folder / "redirected"
    with target.open("wb") as file:
        cli.on_terminal("files", "content", noise["id"], stdout=file)
    assert target.read_bytes() == NOISE


@pytest.mark.parametrize("words", [["--no-progress"], ["-o", "-", "--no-progress"], ["-o", "out", "--no-progress"]])
def test_no_bar_where_none_is_wanted(cli: CommandLine, noise: Any, words: list[str]) -> None:
    done = cli.on_terminal("files", "content", noise["id"], *words)
    assert (done.code, done.err) == (0, "")


def test_no_bar_where_nobody_watches(cli: CommandLine, noise: Any) -> None:
    done = cli("files", "content", noise["id"], "-o", "out")
    assert (done.code, done.err) == (0, "")


def test_names_in_a_bar_cannot_command_the_terminal(cli: CommandLine) -> None:
    name = "a\x1b]0;title\x07\x9bx[bold]{b}.bin"
    (cli.folder / name).write_bytes(b"x")
    done = cli.on_terminal("files", "create", "--file", name, "--purpose", "user_data", "--filename", "a.bin")
    assert done.code == 0
    assert "\x1b]0;" not in done.err and "\x9b" not in done.err and "\x07" not in done.err
    assert "[bold]{b}.bin" in done.err


def test_a_failure_leaves_the_terminal_as_it_was(cli: CommandLine, tmp_path: Path) -> None:
    done = cli.on_terminal("files", "content", "file-none", "-o", "out.bin", env={"FORCE_COLOR": "0"})
    assert done.code == 1
    assert done.err.count("\x1b[?25l") == done.err.count("\x1b[?25h"), "a hidden cursor comes back"
    assert re.search(r"404 Not Found \(request id: req_\w+\)\n$", done.err)
