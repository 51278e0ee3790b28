"""Decodes and collects response bodies in bounded memory.

A megabyte of gzip can decode to a gigabyte, and a body can be endless. httpx2's decoders do not bound their output: all
that follows the end of a gzip member is kept. This module decodes the two codings that the client accepts.
"""

import contextlib
import io
import zlib
from collections.abc import Iterator

from filestead.client._transport.exchange import ResponseHead
from filestead.client._transport.responses import validation_error
from filestead.client.errors import APIConnectionError, APIResponseValidationError

ERROR_BYTES = 1024 * 1024
"""Read of the body of an error response; the rest is not read."""
CHUNK_BYTES = 256 * 1024
GZIP, ZLIB, RAW_DEFLATE = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


class ContentDecoder:
    """Decodes one body, in chunks of at most `CHUNK_BYTES`; a body without a coding passes unchanged."""

    def __init__(self, head: ResponseHead) -> None:
        """Raises `APIResponseValidationError` for a coding that the client does not accept."""
        named = head.headers.get("content-encoding", "").lower().split(",")
        codings = [coding for coding in map(str.strip, named) if coding not in {"", "identity"}]
        if len(codings) > 1 or (codings and codings[0] not in {"gzip", "x-gzip", "deflate"}):
            raise validation_error(head, f"the body is encoded as {', '.join(codings)}, which was not requested")
        self._url = head.url
        self._is_deflate = codings == ["deflate"]
        self._decompressor = zlib.decompressobj(ZLIB if self._is_deflate else GZIP) if codings else None
        self._started = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Decode received bytes. Raises `APIConnectionError` if they are damaged."""
        if self._decompressor is None:
            yield data
            return
        while data:
            chunk = self._decompress(data)
            if chunk:
                yield chunk
            while not self._decompressor.eof and (self._decompressor.unconsumed_tail or len(chunk) == CHUNK_BYTES):
                chunk = self._decompress(self._decompressor.unconsumed_tail)
                yield chunk
            data = self._decompressor.unused_data if self._decompressor.eof else b""
            if data and not self._is_deflate:
                self._decompressor = zlib.decompressobj(GZIP)  # The next member (RFC 1952, 2.2).
            elif data:
                raise APIConnectionError(f"{self._url}: data after the end of the compressed response")

    def _decompress(self, data: bytes) -> bytes:
        assert self._decompressor is not None
        started, self._started = self._started, True
        try:
            if self._is_deflate and not started:
                with contextlib.suppress(zlib.error):
                    return self._decompressor.decompress(data, CHUNK_BYTES)
                # Some servers send raw deflate data under this name (RFC 9110, 8.4.1.2).
                self._decompressor = zlib.decompressobj(RAW_DEFLATE)
            return self._decompressor.decompress(data, CHUNK_BYTES)
        except zlib.error as error:
            raise APIConnectionError(f"{self._url}: the response cannot be decompressed: {error}") from error

    def finish(self) -> None:
        """End the body. Raises `APIConnectionError` if its encoded data is incomplete."""
        if self._started and self._decompressor is not None and not self._decompressor.eof:
            raise APIConnectionError(f"{self._url}: the compressed response is incomplete")


class BodyBuffer:
    """Collects and decodes one body of at most `limit` bytes, as received and as decoded."""

    def __init__(self, head: ResponseHead, limit: int, *, encoded: bool = True) -> None:
        """Raises as `ContentDecoder`, except for an error response, whose status is enough without a body."""
        self._head = head
        self._success = head.status < 300
        self._limit = limit if self._success else min(limit, ERROR_BYTES)
        self._decoder: ContentDecoder | None = None
        self._truncated = False
        try:
            self._decoder = ContentDecoder(head) if encoded else None
        except APIResponseValidationError:
            if self._success:
                raise
            self._truncated = True
        self._received = 0
        # One buffer: a list of one-byte chunks would take fifty times their size.
        self._buffer = io.BytesIO()

    def feed(self, data: bytes) -> bool:
        """Add received bytes; False if no more are needed. Raises `APIResponseValidationError` beyond the limit."""
        self._received += len(data)
        if self._truncated:
            return False
        for chunk in self._decoder.decode(data) if self._decoder else (data,):
            available = self._limit - self._buffer.tell()
            self._buffer.write(chunk[:available])
            if len(chunk) > available:
                return self._truncate()
        return self._truncate() if self._received > self._limit else True

    def _truncate(self) -> bool:
        if self._success:
            message = f"more than {self._limit} bytes of body, the limit that max_response_bytes sets"
            raise validation_error(self._head, message)
        self._truncated = True
        return False

    def finish(self) -> bytes:
        """The body; of an error response, possibly only its beginning."""
        if self._decoder is not None and not self._truncated:
            self._decoder.finish()
        return self._buffer.getvalue()
