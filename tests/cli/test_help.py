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

FILES = GROUPS["files"]
PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def words_of(example: str) -> list[str]:
    """The words behind `filestead files` in one line of shell, as far as the next pipe."""
    parts = [part for part in shlex.split(example.replace("|", " | ")) if "=" not in part or part.startswith("-")]
    start = parts.index("filestead") + 2
    end = parts.index("|", start) if "|" in parts[start:] else len(parts)
    return parts[start:end]


EXAMPLES = [(command, line) for command in FILES for _, line in command.examples]


@pytest.mark.parametrize(
    ("command", "example"), EXAMPLES, ids=[f"{entry.name}-{at}" for at, (entry, _) in enumerate(EXAMPLES)]
)
def test_examples_parse(command: Command, example: str) -> None:
    args = ParsedArgs()
    name, *words = words_of(example)
    entry = next(entry for entry in FILES if entry.name == name)
    parse_args(words, (*entry.flags, *GLOBAL_FLAGS), args)
    assign_positionals(entry, args)
    require_flags(entry, args)


def test_every_command_has_examples() -> None:
    assert all(command.examples and command.help for command in FILES)


@pytest.mark.parametrize("command", FILES, ids=lambda command: command.name)
def test_the_help_of_a_command_is_whole(bare: CommandLine, command: Command) -> None:
    done = bare("files", command.name, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out == bare("files", command.name, "-h").out == bare("files", "--help", command.name).out
    for flag in (*command.flags, *GLOBAL_FLAGS):
        shown = re.search(
            rf"^  (-\w, )?--{re.escape(flag.name)}( {re.escape(flag.placeholder)})?(  |$)", done.out, re.MULTILINE
        )
        assert bool(shown) is not flag.help.startswith("Accepted for"), flag.name
        for choice in flag.choices or flag.suggestions:
            assert re.search(rf"\b{re.escape(choice)}\b", done.out)
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
    group = bare("files")
    assert group == bare("files", "help") == bare("files", "--help")
    for command in FILES:
        assert re.search(rf"^  files {command.name} +{command.help}$", overview.out, re.MULTILINE)
        assert re.search(rf"^  {command.name} +{command.help}$", group.out, re.MULTILINE)
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
        ("serve", "Secrets come from the environment only: FILESTEAD_BOOTSTRAP_KEY and FILESTEAD_DATABASE_URL"),
        ("keys create", "Its id, which keys revoke takes, goes to standard error."),
        (
            "verify",
            "Exit status: 0 no findings, 1 cosmetic findings, 2 leaks that a sweep repairs, 3 a violated guarantee",
        ),
        ("sweep", "A running server does so itself."),
        ("migrate", "Any number may run at once"),
        ("copy", "Stop the servers of both before."),
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
    for command in FILES:
        assert f"### filestead files {command.name}\n" in page
        assert f"```console\n{screens.usage('files', command)}\n```" in page
        for _, line in command.examples:
            assert f"```console\n{line}\n```" in page
    for flag in (*GLOBAL_FLAGS, *(flag for command in FILES for flag in command.flags)):
        assert f"| `{screens.flag_names(flag)}` |" in page
    for name in FORMATS:
        assert re.search(rf"^\| (`\w+`, )?`{name}`(, `\w+`)? \|", page, re.MULTILINE)
    for name in (*SERVER_COMMANDS, "keys create", "keys list", "keys revoke"):
        assert re.search(rf"^###+ filestead {name}$", page, re.MULTILINE)
    assert " -m " not in page
