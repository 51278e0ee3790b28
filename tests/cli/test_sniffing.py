"""What content is by its first bytes, and under which name a terminal gets it."""

import re

import pytest

from filestead.cli.client.grammar.sniffing import guess_extension, is_text
from tests.cli.commandline import CommandLine
from tests.client.proxy import Fault, Proxy
from tests.support.servers import Server

PNG = b"\x89PNG\r\n\x1a\n\x00"


@pytest.mark.parametrize(
    ("content", "extension"),
    [
        (PNG, ".png"),
        (b"\xff\xd8\xff\xe0", ".jpg"),
        (b"GIF89a\x00", ".gif"),
        (b"GIF88a\x00", ".bin"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", ".webp"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", ".wav"),
        (b"%PDF-1.7\n", ".pdf"),
        (b"PK\x03\x04", ".zip"),
        (b"\x1f\x8b\x08\x00", ".gz"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00", ".mp4"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41", ".mp4"),
        (b"\x00\x00\x00\x18ftypqt  \x00\x00\x02\x00qt  ", ".bin"),
        (b"ID3\x03", ".mp3"),
        (b"\x00asm\x01", ".wasm"),
        (b"\xff\xfea\x00", ".txt"),
        (b" \n<!doctype html>\xff", ".html"),
        (b"<br", ".txt"),
        (b"", ".txt"),
        (b"\x00\x01\x02", ".bin"),
        (b"caf\xe9!", ".bin"),
    ],
)
def test_extensions(content: bytes, extension: str) -> None:
    assert guess_extension(content) == extension


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", True),
        (b"{}\n", True),
        ("ü".encode()[:1], True),
        (b"<html>", True),
        (b"\xef\xbb\xbfa", True),
        (b"\x1b[1m", True),
        (b"%PDF-1.4 and only ASCII", False),
        (b"GIF89a", False),
        (b"BM", False),
        (b"a\x00", False),
        (b"a" * 512 + b"\x00", True),
        (b"a" * 512 + b"\xff", False),
        (b"\xff\xfea\x00", False),
    ],
)
def test_texts(content: bytes, text: bool) -> None:
    assert is_text(content) is text


def without_a_name(data: bytes) -> bytes:
    return re.sub(rb"(?i)content-disposition:[^\r]*", b"x-nothing: 1", data)


@pytest.mark.parametrize(("content", "extension"), [(PNG, "png"), (b"%PDF-1.4 text", "pdf"), (b"\x00", "bin")])
def test_content_without_a_name(cli: CommandLine, server: Server, content: bytes, extension: str) -> None:
    file = server.upload(content)
    with Proxy(server.port, [Fault(edit=without_a_name)]) as proxy:
        done = cli.on_terminal("files", "content", file["id"], "--base-url", proxy.base_url)
    assert done.code == 0, done.err
    assert re.fullmatch(rf"Wrote output to: \./file-\d{{9}}\.{extension}\n", done.out)
    assert (cli.folder / done.out.split(": ")[1].strip()).read_bytes() == content


@pytest.mark.parametrize(("name", "wanted"), [("plot", r"\./plot-\d{9}\.png"), ("plot.dat", r"\./plot-\d{9}\.dat")])
def test_a_name_that_is_taken(cli: CommandLine, server: Server, name: str, wanted: str) -> None:
    file = server.upload(PNG, name=name)
    (cli.folder / name).write_text("kept")
    done = cli.on_terminal("files", "content", file["id"])
    assert re.fullmatch(rf"Wrote output to: {wanted}\n", done.out)
    assert (cli.folder / name).read_text() == "kept"
