"""The server command that a command line names."""

from collections.abc import Callable
from functools import partial

from filestead.cli.admin.failures import exit_status
from filestead.cli.admin.serving import read_plain_flags, serve


def find_command(words: list[str]) -> Callable[[], int]:
    """The command, which returns its exit status. It raises `UsageError` and `UnknownCommand`, where it is not one.

    `serve` with plain flags starts without cyclopts: loading and asking it takes a tenth of a start. Whatever is not
    plain, a mistake or a call for help among it, is left to cyclopts.
    """
    if words[0] == "serve" and (flags := read_plain_flags(words[1:])) is not None:
        return partial(exit_status, partial(serve, flags))
    from filestead.cli.admin import app  # noqa: PLC0415 - loads cyclopts

    return partial(app.run, words)
