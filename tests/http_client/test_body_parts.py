"""The content of streamed bodies, wherever their bytes are cut."""

import pytest

from filestead.http_client.body_parts import ChunkedParts, parts_of
from filestead.http_client.errors import EndpointBroken

CHUNKED = b"5;ext=1\r\nhello\r\n1\r\n\r\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 11, 1_000])
def test_chunks_wherever_they_are_cut(size: int) -> None:
    body = parts_of(200, {"transfer-encoding": "chunked"})
    found = b"".join(body.feed(CHUNKED[start : start + size]) for start in range(0, len(CHUNKED), size))
    assert (found, body.is_complete, body.excess) == (b"hello\r world", True, False)


def test_content_comes_as_soon_as_it_is_there() -> None:
    body = ChunkedParts()
    assert body.feed(b"a\r\n0123") == b"0123"
    assert body.feed(b"456789") == b"456789"
    assert body.feed(b"\r\n1\r\nx\r\n1\r\ny") == b"xy"
    assert not body.is_complete


@pytest.mark.parametrize(
    "data",
    [b"x\r\n", b"\r\n", b"-1\r\n", b"1\r\nab\r\n", b"1\r\na\rb", b"1" * 2_000, b"0\r\n" + b"x" * 70_000, b"1 2\r\n"],
)
def test_malformed_chunks(data: bytes) -> None:
    with pytest.raises(EndpointBroken):
        ChunkedParts().feed(data)


def test_excess_is_noticed() -> None:
    for headers, data in (({"transfer-encoding": "chunked"}, b"0\r\n\r\nx"), ({"content-length": "2"}, b"abc")):
        body = parts_of(200, headers)
        body.feed(data)
        assert (body.is_complete, body.excess) == (True, True)


def test_bodies_without_content() -> None:
    assert parts_of(204, {"content-length": "5"}).is_complete
    assert parts_of(200, {"content-length": "0"}).is_complete
    assert not parts_of(200, {}).is_complete
