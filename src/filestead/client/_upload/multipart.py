r"""Encodes multipart/form-data bodies (RFC 7578), with the parts in the given order.

Names are escaped as the official Go client does: raw UTF-8, with a backslash before `"` and `\`. CR and LF, which a
header must not contain, become %0D and %0A.
"""

import os
from dataclasses import dataclass

from filestead.client._upload.sources import AsyncSource, Source
from filestead.client.config import OnProgress
from filestead.client.errors import SourceChanged

ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\r": "%0D", "\n": "%0A"})


@dataclass(frozen=True, slots=True)
class TextField:
    """A part with a text value."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FilePart:
    """A part with a file; without `filename` it has the name of the source."""

    name: str
    source: Source | AsyncSource
    filename: str | None = None
    content_type: str = "application/octet-stream"
    on_progress: OnProgress | None = None


Form = tuple[TextField | FilePart, ...]


@dataclass(frozen=True, slots=True)
class EncodedForm:
    """A form with its boundary: encoded bytes and the files between them. `length` is None if a size is unknown."""

    content_type: str
    length: int | None
    pieces: tuple[bytes | FilePart, ...]

    @property
    def replayable(self) -> bool:
        """Whether it can be sent more than once."""
        return all(piece.source.rewindable for piece in self.pieces if isinstance(piece, FilePart))


def encode(form: Form, boundary: str | None = None) -> EncodedForm:
    """Encode a form, without reading its files."""
    boundary = boundary or os.urandom(16).hex()
    pieces: list[bytes | FilePart] = []
    for part in form:
        pieces.append(f"--{boundary}\r\n{_part_headers(part)}\r\n\r\n".encode("utf-8", "surrogateescape"))
        pieces.append(part if isinstance(part, FilePart) else part.value.encode("utf-8", "surrogateescape"))
        pieces.append(b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    sizes = [piece.source.size if isinstance(piece, FilePart) else len(piece) for piece in pieces]
    known = [size for size in sizes if size is not None]
    length = sum(known) if len(known) == len(sizes) else None
    return EncodedForm(f"multipart/form-data; boundary={boundary}", length, _merge_bytes(pieces))


def _part_headers(part: TextField | FilePart) -> str:
    name = part.name.translate(ESCAPES)
    if isinstance(part, TextField):
        return f'Content-Disposition: form-data; name="{name}"'
    filename = (part.source.filename if part.filename is None else part.filename).translate(ESCAPES)
    return f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {part.content_type}'


def _merge_bytes(pieces: list[bytes | FilePart]) -> tuple[bytes | FilePart, ...]:
    """Merge adjacent bytes into one piece, so that small parts are sent in one packet."""
    merged: list[bytes | FilePart] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, bytes) and isinstance(last, bytes):
            merged[-1] = last + piece
        else:
            merged.append(piece)
    return tuple(merged)


class UploadMeter:
    """Counts the bytes of one file: verifies that its size has not changed, and reports progress.

    The length is already announced: one more byte would break the framing, one less would stall the request.
    """

    def __init__(self, part: FilePart) -> None:
        self._part = part
        self._size = part.source.size
        self._read = 0

    def record_read(self, block: bytes | memoryview) -> None:
        """Count a block before it is sent. Raises `SourceChanged` if the file has grown."""
        self._read += len(block)
        if self._size is not None and self._read > self._size:
            raise self._size_changed("grew")

    def record_sent(self) -> None:
        """Report progress, after the connection has accepted all that was read."""
        if self._part.on_progress is not None:
            self._part.on_progress(self._read, self._size)

    def finish(self) -> None:
        """End the file. Raises `SourceChanged` if it has shrunk."""
        if self._size is not None and self._read < self._size:
            raise self._size_changed("shrank")

    def _size_changed(self, how: str) -> SourceChanged:
        name = self._part.source.filename
        return SourceChanged(f"{name!r} {how} during the upload, from {self._size} bytes; nothing was stored")
