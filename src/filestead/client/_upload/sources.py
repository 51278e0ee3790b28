"""What can be uploaded: paths, binary file objects, bytes, and iterators of bytes, all as blocks of bytes.

Nothing here holds more than one block. A source with a known size is sent with its exact length.
"""

import io
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK_BYTES = 256 * 1024
UNNAMED = "upload"

Readable = BinaryIO | io.RawIOBase | io.BufferedIOBase
Content = bytes | bytearray | memoryview | Iterable[bytes]
FileInput = str | os.PathLike[str] | Readable | Content
"""A plain string is a path."""
AsyncFileInput = FileInput | AsyncIterable[bytes]


@dataclass(frozen=True, slots=True)
class Source:
    """A file to send. `blocks` starts at the beginning each time if the source is `rewindable`, else it is one-shot."""

    filename: str
    size: int | None
    """Bytes; None when only the end will tell."""
    rewindable: bool
    blocks: Callable[[], Iterator[bytes | memoryview]]


@dataclass(frozen=True, slots=True)
class AsyncSource:
    """The same from an asynchronous iterator: of unknown size, one-shot."""

    blocks: Callable[[], AsyncIterator[bytes]]
    filename: str = UNNAMED
    size: int | None = None
    rewindable: bool = False


def open_source(file: FileInput) -> Source:
    """Look at a file without reading it. Raises `OSError` for a path that cannot be read and `TypeError` for the rest.

    A file object is sent from its present position, and put back there for another try.
    """
    if isinstance(file, str | os.PathLike):
        return from_path(os.fspath(file))
    if isinstance(file, bytes | bytearray | memoryview):
        view = memoryview(file).cast("B")
        return Source(UNNAMED, len(view), True, lambda: _slices(view))
    if isinstance(file, io.TextIOBase):
        raise TypeError('the file is open in text mode; open it in binary mode, "rb"')
    if callable(getattr(file, "read", None)):
        return _from_file_object(file)  # type: ignore[arg-type]  # it has the one method that is needed
    if isinstance(file, Iterable):
        return Source(UNNAMED, None, False, lambda: _checked(iter(file)))
    raise TypeError(f"cannot upload a {type(file).__name__}: expected a path, a binary file, bytes or an iterator")


def open_async_source(file: AsyncFileInput) -> Source | AsyncSource:
    """As `open_source`; asynchronous iterators are taken too."""
    if isinstance(file, AsyncIterable) and not isinstance(file, str | os.PathLike):
        return AsyncSource(lambda: aiter(file))
    return open_source(file)


def from_path(path: str) -> Source:
    """A path. Only a regular file has a size and can be read twice; `/dev/stdin` and FIFOs are read once."""
    filename = os.path.basename(path) or UNNAMED
    mode = os.stat(path)
    if not stat.S_ISREG(mode.st_mode) and not stat.S_ISDIR(mode.st_mode):
        return Source(filename, None, False, lambda: _read_path(path))
    with open(path, "rb") as file:  # A directory or a forbidden file fails here, before any request.
        size = os.fstat(file.fileno()).st_size
    return Source(filename, size, True, lambda: _read_path(path))


def _from_file_object(file: Readable) -> Source:
    if isinstance(file.read(0), str):
        raise TypeError('the file is open in text mode; open it in binary mode, "rb"')
    name = getattr(file, "name", None)
    filename = os.path.basename(name) if isinstance(name, str) else ""
    try:
        start = file.tell()
        size = file.seek(0, os.SEEK_END) - start
        file.seek(start)
    except (OSError, AttributeError):
        return Source(filename or UNNAMED, None, False, lambda: _read_on(file))

    def blocks() -> Iterator[bytes]:
        file.seek(start)
        return _read_on(file)

    return Source(filename or UNNAMED, max(size, 0), True, blocks)


def _read_path(path: str) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        yield from _read_on(file)


def _read_on(file: Readable) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block


def _slices(view: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(view), BLOCK_BYTES):
        yield view[start : start + BLOCK_BYTES]


def _checked(blocks: Iterator[bytes]) -> Iterator[bytes | memoryview]:
    for block in blocks:
        if not isinstance(block, bytes | bytearray | memoryview):
            raise TypeError(f"the iterator gave a {type(block).__name__} where bytes were expected")
        yield from _slices(memoryview(block).cast("B"))
