"""What is JSON: as Python's reader takes it, but for NaN. Each way of reading a line must find the same."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filestead.decoders import DECODERS
from filestead.domain.jsonl import limits
from filestead.domain.jsonl.kinds import ContentCheck
from filestead.domain.jsonl.lines import without_lone_surrogates
from filestead.domain.jsonl.longline import LongLine
from filestead.domain.jsonl.members import LineFault
from filestead.domain.jsonl.training import TrainingLines
from tests.unit.jsonl.verdicts import reported

TAKEN = [
    (rb'"\ud83d"', "a high surrogate alone"),
    (rb'"\ude00"', "a low one"),
    (rb'"\ude00\ud83d"', "two in the wrong order"),
    (rb'"\uD83D\uD83D\uDE00"', "one before a pair"),
    (rb'"\\ud83d\ude00"', "one behind what only looks like one"),
    (rb'"\\\ud83d"', "one behind an escaped backslash"),
    (rb'{"\ud83d": 1}', "one in a name"),
    (b"9" * 100, "an integer of more than 64 bits"),
    (b"9" * 4300, "the longest integer"),
    (b'"' + b"9" * 5000 + b'"', "more digits, in a string"),
    (b"0." + b"9" * 5000, "more digits, in a fraction"),
    (b"1e" + b"9" * 5000, "more digits, in an exponent"),
    (b"9" * 5000 + b".5", "more digits, before a point"),
    (b"1e999", "a number beyond all floats"),
    (b"-0", "minus zero"),
    (b'{"a": 1, "a": 2}', "a name twice"),
    (b'"\x7f"', "DEL"),
    (b"[" * 500 + b"]" * 500, "500 levels"),
]
REFUSED = [
    (b"NaN", "(column 10: NaN, which JSON does not have; write null or a string)"),
    (b"[1, Infinity]", "(column 14: Infinity, which JSON does not have; write null or a string)"),
    (b"-Infinity", "(column 10: -Infinity, which JSON does not have; write null or a string)"),
    (b"9" * 4301, "it has an integer of more than 4,300 digits"),
    (b"[-" + b"9" * 9000 + b", 1]", "it has an integer of more than 4,300 digits"),
    (b"[" * 1_000_000, "it is nested too deeply"),
    (b"[" * 1_000_000 + b"]" * 1_000_000, "it is nested too deeply"),
    (b'{"a":' * 100_000, "it is nested too deeply"),
    (b'"\xed\xa0\x80"', "(byte 11 of it is not UTF-8; save the file as UTF-8)"),
]


@pytest.mark.parametrize("content", [ContentCheck.EVALS, ContentCheck.BATCH, ContentCheck.TRAINING])
@pytest.mark.parametrize(("value", "what"), TAKEN, ids=lambda value: value if isinstance(value, str) else "")
def test_what_pythons_reader_takes_is_json(content: ContentCheck, value: bytes, what: str) -> None:
    line = {
        ContentCheck.EVALS: b'{"item": {"a": %s}}',
        ContentCheck.BATCH: b'{"custom_id": "a", "method": "POST", "url": "/v1/x", "body": {"a": %s}}',
        ContentCheck.TRAINING: b'{"messages": [{"role": "assistant", "content": "", "a": %s}]}',
    }[content] % value
    json.loads(line)
    assert reported(line, content).details is None
    assert reported(line + b"\n" + b"{}", content).lines == 2


@pytest.mark.parametrize(("value", "fault"), REFUSED, ids=lambda value: str(value)[:20])
def test_what_is_no_json(value: bytes, fault: str) -> None:
    report = reported(b'{"item": %s}' % value, ContentCheck.EVALS)
    assert report.not_object is not None
    assert str(report.details).removesuffix(".").endswith(fault)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"item": 1, "item": {}}', None),
        (b'{"item": {}, "item": 1}', "'item' is a number; expected an object"),
        (b'{"item": {}, "sample": 1, "sample": null}', None),
    ],
)
def test_of_members_given_twice_the_last_counts(line: bytes, fault: str | None) -> None:
    assert reported(line, ContentCheck.EVALS).details == (fault and f"Line 1: {fault}.")


def test_ids_that_differ_in_a_lone_surrogate_differ() -> None:
    line = rb'{"custom_id": "\u%s", "method": "POST", "url": "/v1/x", "body": {}}'
    assert reported(b"\n".join(line % one for one in (b"d83d", b"d83e", b"dc00")), ContentCheck.BATCH).details is None
    again = reported(b"\n".join(line % one for one in (b"d83d", b"d83e", b"D83D")), ContentCheck.BATCH).details
    assert str(again).startswith("Line 3: 'custom_id' is ")
    assert str(again).endswith("as in line 1; expected one of its own.")


ESCAPES = st.lists(st.sampled_from([r"\ud83d", r"\ude00", r"\\", r"\n", r"\"", "d83d", "u", "x"]), max_size=10).map(
    "".join
)


@settings(deadline=None, max_examples=500)
@given(text=ESCAPES)
def test_every_lone_surrogate_is_found_and_nothing_else(text: str) -> None:
    mended = without_lone_surrogates(f'"{text}"'.encode())
    before, after = json.loads(f'"{text}"'), json.loads(mended)
    assert len(mended) == len(text) + 2
    expected = "".join(chr(ord(letter) + 0x1000) if 0xD800 <= ord(letter) < 0xE000 else letter for letter in before)
    assert after == expected


# --- long lines -----------------------------------------------------------------------------------------------------


def long_fault(line: bytes, size: int, steps: int = limits.MAX_STEPS) -> str | None:
    checks = LongLine(steps)
    for position in range(0, len(line), size):
        checks.feed(line[position : position + size])
    return checks.finish()


def is_object(line: bytes) -> bool:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return isinstance(json.loads(line.decode(), parse_constant=refuse), dict)
    except ValueError:
        return False


JSON = st.recursive(
    st.sampled_from([None, True, 0, -1.5, 1e10, "", "a", "é\n", "\\", '"', "\ud83d", 12345]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
TOKENS = st.lists(
    st.sampled_from(
        [
            '"',
            '"a"',
            ":",
            ",",
            "{",
            "}",
            "[",
            "]",
            "1",
            "-",
            ".5",
            "e3",
            "tru",
            "true",
            "nul",
            "null",
            " ",
            "\\",
            "\t",
            "é",
        ]
    ),
    max_size=12,
).map("".join)


@settings(deadline=None, max_examples=600)
@given(value=JSON, junk=TOKENS, cut=st.integers(0, 200), size=st.integers(1, 40), escaped=st.booleans())
@example(value={"a": 10}, junk="", cut=6, size=1, escaped=True)
@example(value={"a": [[1, 2], [3]]}, junk=",", cut=12, size=3, escaped=True)
def test_the_syntax_of_long_lines_is_that_of_short_ones(
    value: Any, junk: str, cut: int, size: int, escaped: bool
) -> None:
    whole = json.dumps({"a": value}, ensure_ascii=escaped).encode("utf-8", "replace")
    for line in (whole, whole[:cut] + junk.encode() + whole[cut:], b'{"a": ' + junk.encode() + b"}", whole[:cut]):
        if line.startswith(b"{"):
            assert (long_fault(line, size) is None) == is_object(line), line


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"a":' + b"[" * 1001, "it is nested too deeply"),
        (b'{"a": "\xff"}', "it is not valid JSON (it is not UTF-8)"),
        (b'{"a": "b', "it is not valid JSON (it ends before its object does)"),
        (b'{"a": 1} {}', "it is not valid JSON"),
        (b'{"a": "\n"}', "it is not valid JSON"),
        (b'{"a": ' + b"1" * 200_000, "it is not valid JSON"),
    ],
)
def test_faults_of_long_lines(line: bytes, fault: str) -> None:
    assert long_fault(line, limits.SLICE) == fault


def test_a_long_line_takes_a_bounded_number_of_steps() -> None:
    nested = b'{"a": [' + b"[[[[1]]]]," * 1000 + b"1]}"
    assert long_fault(nested, limits.SLICE) is None
    assert long_fault(nested, limits.SLICE, steps=1000) == "it has too many nested values to be checked"


# --- the typed decoders and the checks by members -------------------------------------------------------------------

PART = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["text", "refusal", "image_url", 1]), "text": JSON, "refusal": st.just("no"),
                  "image_url": st.sampled_from(["http://a", "HTTPS://a", "a", {"url": "data:a"}, {"url": "a"}, {}, None])},
)  # fmt: skip
FUNCTION = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(["f", "", None]), "arguments": st.sampled_from(["{}", 1])}
)
CALLS = (
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["function", "x"])},
            optional={"id": st.sampled_from(["1", ""]), "function": FUNCTION},
        ),
        max_size=2,
    )
    | st.none()
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(
            ["system", "developer", "user", "user", "assistant", "assistant", "tool", "function", "x", None]
        )
    },
    optional={
        "content": st.sampled_from(["a", "", None, [], {}]) | st.lists(PART, max_size=2),
        "tool_calls": CALLS,
        "function_call": FUNCTION | st.none(),
        "refusal": st.sampled_from(["no", None, 1]),
        "weight": st.sampled_from([0, 1, 2, 1.0, True, None]),
        "tool_call_id": st.sampled_from(["1", "", None]),
        "name": st.sampled_from(["f", "", None]),
    },
)
MESSAGES = st.lists(MESSAGE, max_size=3) | st.sampled_from([None, [1], {}])
EXAMPLE = st.fixed_dictionaries(
    {},
    optional={
        "messages": MESSAGES,
        "tools": st.sampled_from([None, [], [{"type": "function", "function": {"name": "f"}}], [{}], 1]),
        "parallel_tool_calls": st.sampled_from([None, True, 1]),
        "functions": st.sampled_from([None, [], [{"name": "f"}], [{"name": "f"}] * 129]),
        "input": st.fixed_dictionaries({}, optional={"messages": MESSAGES, "tools": st.sampled_from([None, 1])}),
        "preferred_output": MESSAGES,
        "non_preferred_output": MESSAGES,
        "preferred_completion": MESSAGES,
        "non_preferred_completion": MESSAGES,
        "prompt": st.sampled_from(["a", None]),
        "completion": st.sampled_from(["a", None]),
    },
)
KINDS = st.sampled_from(
    [
        ["messages"],
        ["messages", "tools"],
        ["input", "preferred_output", "non_preferred_output"],
        ["prompt", "completion"],
        None,
    ]
)
NARROWED = st.tuples(EXAMPLE, KINDS).map(
    lambda both: {name: value for name, value in both[0].items() if both[1] is None or name in both[1]}
)


@settings(deadline=None, max_examples=500)
@given(line=NARROWED)
def test_the_typed_decoders_find_what_the_checks_by_members_find(line: dict[str, Any]) -> None:
    checks = TrainingLines(DECODERS)
    try:
        checks.check(1, json.loads(json.dumps(line)))
        expected = None
    except LineFault as fault:
        expected = f"Line 1: {fault}."
    assert reported(json.dumps(line).encode(), ContentCheck.TRAINING).details == expected
    # Behind another example the method must be the same as well.
    for first in ({"messages": [{"role": "user", "content": ""}]}, {"prompt": "", "completion": ""}):
        checks = TrainingLines(DECODERS)
        checks.check(1, first)
        try:
            checks.check(2, json.loads(json.dumps(line)))
            expected = None
        except LineFault as fault:
            expected = f"Line 2: {fault}."
        data = json.dumps(first).encode() + b"\n" + json.dumps(line).encode()
        assert reported(data, ContentCheck.TRAINING).details == expected
