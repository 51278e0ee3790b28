"""Progress bars on standard error, drawn only where somebody is watching."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filestead.cli.terminal.escaping import escape_line, unguarded_stream

ProgressCallback = Callable[[int, int | None], None]


@contextmanager
def progress_bar(title: str, *, wanted: bool) -> Iterator[ProgressCallback | None]:
    """A bar for one transfer; what it gives takes the bytes so far and their total. None if nobody is watching."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - loaded where a bar is drawn
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
