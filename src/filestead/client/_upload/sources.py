"""Sources of uploads: paths, binary file objects, bytes and iterables of bytes, all read as blocks of bytes.

At most one block is in memory. A source of known size is sent with its exact length.
"""

import io
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from filestead.client.errors import SourceChanged

BLOCK_BYTES = 256 * 1024
DEFAULT_FILENAME = "upload"

Readable = BinaryIO | io.RawIOBase | io.BufferedIOBase
Content = bytes | bytearray | memoryview | Iterable[bytes]
FileInput = str | os.PathLike[str] | Readable | Content
"""A plain string is a path."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to upload. `blocks` begins at the given byte; unless it is `rewindable`, it is called once, with 0."""

    filename: str
    size: int | None
    """Bytes; None if unknown until the end."""
    rewindable: bool
    blocks: Callable[[int], Iterator[bytes | memoryview]]
    version: tuple[int, ...] | None = None
    """Of a regular file: other numbers after every change that the file system records."""
    check_version: Callable[[], None] = lambda: None
    """Raises `SourceChanged` if the file at the path is not of this version any more."""


@dataclass(frozen=True, slots=True)
class AsyncSource:
    """As `Source`, with asynchronous blocks."""

    filename: str
    size: int | None
    rewindable: bool
    blocks: Callable[[int], AsyncIterator[bytes | memoryview]]
    version: tuple[int, ...] | None = None
    check_version: Callable[[], None] = lambda: None


def open_source(file: FileInput) -> Source:
    """Inspect a file without reading it. Raises `OSError` for an unreadable path, `TypeError` for other types.

    A file object is read from its current position, and rewound to that position for a retry.
    """
    if isinstance(file, str | os.PathLike):
        return _from_path(os.fspath(file))
    if isinstance(file, bytes | bytearray | memoryview):
        view = memoryview(file).cast("B")
        return Source(DEFAULT_FILENAME, len(view), True, lambda start: _slices(view[start:]))
    if isinstance(file, io.TextIOBase):
        raise TypeError('the file is open in text mode; open it in binary mode, "rb"')
    if callable(getattr(file, "read", None)):
        return _from_file_object(file)  # type: ignore[arg-type]  # it has the one method that is needed
    if isinstance(file, Iterable):
        return Source(DEFAULT_FILENAME, None, False, lambda _: _checked_blocks(iter(file)))
    raise TypeError(f"cannot upload a {type(file).__name__}: expected a path, a binary file, bytes or an iterator")


def part_of(source: Source, start: int, size: int) -> Source:
    """The `size` bytes from `start` on of a rewindable source of known size.

    The last part is read to the end of the source, so that an upload notices if it has grown.
    """
    last = start + size == source.size
    return Source(
        source.filename,
        size,
        True,
        lambda offset: source.blocks(start + offset) if last else _limit(source.blocks(start + offset), size - offset),
    )


def _limit(blocks: Iterator[bytes | memoryview], size: int) -> Iterator[bytes | memoryview]:
    for block in blocks:
        yield block[:size]
        size -= len(block)
        if size <= 0:
            return


def _from_path(path: str) -> Source:
    """Only a regular file has a size and can be read twice; `/dev/stdin` and FIFOs are read once."""
    filename = os.path.basename(path) or DEFAULT_FILENAME
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return Source(filename, None, False, lambda _: _read_path(path, 0, opened=None))
    with open(path, "rb") as file:  # A directory or an unreadable file fails here, before any request.
        opened = os.fstat(file.fileno())

    def check_version() -> None:
        _require_version(path, os.stat(path), opened)

    blocks = partial(_read_path, path, opened=opened)
    return Source(filename, opened.st_size, True, blocks, _version(opened), check_version)


def _from_file_object(file: Readable) -> Source:
    if isinstance(file.read(0), str):
        raise TypeError('the file is open in text mode; open it in binary mode, "rb"')
    name = getattr(file, "name", None)
    filename = (os.path.basename(name) if isinstance(name, str) else "") or DEFAULT_FILENAME
    try:
        begin = file.tell()
        size = file.seek(0, os.SEEK_END) - begin
        file.seek(begin)
    except (OSError, AttributeError):
        return Source(filename, None, False, lambda _: _read_blocks(file))

    lock = threading.Lock()  # parts are read at the same time

    def blocks(start: int) -> Iterator[bytes]:
        at = begin + start
        while True:
            with lock:
                file.seek(at)
                block = file.read(BLOCK_BYTES)
            if not block:
                return
            at += len(block)
            yield block

    def check_size() -> None:
        with lock:
            now = file.seek(0, os.SEEK_END) - begin
        if now != size:
            how = "grew" if now > size else "shrank"
            raise SourceChanged(f"{filename!r} {how} during the upload, from {size} bytes; nothing was stored")

    return Source(filename, max(size, 0), True, blocks, check_version=check_size)


def _read_path(path: str, start: int, *, opened: os.stat_result | None) -> Iterator[bytes]:
    """Read from byte `start` on. Raises `SourceChanged` if an upload would go on with another file or version."""
    with open(path, "rb", buffering=0) as file:
        if start and opened is not None:
            _require_version(path, os.fstat(file.fileno()), opened)
            file.seek(start)
        yield from _read_blocks(file)


def _require_version(path: str, now: os.stat_result, opened: os.stat_result) -> None:
    if _version(now) != _version(opened):
        raise SourceChanged(f"{os.path.basename(path)!r} was changed during the upload; nothing was stored")


def _version(stat_: os.stat_result) -> tuple[int, ...]:
    return stat_.st_dev, stat_.st_ino, stat_.st_size, stat_.st_mtime_ns


def _read_blocks(file: Readable) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block


def _slices(view: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(view), BLOCK_BYTES):
        yield view[start : start + BLOCK_BYTES]


def _checked_blocks(blocks: Iterator[bytes]) -> Iterator[bytes | memoryview]:
    for block in blocks:
        if not isinstance(block, bytes | bytearray | memoryview):
            raise TypeError(f"the iterator gave a {type(block).__name__} where bytes were expected")
        yield from _slices(memoryview(block).cast("B"))
