"""The grammar: how words become values, and what is args of words that make no sense."""

import contextlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filestead.cli.client.catalog.global_flags import GLOBAL_FLAGS
from filestead.cli.client.catalog.groups import GROUPS
from filestead.cli.client.grammar.model import Command, Flag, ParsedArgs
from filestead.cli.client.grammar.parser import assign_positionals, parse_args, require_flags
from filestead.cli.client.grammar.scalars import parse_integer
from filestead.cli.errors import UsageError
from tests.cli.commandline import CommandLine

CREATE, RETRIEVE, LIST, DELETE, CONTENT = GROUPS["files"].commands


def values(command: Command, *words: str) -> dict[str, Any]:
    args = ParsedArgs()
    parse_args(words, (*command.flags, *GLOBAL_FLAGS), args)
    assign_positionals(command, args)
    return args.values


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--order asc", {"order": "asc"}),
        ("--order=asc", {"order": "asc"}),
        ("-order asc", {"order": "asc"}),
        ("-order=asc", {"order": "asc"}),
        ("--order a=b=c", {"order": "a=b=c"}),
        ("--order=a=b=c", {"order": "a=b=c"}),
        ("--order asc --order desc", {"order": "desc"}),
        ("--order=asc --limit 2 --order desc --limit=3", {"order": "desc", "limit": 3}),
        ("--after --debug", {"after": "--debug"}),
        ("--after --", {"after": "--"}),
        ("--after -", {"after": "-"}),
        ("--limit -1", {"limit": -1}),
        ("--debug", {"debug": True}),
        ("--debug=false", {"debug": False}),
        ("--debug=T --debug=0", {"debug": False}),
        ("-r", {"raw-output": True}),
        ("--raw-output", {"raw-output": True}),
        ("--format YAML", {"format": "YAML"}),
    ],
)
def test_flags(words: str, wanted: dict[str, Any]) -> None:
    assert values(LIST, *words.split()) == wanted


def test_an_empty_value_is_a_word_of_its_own() -> None:
    assert values(LIST, "--after", "") == {"after": ""}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("file-1", {"file-id": "file-1"}),
        ("file-1 --debug", {"file-id": "file-1", "debug": True}),
        ("--debug file-1", {"file-id": "file-1", "debug": True}),
        ("--file-id file-1", {"file-id": "file-1"}),
        ("--file-id=file-1 --file-id=file-2", {"file-id": "file-2"}),
        ("-- --file-1", {"file-id": "--file-1"}),
        ("--debug -- -x", {"file-id": "-x", "debug": True}),
        ("-", {"file-id": "-"}),
        ("--file-id --debug", {"file-id": "--debug"}),
    ],
)
def test_the_id_stands_where_it_likes(words: str, wanted: dict[str, Any]) -> None:
    assert values(RETRIEVE, *words.split()) == wanted


def test_short_names() -> None:
    assert values(CONTENT, "file-1", "-o", "x", "-r") == {"file-id": "file-1", "output": "x", "raw-output": True}


def test_inner_flags_set_members_and_the_last_one_wins() -> None:
    inner = ("--expires-after.seconds", "3600", "--expires-after.anchor", "created_at")
    assert values(CREATE, *inner) == {"expires-after": {"anchor": "created_at", "seconds": 3600}}
    assert values(CREATE, "--expires-after", "{seconds: 1, x: 2}", *inner) == {
        "expires-after": {"anchor": "created_at", "seconds": 3600, "x": 2}
    }
    assert values(CREATE, *inner, "--expires-after", "{seconds: 1}") == {"expires-after": {"seconds": 1}}
    assert values(CREATE, "--expires-after", "null", *inner[:2]) == {"expires-after": {"seconds": 3600}}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("7", 7),
        ("-1", -1),
        ("+5", 5),
        ("0x10", 16),
        ("0XfF", 255),
        ("-0x10", -16),
        ("0o17", 15),
        ("0O17", 15),
        ("0b101", 5),
        ("010", 8),
        ("0_10", 8),
        ("1_000", 1000),
        ("0x_1f", 31),
        ("00", 0),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("0x7fffffffffffffff", 2**63 - 1),
    ],
)
def test_integers_are_those_of_go(text: str, number: int) -> None:
    assert parse_integer(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "x",
        "1e3",
        "1.5",
        " 1",
        "1 ",
        "1_",
        "_1",
        "1__0",
        "08",
        "0_9",
        "0o8",
        "0b2",
        "0x",
        "0xg",
        "--1",
        "٣",
        "1,0",
    ],
)
def test_no_integers(text: str) -> None:
    with pytest.raises(ValueError, match="not an integer"):
        parse_integer(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "0xffffffffffffffffff"])
def test_integers_of_more_than_64_bits(text: str) -> None:
    with pytest.raises(ValueError, match="64-bit"):
        parse_integer(text)


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_integer_in_every_base(number: int) -> None:
    sign, size = ("-" if number < 0 else ""), abs(number)
    for text in (
        f"{number}",
        f"{sign}{size:_}",
        f"{sign}{size:#x}",
        f"{sign}{size:#o}",
        f"{sign}{size:#b}",
        f"{sign}0{size:o}",
    ):
        assert parse_integer(text) == number


@given(st.text(alphabet="0123456789abcdefoxXBO_+-.e ", max_size=8))
def test_whatever_is_said_is_a_number_or_refused_with_the_reason(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(values(LIST, "--limit", text)["limit"], int)
        return
    with pytest.raises(ValueError, match="not an integer"):
        parse_integer(text)


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        (LIST, "--after", "--after requires a value"),
        (LIST, "--after=", '--after requires a value (for an empty one, use --after "")'),
        (LIST, "--limit x", 'invalid value "x" for --limit: not an integer'),
        (LIST, "--limit=1.5", 'invalid value "1.5" for --limit: not an integer'),
        (LIST, "--debug=yes", 'invalid value "yes" for --debug: must be true or false'),
        (LIST, "--format xml", 'invalid value "xml" for --format: must be one of auto, explore, json,'),
        (LIST, "--ordr asc", "unknown flag --ordr; did you mean --order?"),
        (LIST, "--max-item 3", "unknown flag --max-item; did you mean --max-items?"),
        (LIST, "-formt yaml", "unknown flag -formt; did you mean --format?"),
        (LIST, "--api-kye=sk-secret", "unknown flag --api-kye; did you mean --api-key?"),
        (LIST, "--zzzzzzzzzzzz", "unknown flag --zzzzzzzzzzzz"),
        (LIST, "surplus words", "unexpected extra arguments: surplus words"),
        (RETRIEVE, "one two", "unexpected extra arguments: two"),
        (RETRIEVE, "--file-id one two", "unexpected extra arguments: two"),
        (CREATE, "--expires-after 5", 'invalid value "5" for --expires-after: must be a mapping, such as {key: '),
        (CREATE, "--expires-after {a", 'invalid value "{a" for --expires-after: not valid YAML or JSON'),
        (CREATE, "--expires-after.seconds soon", 'invalid value "soon" for --expires-after.seconds: not an integer'),
    ],
)
def test_words_that_make_no_sense(command: Command, words: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        values(command, *words.split())
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("command", "words", "missing"),
    [
        (CREATE, (), "missing required flags --file, --purpose"),
        (CREATE, ("--file", "x"), "missing required flag --purpose"),
        (RETRIEVE, (), "missing required flag --file-id"),
        (RETRIEVE, ("",), "missing required flag --file-id"),
        (CONTENT, ("-o", "x"), "missing required flag --file-id"),
        (DELETE, ("--debug",), "missing required flag --file-id"),
    ],
)
def test_required_flags(command: Command, words: tuple[str, ...], missing: str) -> None:
    args = ParsedArgs()
    parse_args(words, (*command.flags, *GLOBAL_FLAGS), args)
    assign_positionals(command, args)
    with pytest.raises(UsageError, match=missing):
        require_flags(command, args)


def test_what_is_piped_in_is_not_missing() -> None:
    require_flags(CREATE, ParsedArgs({"file": "x"}), given={"purpose"})


def test_reading_stops_at_a_word() -> None:
    args = ParsedArgs()
    rest = parse_args(["--format", "yaml", "files", "--debug"], GLOBAL_FLAGS, args, stop_at_positional=True)
    assert (rest, args.values) == (["files", "--debug"], {"format": "yaml"})


def test_names_on_the_wire() -> None:
    assert [Flag(name, "").wire_name for name in ("file-id", "purpose", "expires-after.seconds")] == [
        "file_id",
        "purpose",
        "seconds",
    ]


# --- as the program says it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("files list --limit x", ['filestead: invalid value "x" for --limit: not an integer', "files list"]),
        ("files create --purpose batch", ["filestead: missing required flag --file", "files create"]),
        ("files content", ["filestead: missing required flag --file-id", "files content"]),
        ("files --nope list", ["filestead: unknown flag --nope", "files"]),
        ("--format xml files list", ['filestead: invalid value "xml" for --format: must be one of ', "filestead"]),
        ("completion tcsh", ["filestead: expected a shell: filestead completion bash|zsh|fish", "filestead"]),
    ],
)
def test_usage_errors_say_what_and_where_to_read_on(bare: CommandLine, words: str, lines: list[str]) -> None:
    done = bare(*words.split())
    # As the official client, with a flag before the command that is not right, the help screen goes to standard output.
    assert (done.code, done.out.startswith("filestead: ")) == (1, words.startswith("--"))
    first, second = done.err.splitlines()
    assert first.startswith(lines[0])
    assert re.fullmatch(rf"Run '(filestead )?{lines[1]} --help' for flags and examples\.", second)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("file list", "unknown command 'file'; did you mean 'filestead files'?"),
        ("server", "unknown command 'server'; did you mean 'filestead serve'?"),
        ("xyzzy", "unknown command 'xyzzy'; run 'filestead --help' for a list of commands"),
        ("files retreive x", "unknown command 'retreive'; did you mean 'filestead files retrieve'?"),
        ("files xyzzy", "unknown command 'xyzzy'; run 'filestead files --help' for a list of commands"),
        ("--debug files get x", "unknown command 'get'; "),
    ],
)
def test_unknown_commands(bare: CommandLine, words: str, message: str) -> None:
    done = bare(*words.split())
    assert (done.code, done.data) == (3, b"")
    assert done.err.startswith(f"filestead: {message}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("words", [("--", "--help"), ("files", "--", "--help"), ("files", "--", "lost", "--help")])
def test_two_dashes_before_a_command_end_the_flags(bare: CommandLine, words: tuple[str, ...]) -> None:
    done = bare(*words)
    assert (done.code, done.data) == (3, b"")
    assert f"unknown command '{words[words.index('--') + 1]}'" in done.err
