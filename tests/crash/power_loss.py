"""What a power failure may leave of recorded changes of a disk.

Everything that a sync covers is there. Of the rest, a file system keeps what it likes: each sector has one of the
contents that it had since the last sync, each name leads where it led at one of these times, and a size is one of the
sizes. A rename is done as a whole, but its old name may come back. A file system with a journal keeps names in their
order, and syncs the earlier ones with each sync; one without keeps them in any order, and syncs the entries of a folder
only with that folder.
"""

import bisect
import os
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.crash.disk_log import ROOT, Data, DiskLog, Name

SECTOR = 512
Names = Literal["lost", "kept", "any", "journal"]
Contents = Literal["lost", "kept", "any", "torn"]


@dataclass(frozen=True, slots=True)
class Loss:
    """What becomes of changes that no sync covers: of names, and of contents."""

    names: Names
    contents: Contents


WORST = Loss("lost", "lost")
LOSSES = tuple(Loss(names, contents) for names in ("lost", "kept", "any", "journal") for contents in ("lost", "kept", "any", "torn"))  # type: ignore[arg-type]  # fmt: skip


class PowerLoss:
    """States of the disk after a power failure at some moment (ns)."""

    def __init__(self, log: DiskLog) -> None:
        self._log = log
        ends = sorted((start, end) for syncs in log.syncs.values() for start, end in syncs)
        self._journal = _SyncTimes(ends)
        self._syncs = {target: _SyncTimes(sorted(syncs)) for target, syncs in log.syncs.items()}
        self._none = _SyncTimes([])

    def state(self, moment: int, loss: Loss, dice: random.Random) -> dict[str, bytes | None]:
        """Content by path, and None for folders, below the recorded folder."""
        begun = [change for change in self._log.changes if change.start < moment]
        names = self._names([change for change in begun if isinstance(change, Name)], moment, loss, dice)
        data: dict[int, list[Data]] = defaultdict(list)
        for change in begun:
            if isinstance(change, Data):
                data[change.target].append(change)
        tree: dict[str, bytes | None] = {}
        folders = [("", ROOT)]
        for path, folder in folders:
            for name, file in names[folder].items():
                if file in self._log.folders:
                    tree[path + name] = None
                    folders.append((f"{path}{name}/", file))
                else:
                    tree[path + name] = self._content(data[file], moment, loss, dice)
        return tree

    def _is_synced(self, change: Data | Name, moment: int) -> bool:
        return self._syncs.get(change.target, self._none).first_end(change.end) <= moment

    def _names(
        self, changes: list[Name], moment: int, loss: Loss, dice: random.Random
    ) -> defaultdict[int, dict[str, int]]:
        synced = [self._is_synced(change, moment) for change in changes]
        journaled = [self._journal.first_end(change.end) <= moment for change in changes]
        length = dice.randint(sum(journaled), len(changes))
        # A rename of which one half is durable has been done: the file has its new name, and maybe the old one, too.
        done = {change.group for change, safe in zip(changes, synced, strict=True) if safe}
        coins: dict[int, bool] = {}
        found: defaultdict[int, dict[str, int]] = defaultdict(dict)
        for index, (change, safe) in enumerate(zip(changes, synced, strict=True)):
            keep = safe or (change.group in done and change.file is not None)
            match loss.names:
                case "kept":
                    keep = True
                case "journal":
                    keep = keep or index < length
                case "any" if change.file is None:
                    keep = keep or (coins.get(change.group, True) and dice.random() < 0.5)
                case "any":
                    keep = coins[change.group] = keep or dice.random() < 0.5
            if not keep:
                continue
            if change.file is not None:
                found[change.target][change.name] = change.file
            else:
                found[change.target].pop(change.name, None)
        return found

    def _content(self, changes: list[Data], moment: int, loss: Loss, dice: random.Random) -> bytes:
        whole = bytearray()
        synced = 0
        for number, change in enumerate(changes, 1):
            if self._is_synced(change, moment):
                synced = number
        for change in changes[:synced]:
            change.apply(whole)
        left = changes[synced:]
        if not left or loss.contents == "lost":
            return bytes(whole)
        versions = [bytes(whole)]
        for change in left:
            change.apply(whole)
            versions.append(bytes(whole))
        match loss.contents:
            case "kept":
                return versions[-1]
            case "torn":  # a prefix of what was written, and of the next change some sectors
                number = dice.randint(0, len(left))
                versions = versions[number : number + 2]
        return _mixed(versions, _touched(left), dice)


class _SyncTimes:
    """Of syncs in the order of their beginnings: when what ended at some time was synced."""

    def __init__(self, syncs: list[tuple[int, int]]) -> None:
        self._starts = [start for start, _ in syncs]
        self._ends = [end for _, end in syncs]
        for index in range(len(self._ends) - 2, -1, -1):
            self._ends[index] = min(self._ends[index], self._ends[index + 1])

    def first_end(self, time: int) -> float:
        index = bisect.bisect_left(self._starts, time)
        return self._ends[index] if index < len(self._ends) else float("inf")


def _touched(changes: Iterable[Data]) -> set[int]:
    """The sectors that were written."""
    sectors: set[int] = set()
    for change in changes:
        sectors.update(range(change.offset // SECTOR, (change.offset + len(change.content) - 1) // SECTOR + 1))
    return sectors


def _mixed(versions: list[bytes], sectors: set[int], dice: random.Random) -> bytes:
    """Each sector of one version, and the size of one; a sector that its version does not have is zeros."""
    size = len(dice.choice(versions))
    whole = bytearray(versions[-1][:size].ljust(size, b"\0"))
    for sector in sectors:
        start = sector * SECTOR
        if start < size:
            end = min(size, start + SECTOR)
            whole[start:end] = dice.choice(versions)[start:end].ljust(end - start, b"\0")
    return bytes(whole)


def build(tree: dict[str, bytes | None], folder: Path) -> None:
    """Write a state in place of an earlier one, whose folders stay where they are needed again."""
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(os.path.join(parent, name))
        for name in folders:
            path = os.path.join(parent, name)
            if tree.get(os.path.relpath(path, folder), b"") is not None:
                os.rmdir(path)
    folder.mkdir(exist_ok=True)
    for path, content in tree.items():
        place = folder / path
        if content is None:
            place.mkdir(mode=0o700, exist_ok=True)
            continue
        descriptor = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, content.rstrip(b"\0"))
            os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)
