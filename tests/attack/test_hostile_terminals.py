"""A server that sends commands for the terminal: every way from an answer to the screen, with every kind of command."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.commandline import PROGRAM, CommandLine
from tests.client.proxy import Fault, Proxy, raw_response

PAYLOADS = {
    "clear": "\x1b[2J",
    "conceal": "\x1b[8m",
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;ZWNobyBvd25lZA==\x07",
    "reset": "\x1bc",
    "backspace": "safe\x08\x08\x08\x08evil",
    "vertical": "\x0b\x0c",
    "overwrite": "safe\revil",
    "delete": "\x7f",
    "nul": "a\x00b",
    "csi": "\x9b2J",
    "nel": "\x85",
    "override": "\u202etxt.exe\u202c",
    "embedding": "\u202aa\u202b\u202d",
    "isolate": "\u2066a\u2067b\u2068c\u2069",
    "marks": "\u200e\u200f\u061c",
    "separators": "\u2028\u2029",
}
IN_HEADERS = [name for name in PAYLOADS if name not in {"overwrite", "nul", "vertical", "nel", "separators"}]
"""The other characters cannot stand in a header: they end it, or make it malformed, or are spaces at its end."""
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
OURS = re.compile(r"\x1b\[(?:0|1|2|94|3[2356]|38;5;\d+)m")
"""The colours of JSON and of boxes."""


@dataclass(frozen=True)
class Way:
    """From an answer that holds the payload to what is printed."""

    words: tuple[str, ...]
    answers: Callable[[str], list[bytes]]
    stream: str = "out"
    names: tuple[str, ...] = tuple(PAYLOADS)
    same_bytes: bool = True
    """Whether a pipe gets the payload as it came."""


def body(payload: str) -> list[bytes]:
    """In names, strings, bare words and behind the value, as raw characters and as escapes."""
    text = f'{{"id": "file-1", "raw": "{payload}", "escaped": {json.dumps(payload)}, "{payload}": 1, "list": ["{payload}"]}}'
    return [raw_response("200 OK", "Content-Type: application/json", body=text.encode())]


def listed(payload: str) -> list[bytes]:
    """As raw characters, as far as strings of JSON hold them, and everything as escapes."""
    item = f'{{"id": "{payload}", "filename": {json.dumps(" ".join(PAYLOADS.values()))}}}'
    text = f'{{"object": "list", "data": [{item}, {item}], "has_more": false}}'
    return [raw_response("200 OK", "Content-Type: application/json", body=text.encode())]


def refused(payload: str) -> list[bytes]:
    text = f'{{"error": {{"message": "{payload}", "code": {json.dumps(payload)}}}}}'
    return [raw_response("400 Bad Request", "Content-Type: application/json", body=text.encode())]


def in_reason(payload: str) -> list[bytes]:
    return [raw_response(f"400 Bad {payload} Request")]


def in_request_id(payload: str) -> list[bytes]:
    return [raw_response("400 Bad Request", f"x-request-id: req {payload} end")]


def in_a_header(payload: str) -> list[bytes]:
    head = (f"X-Evil: a {payload} b", "Content-Type: application/json")
    return [raw_response("200 OK", *head, body=b"{}")]


def redirected(payload: str) -> list[bytes]:
    return [
        raw_response("307 X", f"Location: /v1/a{payload}b"),
        raw_response("200 OK", "Content-Type: application/json", body=b"{}"),
    ]


def redirected_nowhere(payload: str) -> list[bytes]:
    return [raw_response("307 X", f"Location: ftp://a{payload}b")]


def redirected_in_a_circle(payload: str) -> list[bytes]:
    return [raw_response("307 X", f"Location: http:/v1/a{payload}b")] * 10


def text_content(payload: str) -> list[bytes]:
    """Commands behind the block by which text is told from binary content."""
    return [raw_response("200 OK", body=b"text\n" * 120_000 + payload.encode())]


def marked_content(payload: str) -> list[bytes]:
    return [raw_response("200 OK", body=f"text {payload}\n".encode())]


def named_content(payload: str) -> list[bytes]:
    return [raw_response("200 OK", f'Content-Disposition: attachment; filename="a{payload}b"', body=b"\x00")]


RETRIEVE = ("files", "retrieve", "file-1")
IN_STRINGS = tuple(name for name in PAYLOADS if min(PAYLOADS[name]) >= " ")
"""A page of a list must be valid JSON, whose strings hold no C0 characters."""
IN_TEXT = tuple(name for name in PAYLOADS if ord(max(PAYLOADS[name])) > 0x9F)
WAYS = {
    **{
        layout: Way((*RETRIEVE, "--format", layout), body, same_bytes=layout not in {"yaml", "pretty"})
        for layout in ("auto", "json", "jsonl", "raw", "yaml", "pretty", "explore")
    },
    "transform": Way((*RETRIEVE, "--transform", "raw"), body),
    "transform escaped": Way((*RETRIEVE, "--transform", "escaped", "-r"), body),
    "transform raw": Way((*RETRIEVE, "--transform", "raw", "-r"), body),
    "transform to a string": Way((*RETRIEVE, "--transform", "escaped.@tostr.@fromstr", "-r"), body, same_bytes=False),
    "list": Way(("files", "list"), listed, names=IN_STRINGS),
    "list raw": Way(("files", "list", "--format", "raw"), listed, names=IN_STRINGS),
    "list yaml": Way(("files", "list", "--format", "yaml"), listed, same_bytes=False),
    **{
        f"error {layout}": Way((*RETRIEVE, "--format-error", layout), refused, same_bytes=layout not in {"yaml", "pretty"})
        for layout in ("auto", "json", "jsonl", "raw", "yaml", "pretty", "explore")
    },
    "error transform": Way((*RETRIEVE, "--transform-error", "message"), refused),
    "reason": Way(RETRIEVE, in_reason, "err", tuple(name for name in IN_HEADERS if PAYLOADS[name].isascii())),
    "request id": Way(RETRIEVE, in_request_id, "err", tuple(IN_HEADERS)),
    "debug": Way((*RETRIEVE, "--debug"), in_a_header, "err", tuple(IN_HEADERS)),
    "debug of a redirect": Way((*RETRIEVE, "--debug"), redirected, "err", tuple(IN_HEADERS), same_bytes=False),
    "redirect nowhere": Way(RETRIEVE, redirected_nowhere, "err", tuple(IN_HEADERS), same_bytes=False),
    "redirects without end": Way(RETRIEVE, redirected_in_a_circle, "err", tuple(IN_HEADERS), same_bytes=False),
    "content": Way(("files", "content", "file-1"), text_content),
    "content with marks": Way(("files", "content", "file-1"), marked_content, names=IN_TEXT),
    "name of content": Way(("files", "content", "file-1"), named_content, names=tuple(IN_HEADERS), same_bytes=False),
}  # fmt: skip


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    env = {"PATH": str(PROGRAM.parent), "HOME": str(tmp_path), "LANG": "C.UTF-8", "TERM": "xterm-256color"}
    folder = tmp_path / "folder"
    folder.mkdir()
    return CommandLine(folder, {**env, "OPENAI_API_KEY": "sk-1", "PAGER": "/bin/cat"})


def shown(payload: str) -> str:
    """As a terminal shall show it."""
    return FORBIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", payload)


@pytest.mark.parametrize("name", WAYS)
def test_no_way_to_command_the_terminal(cli: CommandLine, name: str) -> None:
    way = WAYS[name]
    payload = " ".join(PAYLOADS[each] for each in way.names)
    for env in ({}, {"FORCE_COLOR": "0"}, {"TERM": "dumb", "NO_COLOR": "1"}):
        with Proxy(0, [Fault(response=each) for each in way.answers(payload)]) as proxy:
            done = cli.on_terminal(*way.words, "--base-url", proxy.base_url, env=env)
        found = {"out": OURS.sub("", done.out), "err": done.err}
        for stream, text in found.items():
            assert not FORBIDDEN.search(text), (stream, FORBIDDEN.findall(text), text[-2000:])
    if way.same_bytes:
        missing = [each for each in way.names if shown(PAYLOADS[each]) not in found[way.stream].replace("\\\\", "\\")]
        assert not missing, found[way.stream][-3000:]


@pytest.mark.parametrize("name", [name for name in WAYS if WAYS[name].same_bytes])
def test_pipes_get_the_bytes(cli: CommandLine, name: str) -> None:
    way = WAYS[name]
    payload = " ".join(PAYLOADS[each] for each in way.names)
    with Proxy(0, [Fault(response=each) for each in way.answers(payload)]) as proxy:
        done = cli(*way.words, "--base-url", proxy.base_url)
    assert payload.encode() in {"out": done.data, "err": done.err.encode()}[way.stream]


@pytest.mark.parametrize("layout", ["json", "jsonl", "raw", "pretty"])
def test_bytes_that_are_no_utf8(cli: CommandLine, layout: str) -> None:
    """0x9b is CSI to a terminal that reads eight bits."""
    text = b'{"id": "a\x9b2Jb", "words": [tru\x1bc, 1\x1b(0]}'
    with Proxy(0, [Fault(response=raw_response("200 OK", "Content-Type: application/json", body=text))] * 2) as proxy:
        words = (*RETRIEVE, "--format", layout, "--base-url", proxy.base_url)
        screen = cli.on_terminal(*words).data
        piped = cli(*words).data
    assert b"\x9b" not in screen
    assert not FORBIDDEN.search(OURS.sub("", screen.decode()))
    assert layout == "pretty" or b"a\x9b2Jb" in piped


@pytest.mark.parametrize("words", [("files", "list"), ("files", "list", "--format", "jsonl")])
def test_no_way_through_a_pager(cli: CommandLine, words: tuple[str, ...]) -> None:
    payload = " ".join(PAYLOADS[name] for name in IN_STRINGS)
    with Proxy(0, [Fault(response=each) for each in listed(payload)]) as proxy:
        done = cli.on_terminal(*words, "--base-url", proxy.base_url, rows=4)
    text = OURS.sub("", done.out)
    assert shown(PAYLOADS["override"]) in text
    assert not FORBIDDEN.search(text)


def test_no_way_through_a_progress_bar(cli: CommandLine) -> None:
    name = f"file-{''.join(PAYLOADS.values()).replace(chr(0), '')}\nnext"
    with Proxy(0, [Fault(response=raw_response("200 OK", body=b"x"))]) as proxy:
        done = cli.on_terminal("files", "content", name, "-o", "out", "--base-url", proxy.base_url, columns=900)
    assert done.code == 0
    drawn = re.sub(r"\x1b\[(?:[0-9;]*m|\?25[lh]|2?K|1A)|\r", "", done.err)  # What rich draws with.
    assert "\\u001b]0;owned\\u0007" in drawn and "\\u202etxt.exe" in drawn and "\\u000anext" in drawn
    assert not FORBIDDEN.search(drawn)
    assert (cli.folder / "out").read_bytes() == b"x"
