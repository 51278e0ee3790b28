"""A server whose answers do not end, or unpack to a thousand times their size: what a client takes of memory for it."""

import gzip
import re
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.client.any_client import KINDS

MIB = 2**20
HEAD = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n"
OK, CHUNKED = HEAD % b"200 OK", b"Transfer-Encoding: chunked\r\n\r\n"
BLOCK = b" " * 65536


def packed(pack: Callable[[bytes], bytes], flush: Callable[[], bytes], mebibytes: int, block: bytes) -> bytes:
    return b"".join([*(pack(block * (MIB // len(block))) for _ in range(mebibytes)), flush()])


def bomb(window: int, mebibytes: int = 1024, block: bytes = BLOCK) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, window)
    return packed(packer.compress, packer.flush, mebibytes, block)


def whole(coding: str, body: bytes, status: bytes = b"200 OK") -> Iterator[bytes]:
    yield HEAD % status + f"Content-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def endless(head: bytes, again: bytes) -> Iterator[bytes]:
    yield head
    while True:
        yield again


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


GZIP, ZLIB, RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
TOO_MUCH = "APIResponseValidationError.*max_response_bytes"
ATTACKS: dict[str, tuple[Callable[[], Iterator[bytes]], str, int]] = {
    # What it sends, which error the client raises, and how many MiB it may take.
    "gzip": (lambda: whole("gzip", bomb(GZIP)), TOO_MUCH, 112),
    "deflate": (lambda: whole("deflate", bomb(ZLIB)), TOO_MUCH, 112),
    "raw deflate": (lambda: whole("deflate", bomb(RAW)), TOO_MUCH, 112),
    "gzip of empty lists": (lambda: whole("gzip", bomb(GZIP, block=b"[],[" * 16384)), TOO_MUCH, 112),
    "gzip of gzip": (lambda: whole("gzip, gzip", gzip.compress(bomb(GZIP))), "APIResponseValidationError.*gzip, gzip", 16),
    "brotli": (lambda: whole("br", BLOCK), "APIResponseValidationError.*br, which was not requested", 16),
    "behind the end of gzip": (
        lambda: endless(OK + b"Content-Encoding: gzip\r\n" + CHUNKED, chunk(gzip.compress(b"{}") * 2000)),
        TOO_MUCH, 112,
    ),
    "garbage behind the end of gzip": (
        lambda: endless(OK + b"Content-Encoding: gzip\r\n" + CHUNKED + chunk(gzip.compress(b"{}")), chunk(BLOCK)),
        "APIConnectionError", 16,
    ),
    "garbage behind the end of deflate": (
        lambda: endless(OK + b"Content-Encoding: deflate\r\n" + CHUNKED + chunk(zlib.compress(b"{}")), chunk(BLOCK)),
        "APIConnectionError", 16,
    ),
    "endless chunks": (lambda: endless(OK + CHUNKED, chunk(BLOCK)), TOO_MUCH, 112),
    "endless until closed": (lambda: endless(OK + b"\r\n", BLOCK), TOO_MUCH, 112),
    "endless by its length": (lambda: endless(OK + b"Content-Length: %d\r\n\r\n" % 2**60, BLOCK), TOO_MUCH, 112),
    "endless error": (lambda: endless(HEAD % b"400 X" + CHUNKED, chunk(BLOCK)), "BadRequestError", 24),
    "gzip in an error": (lambda: whole("gzip", bomb(GZIP), b"404 X"), "NotFoundError", 24),
    "endless lists in an error": (lambda: endless(HEAD % b"400 X" + CHUNKED + chunk(b"["), chunk(b"[]," * 9999)), "BadRequestError", 80),
    "endless redirect": (lambda: endless(HEAD % b"302 X" + b"Location: ftp:/\r\n" + CHUNKED, chunk(BLOCK)), "RedirectError", 24),
    "brotli in an error": (lambda: whole("br", BLOCK, b"404 X"), "NotFoundError", 16),
    "endless head": (lambda: endless(OK + b"X: ", BLOCK[1:] + b"x"), "APIConnectionError", 16),
    "endless headers": (lambda: endless(OK, b"a:b\r\n" * 1000), "APIConnectionError", 32),
    "endless chunk extension": (lambda: endless(OK + CHUNKED + b"1;", b"x" * 65536), "APIConnectionError", 16),
    "endless trailers": (lambda: endless(OK + CHUNKED + b"0\r\n", b"a:b\r\n" * 1000), "APIConnectionError", 32),
    "endless interim answers": (
        lambda: endless(b"", b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 1000),
        "APIConnectionError.*1000 interim responses", 16,
    ),
    "headers below the limit": (lambda: iter([OK + b"a:b\r\n" * 19_000 + b"Content-Length: 1\r\n\r\nx"]), "APIResponseValidationError", 64),
}  # fmt: skip


class Hostile:
    """Answers every request with what an attack sends, until the client has gone."""

    def __init__(self, attack: Callable[[], Iterator[bytes]]) -> None:
        self._attack = attack
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, suppress(OSError):
                client.recv(65536)
                for data in self._attack():
                    client.sendall(data)

    def __enter__(self) -> "Hostile":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)


MEASURED = """
import asyncio, inspect, re, sys
from pathlib import Path
from filestead import AsyncFilesClient, FilesClient
from filestead.client._transport import connections, network, async_network
import filestead.cli.main as cli, filestead.cli.client.operations, gc

def peak():
    # Not ru_maxrss, which a new process inherits from the one that started it.
    return int(re.search(r"VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1])

def ask(kind, url):
    if kind == "cli":
        return cli.run(["files", "list", "--base-url", url])
    client = (AsyncFilesClient if kind == "async" else FilesClient)(base_url=url, api_key="k", max_retries=0)
    with asyncio.Runner() as runner:
        try:
            result = client.list_files()
            return runner.run(result) if inspect.isawaitable(result) else result
        except Exception as error:
            print(type(error).__name__, str(error)[:300], file=sys.stderr)

kind, good, bad = sys.argv[1:]
ask(kind, good)
before = peak()
ask(kind, bad)
print(peak() - before, file=sys.stderr)
"""


def measure(kind: str, attack: Callable[[], Iterator[bytes]]) -> tuple[str, float]:
    """What a client of this kind says of the attack, and the MiB that it took."""
    with (
        Hostile(lambda: whole("identity", b'{"object": "list", "data": [], "has_more": false}')) as good,
        Hostile(attack) as bad,
    ):
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, kind, good.base_url, bad.base_url], capture_output=True, text=True, timeout=120, check=False
        )  # fmt: skip
    assert re.search(r"^\d+\n\Z", done.stderr, re.MULTILINE), done.stderr
    said, _, kibibytes = done.stderr.rstrip().rpartition("\n")
    return said, int(kibibytes) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ATTACKS)
def test_memory_of_a_client(name: str, kind: str) -> None:
    attack, error, limit = ATTACKS[name]
    said, taken = measure(kind, attack)
    print(f"{name} {kind}: {taken:.0f} MiB")
    assert re.search(error, said), said
    assert taken <= limit


CLI = {
    "gzip": ("more than 67108864 bytes", 160),
    "endless chunks": ("more than 67108864 bytes", 160),
    "endless error": ("400 X", 48),
    "endless lists in an error": ("400 X", 256),
    "gzip in an error": ("404 X", 48),
    "endless chunk extension": ("Receive buffer too long", 32),
}
LISTS = b"[" + b"[],[1,2]," * 5_000_000 + b"1]"


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("name", CLI)
def test_memory_of_the_command_line(name: str) -> None:
    message, limit = CLI[name]
    said, taken = measure("cli", ATTACKS[name][0])
    print(f"{name} cli: {taken:.0f} MiB")
    assert message in said
    assert taken <= limit


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_an_answer_below_the_limit_with_too_many_values() -> None:
    said, taken = measure("cli", lambda: whole("identity", b'{"data": ' + LISTS + b"}"))
    print(f"values cli: {taken:.0f} MiB")
    assert "more than 2000000 JSON tokens" in said
    assert taken <= 640
