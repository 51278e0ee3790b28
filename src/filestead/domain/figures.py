"""The state of an installation in figures: what projects use, what waits to be swept, jobs, batches, uploads."""

from dataclasses import dataclass
from typing import Protocol

MAX_PROJECTS = 100
"""Projects that are named, those with the most bytes; the others are one sum."""

MAX_COUNTED = 100_000
"""No backlog is counted beyond this, so that a figure never costs more than a bounded read."""


@dataclass(frozen=True, slots=True)
class ProjectUsage:
    """Bytes of one project; those of all projects that are not named are under `other`."""

    project_id: str
    used: int
    reserved: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that waits: its kind and state, how many there are, and seconds since the oldest could be done."""

    kind: str
    state: str
    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class UnfinishedBatches:
    """The batches of one status that have not ended."""

    status: str
    count: int
    oldest_seconds: float
    """Since the first of them got the status."""
    lines_left: int = 0
    deadline_seconds: float | None = None
    """To the nearest end of a completion window; negative if it has passed."""
    remaining_seconds: float | None = None
    """That the slowest one takes at its present pace; None if none has a pace."""
    slack_seconds: float | None = None
    """By which the tightest one ends before its deadline at its present pace; None if none has a pace."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one moment."""

    projects: list[ProjectUsage]
    sweep: list[Waiting]
    """Of the kinds `blobs` and `files`."""
    jobs: list[Waiting]
    """By kind, in the states `due`, `delayed`, `running` and `dead`."""
    batches: list[UnfinishedBatches]
    pending_uploads: int
    """Uploads in parts that are neither completed nor cancelled."""


class FiguresRepository(Protocol):
    """Reads the figures."""

    async def read(self) -> Figures:
        """Read them by the database's clock. Raises `DatabaseUnavailable`."""
