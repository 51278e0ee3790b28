"""The layouts of JSON: compact, indented, YAML and boxes; and colours, which change nothing but colours."""

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from filestead.cli.client.formats import boxes, colour, yaml_text
from filestead.cli.client.formats.json_text import MAX_LINE_BYTES, format_compact, format_indented, parse, unquote

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ODD_TEXT = st.sampled_from(
    ["", " ", "yes", "No", "y", "null", "~", "1", "1.5", "0x1f", "1e3", ".inf", "=", "<<", "- a", "a: b", "# x", "a\nb", "a\n", "\na",
     "  a\nb", "a\n\n", "\n", "\t", "a\tb\nc", "'", '"', "\\", "2024-01-02", "12:30", "é", "\u2028", "\x85", "\ufeff", "\x00", "\x7f", "🦊",
     "a #b", "a:", "*a", "&a", "!a", "%a", "@a", "`a", "{", "[", "---", "...", "--- a\nb", "x" * 200, "x y " * 50, "a \nb", "a\r\nb"]
)  # fmt: skip
STRING = TEXT | ODD_TEXT
DOCUMENT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | STRING,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(STRING, inner, max_size=5),
    max_leaves=20,
)
WITHOUT_FLOATS = st.recursive(
    st.none() | st.booleans() | st.integers() | STRING,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(STRING, inner, max_size=5),
    max_leaves=20,
)
SPELLINGS: list[dict[str, Any]] = [{}, {"ensure_ascii": False}, {"indent": 3}, {"separators": (" , ", " : ")}]


@given(DOCUMENT, st.sampled_from(SPELLINGS))
def test_compact_and_indented_say_the_same(document: Any, spelling: dict[str, Any]) -> None:
    text = json.dumps(document, **spelling)
    value = parse(text)
    assert value is not None
    assert json.loads(format_compact(value)) == document
    assert json.loads(format_indented(value)) == document


@given(DOCUMENT)
def test_only_spaces_change(document: Any) -> None:
    text = json.dumps(document)
    value = parse(text)
    assert value is not None
    assert format_compact(value) == json.dumps(document, separators=(",", ":"))
    assert colour_free(colour.add_colours(format_indented(value))) == format_indented(value)


@given(STRING, st.booleans())
def test_unquoting(text: str, ascii_only: bool) -> None:
    assert unquote(json.dumps(text, ensure_ascii=ascii_only)) == text


@given(st.text(alphabet='{}[]:," \\untrfalse019.-+eE\n\u00e9\x1b', max_size=40))
def test_no_text_is_too_broken(text: str) -> None:
    value = parse(text)
    if value is not None:
        assert parse(format_compact(value)) is not None
        format_indented(value)
        colour.add_colours(format_compact(value))
        boxes.draw_box(value, "title", columns=20, colours=False)


def test_spellings_are_kept() -> None:
    text = r'{"b":1.50,"a":1e5,"n":-0,"big":123456789012345678901234567890,"s":"\u00fc\/ü\"","b":2}'
    value = parse(text)
    assert value is not None
    assert format_compact(value) == text
    assert format_indented(value) == (
        "{\n" r'  "b": 1.50,' "\n" r'  "a": 1e5,' "\n" r'  "n": -0,' "\n"
        r'  "big": 123456789012345678901234567890,' "\n" r'  "s": "\u00fc\/ü\"",' "\n" r'  "b": 2' "\n}"
    )  # fmt: skip


def test_unquoting_odd_strings() -> None:
    assert unquote(r'"\ud83e\udd8a"') == "🦊"
    assert unquote(r'"\ud83e!"') == "\ufffd!"
    assert unquote('"a\udcff"') == "a\ufffd"
    assert unquote(r'"\/\b"') == "/\b"
    assert unquote('"cut off') == "cut off"


def test_arrays_stay_on_a_line_while_it_is_short() -> None:
    for length in range(MAX_LINE_BYTES - 6, MAX_LINE_BYTES):
        text = f'["{"x" * length}"]'
        value = parse(text)
        assert value is not None
        assert (format_indented(value) == text) is (len(text) <= MAX_LINE_BYTES)


@pytest.mark.parametrize(
    ("before", "after", "limit"),
    [
        ('{\n  "a": ', "\n}", 79),
        ('{\n  "b": 1,\n  "a": ', "\n}", 79),
        ("[\n  ", ",\n  {}\n]", 79),
        ("[\n  {},\n  ", "\n]", 80),
        ("[\n  {},\n  [],\n  ", ",\n  1\n]", 80),
        ('[\n  {\n    "a": ', "\n  }\n]", 79),
        ('{\n  "a": [\n    {},\n    ', "\n  ]\n}", 80),
    ],
)
def test_lines_of_arrays_that_are_not_first_have_one_byte_more(before: str, after: str, limit: int) -> None:
    for length in (limit, limit + 1):
        line = before.rpartition("\n")[2]
        array = f'[1, "{"x" * (length - len(line) - 7)}"]'
        value = parse(before + array + after)
        assert value is not None
        assert (format_indented(value) == before + array + after) is (length == limit)


@given(st.lists(st.integers() | TEXT, max_size=12), st.text("name", max_size=6))
def test_the_width_counts_bytes_and_what_stands_before(items: list[Any], name: str) -> None:
    document = {name: items, "after": {}}
    value = parse(json.dumps(document, ensure_ascii=False))
    assert value is not None
    line = f"  {json.dumps(name)}: {json.dumps(items, ensure_ascii=False)}"
    assert (f"{line},\n" in format_indented(value)) is (len(line.encode()) < MAX_LINE_BYTES)


def test_arrays_with_objects_are_spread() -> None:
    value = parse('[[],{},[1,[2]],[{"a":[{}]}]]')
    assert value is not None
    assert (
        format_indented(value)
        == '[\n  [],\n  {},\n  [1, [2]],\n  [\n    {\n      "a": [\n        {}\n      ]\n    }\n  ]\n]'
    )


def test_the_first_value_counts() -> None:
    assert [
        format_compact(value) if (value := parse(text)) else None
        for text in ('{"a":1}{"b":2}', " 5 6", "", "  ", "<html>", '{"a":[1')
    ] == [
        '{"a":1}',
        "5",
        None,
        None,
        None,
        '{"a":[1',
    ]


# --- YAML -----------------------------------------------------------------------------------------------------------


def as_yaml(document: Any) -> str:
    value = parse(json.dumps(document))
    assert value is not None
    return yaml_text.format_yaml(value)


@given(WITHOUT_FLOATS)
@example("a\n\u2028b")
@example("a\nb\x85\nc")
def test_yaml_reads_back(document: Any) -> None:
    assert yaml.safe_load(as_yaml(document)) == document


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("", '""\n'),
        ("a b", "a b\n"),
        ("a\nb", "|-\n  a\n  b\n"),
        ({"k": "|😀"}, 'k: "|😀"\n'),
        ({"k": "😀\x07\x85\ufeff\u2028"}, 'k: "😀\\x07\\x85\\uFEFF\\u2028"\n'),
        ({"k": 'a"b\\'}, 'k: a"b\\\n'),
        ({"k": '"b\\\b\f\r\t'}, 'k: "\\"b\\\\\\b\\f\\r\\t"\n'),
        ({"k": "a\tb\n c "}, "k: |-\n  a\tb\n   c \n"),
        ({"k": "a\n\nb\n"}, "k: |\n  a\n\n  b\n"),
        ({"k": "a\n\n"}, "k: |+\n  a\n\n"),
        ({"k": " a\nb"}, 'k: " a\\nb"\n'),
        ({"k": "\n\ta"}, 'k: "\\n\\ta"\n'),
        ({"k": "\r\n"}, 'k: "\\r\\n"\n'),
        ({"a\nb": [1], "c\nd\n": {}}, "? |-\n  a\n  b\n:\n  - 1\n? |\n  c\n  d\n: {}\n"),
        ([["a\nb"], [], {}], "- - |-\n    a\n    b\n- []\n- {}\n"),
        ([{"a": {"b": ["c"]}, "d": None}], "- a:\n    b:\n      - c\n  d: null\n"),
        ({"_": "_", "__": "1_", "-": "- a", "--": "a -"}, '_: _\n__: "1_"\n"-": "- a"\n--: a -\n'),
        ({"k": "1:30", "l": "1:3:5.5", "m": "1:90"}, 'k: "1:30"\nl: "1:3:5.5"\nm: 1:90\n'),
        ({"k": "2020-1-2 3:4:5 +1", "l": "2020-01"}, 'k: "2020-1-2 3:4:5 +1"\nl: 2020-01\n'),
        ({"k": ".INF", "l": "-.inf", "m": ".NaN", "q": "+.nan"}, 'k: ".INF"\nl: "-.inf"\nm: ".NaN"\nq: +.nan\n'),
        (
            {"k": "x: y", "l": "x:y", "m": "x #y", "q": "x#y", "o": "x:"},
            'k: "x: y"\nl: x:y\nm: "x #y"\nq: x#y\no: "x:"\n',
        ),
    ],
)
def test_yaml_as_the_official_client_writes_it(document: Any, text: str) -> None:
    assert as_yaml(document) == text
    assert yaml.safe_load(text) == document or "+.nan" in text


@given(st.dictionaries(STRING, STRING, max_size=4))
def test_yaml_of_a_list_is_that_of_its_items(document: dict[str, str]) -> None:
    text = as_yaml(document)
    assert text.endswith("\n")
    assert "---" not in text.splitlines() and "..." not in text.splitlines()


@pytest.mark.parametrize("word", ["1.50", "1e5", "-0", "-0.0", "123456789012345678901234567890"])
def test_yaml_keeps_numbers_as_they_are_spelled(word: str) -> None:
    value = parse(f'{{"v":{word}}}')
    assert value is not None
    assert yaml_text.format_yaml(value) == f"v: {word}\n"


@pytest.mark.parametrize(
    "word",
    [
        "yes",
        "No",
        "on",
        "y",
        "n",
        "Y",
        "N",
        "null",
        "~",
        "1",
        "1.5",
        "1e3",
        "0x1f",
        "2024-01-02",
        "",
        "<<",
        "true",
        "0o17",
    ],
)
def test_yaml_quotes_what_a_reader_would_take_for_something_else(word: str) -> None:
    assert as_yaml({"k": word}) == f'k: "{word}"\n'


def test_yaml_of_a_file_object() -> None:
    assert as_yaml(
        {"id": "file-1", "ok": True, "none": None, "list": [1, {"a": []}], "empty": {}, "lines": "a\nb\n"}
    ) == ("id: file-1\nok: true\nnone: null\nlist:\n  - 1\n  - a: []\nempty: {}\nlines: |\n  a\n  b\n")


def test_yaml_of_what_is_no_json() -> None:
    value = parse('{"a": nul}')
    assert value is not None
    with pytest.raises(ValueError, match="the response is not JSON from 'nul' on"):
        yaml_text.format_yaml(value)


# --- boxes ----------------------------------------------------------------------------------------------------------


def box(document: Any, columns: int = 40, *, colours: bool = False) -> list[str]:
    return boxes.draw_box(parse(json.dumps(document)), "title", columns=columns, colours=colours).split("\n")[:-1]


def width(line: str) -> int:
    return boxes.display_width(line)


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=5),
        STRING | st.integers(-999999, 999999) | st.booleans() | st.none(),
        min_size=1,
    ),
    st.integers(20, 90),
)
def test_boxes_keep_to_the_width(document: dict[str, Any], columns: int) -> None:
    title, *lines = box(document, columns)
    assert title == "  title"
    assert len({width(line) for line in lines}) == 1
    assert width(lines[0]) <= columns
    assert not any(re.search("[\x00-\x1f\x7f-\x9f]", line) for line in lines)


def test_a_box() -> None:
    document = {
        "id": "file-1",
        "yes": True,
        "none": [],
        "nothing": {},
        "list": ["a", 2],
        "long": "x" * 50,
        "odd": "a\x1b[31m\nb",
    }
    assert box(document, 30) == [
        "  title",
        "╭────────────────────────────╮",
        "│ id: file-1                 │",
        "│ yes: yes                   │",
        "│ none: (none)               │",
        "│ nothing:(empty)            │",
        "│ list:                      │",
        "│   1. a                     │",
        "│   2. 2                     │",
        "│ long: xxxxxxxxxxxxxxxxxxx… │",
        "│ odd: a\\u001b[31m\\nb        │",
        "╰────────────────────────────╯",
    ]


def test_wide_characters_take_two_columns() -> None:
    assert box({"k": "データ" * 9}, 20)[2] == "│ k: データデータ… │"
    assert {width(line) for line in box({"k": "データ" * 9}, 20)[1:]} == {20}


@pytest.mark.parametrize(
    ("value", "drawn", "style"),
    [
        ("a", "a", "38;5;113"),
        (1.5, "1.5", "38;5;215"),
        (True, "yes", "38;5;207"),
        (False, "no", "38;5;207"),
        (None, "null", "3;38;5;245"),
        ("", "(empty)", "3;38;5;245"),
        ("a\tb\b\f\r\x00\x7f\x9b", r"a\tb\b\f\r\u0000\u007f\u009b", "38;5;113"),
        (" a\u2028b\u00a0", " a\u2028b\u00a0", "38;5;113"),
        ("yes", "yes", "38;5;113"),
    ],
)
def test_scalars_of_a_box(value: Any, drawn: str, style: str) -> None:
    name = "\x1b[38;5;75mk:\x1b[0m "
    for document, lead in (({"k": value}, name), ([value], "\x1b[38;5;242m1.\x1b[0m "), (value, "")):
        line = box(document, 60, colours=True)[2]
        assert line == f"\x1b[38;5;63m│\x1b[0m {lead}\x1b[{style}m{drawn}\x1b[0m \x1b[38;5;63m│\x1b[0m"


@pytest.mark.parametrize(
    ("document", "lines"),
    [
        ({}, ["(empty)"]),
        ([], [" (none)"]),
        ({"a": {}}, ["a:(empty)"]),
        ({"a": []}, ["a: (none)"]),
        ([{}, [], ""], ["1.(empty)", "2. (none)", "3. (empty)"]),
        ({"a": {"b": [{}, [[]]]}}, ["a:", "  b:", "    1.(empty)", "    2.", "      1. (none)"]),
        ([0] * 10, [*(f"{number}.  0" for number in range(1, 10)), "10. 0"]),
    ],
)
def test_empty_and_nested_values_of_a_box(document: Any, lines: list[str]) -> None:
    assert [line[2:-2].rstrip() for line in box(document)[2:-1]] == lines
    empty = re.findall(r"\x1b\[3;38;5;245m( \(none\)|\(empty\))\x1b\[0m", "".join(box(document, colours=True)))
    assert len(empty) == "".join(lines).count("(")


@pytest.mark.parametrize(
    "name",
    ["", " ", "a.b", "a:", "#", "@this", "*", "?", '"q"', "a|b", "0", "null", "ü", "文", "\\", "{a}", "-1", "!x"],
)
def test_names_of_a_box_are_literal(name: str) -> None:
    assert box({name: "v", "other": 1})[2].rstrip(" │") == f"│ {name}: v"


def test_a_name_that_is_given_twice() -> None:
    value = parse('{"a": 1, "a": 2}')
    assert boxes.draw_box(value, "t", columns=20, colours=False).split("\n")[2:4] == ["│ a: 1 │", "│ a: 2 │"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("ü", 1),
        ("u\u0308", 1),
        ("文", 2),
        ("😀", 2),
        ("❤", 1),
        ("❤\ufe0f", 2),
        ("👩\u200d👩\u200d👧", 2),
        ("👍🏽", 2),
        ("🇩🇪🇫🇷", 4),
        ("a\u200bb", 2),
        ("\u2028", 0),
        ("ｶﾞ", 2),
        ("Ａ", 2),
    ],
)
def test_columns_of_characters(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (14, "k: vvvvvvv"), (13, "k: vvvvv…"), (9, "k: v…"), (8, "k: …"), (7, "k: vvvvvvv…"), (5, "k: vvvvvvv…"),
    ],
)  # fmt: skip
def test_texts_that_have_no_room(columns: int, line: str) -> None:
    assert box({"k": "v" * 7}, columns)[2] == f"│ {line} │"
    assert box({"k": 1234567890}, columns)[2] == "│ k: 1234567890 │", "numbers are not cut"


def test_colours_of_a_box_change_nothing_else() -> None:
    document = {"a": "x", "b": [1, {"c": None}]}
    assert [colour_free(line) for line in box(document, colours=True)] == box(document)
    assert box(document, colours=True) != box(document)


def colour_free(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize(
    ("text", "painted"),
    [
        ("1.5", "\x1b[33m1.5\x1b[0m"),
        ("true", "\x1b[36mtrue\x1b[0m"),
        ("null", "\x1b[2mnull\x1b[0m"),
        ('"s"', '\x1b[32m"s"\x1b[0m'),
        ('{"k": "v"}', '\x1b[1m{\x1b[0m\x1b[1m\x1b[94m"k"\x1b[0m\x1b[1m:\x1b[0m \x1b[32m"v"\x1b[0m\x1b[1m}\x1b[0m'),
    ],
)
def test_colours_by_kind(text: str, painted: str) -> None:
    assert colour.add_colours(text) == painted
