"""Help screens and docs/cli.md: whole, true to the grammar, and the page as it is written from the tables."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from filestead.cli import help as screens
from filestead.cli.client.catalog.global_flags import FORMATS, GLOBAL_FLAGS
from filestead.cli.client.catalog.groups import GROUPS
from filestead.cli.client.grammar.model import Command, ParsedArgs
from filestead.cli.client.grammar.parser import assign_positionals, parse_args, require_flags
from filestead.cli.command_names import SERVER_COMMANDS
from tests.cli.commandline import CommandLine

COMMANDS = [command for group in GROUPS.values() for command in group.commands]
PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def words_of(example: str) -> list[str]:
    """The words behind `filestead` in one line of shell, as far as the next pipe."""
    parts = shlex.split(example.replace(" | ", " '|' "))
    start = parts.index("filestead") + 1
    end = parts.index("|", start) if "|" in parts[start:] else len(parts)
    return parts[start:end]


EXAMPLES = [line for entry in (*COMMANDS, *GROUPS.values()) for _, line in entry.examples]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_parse(example: str) -> None:
    args = ParsedArgs()
    group, name, *words = words_of(example)
    command = next(command for command in GROUPS[group].commands if command.name == name)
    parse_args(words, (*command.flags, *GLOBAL_FLAGS), args)
    assign_positionals(command, args)
    require_flags(command, args)


def test_every_command_has_examples() -> None:
    assert all(entry.examples and entry.help for entry in (*COMMANDS, *GROUPS.values()))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.title)
def test_the_help_of_a_command_is_whole(bare: CommandLine, command: Command) -> None:
    done = bare(*command.title.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out == bare(*command.title.split(), "-h").out == bare(command.group, "--help", command.name).out
    for flag in (*command.flags, *GLOBAL_FLAGS):
        shown = re.search(
            rf"^  (-\w, )?--{re.escape(flag.name)}( {re.escape(flag.placeholder)})?(  |$)", done.out, re.MULTILINE
        )
        assert bool(shown) is not flag.help.startswith("Accepted for"), flag.name
        for choice in flag.choices or flag.suggestions:
            assert re.search(rf"(?<!\w){re.escape(choice)}\b", done.out)
    for text, line in command.examples:
        assert f"  # {text}\n  {line}\n" in done.out
    lines = done.out.replace("\n".join(line for _, line in command.examples), "").splitlines()
    assert all(
        len(line) <= screens.WIDTH
        for line in lines
        if not any(line.strip() == example for _, example in command.examples)
    )


def test_the_overview_and_the_group_name_every_command(bare: CommandLine) -> None:
    overview = bare("--help")
    assert overview == bare("help") == bare() == bare("-h")
    assert overview.code == 0
    for name, group in GROUPS.items():
        screen = bare(name)
        assert screen == bare(name, "help") == bare(name, "--help")
        for command in group.commands:
            assert re.search(rf"^  {command.name} +{re.escape(command.help)}$", screen.out, re.MULTILINE)
        for text, line in group.examples:
            assert f"  # {text}\n  {line}\n" in screen.out
        rows = [command.title for command in group.commands] if name == "files" else [f"{name} COMMAND"]
        assert all(re.search(rf"^  {row}( |$)", overview.out, re.MULTILINE) for row in rows)
    for name in SERVER_COMMANDS:
        assert re.search(rf"^  {name} ", overview.out, re.MULTILINE)


def test_help_needs_no_valid_settings(bare: CommandLine) -> None:
    assert bare("files", "list", "--help", env={"OPENAI_BASE_URL": "nonsense"}).code == 0


def test_the_server_half_has_its_help(bare: CommandLine) -> None:
    done = bare("keys", "--help")
    assert done.code == 0
    assert "Usage: filestead keys COMMAND" in done.out


@pytest.mark.parametrize(
    ("name", "taught"),
    [
        (
            "serve",
            "Secrets come from the environment only: FILESTEAD_BOOTSTRAP_KEY, FILESTEAD_DATABASE_URL and FILESTEAD_UPSTREAM_API_KEY",
        ),
        ("keys create", "Its id, which keys revoke takes, goes to standard error."),
        (
            "verify",
            "Exit status: 0 no findings, 1 cosmetic findings, 2 leaks that a sweep repairs, 3 a violated guarantee",
        ),
        ("verify", "filestead verify --repair --yes"),
        ("scrub", "A run that is interrupted, or ends by --max-seconds, is continued by the next one"),
        ("sweep", "A running server does so itself."),
        ("migrate", "Any number may run at once"),
        ("copy", "Stop the servers of both before."),
        ("backup", "The backup has every file that was uploaded before it began"),
        ("restore", "A data directory whose restoration was interrupted cannot be served"),
        ("upstreams", "Exit status: 0 if all can be used, 1 if one cannot be reached"),
        ("healthcheck", "exit status 0 if it can, 1 if not"),
    ],
)
def test_what_the_help_of_the_server_half_teaches(bare: CommandLine, name: str, taught: str) -> None:
    done = bare(*name.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert taught in " ".join(done.out.split())


def test_the_page_is_as_the_tables_have_it() -> None:
    done = subprocess.run([sys.executable, "-m", "filestead.cli.docs"], capture_output=True, check=True, timeout=60)
    assert done.stdout.decode() == PAGE.read_text(), "run `make docs`"


def test_the_page_names_everything() -> None:
    page = PAGE.read_text()
    for command in COMMANDS:
        assert f"### filestead {command.title}\n" in page
        assert f"```console\n{screens.usage(command)}\n```" in page
        for _, line in command.examples:
            assert f"```console\n{line}\n```" in page
    for flag in (*GLOBAL_FLAGS, *(flag for command in COMMANDS for flag in command.flags)):
        assert f"| `{screens.flag_names(flag)}` |" in page
    for name in FORMATS:
        assert re.search(rf"^\| (`\w+`, )?`{name}`(, `\w+`)? \|", page, re.MULTILINE)
    for name in (*SERVER_COMMANDS, "keys create", "keys list", "keys revoke"):
        assert re.search(rf"^###+ filestead {name}$", page, re.MULTILINE)
    assert " -m " not in page
