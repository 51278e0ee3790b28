"""What a process does to the files below a folder, recorded by strace: each write, name and sync with its times.

A call counts from its beginning for what may have reached the disk, and from its end for what a later sync covers.
"""

import itertools
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = 0
"""The number of the folder itself, which is there from the beginning."""
CALLS = (
    "open creat openat mkdir mkdirat rename renameat renameat2 unlink unlinkat rmdir write pwrite64 ftruncate fallocate "
    "fsync fdatasync "
    # These are recorded so that a use of them is noticed: no state is made of them.
    "link linkat symlink symlinkat writev pwritev pwritev2 truncate copy_file_range sendfile msync sync syncfs"
).split()
STRACE = (
    *("strace", "-D", "-f", "-qq", "-z", "-y", "-xx", "--seccomp-bpf", "--string-limit=1000000000"),
    *("--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns", f"--trace={','.join(CALLS)}"),
)
"""The command before its `-o FILE`. `-D` leaves the traced program as the child of the caller."""

_LINE = re.compile(r"(\d+) +(\d+)\.(\d{9}) (\w+)\((.*)\) += (\d+)(?:<[^>]*>)? <(\d+)\.(\d{9})>", re.DOTALL)
_ARGUMENT = re.compile(r'"([^"]*)"|(?:\d+|AT_FDCWD)<([^>]*)>|([^,\s]+)')
_START = re.compile(r"\d+ +\d+\.\d{9} ")
DELETED = " (deleted)"
_CALLS_ON_NAMES = "mkdir mkdirat rename renameat renameat2 unlink unlinkat rmdir".split()
_PATHS = (
    dict.fromkeys(
        "open creat mkdir unlink rmdir write pwrite64 ftruncate fallocate fsync fdatasync".split(), (1, False)
    )
    | dict.fromkeys(("openat", "mkdirat", "unlinkat"), (1, True))
    | {"rename": (2, False), "renameat": (2, True), "renameat2": (2, True)}
)
"""How many paths or open files come first, and whether each of them is a folder and a name."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one file or folder, its `target`; times in nanoseconds."""

    target: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Data(Change):
    """Bytes are written at an offset, or the file gets another size."""

    offset: int = 0
    content: bytes = b""
    size: int | None = None

    def apply(self, whole: bytearray) -> None:
        if self.size is not None:
            del whole[self.size :]
            whole += bytes(self.size - len(whole))
            return
        whole += bytes(max(0, self.offset - len(whole)))
        whole[self.offset : self.offset + len(self.content)] = self.content


@dataclass(frozen=True, slots=True)
class Name(Change):
    """An entry of the folder `target` leads to a file, or to none; both halves of a rename have one `group`."""

    name: str = ""
    file: int | None = None
    group: int = 0


@dataclass(slots=True)
class DiskLog:
    """All of it."""

    changes: list[Data | Name] = field(default_factory=list)
    syncs: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Beginning and end of each sync of a file or folder."""
    folders: set[int] = field(default_factory=lambda: {ROOT})


def read(path: Path, folder: Path) -> DiskLog:
    """Read the output of strace about everything below `folder`."""
    log = _Reader(str(folder))
    for call in _calls(path):
        log.add(*call)
    return log.log


def _calls(path: Path) -> Iterator[tuple[str, list[str | bytes], int, int, int]]:
    """Name, arguments, result, beginning and end of each call that succeeded, in the order of their ends."""
    for text in _entries(path):
        if (found := _LINE.fullmatch(text)) is None:
            continue  # a signal, or the end of a process
        _, seconds, fraction, name, arguments, result, took, took_fraction = found.groups()
        start = int(seconds + fraction)
        values: list[str | bytes] = []
        for string, descriptor, other in _ARGUMENT.findall(arguments):
            values.append(other or bytes.fromhex((string or descriptor).replace("\\x", "")))
        yield name, values, int(result), start, start + int(took + took_fraction)


def _entries(path: Path) -> Iterator[str]:
    """The lines; strace breaks the line of a call during which another process ends."""
    entry = ""
    for line in path.read_text().splitlines():
        if _START.match(line) and entry:
            yield entry
            entry = ""
        entry += line
    yield entry


class _Reader:
    def __init__(self, folder: str) -> None:
        self.log = DiskLog()
        self._folder = folder
        self._files = {folder: ROOT}
        self._positions: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._groups = itertools.count()

    def add(self, name: str, arguments: list[str | bytes], result: int, start: int, end: int) -> None:
        paths, values = _split(name, arguments)
        if not any(path == self._folder or path.startswith(f"{self._folder}/") for path in paths):
            return
        if paths[0].endswith(DELETED):
            return
        if name in ("open", "openat"):
            self._open(paths[0], str(values[0]), start, end)
        elif name in _CALLS_ON_NAMES:
            self._change_name(name, paths, start, end)
        elif name in ("fsync", "fdatasync"):
            self.log.syncs[self._files[paths[0]]].append((start, end))
        else:
            self._change_file(name, self._files.get(paths[0]), values, result, start, end)

    def _change_name(self, name: str, paths: list[str], start: int, end: int) -> None:
        if name.startswith("mkdir"):
            self.log.folders.add(self._link(paths[0], start, end))
            return
        group = next(self._groups)
        if name.startswith("rename"):
            self._name(paths[1], self._files[paths[0]], group, start, end)
        self._name(paths[0], None, group, start, end)

    def _change_file(
        self, name: str, number: int | None, values: list[str | bytes], result: int, start: int, end: int
    ) -> None:
        assert number is not None, f"no state can be made of {name}"
        match name:
            case "write":
                self._write(number, values[0], self._positions[number], result, start, end)
                self._positions[number] += result
            case "pwrite64":
                self._write(number, values[0], int(values[2]), result, start, end)
            case "ftruncate":
                self.log.changes.append(Data(number, start, end, size=int(values[0])))
            case "fallocate":  # the reserve of the database, which is empty before
                self.log.changes.append(Data(number, start, end, size=int(values[2])))
            case _:
                raise AssertionError(f"no state can be made of {name}")

    def _open(self, path: str, flags: str, start: int, end: int) -> None:
        if path not in self._files:
            if "O_CREAT" not in flags:
                return  # was there before, like the folder above
            self._link(path, start, end)
        elif "O_TRUNC" in flags:
            self.log.changes.append(Data(self._files[path], start, end, size=0))
        self._positions[self._files[path]] = 0

    def _link(self, path: str, start: int, end: int) -> int:
        number = next(self._numbers)
        self._name(path, number, next(self._groups), start, end)
        return number

    def _name(self, path: str, number: int | None, group: int, start: int, end: int) -> None:
        folder, _, name = path.rpartition("/")
        self.log.changes.append(Name(self._files[folder], start, end, name, number, group))
        if number is None:
            del self._files[path]
        else:
            self._files[path] = number

    def _write(self, number: int, content: str | bytes, offset: int, count: int, start: int, end: int) -> None:
        assert isinstance(content, bytes)
        self.log.changes.append(Data(number, start, end, offset, content[:count]))


def _split(name: str, arguments: list[str | bytes]) -> tuple[list[str], list[str | bytes]]:
    """The paths that a call is about, and its other arguments."""
    if name not in _PATHS:
        paths = [argument for argument in arguments if isinstance(argument, bytes)]
        return [os.fsdecode(path) for path in paths], arguments[len(paths) :]
    count, pairs = _PATHS[name]
    width = 2 if pairs else 1
    found = [b"/".join(map(_bytes, arguments[index : index + width])) for index in range(0, count * width, width)]
    # The path of a folder goes before a relative one only.
    return [os.fsdecode(path[path.find(b"//") + 1 :]) for path in found], arguments[count * width :]


def _bytes(value: str | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value
