"""What does not belong in a data directory: links, foreign names, and files of a wrong kind, mode or owner.

Nothing is followed: what a link points to is not ours, whatever its name is. Owners are compared with that of the data
directory, so that root may look as well. These functions block.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from filestead.domain.errors import CannotStart
from filestead.domain.integrity import Violation

FILE, FOLDER, FOREIGN = "file", "folder", "foreign"
ELSEWHERE = {"lost+found"}
"""What a file system puts into its root, and what is in there."""

_MODES = {FILE: 0o600, FOLDER: 0o700}
_IS_KIND = {FILE: stat.S_ISREG, FOLDER: stat.S_ISDIR}
_OTHER_KINDS = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)


def require_own(folder: Path, kinds: Mapping[str, str]) -> None:
    """`CannotStart` if one of the names is a link or of another kind; those that are missing are another's to find."""
    for name, kind in kinds.items():
        path = folder / name
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        if not _IS_KIND[kind](mode):
            raise CannotStart(
                f"{path} is {_kind(mode)} instead of a {kind}: put what belongs there in its place (a disk of its own "
                "is mounted, not linked)"
            )


def judge(path: Path, status: os.stat_result, kind: str, owner: int) -> list[Violation]:
    """What is wrong with something that is to be of this kind."""
    mode = status.st_mode
    if kind == FOREIGN:
        return [finding(path, f"{_kind(mode)} that is not of Filestead", "move it elsewhere")]
    if not _IS_KIND[kind](mode):
        return [finding(path, f"{_kind(mode)} instead of a {kind}", "put what belongs there in its place")]
    found = []
    if stat.S_IMODE(mode) != _MODES[kind]:
        wanted = f"{_MODES[kind]:04o}"
        found.append(finding(path, f"the {kind}'s mode is not {wanted}", f"chmod {wanted} {path}"))
    if status.st_uid != owner:
        found.append(finding(path, f"it belongs to user {status.st_uid} and not to {owner}", f"chown {owner} {path}"))
    if kind == FILE and status.st_nlink > 1:
        found.append(
            finding(
                path, f"the file has {status.st_nlink} names (hard links), and can be changed under each",
                "remove the others, or put a copy in its place",
            )
        )  # fmt: skip
    return found


def look_into(folder: Path, owner: int, kind_of: Mapping[str, str]) -> Iterator[Violation]:
    """Findings about what is in a folder, by name; those below it are looked into by themselves."""
    for path, status in entries(folder):
        if path.name not in ELSEWHERE:
            yield from judge(path, status, kind_of.get(path.name, FOREIGN), owner)


def entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """What is in a folder, links unfollowed. Nothing, if the folder is not there or is itself a link."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for name in sorted(os.listdir(folder)):
        path = folder / name
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue  # gone meanwhile, as in a sweep
        yield path, status


def finding(path: Path, evidence: str, remedy: str) -> Violation:
    """A finding about the store itself."""
    return Violation("I-06", "B", str(path), evidence, remedy)


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    return next((name for is_kind, name in _OTHER_KINDS if is_kind(mode)), "a device")
