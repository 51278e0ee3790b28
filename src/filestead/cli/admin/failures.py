"""Exit statuses of the server commands."""

from collections.abc import Callable

from filestead.cli.terminal.streams import warn
from filestead.domain.errors import CannotStart, DomainError

EXIT_FAILURE = 1
EXIT_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: a setting or the data directory is wrong, and a restart will not mend it."""


def exit_status(command: Callable[[], object]) -> int:
    """Run a command and return its exit status; a failure is one line on standard error."""
    try:
        result = command()
    except CannotStart as error:
        warn(str(error))
        return EXIT_CONFIGURATION
    except DomainError as error:
        warn(str(error))
        return EXIT_FAILURE
    return result if isinstance(result, int) else 0
