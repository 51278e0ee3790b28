"""A small file system of its own (the fixture `disk`), which a test can fill."""

import contextlib
import os
from pathlib import Path

MIB = 2**20
DISK = 48 * MIB
"""Bytes."""


def fill(place: Path) -> Path:
    """Leave not a byte of the disk."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for step in (MIB, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * step)
    assert os.statvfs(place).f_bavail == 0
    return ballast
