"""Checks of a data directory: links, foreign names, and entries of the wrong type, mode or owner.

Symbolic links are never followed: their target does not belong to the installation, whatever its name. Owners are
compared with the owner of the data directory, so that root may run the checks, too. These functions block.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from filestead.domain.errors import CannotStart
from filestead.domain.integrity import Violation

FILE, FOLDER, FOREIGN = "file", "folder", "foreign"
"""Types an entry may be expected to have; nothing is expected to be foreign."""

FILE_SYSTEM_ENTRIES = {"lost+found"}
"""Entries that the file system itself creates in its root. They are not checked."""

FOREIGN_EVIDENCE = "that does not belong to Filestead"

_MODES = {FILE: 0o600, FOLDER: 0o700}
_TYPES = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: FOLDER,
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
}


def require_entry_types(folder: Path, types: Mapping[str, str]) -> None:
    """Raise `CannotStart` if an entry is a link or has another type than expected. Missing entries are ignored."""
    for name, expected in types.items():
        path = folder / name
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        if _type_of(mode) != expected:
            raise CannotStart(
                f"{path} is a {_type_of(mode)} instead of a {expected}: replace it with the {expected} that belongs "
                "there (mount a separate disk, do not link to it)"
            )


def check_entry(path: Path | str, status: os.stat_result, expected: str, owner: int) -> list[Violation]:
    """Findings about one entry that should have this type and owner."""
    mode = status.st_mode
    if expected == FOREIGN:
        return [violation(path, f"a {_type_of(mode)} {FOREIGN_EVIDENCE}", "move it elsewhere")]
    if _type_of(mode) != expected:
        evidence = f"a {_type_of(mode)} instead of a {expected}"
        return [violation(path, evidence, f"replace it with the original {expected}")]
    found = []
    if stat.S_IMODE(mode) != _MODES[expected]:
        wanted = f"{_MODES[expected]:04o}"
        found.append(violation(path, f"the {expected}'s mode is not {wanted}", f"chmod {wanted} {path}"))
    if status.st_uid != owner:
        found.append(violation(path, f"owned by user {status.st_uid} instead of {owner}", f"chown {owner} {path}"))
    if expected == FILE and status.st_nlink > 1:
        evidence = f"the file has {status.st_nlink} hard links and can be changed through each of them"
        found.append(violation(path, evidence, "remove the other links, or replace the file with a copy"))
    return found


def check_folder(folder: Path, owner: int, types: Mapping[str, str]) -> Iterator[Violation]:
    """Findings about the entries of a folder; names that are not in `types` are foreign. Does not recurse."""
    for name, status in list_entries(folder):
        if name not in FILE_SYSTEM_ENTRIES:
            yield from check_entry(f"{folder}/{name}", status, types.get(name, FOREIGN), owner)


def list_entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Name and status of each entry, symbolic links not followed; none if the folder is missing or itself a link."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for name in sorted(os.listdir(folder)):
        try:
            status = os.lstat(f"{folder}/{name}")
        except FileNotFoundError:
            continue  # deleted in the meantime, for example by a sweep
        yield name, status


def violation(path: Path | str, evidence: str, remedy: str) -> Violation:
    """A finding about the layout of the data directory."""
    return Violation("I-06", "B", str(path), evidence, remedy)


def _type_of(mode: int) -> str:
    return _TYPES.get(stat.S_IFMT(mode), "device")
