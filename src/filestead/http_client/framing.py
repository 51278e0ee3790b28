"""Responses of HTTP/1.1 as bytes: the head, and where a body ends. No input or output.

Source: RFC 9112, sections 4 to 7. Malformed input raises `EndpointBroken`; nothing is repaired.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from filestead.http_client.errors import EndpointBroken

MAX_HEAD_BYTES = 64 * 1024
"""Of a head, and of the trailer of a chunked body."""

MAX_CHUNK_LINE_BYTES = 1024
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
_DIGITS = re.compile(r"[0-9]{1,19}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?")
_FIELDS = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*")
"""Without controls: responses are passed on, where a lone line feed would begin another header."""


class Head(NamedTuple):
    """The head of a response."""

    status: int
    headers: dict[str, str]
    keeps_alive: bool


class Body(Protocol):
    """Collects a body."""

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes. Returns None if more must come, otherwise what follows the body."""
        ...

    def content(self) -> bytes:
        """The complete body."""
        ...


def parse_head(data: bytes) -> Head:
    """Parse a head, given without its empty line."""
    status_line, line_end, fields = data.decode("latin-1").partition("\r\n")
    matched = _STATUS_LINE.fullmatch(status_line)
    if matched is None:
        raise EndpointBroken("the response does not begin with a status line of HTTP/1.1")
    if line_end and not _FIELDS.fullmatch(fields + "\r\n"):
        raise EndpointBroken("the response has a malformed header")
    headers: dict[str, str] = {}
    for line in fields.split("\r\n") if line_end else ():
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    connection = headers.get("connection", "").lower()
    keeps_alive = "close" not in connection if matched[1] == "1" else "keep-alive" in connection
    return Head(int(matched[2]), headers, keeps_alive)


def split_head(data: bytes) -> tuple[Head, bytes] | None:
    """The head of the response and what follows it; None if it is not complete. Interim responses are skipped."""
    while True:
        end = data.find(b"\r\n\r\n")
        if (end if end >= 0 else len(data)) > MAX_HEAD_BYTES:
            raise EndpointBroken(f"the response has a head of more than {MAX_HEAD_BYTES} bytes")
        if end < 0:
            return None
        head = parse_head(data[:end])
        data = data[end + 4 :]
        if head.status >= 200:
            return head, data
        if head.status == 101:
            raise EndpointBroken("the endpoint changed the protocol, which was not requested")


def length_of(headers: Mapping[str, str]) -> int | None:
    """The length of a body by `Content-Length`; None if there is none, or if the body is chunked."""
    if (coding := headers.get("transfer-encoding")) is not None:
        if coding.lower() != "chunked":
            raise EndpointBroken("the response has an unknown transfer coding")
        return None
    if (length := headers.get("content-length")) is None:
        return None
    lengths = {item.strip() for item in length.split(",")}
    if len(lengths) != 1 or not _DIGITS.fullmatch(text := lengths.pop()):
        raise EndpointBroken("the response has a malformed Content-Length")
    return int(text)


def body_of(status: int, headers: Mapping[str, str], limit: int) -> Body:
    """What collects the body of a response of at most `limit` bytes."""
    if status in {204, 304}:
        return FixedBody(0, limit)
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise EndpointBroken("the response is compressed, which was not requested")
    if (length := length_of(headers)) is not None:
        return FixedBody(length, limit)
    if "transfer-encoding" in headers:
        return ChunkedBody(limit)
    return UnboundedBody(limit)


def chunk_size(line: bytes) -> int:
    """The size that the line before a chunk gives."""
    matched = _CHUNK_LINE.fullmatch(line)
    if matched is None:
        raise EndpointBroken("the response has a malformed chunk")
    return int(matched[1], 16)


def _too_large(limit: int) -> EndpointBroken:
    return EndpointBroken(f"the response is larger than the limit of {limit} bytes")


class FixedBody:
    """A body whose length is known."""

    def __init__(self, length: int, limit: int) -> None:
        if length > limit:
            raise _too_large(limit)
        self._missing = length
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> bytes | None:
        missing = self._missing
        if len(data) < missing:
            self._parts.append(data)
            self._missing = missing - len(data)
            return None
        self._parts.append(data[:missing])
        return data[missing:]

    def content(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


class UnboundedBody:
    """A body that ends with the connection, as of HTTP/1.0."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._content = bytearray()

    def feed(self, data: bytes) -> None:
        self._content += data
        if len(self._content) > self._limit:
            raise _too_large(self._limit)

    def content(self) -> bytes:
        return bytes(self._content)


class ChunkedBody:
    """A body in chunks; extensions and trailers are dropped."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._content = bytearray()
        self._input = bytearray()
        self._missing = 0
        """Bytes of the current chunk, with the line end behind it."""
        self._trailer = -1
        """Bytes of the trailer so far; -1 before it."""

    def feed(self, data: bytes) -> bytes | None:
        self._input += data
        while self._trailer < 0:
            if not (self._take_chunk() if self._missing else self._take_size()):
                return None
        return self._take_trailer()

    def content(self) -> bytes:
        return bytes(self._content)

    def _take_size(self) -> bool:
        """Take the line before a chunk; False if it is not complete."""
        end = self._input.find(b"\r\n", 0, MAX_CHUNK_LINE_BYTES)
        if end < 0:
            if len(self._input) >= MAX_CHUNK_LINE_BYTES:
                raise EndpointBroken("the response has a malformed chunk")
            return False
        size = chunk_size(bytes(self._input[:end]))
        del self._input[: end + 2]
        if len(self._content) + size > self._limit:
            raise _too_large(self._limit)
        if size:
            self._missing = size + 2
        else:
            self._trailer = 0
        return True

    def _take_chunk(self) -> bool:
        """Take what there is of a chunk; False if more must come."""
        available = min(self._missing, len(self._input))
        payload = min(max(self._missing - 2, 0), available)
        self._content += self._input[:payload]
        if self._input[payload:available] != b"\r\n"[payload + 2 - self._missing :][: available - payload]:
            raise EndpointBroken("the response has a malformed chunk")
        del self._input[:available]
        self._missing -= available
        return not self._missing

    def _take_trailer(self) -> bytes | None:
        """Take lines up to the empty one."""
        while (end := self._input.find(b"\r\n")) > 0:
            self._trailer += end
            del self._input[: end + 2]
        if self._trailer + len(self._input) > MAX_HEAD_BYTES and end < 0:
            raise EndpointBroken(f"the response has a trailer of more than {MAX_HEAD_BYTES} bytes")
        return bytes(self._input[2:]) if end == 0 else None
