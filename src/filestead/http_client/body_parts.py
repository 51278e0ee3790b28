"""Bodies of responses in parts, as they arrive: what `framing` parses whole. No input or output.

Source: RFC 9112, sections 6 and 7. Malformed input raises `EndpointBroken`; nothing is repaired.
"""

from collections.abc import Mapping
from typing import Protocol

from filestead.http_client.errors import EndpointBroken
from filestead.http_client.framing import MAX_CHUNK_LINE_BYTES, MAX_HEAD_BYTES, chunk_size, length_of


class BodyParts(Protocol):
    """Finds the content in the bytes of a body."""

    is_complete: bool
    """Whether the body has ended."""
    excess: bool
    """Whether more came than the body."""
    ends_with_connection: bool

    def feed(self, data: bytes) -> bytes:
        """Take bytes and return their content, which may be empty."""


def parts_of(status: int, headers: Mapping[str, str]) -> BodyParts:
    """What finds the content of the body of a response."""
    if status in {204, 304}:
        return FixedParts(0)
    if (length := length_of(headers)) is not None:
        return FixedParts(length)
    return ChunkedParts() if "transfer-encoding" in headers else UnboundedParts()


class FixedParts:
    """A body whose length is known."""

    ends_with_connection = False

    def __init__(self, length: int) -> None:
        self._missing = length
        self.is_complete = not length
        self.excess = False

    def feed(self, data: bytes) -> bytes:
        """As in `BodyParts`."""
        if len(data) > self._missing:
            self.excess = True
            data = data[: self._missing]
        self._missing -= len(data)
        self.is_complete = not self._missing
        return data


class UnboundedParts:
    """A body that ends with the connection."""

    ends_with_connection = True
    is_complete = False
    excess = False

    def feed(self, data: bytes) -> bytes:
        """As in `BodyParts`."""
        return data


class ChunkedParts:
    """A body in chunks; extensions and trailers are dropped."""

    ends_with_connection = False

    def __init__(self) -> None:
        self.is_complete = False
        self.excess = False
        self._input = b""
        """The beginning of a line."""
        self._missing = 0
        """Bytes of the current chunk, with the line end behind it."""
        self._trailer = -1
        """Bytes of the trailer so far; -1 before it."""

    def feed(self, data: bytes) -> bytes:
        """As in `BodyParts`."""
        if self._input:
            data, self._input = self._input + data, b""
        found: list[bytes] = []
        at = 0
        while at < len(data) and self._trailer < 0:
            at = self._take_chunk(data, at, found) if self._missing else self._take_size(data, at)
        if self._trailer >= 0 and not self.is_complete:
            self._take_trailer(data[at:])
        return found[0] if len(found) == 1 else b"".join(found)

    def _take_chunk(self, data: bytes, at: int, found: list[bytes]) -> int:
        available = min(self._missing, len(data) - at)
        payload = min(max(self._missing - 2, 0), available)
        if payload:
            found.append(data[at : at + payload])
        if payload < available:
            expected = b"\r\n"[payload + 2 - self._missing :][: available - payload]
            if data[at + payload : at + available] != expected:
                raise EndpointBroken("the response has a malformed chunk")
        self._missing -= available
        return at + available

    def _take_size(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at, at + MAX_CHUNK_LINE_BYTES)
        if end < 0:
            if len(data) - at >= MAX_CHUNK_LINE_BYTES:
                raise EndpointBroken("the response has a malformed chunk")
            self._input = data[at:]
            return len(data)
        size = chunk_size(data[at:end])
        if size:
            self._missing = size + 2
        else:
            self._trailer = 0
        return end + 2

    def _take_trailer(self, data: bytes) -> None:
        """Take lines up to the empty one."""
        while (end := data.find(b"\r\n")) > 0:
            self._trailer += end
            data = data[end + 2 :]
        if self._trailer + len(data) > MAX_HEAD_BYTES and end < 0:
            raise EndpointBroken(f"the response has a trailer of more than {MAX_HEAD_BYTES} bytes")
        if end < 0:
            self._input = data
            return
        self.is_complete = True
        self.excess = len(data) > 2
