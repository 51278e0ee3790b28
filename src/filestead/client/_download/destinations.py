"""Where a download is written: memory, a binary file object, a device, or a path. Methods may block on the disk."""

import io
import os
import stat
from pathlib import Path
from typing import Protocol

from filestead.client._download import owned_files
from filestead.client._download.download import Chunk, Download, FileContent, ResponseAction
from filestead.client._download.filenames import safe_filename
from filestead.client._download.partial_file import PartialFile

FLUSH_BYTES = 1024 * 1024


class BinaryWritable(Protocol):
    """The interface that a download requires of a file object."""

    def write(self, data: bytes, /) -> int | None:
        """Write some or all of `data` and return how much; None means all."""


Destination = str | os.PathLike[str] | BinaryWritable | None
Saved = FileContent | Path | int
"""What `download_file` returns: the content, the path, or how many bytes were written into a file object."""


class Sink(Protocol):
    """Stores the bytes of one download."""

    restartable: bool
    """Whether the bytes already written can be discarded."""

    def restart(self, etag: str | None) -> None:
        """Discard the bytes already written; those that follow have this validator."""

    def write(self, data: bytes) -> None:
        """Append all of `data`."""

    def close(self, *, keep_partial: bool) -> None:
        """Close, also after a success; `keep_partial` if a later download can continue the bytes written."""


class MemorySink:
    """Keeps the bytes in memory."""

    restartable = True

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def restart(self, etag: str | None) -> None:
        self.chunks.clear()

    def write(self, data: bytes) -> None:
        self.chunks.append(data)

    def close(self, *, keep_partial: bool) -> None:
        pass


class FileObjectSink:
    """Writes into a file object; `opened` is one that the download has opened and closes at its end."""

    restartable = False

    def __init__(self, file: BinaryWritable, opened: io.FileIO | None = None) -> None:
        if isinstance(file, io.TextIOBase):
            raise TypeError('the file is open in text mode; open it in binary mode, "wb"')
        if not callable(getattr(file, "write", None)):
            raise TypeError(f"cannot download into a {type(file).__name__}: expected a path or a binary file")
        self._file = file
        self._opened = opened

    def restart(self, etag: str | None) -> None:
        """Do nothing: it is called before the first byte only."""

    def write(self, data: bytes) -> None:
        """Write all of `data`; a raw file may write less than that in one call."""
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest)  # type: ignore[arg-type]  # every binary file takes a view
            rest = rest[len(rest) if written is None else written :]

    def close(self, *, keep_partial: bool) -> None:
        """Close what was opened."""
        if self._opened is not None:
            self._opened.close()


class OpenDestination:
    """The open destination of one download; it must be closed, after a success too."""

    def __init__(self, download: Download, to: Destination, filename: str = "") -> None:
        """`filename` is the server's name for the file, used if `to` is a directory."""
        self.download = download
        self._path = Path(to) if isinstance(to, str | os.PathLike) else None
        if self._path is not None and self._path.is_dir():
            self._path /= safe_filename(filename, download.file_id)
        self._sink: Sink
        if self._path is None:
            self._sink = MemorySink() if to is None else FileObjectSink(to)  # type: ignore[arg-type]  # no path, so a file object
        elif _is_special(owned_files.resolve_path(self._path)):
            device = io.FileIO(self._path, "w")
            self._sink = FileObjectSink(device, device)
        else:
            self._sink = partial = PartialFile(self._path, download.file_id, resume=download.resume)
            if partial.etag is not None and partial.size > 0:
                download.resume_from(partial.size, partial.etag, partial.digest())
        self._buffer: list[bytes] = []
        self._restarting = False
        download.restartable = self._sink.restartable

    def add(self, chunk: Chunk) -> bool:
        """Buffer a chunk, without blocking. Returns True if the buffer must be flushed."""
        if chunk is ResponseAction.RESTART:
            self._buffer.clear()
            self._restarting = True
        elif chunk:
            self._buffer.append(chunk)
        return self._restarting or sum(map(len, self._buffer)) >= FLUSH_BYTES

    def flush(self) -> None:
        """Write the buffered chunks."""
        if self._restarting:
            self._restarting = False
            self._sink.restart(self.download.etag if self.download.resumable else None)
        if self._buffer:
            data = b"".join(self._buffer)
            self._buffer.clear()
            self._sink.write(data)

    def commit(self) -> Saved:
        """Put the complete file in place."""
        self.flush()
        if isinstance(self._sink, MemorySink):
            return self.download.content(self._sink.chunks)
        if isinstance(self._sink, PartialFile):
            self._sink.commit()
        return self.download.position if self._path is None else self._path

    def close(self) -> None:
        """Close; bytes that a later download can continue are kept."""
        try:
            if self.download.resumable:
                self.flush()
        finally:
            self._sink.close(keep_partial=self.download.resumable)


def is_directory(to: Destination) -> bool:
    """Whether `to` is a directory, so that the server's name for the file is needed."""
    return isinstance(to, str | os.PathLike) and os.path.isdir(to)


def _is_special(path: Path) -> bool:
    """Whether a path is a device or a FIFO, which is written to and never replaced."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
