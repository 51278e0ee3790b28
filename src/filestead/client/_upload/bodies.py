"""Bodies of answers within bounds: what arrives is counted and unpacked piece by piece, never as a whole.

A megabyte of gzip unpacks to a gigabyte, and an endless body to as much as there is memory. httpx2's own decoders give
no piece to count while a body only arrives (what follows the end of gzip is kept, however much it is), so this module
unpacks. It knows the two codings that the client asks for.
"""

import contextlib
import io
import zlib
from collections.abc import Iterator

from filestead.client._transport.exchange import AnswerHead
from filestead.client._transport.responses import unexpected
from filestead.client.errors import APIConnectionError, APIResponseValidationError

ERROR_BYTES = 1024 * 1024
"""Of the body of an answer that is no success; the rest is not read."""
PIECE_BYTES = 256 * 1024
GZIP, ZLIB, DEFLATE = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Decoder:
    """Unpacks one body; a piece has at most `PIECE_BYTES`, or is as it came if the body is not packed."""

    def __init__(self, head: AnswerHead) -> None:
        """Raises `APIResponseValidationError` for a coding that the client did not ask for."""
        named = head.headers.get("content-encoding", "").lower().split(",")
        codings = [coding for coding in map(str.strip, named) if coding not in {"", "identity"}]
        if len(codings) > 1 or (codings and codings[0] not in {"gzip", "x-gzip", "deflate"}):
            raise unexpected(head, f"the body is encoded as {', '.join(codings)}, which was not asked for")
        self._where = head.url
        self._zlib = codings == ["deflate"]
        self._unpack = zlib.decompressobj(ZLIB if self._zlib else GZIP) if codings else None
        self._begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What bytes of the wire unpack to. Raises `APIConnectionError` if they are damaged."""
        if self._unpack is None:
            yield data
            return
        while data:
            piece = self._decompress(data)
            if piece:
                yield piece
            while not self._unpack.eof and (self._unpack.unconsumed_tail or len(piece) == PIECE_BYTES):
                piece = self._decompress(self._unpack.unconsumed_tail)
                yield piece
            data = self._unpack.unused_data if self._unpack.eof else b""
            if data and not self._zlib:
                self._unpack = zlib.decompressobj(GZIP)  # Another member (RFC 1952, 2.2).
            elif data:
                raise APIConnectionError(f"{self._where}: there are bytes behind the end of the compressed answer")

    def _decompress(self, data: bytes) -> bytes:
        assert self._unpack is not None
        begun, self._begun = self._begun, True
        try:
            if self._zlib and not begun:
                with contextlib.suppress(zlib.error):
                    return self._unpack.decompress(data, PIECE_BYTES)
                # What some servers mean by "deflate" (RFC 9110, 8.4.1.2).
                self._unpack = zlib.decompressobj(DEFLATE)
            return self._unpack.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            raise APIConnectionError(f"{self._where}: the answer cannot be unpacked: {error}") from error

    def finish(self) -> None:
        """The body has come to its end. Raises `APIConnectionError` if what was packed has not."""
        if self._begun and self._unpack is not None and not self._unpack.eof:
            raise APIConnectionError(f"{self._where}: the compressed answer was cut short")


class Body:
    """Collects a body that is wanted as a whole, up to `limit` bytes, on the wire and unpacked."""

    def __init__(self, head: AnswerHead, limit: int, *, packed: bool = True) -> None:
        """Raises as `Decoder`, but of an answer that is no success: its status says enough without a body."""
        self._head = head
        self._success = head.status < 300
        self._limit = limit if self._success else min(limit, ERROR_BYTES)
        self._decoder: Decoder | None = None
        self._wanted = True
        try:
            self._decoder = Decoder(head) if packed else None
        except APIResponseValidationError:
            if self._success:
                raise
            self._wanted = False
        self._arrived = 0
        # One buffer: a list of chunks of one byte each would take fifty times their size.
        self._kept = io.BytesIO()

    def take(self, data: bytes) -> bool:
        """Keep bytes of the wire; False if no more are wanted. Raises `APIResponseValidationError` beyond the limit."""
        self._arrived += len(data)
        if not self._wanted:
            return False
        for piece in self._decoder.pieces(data) if self._decoder else (data,):
            room = self._limit - self._kept.tell()
            self._kept.write(piece[:room])
            if len(piece) > room:
                return self._cut()
        return self._cut() if self._arrived > self._limit else True

    def _cut(self) -> bool:
        if self._success:
            limit = f"more than {self._limit} bytes of body, the limit that max_response_bytes sets"
            raise unexpected(self._head, limit)
        self._wanted = False
        return False

    def whole(self) -> bytes:
        """What was kept; of an answer that is no success, perhaps only its beginning."""
        if self._decoder is not None and self._wanted:
            self._decoder.finish()
        return self._kept.getvalue()
