"""Progress bars on standard error, drawn only where somebody is watching."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filestead.cli.client.terminal import unguarded, visible_line

Report = Callable[[int, int | None], None]


@contextmanager
def bar(title: str, *, wanted: bool) -> Iterator[Report | None]:
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
    with Progress(*columns, console=Console(file=unguarded(sys.stderr)), transient=True) as progress:
        task = progress.add_task(visible_line(title), total=None)

        def report(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        yield report
