"""The committed corpora, one file for each reader with an input in base64 on each line, and mutations of their inputs."""

import base64
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"

TOKENS: dict[str, tuple[bytes, ...]] = {
    "multipart": (
        *(
            b"--b\r\n",
            b"\r\n--b",
            b"\r\n--b--",
            b"--b--\r\n",
            b"\r\n",
            b"\r",
            b"\n",
            b"--",
            b"\r\n\r\n",
            b'"',
            b"\\",
            b";",
        ),
        *(b"Content-Disposition: form-data; ", b'name="f"', b'; filename="a"', b"; filename*=utf-8''a", b"%0d%0a"),
        *(b"Content-Type: text/plain\r\n", b"\0", b"\xff", b" ", b"\t", b"=?utf-8?q?a?="),
    ),
    "ranges": (
        *(
            b"bytes=",
            b"-",
            b",",
            b"0-",
            b"-1",
            b"0",
            b"9" * 20,
            b" ",
            b'"',
            b"W/",
            b"*",
            b"\xa0",
            b"\xb2",
            b"=",
            b"_",
            b"+",
        ),
        b'"' + b"00" * 32 + b'"',
    ),
    "jsonl": (
        *(
            b"\n",
            b"\r\n",
            b"{",
            b"}",
            b"[",
            b"]",
            b'"',
            b":",
            b",",
            b"\\u",
            b"\\ud800",
            b"null",
            b"true",
            b"1e999",
            b"NaN",
        ),
        *(b'{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}\n',),
        *(
            b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n',
            b'{"item": {}}\n',
        ),
        *(b"\xef\xbb\xbf", b"\xff", b"\0", b"[" * 200, b"9" * 5000),
    ),
    "head": (
        *(
            b"\r\n",
            b"\n",
            b"\r",
            b"\r\n\r\n",
            b": ",
            b" ",
            b"\t",
            b"\0",
            b"GET ",
            b"POST ",
            b" HTTP/1.1",
            b" HTTP/1.0",
            b"/",
        ),
        *(b"Host: t\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n"),
        *(
            b"Connection: close\r\n",
            b"Expect: 100-continue\r\n",
            b"Upgrade: h2c\r\n",
            b"http://t/",
            b"@",
            b";a=b",
            b"\xff",
        ),
        b"GET / HTTP/1.1\r\nHost: t\r\n\r\n",
    ),
}
"""What mutations insert."""


def load(reader: str) -> list[bytes]:
    """The inputs of a reader."""
    lines = (FOLDER / f"{reader}.txt").read_text().split()
    return [base64.b64decode(line) for line in lines]


def save(reader: str, inputs: Iterable[bytes]) -> None:
    """Replace the corpus of a reader."""
    lines = sorted({base64.b64encode(each).decode() for each in inputs}, key=lambda line: (len(line), line))
    (FOLDER / f"{reader}.txt").write_text("".join(f"{line}\n" for line in lines))


def mutations(reader: str, seed: int) -> Iterator[bytes]:
    """Endless inputs that are like those of the corpus; the same for the same seed."""
    source = random.Random(f"{reader} {seed}")
    inputs, tokens = load(reader), TOKENS[reader]
    while True:
        changed = bytearray(source.choice(inputs))
        for _ in range(source.choice((1, 1, 1, 2, 3, 5, 8))):
            _mutate(changed, source, inputs, tokens)
        yield bytes(changed)


def _mutate(data: bytearray, source: random.Random, inputs: list[bytes], tokens: tuple[bytes, ...]) -> None:
    start = source.randint(0, len(data))
    end = min(len(data), start + source.choice((1, 1, 2, 4, 16, 64)))
    match source.randrange(7):
        case 0:
            data[start:end] = source.choice(tokens)
        case 1:
            data[start:start] = source.choice(tokens)
        case 2:
            del data[start:end]
        case 3:
            data[start:start] = data[start:end] * source.choice((1, 2, 20))
        case 4:
            data[start:] = source.choice(inputs)[start:]
        case 5:
            data[start:end] = source.randbytes(end - start)
        case _:
            if start < len(data):
                data[start] ^= 1 << source.randrange(8)
