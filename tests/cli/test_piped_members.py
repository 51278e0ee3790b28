"""Members that are piped in as YAML or JSON: what they set, how they merge with flags, and which are refused."""

from pathlib import Path
from typing import Any

import pytest

from filestead.cli.client import operations
from filestead.cli.client.catalog.global_flags import GLOBAL_FLAGS
from filestead.cli.client.catalog.groups import GROUPS
from filestead.cli.client.grammar.model import ParsedArgs
from filestead.cli.client.grammar.parser import parse_args
from filestead.cli.client.grammar.yaml_reader import parse_yaml
from filestead.cli.client.request_bodies import form_body
from filestead.cli.errors import CommandError, UsageError
from filestead.client._upload.multipart import FilePart
from tests.cli.commandline import CommandLine
from tests.cli.stub import Stub

LIST = ("files", "list")
CREATE = ("files", "create", "--file", "x", "--purpose", "batch")


def resolve(*words: str, piped: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The flags and the members of the body after members were piped in."""
    group, name, *rest = words
    command = next(command for command in GROUPS[group].commands if command.name == name)
    args = ParsedArgs()
    parse_args(rest, (*command.flags, *GLOBAL_FLAGS), args)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "read_piped_body", lambda: piped)
        members = operations.resolve_args(command, args)
    return args.values, members


# --- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({"limit": 5}, {"limit": 5}),
        ({"limit": "0x10"}, {"limit": 16}),
        ({"limit": 5.0}, {"limit": 5}),
        ({"limit": 123456.0}, {"limit": 123456}),
        ({"limit": "1_0"}, {"limit": 10}),
        ({"limit": "-0b11"}, {"limit": -3}),
        ({"after": 1.5}, {"after": "1.5"}),
        ({"after": 1e6}, {"after": "1e+06"}),
        ({"after": {}}, {"after": "{}"}),
        ({"after": [0.00001, 1e-7]}, {"after": "[0.00001,1e-7]"}),
        ({"after": ""}, {"after": ""}),
        ({"after": 12}, {"after": "12"}),
        ({"after": True}, {"after": "true"}),
        ({"after": None}, {"after": "null"}),
        ({"after": ["a", {"b": "<"}]}, {"after": '["a",{"b":"\\u003c"}]'}),
        ({"nobody": "abc"}, {}),
    ],
)
def test_parameters_are_read_as_the_text_of_a_flag(members: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert resolve(*LIST, piped=members)[0] == wanted


@pytest.mark.parametrize(
    "value", ["abc", 1.5, True, None, [1], {"a": 1}, 2**63, "", float("inf"), 1e6, "1.0", " 1", "1e3"]
)
def test_a_parameter_of_the_wrong_type(value: Any) -> None:
    with pytest.raises(UsageError, match="invalid value for limit on standard input: "):
        resolve(*LIST, piped={"limit": value})


def test_a_flag_wins_over_a_parameter_of_any_type() -> None:
    assert resolve(*LIST, "--limit", "3", piped={"limit": "abc"})[0] == {"limit": 3}


def test_nothing_is_sent(stubbed: CommandLine, stub: Stub) -> None:
    done = stubbed(*LIST, stdin=b"limit: abc")
    assert (done.code, stub.requests) == (1, [])
    assert "filestead: invalid value for limit on standard input: not an integer\n" in done.err


# --- inner members --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "piped", "wanted"),
    [
        (("--expires-after.anchor", "a"), {"seconds": 3600}, {"anchor": "a", "seconds": 3600}),
        (("--expires-after.seconds", "1"), {"anchor": "b"}, {"anchor": "b", "seconds": 1}),
        (("--expires-after", "{anchor: a}"), {"seconds": 2}, {"anchor": "a", "seconds": 2}),
        (("--expires-after.seconds", "1"), {"seconds": 2}, {"seconds": 2}),
        (("--expires-after.seconds", "1"), {"x": 2}, {"seconds": 1}),
        ((), {"seconds": "0x10", "anchor": 5, "x": 1}, {"seconds": 16, "anchor": "5", "x": 1}),
        (("--expires-after", "null"), {"seconds": 2}, {"seconds": 2}),
        (("--expires-after", "null"), {"x": 2}, {}),
        (("--expires-after.seconds", "1"), "text", {"seconds": 1}),
        ((), "text", "text"),
        ((), None, None),
    ],
)
def test_inner_members_merge(flags: tuple[str, ...], piped: Any, wanted: Any) -> None:
    assert resolve(*CREATE, *flags, piped={"expires_after": piped})[1]["expires_after"] == wanted


@pytest.mark.parametrize("value", ["abc", 1.5, None, [3600]])
def test_an_inner_member_of_the_wrong_type(value: Any) -> None:
    with pytest.raises(UsageError, match=r"invalid value for expires_after\.seconds on standard input: not an integer"):
        resolve(*CREATE, piped={"expires_after": {"seconds": value}})


def test_a_mapping_without_inner_flags_is_replaced() -> None:
    words = ("vector-stores", "create", "--metadata", "{a: '1'}")
    assert resolve(*words, piped={"metadata": {"b": "2"}})[1] == {"metadata": {"a": "1"}}


def test_null_stays_null_in_json() -> None:
    words = ("vector-stores", "update", "vs_1", "--expires-after", "null")
    assert resolve(*words, piped={"expires_after": {"days": 1}})[1] == {"expires_after": None}


# --- files ----------------------------------------------------------------------------------------------------------


def parts_of(members: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(part.name, part.source.filename if isinstance(part, FilePart) else None)
            for part in form_body(members, {"file"})]  # fmt: skip


def test_lists_of_files(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    paths = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    assert parts_of({"file": paths}) == [("file[]", "a.txt"), ("file[]", "b.txt")]
    assert parts_of({"file": [paths[0], 3, ""]}) == [("file[]", "a.txt"), ("file[]", None), ("file[]", None)]
    with pytest.raises(FileNotFoundError):
        parts_of({"file": [paths[0], "none.txt"]})


@pytest.mark.parametrize("prefix", ["@", "@file://", "@data://"])
def test_files_in_other_fields_keep_their_name(tmp_path: Path, prefix: str) -> None:
    (tmp_path / "a.txt").write_text("x")
    reference = f"{prefix}{tmp_path}/a.txt"
    assert parts_of({"note": reference, "deep": {"x": [reference]}}) == [("deep[x][]", "a.txt"), ("note", "a.txt")]


@pytest.mark.parametrize("word", ["@nobody", "\\@nobody.txt"])
def test_words_that_are_no_references(word: str) -> None:
    assert parts_of({"note": word}) == [("note", None)]


@pytest.mark.parametrize("reference", ["@./none", "@file://none", "@data://none"])
def test_references_to_nothing(reference: str) -> None:
    with pytest.raises(FileNotFoundError):
        parts_of({"note": reference})


@pytest.mark.parametrize("name", ["a\nb.txt", "a\rb.txt", "\x1f", "a\x7f"])
def test_names_that_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    for member in ("file", "note"):
        with pytest.raises(CommandError, match="contains control characters; rename the file"):
            parts_of({member: f"{'@' if member == 'note' else ''}{tmp_path}/{name}"})


def test_a_tab_in_a_name_is_sent(tmp_path: Path) -> None:
    (tmp_path / "a\tb").write_text("x")
    assert parts_of({"file": f"{tmp_path}/a\tb"}) == [("file", "a\tb")]


# --- the document ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\n---\nb: 2\n",
        "{a: 1}\n{b: 2}\n",
        "{a: 1} x",
        '{"a":1},',
        "a: 1\n...\nb: 2\n",
        "[1]\n[2]",
        "--- 1\n--- 2\n",
    ],
)
def test_more_than_one_document(text: str) -> None:
    with pytest.raises(ValueError, match="not valid YAML or JSON"):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("---\na: 1\n", {"a": 1}), ("a: 1\n...\n", {"a": 1}), ("{a: 1} # end\n", {"a": 1}), ("", None), ("# x\n", None)],
)
def test_one_document(text: str, value: Any) -> None:
    assert parse_yaml(text) == value


def test_a_second_document_is_not_sent(stubbed: CommandLine, stub: Stub) -> None:
    done = stubbed(*LIST, stdin=b"limit: 1\n---\nlimit: 2\n")
    assert (done.code, stub.requests) == (1, [])
    assert "cannot read request members from standard input" in done.err
