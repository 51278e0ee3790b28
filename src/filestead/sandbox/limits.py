"""The limits of one task."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may use."""

    memory_bytes: int = 256 * MIB
    """Address space above that of the fork server, which shares its memory with the task."""
    cpu_seconds: int = 120
    wall_seconds: float = 300.0
    """Time that the reader of the results waits for the task, in all; the time of a slow reader does not count."""
    output_bytes: int = 256 * MIB
    """Results in all, with a few bytes for each frame."""
    frame_bytes: int = 16 * MIB
    """One result: the reader holds one in memory."""
