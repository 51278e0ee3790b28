"""The progress of a batch on standard error: a bar with rate and time left on a terminal, else a line now and then."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filestead.cli.client.commands.batch_requests import BatchView
from filestead.cli.terminal.escaping import escape_line, unguarded_stream

Report = Callable[[BatchView], None]
LINE_SECONDS = 30.0
"""Without a terminal, a line is printed at every change of the state and so often."""
_WINDOW = 60.0
"""Seconds over which the rate is measured."""


class Pace:
    """Lines per second over the last minute, and the time left."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, done: int) -> None:
        """Record that so many lines are done."""
        self._samples.append((now, done))
        while len(self._samples) > 2 and self._samples[1][0] <= now - _WINDOW:
            self._samples.popleft()

    @property
    def rate(self) -> float:
        """Lines per second; 0 if nothing is known."""
        if len(self._samples) < 2:
            return 0.0
        (start, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - start) if end > start else 0.0

    def describe(self, batch: BatchView) -> str:
        """`12 of 100 lines, 1 failed, 3.4 lines/s, 26 s left`."""
        if not batch.total:
            return ""
        parts = [f"{batch.completed + batch.failed:,} of {batch.total:,} lines"]
        if batch.failed:
            parts.append(f"{batch.failed:,} failed")
        rate, left = self.rate, batch.total - batch.completed - batch.failed
        seconds = batch.seconds_left if batch.seconds_left is not None else left / rate if rate else None
        if rate:
            parts.append(f"{rate:,.1f} lines/s")
        if seconds is not None and batch.status == "in_progress":
            parts.append(f"{format_duration(seconds)} left")
        if batch.paused:
            parts.append(f"waits for {escape_line(batch.paused)}")
        return ", ".join(parts)


def format_duration(seconds: float) -> str:
    """`2 h 5 min`, `3 min 20 s` or `8 s`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


@contextmanager
def batch_progress(*, enabled: bool) -> Iterator[Report]:
    """Show the progress; yields what each batch that was retrieved is passed to."""
    if not enabled:
        yield lambda batch: None
    elif sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        yield _lines()


def _lines() -> Report:
    pace, printed, shown = Pace(), -LINE_SECONDS, ("", "")

    def report(batch: BatchView) -> None:
        nonlocal printed, shown
        now = time.monotonic()
        pace.add(now, batch.completed + batch.failed)
        state = batch.status, batch.paused or ""
        if state != shown or now - printed >= LINE_SECONDS:
            printed, shown = now, state
            text = pace.describe(batch)
            print(f"{batch.id} {batch.status}{f': {text}' if text else ''}", file=sys.stderr, flush=True)

    return report


@contextmanager
def _bar() -> Iterator[Report]:
    from rich.console import Console  # noqa: PLC0415 - slow to load
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    pace = Pace()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[details]}", markup=False),
    )
    console = Console(file=unguarded_stream(sys.stderr))
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        task = progress.add_task("", total=None, details="")

        def report(batch: BatchView) -> None:
            done = batch.completed + batch.failed
            pace.add(time.monotonic(), done)
            progress.update(
                task,
                description=escape_line(f"{batch.id} {batch.status}"),
                completed=done,
                total=batch.total or None,
                details=pace.describe(batch),
            )

        yield report
