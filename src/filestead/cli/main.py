"""The `filestead` command: dispatch and exit statuses. The modules of a command are imported when it is called.

The client commands (`files ...`, `uploads ...`) use the grammar of the official command line, the server commands
that of cyclopts.
"""

import gc
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from filestead import __version__
from filestead.cli.client.catalog.global_flags import GLOBAL_FLAGS
from filestead.cli.client.catalog.groups import GROUPS
from filestead.cli.client.grammar.model import Command, ParsedArgs
from filestead.cli.client.grammar.parser import parse_args
from filestead.cli.command_names import (
    GROUP_SYNONYMS,
    HELP_WORDS,
    SERVER_COMMANDS,
    SHELL_COMMANDS,
    TOP_LEVEL_SYNONYMS,
)
from filestead.cli.errors import CommandError, UnknownCommand, UsageError
from filestead.cli.terminal.signals import exit_on_ctrl_c, terminate_by_signal

if TYPE_CHECKING:
    from filestead.cli.client.output import Output

EXIT_FAILURE = 1
EXIT_UNKNOWN_COMMAND = 3
"""As in the official command line; any other failure of a client command is 1."""


def main() -> NoReturn:
    """Run the command line and exit."""
    _replace_closed_standard_files()
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
        if "obstore" in sys.modules:
            # A thread of the driver that asks for the interpreter while it ends aborts the process.
            os._exit(status)
    except BrokenPipeError:  # The reader has enough, as in `list | head`.
        terminate_by_signal(signal.SIGPIPE)
    except KeyboardInterrupt:
        terminate_by_signal(signal.SIGINT)
    sys.exit(status)


def run(argv: list[str]) -> int:
    """Run a command and return its exit status."""
    try:
        return _dispatch(argv)
    except UsageError as error:
        name = " ".join(["filestead", *[word for word in argv[:2] if word in _command_names()]])
        print(f"filestead: {error}\nRun '{name} --help' for flags and examples.", file=sys.stderr)
        return EXIT_FAILURE
    except UnknownCommand as error:
        print(f"filestead: {error}", file=sys.stderr)
        return EXIT_UNKNOWN_COMMAND


def _dispatch(argv: list[str]) -> int:
    args = ParsedArgs()
    if argv[:1] and argv[0] in {"--version", "-v", "-V", "-version"}:
        print(f"filestead {__version__}")
        return 0
    try:
        rest = parse_args(argv, GLOBAL_FLAGS, args, stop_at_positional=True)
        _require_scheme(args.get("base-url"))
    except UsageError:
        _print_overview()  # As the official client does.
        raise
    name = rest[0] if rest else "help"
    if args.help or name == "help":
        _print_overview()
        return 0
    if name in SERVER_COMMANDS:
        return _run_server_command(argv)
    if name in SHELL_COMMANDS or name == "__complete":
        from filestead.cli import completion  # noqa: PLC0415 - rarely needed

        return completion.run(name, rest[1:])
    if name not in GROUPS:
        raise UnknownCommand(
            "filestead", name, [*GROUPS, *SERVER_COMMANDS, *SHELL_COMMANDS, "--version"], TOP_LEVEL_SYNONYMS
        )
    return _dispatch_client_command(name, rest[1:], args)


def _require_scheme(base_url: str | None) -> None:
    if base_url and not base_url.startswith(("http://", "https://")):
        raise UsageError(f'--base-url "{base_url}" is missing a scheme (expected http:// or https://)')


def _print_overview() -> None:
    from filestead.cli.help import overview_screen  # noqa: PLC0415 - needed only here

    print(overview_screen(), end="", flush=True)


def _dispatch_client_command(name: str, argv: list[str], args: ParsedArgs) -> int:
    rest = parse_args(argv, GLOBAL_FLAGS, args, stop_at_positional=True)
    if not rest or rest[0] in HELP_WORDS:
        from filestead.cli.help import group_screen  # noqa: PLC0415 - needed only here

        print(group_screen(name), end="")
        return 0
    commands = {command.name: command for command in GROUPS[name].commands}
    command = commands.get(rest[0])
    if command is None:
        raise UnknownCommand(f"filestead {name}", rest[0], commands, GROUP_SYNONYMS)
    parse_args(rest[1:], (*command.flags, *GLOBAL_FLAGS), args)
    if args.help:
        from filestead.cli.help import command_screen  # noqa: PLC0415 - needed only here

        print(command_screen(command), end="")
        return 0
    return _run_client_command(command, args)


def _run_client_command(command: Command, args: ParsedArgs) -> int:
    """Run a client command. A failure is one line on standard error; an error object goes to standard output."""
    module, _, function = command.handler.partition(":")
    from filestead.cli.client import error_hints  # noqa: PLC0415 - not for --help
    from filestead.cli.client.connection import StatusError  # noqa: PLC0415
    from filestead.cli.client.output import Output  # noqa: PLC0415
    from filestead.cli.terminal.escaping import guard_standard_streams  # noqa: PLC0415
    from filestead.client.errors import APIConnectionError, FilesteadError  # noqa: PLC0415

    guard_standard_streams()
    try:
        getattr(importlib.import_module(module), function)(command, args)
    except StatusError as error:
        print(error, file=sys.stderr)
        error_hints.print_hint(error_hints.for_status(error, args))
        if error.error is not None:
            _print_error_object(Output(args, ""), error.error)
    except BrokenPipeError:
        raise  # Not a failure of a file.
    except OSError as error:
        print(f"filestead: {_describe_os_error(error)}", file=sys.stderr)
        error_hints.print_hint(error_hints.for_file(error, args))
    except APIConnectionError as error:
        print(f"filestead: {error}", file=sys.stderr)
        error_hints.print_hint(error_hints.for_connection(error))
    except CommandError as error:
        print(f"filestead: {error}", file=sys.stderr)
        return error.exit_status
    except FilesteadError as error:
        print(f"filestead: {error}", file=sys.stderr)
        return int(getattr(error, "exit_status", EXIT_FAILURE))
    except RecursionError:
        print("filestead: the response is JSON that is nested too deeply to be displayed", file=sys.stderr)
    else:
        return 0
    return EXIT_FAILURE


def _print_error_object(output: "Output", text: str) -> None:
    try:
        output.print_error(text)
    except (CommandError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        print(f"filestead: the error object cannot be displayed: {reason}", file=sys.stderr)


def _run_server_command(argv: list[str]) -> int:
    if argv[0] == "serve":
        # Nearly all objects of a start stay: the collection, which a ready server enables, would take a tenth of it.
        gc.disable()
    try:
        from filestead.cli.admin.commands import find_command  # noqa: PLC0415 - loads the server's libraries

        command = find_command(argv)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "filestead":
            raise
        print(
            f"filestead: this command requires the server libraries, but {error.name} is not installed; "
            "install them with: pip install 'filestead[server]'",
            file=sys.stderr,
        )
        return EXIT_FAILURE
    try:
        return command()
    except KeyboardInterrupt:
        exit_on_ctrl_c()


def _command_names() -> set[str]:
    names = {command.name for group in GROUPS.values() for command in group.commands}
    return {*GROUPS, *SERVER_COMMANDS, "revoke", *names}


def _describe_os_error(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename is not None else reason


def _replace_closed_standard_files() -> None:
    """Open /dev/null for a closed standard stream, whose descriptor the next file or connection would get otherwise."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # Opened read-only for standard output, so that printing a result fails.
            os.open(os.devnull, os.O_RDONLY if name == "stdout" else os.O_RDWR)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


if __name__ == "__main__":
    main()
