"""What a run found: rows with their verdicts, as a table and as JSON."""

import os
import platform
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import psutil

from filestead import __version__

Verdict = Literal["ok", "MISSED", "not measured", "not judged", "-"]
HEADINGS = ("measure", "ours", "reference", "ratio", "goal", "verdict")


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for the median, or for the ratio of our median to the reference's."""

    bound: float
    of: Literal["ours", "ratio"] = "ours"
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """The bound itself is met."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        what = "ratio " if self.of == "ratio" else ""
        return f"{what}{'>=' if self.at_least else '<='} {_figure(self.bound)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. Without a goal it is information."""

    measure: str
    unit: str = ""
    ours: Sequence[float] = ()
    against: str = ""
    reference: Sequence[float] = ()
    goal: Goal | None = None
    note: str = ""
    problem: str = ""
    """Why the figures mean nothing, whatever they are: that is worse than a missed goal."""

    @property
    def ratio(self) -> float | None:
        """Our median to the reference's."""
        reference = median(self.reference) if self.reference else 0  # the one of a very short run may be 0, too
        return median(self.ours) / reference if self.ours and reference else None

    def verdict(self, judged: bool) -> Verdict:
        """Whether the goal is met; where goals are not `judged`, only a problem counts."""
        if self.problem:
            return "MISSED"
        if self.goal is None:
            return "-" if self.ours or self.reference else "not measured"
        value = self.ratio if self.goal.of == "ratio" else median(self.ours) if self.ours else None
        if value is None:
            return "not measured"
        if not judged:
            return "not judged"
        return "ok" if self.goal.is_met(value) else "MISSED"


def table(rows: Sequence[Row], judged: bool) -> str:
    """The rows as text, and below them what has to be said of single ones."""
    lines = [HEADINGS, *(_cells(row, judged) for row in rows)]
    widths = [max(len(cells[n]) for cells in lines) for n in range(len(HEADINGS))]
    lines.insert(1, tuple("-" * width for width in widths))
    text = ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in lines]
    remarks = [f"{row.measure}: {remark}" for row in rows for remark in (row.problem, row.note) if remark]
    return "\n".join([*text, *([""] if remarks else []), *remarks])


def _cells(row: Row, judged: bool) -> tuple[str, ...]:
    reference = f"{row.against} {_spread(row.reference, row.unit)}" if row.reference else row.against
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    goal = str(row.goal) if row.goal else ""
    return (row.measure, _spread(row.ours, row.unit), reference, ratio, goal, row.verdict(judged))


def _spread(values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{_figure(values[0])} {unit}"
    return f"{_figure(median(values))} ({_figure(min(values))}-{_figure(max(values))}) {unit}"


def _figure(value: float) -> str:
    """Three digits, and no more than the whole number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_json(rows: Sequence[Row], judged: bool) -> list[dict[str, Any]]:
    """Every single figure, for comparing runs."""
    return [
        asdict(row) | {"ratio": row.ratio, "goal": str(row.goal or ""), "verdict": row.verdict(judged)} for row in rows
    ]


def machine(directory: Path, nginx_version: str) -> dict[str, Any]:
    """What the figures depend on."""
    mounts = [mount for mount in psutil.disk_partitions(all=True) if directory.is_relative_to(mount.mountpoint)]
    return {
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average_before": os.getloadavg(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "filestead": __version__,
        "nginx": nginx_version,
        "file_system": max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else "unknown",
    }
