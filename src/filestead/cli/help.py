"""The help screens of `filestead` and of the client commands, generated from the command tables."""

import textwrap
from collections.abc import Iterable

from filestead.cli.client.catalog.global_flags import GLOBAL_FLAGS
from filestead.cli.client.catalog.groups import GROUPS
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
            *((command.title, command.help) for command in GROUPS["files"].commands),
            *((f"{name} COMMAND", group.help) for name, group in GROUPS.items() if name != "files"),
        ]),
        *_section("Server commands, for the data in FILESTEAD_DATA_DIR (default ./data)", SERVER_COMMANDS.items()),
        *_section("Shell", [("completion SHELL", SHELL_COMMANDS["completion"]), ("--version", "Print the version")]),
        *_section("Flags of every client command", map(_flag_row, documented(GLOBAL_FLAGS))),
        *_examples([
            ("Start a server; it prints its first API key", "filestead serve"),
            ("Upload a file", "OPENAI_API_KEY=sk-... filestead files create --file data.jsonl --purpose batch"),
        ]),
        "More: filestead COMMAND --help",
        "",
    ])  # fmt: skip


def group_screen(name: str) -> str:
    """`filestead files --help`."""
    group = GROUPS[name]
    return "\n".join([
        f"filestead {name}: {group.help}",
        "",
        f"Usage: filestead {name} COMMAND [flags]",
        "",
        *_section("Commands", [(command.name, command.help) for command in group.commands]),
        *_related_groups(name),
        *_examples(group.examples),
        f"More: filestead {name} COMMAND --help",
        "",
    ])  # fmt: skip


def _related_groups(name: str) -> list[str]:
    """The groups of the same resource and its parts, if there are any."""
    resource = name.partition(":")[0]
    related = [other for other in GROUPS if other != name and other.partition(":")[0] == resource]
    return _section("See also", [(other, GROUPS[other].help) for other in related]) if related else []


def command_screen(command: Command) -> str:
    """`filestead files create --help`."""
    return "\n".join([
        f"filestead {command.title}: {command.help}",
        "",
        f"Usage: {usage(command)}",
        "",
        *([*textwrap.wrap(command.description, WIDTH), ""] if command.description else []),
        *_section("Flags", map(_flag_row, command.flags)),
        *_section("Flags of every client command", map(_flag_row, documented(GLOBAL_FLAGS))),
        *_examples(command.examples),
    ])  # fmt: skip


def usage(command: Command) -> str:
    """The usage line of a command."""
    words = ["filestead", command.title]
    for flag in command.flags:
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
    if flag.repeatable:
        notes.append("may be repeated")
    if flag.required:
        notes.append("required")
    return "; ".join(notes)


def documented(flags: Iterable[Flag]) -> list[Flag]:
    """The flags that do something; the others are accepted since the official command line has them."""
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
