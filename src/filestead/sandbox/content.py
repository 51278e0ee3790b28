"""Content on its way to a sandboxed process: an open file without a name."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def memory_file(*contents: bytes) -> Iterator[int]:
    """Yield the descriptor of a file in memory that holds these contents one after the other."""
    descriptor = os.memfd_create("filestead-content", os.MFD_CLOEXEC)
    try:
        for content in contents:
            write_all(descriptor, content)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def disk_file(folder: Path | None) -> Iterator[int]:
    """Yield the descriptor of an empty file in the folder, or in the system's temporary folder."""
    with tempfile.TemporaryFile(dir=folder) as file:
        yield file.fileno()


def write_all(descriptor: int, content: bytes) -> None:
    """Append to a file."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
