"""The help screens of `filestead` and of the client commands, generated from the command tables."""

import textwrap
from collections.abc import Iterable

from filestead.cli.client.catalog.files import FILE_COMMANDS
from filestead.cli.client.catalog.global_flags import GLOBAL_FLAGS
from filestead.cli.client.catalog.groups import GROUP_HELP, GROUPS
from filestead.cli.client.grammar.model import Command, Flag
from filestead.cli.command_names import SERVER_COMMANDS, SHELL_COMMANDS

WIDTH = 100


def overview_screen() -> str:
    """`filestead --help`: client and server commands."""
    return "\n".join([
        "filestead: the OpenAI Files API on your own machines",
        "",
        "Usage: filestead COMMAND [flags]",
        "",
        *_section("Client commands, for this or any other OpenAI-compatible server", [
            (f"files {command.name}", command.help) for command in FILE_COMMANDS
        ]),
        *_section("Server commands, for the data in FILESTEAD_DATA_DIR (default ./data)", SERVER_COMMANDS.items()),
        *_section("Shell", [("completion SHELL", SHELL_COMMANDS["completion"]), ("--version", "Print the version")]),
        *_section("Flags of every client command", map(_flag_row, _documented(GLOBAL_FLAGS))),
        *_examples([
            ("Start a server; it prints its first API key", "filestead serve"),
            ("Upload a file", "OPENAI_API_KEY=sk-... filestead files create --file data.jsonl --purpose batch"),
        ]),
        "More: filestead COMMAND --help",
        "",
    ])  # fmt: skip


def group_screen(name: str) -> str:
    """`filestead files --help`."""
    return "\n".join([
        f"filestead {name}: {GROUP_HELP[name]}",
        "",
        f"Usage: filestead {name} COMMAND [flags]",
        "",
        *_section("Commands", [(command.name, command.help) for command in GROUPS[name]]),
        f"More: filestead {name} COMMAND --help",
        "",
    ])  # fmt: skip


def command_screen(name: str, entry: Command) -> str:
    """`filestead files create --help`."""
    return "\n".join([
        f"filestead {name} {entry.name}: {entry.help}",
        "",
        f"Usage: {usage(name, entry)}",
        "",
        *([*textwrap.wrap(entry.description, WIDTH), ""] if entry.description else []),
        *_section("Flags", map(_flag_row, entry.flags)),
        *_section("Flags of every client command", map(_flag_row, _documented(GLOBAL_FLAGS))),
        *_examples(entry.examples),
    ])  # fmt: skip


def usage(name: str, entry: Command) -> str:
    """The usage line of a command."""
    words = ["filestead", name, entry.name]
    for flag in entry.flags:
        if flag.required:
            words.append(flag.placeholder if flag.location == "path" else f"--{flag.name} {flag.placeholder}")
    return " ".join([*words, "[flags]"])


def flag_names(flag: Flag) -> str:
    """`-o, --output PATH`."""
    names = (f"-{flag.short}, " if flag.short else "") + f"--{flag.name}"
    return names if flag.kind == "switch" else f"{names} {flag.placeholder}"


def flag_help(flag: Flag) -> str:
    """The help text of a flag with its choices and its environment variable."""
    notes = [flag.help]
    if len(choices := flag.choices or flag.suggestions) > 1:
        notes.append(f"one of {', '.join(choices)}")
    if flag.env_var:
        notes.append(f"default: ${flag.env_var}")
    if flag.required:
        notes.append("required")
    return "; ".join(notes)


def _documented(flags: Iterable[Flag]) -> list[Flag]:
    return [flag for flag in flags if not flag.help.startswith("Accepted for")]


def _flag_row(flag: Flag) -> tuple[str, str]:
    return flag_names(flag), flag_help(flag)


def _section(title: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    entries = list(rows)
    width = min(max((len(name) for name, _ in entries), default=0), 34) + 4
    lines = [f"{title}:"]
    for name, text in entries:
        prefix = f"  {name}".ljust(width)
        wrapped = textwrap.wrap(text, WIDTH - width)
        if len(prefix) > width:
            lines.append(prefix)
            prefix = " " * width
        lines.append(prefix + wrapped[0])
        lines.extend(" " * width + line for line in wrapped[1:])
    return [*lines, ""]


def _examples(examples: Iterable[tuple[str, str]]) -> list[str]:
    lines = ["Examples:"]
    for text, line in examples:
        lines += [f"  # {text}", f"  {line}", ""]
    return lines
