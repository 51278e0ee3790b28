"""The server half of the command line, in cyclopts: commands on the installation in FILESTEAD_DATA_DIR."""

import sys

from cyclopts import App, CycloptsError

from filestead.domain.errors import CannotStart, FilesteadError

FAILED = 1
USAGE = 2
CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: a setting or the data directory is wrong, and a restart will not mend it."""

app = App(name="filestead", version_flags=[])
for _name, _target in {
    "serve": "filestead.cli.serve:serve",
    "keys": "filestead.cli.keys:keys",
    "verify": "filestead.cli.upkeep:verify",
    "sweep": "filestead.cli.upkeep:sweep",
    "migrate": "filestead.cli.migrate:migrate",
    "copy": "filestead.cli.copy:copy",
    "healthcheck": "filestead.cli.healthcheck:healthcheck",
}.items():
    app.command(_target, name=_name)


def run(words: list[str]) -> int:
    """Run a server command and return its exit code."""
    try:
        result = app(words, exit_on_error=False, print_error=True)
    except CycloptsError:
        return USAGE
    except CannotStart as error:
        print(f"filestead: {error}", file=sys.stderr)
        return CONFIGURATION
    except FilesteadError as error:
        print(f"filestead: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0
