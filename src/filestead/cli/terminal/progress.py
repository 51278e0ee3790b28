"""Progress bars on standard error, shown only if it is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filestead.cli.terminal.escaping import escape_line, unguarded_stream

ProgressCallback = Callable[[int, int | None], None]


@contextmanager
def progress_bar(title: str, *, enabled: bool) -> Iterator[ProgressCallback | None]:
    """Show a progress bar. Yields a callback for the bytes so far and their total, or None if no bar is shown."""
    if not enabled or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to load
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=unguarded_stream(sys.stderr)), transient=True) as progress:
        task = progress.add_task(escape_line(title), total=None)

        def report(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        yield report
