"""Tracks the position in a connection's input and enforces the limits on heads, trailers and chunked framing.

The parser accepts heads of any size. Performs no I/O.
"""

from filestead.server.http1.limits import FRAMING_BYTES_PER_BODY_BYTE, ConnectionLimits
from filestead.server.http1.read_buffers import SMALL_READ_BYTES
from filestead.server.http1.request_head import Headers, RequestRejected

BLANK_LINE = b"\r\n\r\n"


class BlankLineSplitter:
    """Finds blank lines, also across two pieces of input: heads and chunked bodies end nowhere else."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    def split_point(self, data: memoryview) -> int:
        """Return the number of bytes up to the end of the first blank line, or the size of the data."""
        across = (self._tail + bytes(data[:3])).find(BLANK_LINE)
        if across >= 0:
            return across + len(BLANK_LINE) - len(self._tail)
        found = bytes(data).find(BLANK_LINE)
        return found + len(BLANK_LINE) if found >= 0 else len(data)

    def advance(self, data: memoryview) -> None:
        """Continue after the data."""
        last = bytes(data[-3:])
        self._tail = last if len(last) == 3 else (self._tail + last)[-3:]


class MessageTracker:
    """Position in the current message. The callbacks of the parser report what they find."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.in_head = True
        """The next byte belongs to a head, not to a body."""

        self.overhead = 0
        """Bytes of the incomplete head, or of framing since the last byte of a body."""

        self.body_left: int | None = None
        """Bytes; None if the body is chunked."""

        self.is_large_read = False
        self._limits = limits
        self._splitter = BlankLineSplitter()
        self._field_bytes = 0  # of the headers or trailers parsed so far
        self._counts_fields = False  # `overhead` does not count exactly the bytes of this head or these trailers

    def piece_size(self, data: memoryview, splits_left: int) -> int:
        """Return how many bytes certainly belong to this message, or 0 if its head is too large."""
        if self.in_head:
            # A head of exactly the maximum is parsed, and rejected if it has one more byte.
            return min(self._splitter.split_point(data), self._limits.max_head_bytes - self.overhead)
        if self.body_left is not None:
            return min(len(data), self.body_left)
        splits = splits_left > 0 and len(data) <= SMALL_READ_BYTES
        return self._splitter.split_point(data) if splits else len(data)

    def before_parsing(self, data: memoryview) -> None:
        """Count a piece of input."""
        self.is_large_read = len(data) > SMALL_READ_BYTES
        self.overhead += len(data)

    def after_parsing(self, data: memoryview) -> None:
        """Reject a chunked body with too much framing."""
        self._splitter.advance(data)
        if not self.in_head and self.overhead > self._limits.max_head_bytes:
            raise RequestRejected(400, "The chunked body is mostly framing.")

    def begin_head(self) -> None:
        """Count the fields of a head that follows another message in the same piece."""
        self._field_bytes = 0
        self._counts_fields = not self.overhead
        if self._counts_fields:
            self.overhead = 1

    def add_field(self, name: bytes, value: bytes, count: int) -> None:
        """Reject a head or trailers with too many fields; `count` were parsed before."""
        self._field_bytes += len(name) + len(value) + len(b":\r\n")
        too_large = self._counts_fields and self._field_bytes > self._limits.max_head_bytes
        if too_large or count >= self._limits.max_headers:
            raise RequestRejected(431, "The request has too many headers.")

    def end_head(self, headers: Headers) -> None:
        """Expect the body, and trailers."""
        self.body_left = next((int(value) for name, value in headers if name == b"content-length"), None)
        self.in_head = False
        self.overhead = 0
        self._counts_fields, self._field_bytes = True, 0

    def add_body(self, size: int) -> None:
        """Count bytes of the body, each of which allows for some framing."""
        self.overhead = max(0, self.overhead - FRAMING_BYTES_PER_BODY_BYTE * size)
        if self.body_left is not None:
            self.body_left -= size

    def end_message(self) -> None:
        """Expect the next head."""
        self.in_head = True
        self.overhead = 0
