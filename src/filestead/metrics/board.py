"""Values of metrics in memory that all server processes of a machine share: one section for each process.

The memory is anonymous and mapped before the processes are forked, so it needs no file and ends with the server. A
process that replaces a dead one continues its section, so no count is lost. Only the process of a section writes to it.

Layout of a section, in doubles: doubles in use, process id, starts; then entries, each of them the number of bytes of
its key, the number of its values, the key padded to whole doubles, and the values. Entries are only appended.
"""

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass

SECTION_BYTES = 1024 * 1024
"""More than the table can fill (a test adds it up); pages that are not used take no memory."""

DOUBLE = 8
USED, PROCESS, STARTS, HEADER = range(4)


class Section:
    """The values of one process."""

    def __init__(self, values: "memoryview[float]") -> None:
        self.values = values

    def adopt(self) -> dict[str, int]:
        """Own the section in this process; return the positions of the values that a process before has left."""
        self.values[USED] = max(self.values[USED], float(HEADER))
        self.values[PROCESS] = float(os.getpid())
        self.values[STARTS] += 1
        return self.positions()

    def positions(self) -> dict[str, int]:
        """The positions of the values of each series."""
        return {entry.key: entry.position for entry in _entries(self.values, int(self.values[USED]))}

    def append(self, key: str, count: int) -> int | None:
        """Append an entry of `count` zeros; return the position of its values, or None if the section is full."""
        name = key.encode()
        used = int(self.values[USED])
        first = used + 2 + -(-len(name) // DOUBLE)
        if first + count > len(self.values):
            return None
        self.values[used] = float(len(name))
        self.values[used + 1] = float(count)
        raw = self.values.cast("B")
        raw[(used + 2) * DOUBLE : (used + 2) * DOUBLE + len(name)] = name
        self.values[USED] = float(first + count)  # last: readers see whole entries only
        return first


@dataclass(frozen=True, slots=True)
class Entry:
    """A series in a section: its key, the position of its first value, and how many there are."""

    key: str
    position: int
    count: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of a section."""

    number: int
    process: int
    starts: int
    series: dict[str, tuple[float, ...]]


class Board:
    """The sections of all processes."""

    def __init__(self, sections: int = 1) -> None:
        self._memory = mmap.mmap(-1, sections * SECTION_BYTES)
        values = memoryview(self._memory).cast("d")
        size = SECTION_BYTES // DOUBLE
        self.sections = [Section(values[number * size : (number + 1) * size]) for number in range(sections)]

    def read(self) -> list[Snapshot]:
        """Copy all sections that a process has adopted. May be called in any process."""
        sections = enumerate(self.sections)
        return [_snapshot(number, section.values) for number, section in sections if section.values[STARTS]]


def _snapshot(number: int, values: "memoryview[float]") -> Snapshot:
    # Asked once: entries appended while the section is copied raise it, also in the copy.
    used = int(values[USED])
    copy = memoryview(bytes(values[:used])).cast("d")
    series = {entry.key: tuple(copy[entry.position : entry.position + entry.count]) for entry in _entries(copy, used)}
    return Snapshot(number, int(copy[PROCESS]), int(copy[STARTS]), series)


def _entries(values: "memoryview[float]", used: int) -> Iterator[Entry]:
    raw = values.cast("B")
    position = HEADER
    while position < used:
        length, count = int(values[position]), int(values[position + 1])
        start = (position + 2) * DOUBLE
        first = position + 2 + -(-length // DOUBLE)
        yield Entry(bytes(raw[start : start + length]).decode(), first, count)
        position = first + count
