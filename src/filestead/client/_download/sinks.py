"""Where a download goes: memory, a binary file object, a device, or a path. All of it may block on the disk."""

import io
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from filestead.client._download import ownfiles
from filestead.client._download.downloads import FileContent, Transfer, safe_name
from filestead.client._download.partfile import PartFile

FLUSH_BYTES = 1024 * 1024


class BinaryWritable(Protocol):
    """What a download needs of a file object."""

    def write(self, data: bytes, /) -> int | None:
        """Write some or all of it; None stands for all."""


Target = str | os.PathLike[str] | BinaryWritable | None
Saved = FileContent | Path | int
"""What the caller gets: the content, the path, or how many bytes were written into a file object."""


class Sink(Protocol):
    """Takes the chunks of one download."""

    restartable: bool
    """Whether what it took can be taken back."""

    def restart(self, etag: str | None) -> None:
        """Drop what was taken; what follows has this validator."""

    def write(self, chunk: bytes) -> None:
        """Take a chunk."""

    def leave(self, *, keep: bool) -> None:
        """The end, after a success too; `keep` if what was taken can be completed later."""


class Memory:
    """Keeps the chunks."""

    restartable = True

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def restart(self, etag: str | None) -> None:
        """Start with nothing."""
        self.chunks.clear()

    def write(self, chunk: bytes) -> None:
        """Keep it."""
        self.chunks.append(chunk)

    def leave(self, *, keep: bool) -> None:
        """Nothing to do."""


class Stream:
    """Writes into a file object; one that was opened for the download is closed at its end."""

    restartable = False

    def __init__(self, file: BinaryWritable, opened: io.FileIO | None = None) -> None:
        if isinstance(file, io.TextIOBase):
            raise TypeError('the file is open in text mode; open it in binary mode, "wb"')
        if not callable(getattr(file, "write", None)):
            raise TypeError(f"cannot download into a {type(file).__name__}: expected a path or a binary file")
        self._file = file
        self._opened = opened

    def restart(self, etag: str | None) -> None:
        """Nothing was written yet."""

    def write(self, chunk: bytes) -> None:
        """Write all of it; raw files may take less than they are given."""
        rest = memoryview(chunk)
        while rest:
            taken = self._file.write(rest)  # type: ignore[arg-type]  # every binary file takes a view
            rest = rest[len(rest) if taken is None else taken :]

    def leave(self, *, keep: bool) -> None:
        """Close what was opened."""
        if self._opened is not None:
            self._opened.close()


class Delivery:
    """One download and where it goes. `leave` it whatever happens."""

    def __init__(self, transfer: Transfer, to: Target, filename: str = "") -> None:
        """`filename` is the server's name, for a target that is a folder."""
        self.transfer = transfer
        self._path = self._resolve(to, filename, transfer.file_id)
        self._sink: Sink
        part: PartFile | None = None
        if self._path is None:
            self._sink = Memory() if to is None else Stream(to)  # type: ignore[arg-type]  # no path, so a file object
        elif _is_special(ownfiles.resolved(self._path)):
            device = io.FileIO(self._path, "w")
            self._sink = Stream(device, device)
        else:
            self._sink = part = PartFile(self._path, transfer.file_id, resume=transfer.resume)
        self._held: list[bytes] = []
        self._void = False
        transfer.restartable = self._sink.restartable
        if part is not None and part.etag is not None and part.size > 0:
            transfer.take_over(part.size, part.etag, part.digest())

    @staticmethod
    def _resolve(to: Target, filename: str, file_id: str) -> Path | None:
        if not isinstance(to, str | os.PathLike):
            return None
        path = Path(to)
        return path / safe_name(filename, file_id) if path.is_dir() else path

    def take(self, chunk: bytes | None) -> bool:
        """Keep what the transfer gave; None voids all before it. True if it is time to `flush`."""
        if chunk is None:
            self._held.clear()
            self._void = True
        elif chunk:
            self._held.append(chunk)
        return self._void or sum(map(len, self._held)) >= FLUSH_BYTES

    def flush(self) -> None:
        """Hand on what is kept; blocks."""
        if self._void:
            self._void = False
            self._sink.restart(self.transfer.etag if self.transfer.resumable else None)
        if self._held:
            block = b"".join(self._held)
            self._held.clear()
            self._sink.write(block)

    def finish(self) -> Saved:
        """Put the whole file in place and say what the caller is to get."""
        self.flush()
        if isinstance(self._sink, Memory):
            return self.transfer.content(self._sink.chunks)
        if isinstance(self._sink, PartFile):
            self._sink.commit()
        return self.transfer.position if self._path is None else self._path

    def leave(self) -> None:
        """Close; what is of use to a later download stays."""
        try:
            if self.transfer.resumable:
                self.flush()
        finally:
            self._sink.leave(keep=self.transfer.resumable)


def save(to: Target, chunks: Iterable[bytes | None], transfer: Transfer, *, filename: str = "") -> Saved:
    """Take in a whole download: `chunks` are those of `transfer`, and are first asked for when the target is open."""
    delivery = Delivery(transfer, to, filename)
    try:
        for chunk in chunks:
            if delivery.take(chunk):
                delivery.flush()
            transfer.report()
        return delivery.finish()
    finally:
        delivery.leave()


def is_folder(to: Target) -> bool:
    """Whether the target is a folder, so that the server's name is needed."""
    return isinstance(to, str | os.PathLike) and os.path.isdir(to)


def _is_special(path: Path) -> bool:
    """Whether a path is a device or a FIFO: written to, never replaced."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
