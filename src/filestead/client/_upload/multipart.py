"""Writes multipart/form-data bodies (RFC 7578) as a stream, in the order of the parts.

Names are escaped as the official Go client does: raw UTF-8, with a backslash before `"` and itself. CR and LF, which no
header may hold, are %0D and %0A.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from filestead.client._upload.sources import AsyncSource, Source
from filestead.client.errors import SourceChanged

OCTET_STREAM = "application/octet-stream"
ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\r": "%0D", "\n": "%0A"})

Progress = Callable[[int, int | None], None]
"""Called with the bytes of the file that were sent and its size, None while unknown. It starts anew with a new try."""


@dataclass(frozen=True, slots=True)
class TextField:
    """A field."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file; `filename` None takes the name of the source."""

    name: str
    source: Source | AsyncSource
    filename: str | None = None
    content_type: str = OCTET_STREAM
    on_progress: Progress | None = None


Form = tuple[TextField | FilePart, ...]
Pieces = tuple[bytes | FilePart, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A form with its boundary: bytes and files by turns. `length` is None if a size is unknown."""

    content_type: str
    length: int | None
    pieces: Pieces

    @property
    def replayable(self) -> bool:
        """Whether it can be sent twice."""
        return all(piece.source.rewindable for piece in self.pieces if isinstance(piece, FilePart))


def encode(form: Form, boundary: str | None = None) -> Encoded:
    """Lay out a form; nothing of a file is read yet."""
    boundary = boundary or os.urandom(16).hex()
    pieces: list[bytes | FilePart] = []
    for part in form:
        pieces.append(f"--{boundary}\r\n{_head(part)}\r\n\r\n".encode("utf-8", "surrogateescape"))
        pieces.append(part if isinstance(part, FilePart) else part.value.encode("utf-8", "surrogateescape"))
        pieces.append(b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    sizes = [piece.source.size if isinstance(piece, FilePart) else len(piece) for piece in pieces]
    known = [size for size in sizes if size is not None]
    length = sum(known) if len(known) == len(sizes) else None
    return Encoded(f"multipart/form-data; boundary={boundary}", length, _joined(pieces))


def _head(part: TextField | FilePart) -> str:
    name = part.name.translate(ESCAPES)
    if isinstance(part, TextField):
        return f'Content-Disposition: form-data; name="{name}"'
    filename = (part.source.filename if part.filename is None else part.filename).translate(ESCAPES)
    return f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {part.content_type}'


def _joined(pieces: list[bytes | FilePart]) -> Pieces:
    """The same with neighbouring bytes made one piece, so that small parts leave as one packet."""
    joined: list[bytes | FilePart] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, bytes) and isinstance(last, bytes):
            joined[-1] = last + piece
        else:
            joined.append(piece)
    return tuple(joined)


class Meter:
    """Counts the bytes of one file: holds it to the size it had at the start, and reports progress.

    The length is already announced: one byte more would break the framing, one byte less would wait for ever.
    """

    def __init__(self, part: FilePart) -> None:
        self._part = part
        self._size = part.source.size
        self._read = 0

    def read(self, block: bytes | memoryview) -> None:
        """A block is about to be sent."""
        self._read += len(block)
        if self._size is not None and self._read > self._size:
            self._changed("grew")

    def sent(self) -> None:
        """All that was read has been taken by the connection."""
        if self._part.on_progress is not None:
            self._part.on_progress(self._read, self._size)

    def finish(self) -> None:
        """The source has ended."""
        if self._size is not None and self._read < self._size:
            self._changed("shrank")

    def _changed(self, how: str) -> None:
        name = self._part.source.filename
        raise SourceChanged(
            f"{name!r} {how} during the upload, from {self._size} bytes at its start; nothing was stored"
        )


def stream(encoded: Encoded) -> Iterator[bytes | memoryview]:
    """The body, block by block."""
    for piece in encoded.pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        if isinstance(piece.source, AsyncSource):
            raise TypeError("an asynchronous iterator can only be uploaded by AsyncFilesClient")
        meter = Meter(piece)
        for block in piece.source.blocks():
            meter.read(block)
            yield block
            meter.sent()
        meter.finish()


async def astream(
    encoded: Encoded, blocks_of: Callable[[Source], AsyncIterator[bytes | memoryview]]
) -> AsyncIterator[bytes | memoryview]:
    """The same for an event loop; `blocks_of` reads a blocking source elsewhere."""
    for piece in encoded.pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        source = piece.source
        meter = Meter(piece)
        async for block in source.blocks() if isinstance(source, AsyncSource) else blocks_of(source):
            meter.read(block)
            yield block
            meter.sent()
        meter.finish()
