"""Memory and processor time of a process, from /proc; None where there is no such process, or no /proc."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def memory_bytes(process: int) -> float | None:
    """Resident memory."""
    fields = _read(process, "statm")
    return None if fields is None else float(int(fields.split()[1]) * _PAGE)


def cpu_seconds(process: int) -> float | None:
    """Time in user and kernel mode."""
    fields = _read(process, "stat")
    if fields is None:
        return None
    user, kernel = fields.rpartition(")")[2].split()[11:13]  # the name before may contain anything
    return (int(user) + int(kernel)) / _TICKS


def _read(process: int, name: str) -> str | None:
    try:
        return Path(f"/proc/{process}/{name}").read_text()
    except OSError:
        return None
