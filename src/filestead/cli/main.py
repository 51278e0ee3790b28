"""The `filestead` command: its tree and its exit codes. Commands are imported only when they are called."""

import sys

from cyclopts import App, CycloptsError

from filestead import __version__

HELP = """The OpenAI Files API on your own machines.

Start a server with `filestead serve`; it prints its address, the first key and what to paste next. Every command works
on the installation that FILESTEAD_DATA_DIR names (default: ./data).
"""

FAILED = 1
USAGE = 2
CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: a setting or the data directory is wrong, and a restart will not mend it."""

app = App(name="filestead", help=HELP, version=f"filestead {__version__}", version_flags=["--version", "-v"])
app.command("filestead.cli.serve:serve", name="serve", help="Serve the OpenAI Files API.")
app.command("filestead.cli.keys:keys", name="keys", help="Create, list and revoke API keys.")
app.command(
    "filestead.cli.upkeep:verify", name="verify", help="Check that every file has its bytes and nothing is left over."
)
app.command("filestead.cli.upkeep:sweep", name="sweep", help="Remove the bytes of expired and deleted files now.")


def main() -> None:
    """Run the command line and exit."""
    from filestead.domain.errors import CannotStart, FilesteadError  # noqa: PLC0415 - not for --help

    try:
        result = app(exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(USAGE)
    except CannotStart as error:
        print(f"filestead: {error}", file=sys.stderr)
        sys.exit(CONFIGURATION)
    except FilesteadError as error:
        print(f"filestead: {error}", file=sys.stderr)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()
