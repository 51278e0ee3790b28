"""Values: YAML 1.2 and JSON, `@path`, and what can be piped in."""

import base64
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filestead.cli.client.grammar.scalars import format_float, format_scalar
from filestead.cli.client.grammar.values import expand_file_reference, parse_mapping, referenced_path
from filestead.cli.client.grammar.yaml_reader import parse_yaml
from filestead.cli.client.request_bodies import json_text
from tests.cli.commandline import CommandLine

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcé \"'\\{:#", max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("2024-01-02", "2024-01-02"),
        ("1:30", "1:30"),
        ("1e3", "1e3"),
        ("=", "="),
        ("truely", "truely"),
        ("nullable", "nullable"),
        ("~/data.jsonl", "~/data.jsonl"),
        (r'"\ud83e\udd8a"', "🦊"),
        ("{<<: x}", {"<<": "x"}),
        ("a: &x {k: 1, z: 0}\nb:\n  <<: *x\n  z: 2", {"a": {"k": 1, "z": 0}, "b": {"k": 1, "z": 2}}),
        ("{z: 2, <<: {k: 1, z: 0}}", {"k": 1, "z": 2}),
        ("{'<<': {k: 1}}", {"<<": {"k": 1}}),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("12", 12),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 15),
        ("0b11", 3),
        ("1_000", 1000),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("-.INF", -math.inf),
        ("+.inf", "+.inf"),
        ("1.5e3", 1500.0),
        ("1.0e-05", 0.00001),
        ("1.e2", 100.0),
        ("1.0e400", "1.0e400"),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", "18446744073709551616"),
        ("-9223372036854775808", -(2**63)),
        ("-9223372036854775809", "-9223372036854775809"),
        ("99999999999999999999999999", "99999999999999999999999999"),
        ("0x", "0x"),
        ("0X1f", "0X1f"),
        ("08", "08"),
        ("0_7", 7),
        ("_1", "_1"),
        ("1_", 1),
        ("+5", 5),
        ("-0", 0),
        ("1.2.3", "1.2.3"),
        ("1,000", "1,000"),
        ('"12"', "12"),
        ("'yes'", "yes"),
        ("[1, a, null]", [1, "a", None]),
        ("a: {b: [true]}", {"a": {"b": [True]}}),
        ("1: x", {"1": "x"}),
        ("true: x", {"true": "x"}),
        ("{a: &x {k: 1}, b: *x}", {"a": {"k": 1}, "b": {"k": 1}}),
        ("", None),
        ("# nothing", None),
    ],
)
def test_yaml_1_2(text: str, value: Any) -> None:
    found = parse_yaml(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("value", "in_form", "in_json", "printed"),
    [
        (2.0, "2", "2", "2"),
        (0.5, "0.5", "0.5", "0.5"),
        (1e6, "1000000", "1000000", "1e+06"),
        (123456.0, "123456", "123456", "123456"),
        (1234567.5, "1234567.5", "1234567.5", "1.2345675e+06"),
        (0.0001, "0.0001", "0.0001", "0.0001"),
        (1e-5, "0.00001", "0.00001", "1e-05"),
        (1e-6, "0.000001", "0.000001", "1e-06"),
        (1.5e-7, "0.00000015", "1.5e-7", "1.5e-07"),
        (1e20, "1" + "0" * 20, "1" + "0" * 20, "1e+20"),
        (1e21, "1" + "0" * 21, "1e+21", "1e+21"),
        (-1e100, "-1" + "0" * 100, "-1e+100", "-1e+100"),
        (0.0, "0", "0", "0"),
        (-0.0, "-0", "-0", "-0"),
    ],
)
def test_floats_are_spelled_as_by_the_official_client(value: float, in_form: str, in_json: str, printed: str) -> None:
    assert format_scalar(value) == in_form
    assert json_text(value) == in_json
    assert format_float(value) == printed
    for text in (in_form, in_json, printed):
        assert float(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{\n\t"a": 1\n}', {"a": 1}),
        ('{"a":\t1}', {"a": 1}),
        ('{\t"a"\t:\t1\t,\t"b": [\t1,\t2\t]\t}\t', {"a": 1, "b": [1, 2]}),
        ('[\r\n\t1,\r\n\t{\r\n\t\t"a": "b\tc"\r\n\t}\r\n]\r\n', [1, {"a": "b\tc"}]),
        ("a: {\n\tb: c\n}", {"a": {"b": "c"}}),
        ("a:\tb", {"a": "b"}),
        ("a: b\t\nc: 1\t# d", {"a": "b", "c": 1}),
        ("-\ta\t\n- b", ["a", "b"]),
        ("a: 1\n\t\n \t # c\nb: 2", {"a": 1, "b": 2}),
        ("a: |\n  x\ty\n  \tz", {"a": "x\ty\n\tz"}),
        ("null: 1", {"null": 1}),
        ("{~: 1, 1.0e+10: 2, 0.5: 3}", {"null": 1, "1e+10": 2, "0.5": 3}),
    ],
)
def test_tabs_and_keys(text: str, value: Any) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("!!binary aGk=", "aGk="),
        ("!!binary |\n  aG\n  k=\n", "aGk="),
        ("!!str 5", "5"),
        ("!!str null", "null"),
        ('!!int "5"', 5),
        ('!!float "1.5"', 1.5),
        ('!!bool "True"', True),
        ("!!bool yes", True),
        ("!!bool OFF", False),
        ("!!null x", None),
        ("!!map {x: 1}", {"x": 1}),
        ("!!seq [1]", [1]),
    ],
)
def test_tags(text: str, value: Any) -> None:
    assert parse_yaml(text) == value
    json_text(value)


@pytest.mark.parametrize(
    "text",
    [
        *("!!timestamp 2024-01-02", "!!set {x}", "!!omap [x: 1]", "!!pairs [x: 1]", "!!bool 5", "!!bool [true]"),
        *("!!map [1]", "!!map x", "!!seq {x: 1}", "!!str [1]", "!!binary {x: 1}", "!custom x", "!!python/none x"),
    ],
)
def test_tags_that_json_cannot_spell(text: str) -> None:
    with pytest.raises(ValueError, match="not valid YAML or JSON"):
        parse_yaml(f"a: {text}")


@pytest.mark.parametrize("text", ["a:\n\tb: c", "a:\n \tb: c", "\t- x", "a: 1\n\tb: 2", "- a\n\t- b"])
def test_tabs_do_not_indent_blocks(text: str) -> None:
    with pytest.raises(ValueError, match="not valid YAML or JSON"):
        parse_yaml(text)


@given(JSON)
def test_json_that_is_indented_by_tabs_is_yaml(value: Any) -> None:
    assert parse_yaml(json.dumps(value, indent="\t")) == value


def test_nan_is_a_number() -> None:
    assert math.isnan(parse_yaml(".nan"))


@given(JSON)
def test_json_is_yaml(value: Any) -> None:
    assert parse_yaml(json.dumps(value)) == value


@given(
    st.text(
        st.characters(
            min_codepoint=32, max_codepoint=0x3000, exclude_characters=[chr(code) for code in range(127, 160)]
        )
    )
)
def test_json_that_is_not_escaped_is_yaml(text: str) -> None:
    assert parse_yaml(json.dumps({"k": text}, ensure_ascii=False)) == {"k": text}


@pytest.mark.parametrize(
    "text", ["{a: 1, a: 2}", "a: 1\nb: {c: 1, c: 2}", '{"a": 1, a: 2}', "[{x: 1, x: 1}]", "1: a\n'1': b"]
)
def test_a_member_stands_once(text: str) -> None:
    with pytest.raises(ValueError, match="duplicate key"):
        parse_yaml(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "{",
        "a: b: c",
        "\t- x",
        "!!python/object:os.system {}",
        "*nowhere",
        "a: \x00",
        "[" * 5000,
        "? {a: 1}\n: 2",
        "&a {b: *a}",
        "&a [*a]",
    ],
)
def test_bad_yaml_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(ValueError, match="^not valid YAML or JSON: .{5,}"):
        parse_yaml(text)


def test_the_reason_names_the_place() -> None:
    with pytest.raises(ValueError, match="line 2, column 5"):
        parse_yaml("a: 1\nb: [}")


@pytest.mark.parametrize(("text", "value"), [("", None), ("null", None), ("{}", {}), ("{a: 1}", {"a": 1})])
def test_mappings(text: str, value: Any) -> None:
    assert parse_mapping(text) == value


@pytest.mark.parametrize("text", ["5", "text", "[1]", "true"])
def test_no_mappings(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be a mapping, such as \{key: value\}"):
        parse_mapping(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (5, "5"),
        (1.0, "1"),
        (1.5, "1.5"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        ("x", "x"),
    ],
)
def test_scalars_as_forms_and_queries_spell_them(value: Any, text: str) -> None:
    assert format_scalar(value) == text


def test_not_a_number_is_spelled_too() -> None:
    assert format_scalar(math.nan) == "NaN"


def test_files_in_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("word").write_text("wörd\n")
    Path("bytes.bin").write_bytes(b"\x00\xff")
    assert (
        expand_file_reference("@word")
        == expand_file_reference("@./word")
        == expand_file_reference("@file://word")
        == expand_file_reference(f"@{tmp_path}/word")
        == "wörd\n"
    )
    for text in ("@data://bytes.bin", "@bytes.bin"):
        assert expand_file_reference(text) == base64.b64encode(b"\x00\xff").decode()
    assert expand_file_reference("@file://bytes.bin").encode("utf-8", "surrogateescape") == b"\x00\xff"
    assert referenced_path("@word") == Path("word")


def test_what_only_looks_like_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("@nobody", "nobody@example.org", "", "@"):
        assert (expand_file_reference(text), referenced_path(text)) == (text, None)
    assert expand_file_reference("\\@word") == "@word"
    assert expand_file_reference("\\word") == "\\word"


def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("@none.txt", "@./none", "@data://none.bin"):
        with pytest.raises(FileNotFoundError):
            expand_file_reference(text)


# --- piped in, against the server -----------------------------------------------------------------------------------


def test_a_value_from_a_file_reaches_the_server(cli: CommandLine) -> None:
    (cli.folder / "order.txt").write_text("sideways")
    done = cli("files", "list", "--order", "@order.txt")
    assert done.code == 1
    assert "'sideways' is not one of" in json.loads(done.out)["message"]
    missing = cli("files", "list", "--order", "@none.txt")
    assert (missing.code, missing.err) == (1, "filestead: none.txt: No such file or directory\n")


@pytest.mark.parametrize(
    "body",
    [
        b"purpose: user_data\nexpires_after:\n  anchor: created_at\n  seconds: 3_600\n",
        b'{"purpose": "user_data", "expires_after": {"anchor": "created_at", "seconds": 3600}}',
        b"\xef\xbb\xbf{purpose: user_data, expires_after: {anchor: created_at, seconds: 0xe10}}",
    ],
    ids=["yaml", "json", "bom"],
)
def test_members_piped_into_create(cli: CommandLine, body: bytes) -> None:
    (cli.folder / "a.txt").write_text("x")
    made = json.loads(cli("files", "create", "--file", "a.txt", stdin=body).out)
    assert (made["purpose"], made["expires_at"] - made["created_at"]) == ("user_data", 3600)


def test_flags_win_over_what_is_piped_in(cli: CommandLine) -> None:
    for name in ("a.txt", "b.txt"):
        (cli.folder / name).write_text(name)
    done = cli("files", "create", "--purpose", "vision", "--file", "a.txt", stdin=b"{purpose: user_data, file: b.txt}")
    made = json.loads(done.out)
    assert (made["purpose"], made["filename"]) == ("vision", "a.txt")
    from_body = json.loads(cli("files", "create", "--purpose", "vision", stdin=b"file: b.txt").out)
    assert from_body["filename"] == "b.txt"


def test_members_piped_into_the_other_commands(cli: CommandLine) -> None:
    (cli.folder / "a.txt").write_text("piped")
    made = json.loads(cli("files", "create", "--file", "a.txt", "--purpose", "user_data").out)
    body = f"file_id: {made['id']}".encode()
    assert json.loads(cli("files", "retrieve", stdin=body).out) == made
    assert cli("files", "content", stdin=body).data == b"piped"
    assert cli("files", "list", stdin=b"{limit: 1, purpose: nonsense}").code == 1
    assert json.loads(cli("files", "delete", stdin=body).out)["deleted"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"a: [", "cannot read request members from standard input: not valid YAML or JSON: "),
        (b"purpose: a\npurpose: b", 'duplicate key "purpose"'),
        (b"[1, 2]", "standard input is not a mapping of request members; to upload it as a file, use --file -"),
        (b"just text", "standard input is not a mapping of request members"),
        (b"file: '-'", "standard input cannot hold both the request members and the file"),
    ],
)
def test_what_cannot_be_piped_in(cli: CommandLine, body: bytes, message: str) -> None:
    (cli.folder / "a.txt").write_text("x")
    words = ("--purpose", "user_data", *(() if b"file" in body else ("--file", "a.txt")))
    done = cli("files", "create", *words, stdin=body)
    assert (done.code, done.data) == (1, b"")
    assert message in done.err


def test_an_empty_pipe_says_nothing(cli: CommandLine) -> None:
    assert cli("files", "list", "--limit", "1", stdin=b"").code == 0
