"""The `filestead` command: its tree and its exit codes. What a command needs is loaded when it is called.

The client half (`files ...`) speaks the grammar of the official command line, the server half that of cyclopts.
"""

import importlib
import os
import signal
import sys
from typing import NoReturn

from filestead import __version__
from filestead.cli.client import help as screens
from filestead.cli.client.commands import GLOBAL_FLAGS, GROUPS, SERVER_COMMANDS, SYNONYMS, TOOLS, TOP_SYNONYMS
from filestead.cli.client.grammar import Command, UnknownCommand, UsageError, Words, read
from filestead.cli.signals import die_of, stopped_by_ctrl_c

FAILED = 1
UNKNOWN_COMMAND = 3
"""As the official command line has it; any other failure of a client command is 1."""


def main() -> NoReturn:
    """Run the command line and exit."""
    _hold_standard_files()
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run a command and return its exit code."""
    try:
        return _dispatch(words)
    except UsageError as error:
        name = " ".join(["filestead", *[word for word in words[:2] if word in _names()]])
        print(f"filestead: {error}\nRun '{name} --help' for flags and examples.", file=sys.stderr)
        return FAILED
    except UnknownCommand as error:
        print(f"filestead: {error}", file=sys.stderr)
        return UNKNOWN_COMMAND


def _dispatch(words: list[str]) -> int:
    said = Words()
    if words[:1] and words[0] in {"--version", "-v", "-V", "-version"}:
        print(f"filestead {__version__}")
        return 0
    rest = read(words, GLOBAL_FLAGS, said, stop_at_word=True)
    name = rest[0] if rest else "help"
    if said.help or name == "help":
        print(screens.overview(), end="")
        return 0
    if name in SERVER_COMMANDS:
        return _server_command(words)
    if name in TOOLS or name == "__complete":
        from filestead.cli import completion  # noqa: PLC0415 - seldom wanted

        return completion.run(name, rest[1:])
    if name not in GROUPS:
        raise UnknownCommand("filestead", name, [*GROUPS, *SERVER_COMMANDS, *TOOLS, "--version"], TOP_SYNONYMS)
    return _client_command(name, rest[1:], said)


def _client_command(name: str, words: list[str], said: Words) -> int:
    rest = read(words, GLOBAL_FLAGS, said, stop_at_word=True)
    if not rest or rest[0] == "help":
        print(screens.group(name), end="")
        return 0
    command = next((entry for entry in GROUPS[name] if entry.name == rest[0]), None)
    if command is None:
        raise UnknownCommand(f"filestead {name}", rest[0], [entry.name for entry in GROUPS[name]], SYNONYMS)
    read(rest[1:], (*command.flags, *GLOBAL_FLAGS), said)
    if said.help:
        print(screens.command(name, command), end="")
        return 0
    return _run(command, said)


def _run(command: Command, said: Words) -> int:
    """Run a client command. A failure is a line on standard error; the server's error object goes to the other."""
    module, _, function = command.run.partition(":")
    from filestead.cli.client import hints  # noqa: PLC0415 - not for --help
    from filestead.cli.client.connection import Refused  # noqa: PLC0415
    from filestead.cli.client.output import Failed, Output  # noqa: PLC0415
    from filestead.cli.client.terminal import guard  # noqa: PLC0415
    from filestead.client.errors import APIConnectionError, FilesteadError  # noqa: PLC0415

    guard()
    try:
        getattr(importlib.import_module(module), function)(command, said)
    except Refused as error:
        print(error, file=sys.stderr)
        hints.show(hints.for_status(error, said))
        if error.error is not None:
            Output(said, "").error(error.error)
    except BrokenPipeError:
        die_of(signal.SIGPIPE)
    except KeyboardInterrupt:
        die_of(signal.SIGINT)
    except OSError as error:
        print(f"filestead: {_reason(error)}", file=sys.stderr)
        hints.show(hints.for_file(error, said))
    except APIConnectionError as error:
        print(f"filestead: {error}", file=sys.stderr)
        hints.show(hints.for_connection(error))
    except (Failed, FilesteadError) as error:
        print(f"filestead: {error}", file=sys.stderr)
    except RecursionError:
        print("filestead: the answer is JSON of too many levels to be shown", file=sys.stderr)
    else:
        return 0
    return FAILED


def _server_command(words: list[str]) -> int:
    try:
        from filestead.cli.admin import commands  # noqa: PLC0415 - loads the server's libraries
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "filestead":
            raise
        print(
            f"filestead: this command needs the server's libraries, and {error.name} is not installed; "
            "install them with: pip install 'filestead[server]'",
            file=sys.stderr,
        )
        return FAILED
    try:
        return commands.run(words)
    except KeyboardInterrupt:
        stopped_by_ctrl_c()


def _names() -> set[str]:
    return {*GROUPS, *SERVER_COMMANDS, "revoke", *(entry.name for group in GROUPS.values() for entry in group)}


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def _hold_standard_files() -> None:
    """Put /dev/null in the place of a closed standard file, or the next connection or file would take its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # Results that go nowhere are a failure: this end of /dev/null cannot be written.
            os.open(os.devnull, os.O_RDONLY if name == "stdout" else os.O_RDWR)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


if __name__ == "__main__":
    main()
