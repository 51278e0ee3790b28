"""How an upload is cut into lines, and what is reported of them: numbering, wording, bounds of memory and work."""

import json
import os
import time
import tracemalloc
from collections.abc import Iterable
from itertools import cycle, islice

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filestead.decoders import DECODERS
from filestead.domain.jsonl import limits
from filestead.domain.jsonl.checks import LineChecks
from filestead.domain.jsonl.decoders import Decode, Decoders
from filestead.domain.jsonl.kinds import ContentCheck
from filestead.domain.jsonl.limits import MAX_FAULTS, MAX_LINE
from filestead.domain.jsonl.report import LineReport

ALL = (ContentCheck.BATCH, ContentCheck.TRAINING, ContentCheck.EVALS)
EVAL = b'{"item": {}}'


def blocks_of(data: bytes, sizes: Iterable[int]) -> Iterable[bytes]:
    position = 0
    for size in cycle(sizes):
        if position >= len(data):
            return
        yield data[position : position + size]
        position += size


def checked(blocks: Iterable[bytes], contents: Iterable[ContentCheck] = ALL) -> LineChecks:
    checks = LineChecks(DECODERS, tuple(contents))
    for block in blocks:
        checks.feed(block)
    checks.finish()
    return checks


def evals(data: bytes) -> LineReport:
    return checked([data], [ContentCheck.EVALS]).report(ContentCheck.EVALS)


def batch_lines(count: int, prefix: str = "request") -> list[bytes]:
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 100}]}
    line = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    return [json.dumps(line | {"custom_id": f"{prefix}-{index}"}).encode() for index in range(count)]


# --- lines and their numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "lines", "first_is_object", "not_object"),
    [
        (b"", 0, False, None),
        (b"\n \r\n\t\n", 0, False, None),
        (EVAL, 1, True, None),
        (EVAL + b"\n", 1, True, None),
        (EVAL + b"\r\n" + EVAL + b"\r\n", 2, True, None),
        (b"\n\n  " + EVAL + b"  \n", 1, True, None),
        (b"\xef\xbb\xbf" + EVAL, 1, False, (1, '\\ufeff{"item": {}}')),
        (EVAL + b"\nhello\r\n", 2, True, (2, "hello")),
        (b"\n\r\n  hello  \n" + EVAL, 2, False, (3, "hello")),
        (EVAL + b"\n\n\n[1]\n[2]", 3, True, (4, "[1]")),
        (EVAL + b"\n" + EVAL + EVAL, 2, True, (2, '{"item": {}}{"item":')),
        (EVAL + b"\r" + EVAL, 1, False, (1, '{"item": {}}\\r{"item')),
        (b'"' + b"x" * 500 + b'"\n' + EVAL, 2, False, (1, '"' + "x" * 19)),
        (b'{"item": {}, "a": "\xff"}', 1, False, (1, '{"item": {}, "a": "�')),
        ("ÄÖÜ😀".encode() * 10, 1, False, (1, "ÄÖÜ😀" * 5)),
        (b"\x00\x01\x02\x03\x04\x05\x06", 1, False, (1, "\\x00\\x01\\x02\\x03\\x04")),
        (b'{"a": NaN}', 1, False, (1, '{"a": NaN}')),
        (b'{"item": ' + b"[" * 100_000, 1, False, (1, '{"item": [[[[[[[[[[[')),
    ],
)
def test_lines_are_counted_and_numbered(
    data: bytes, lines: int, first_is_object: bool, not_object: tuple[int, str] | None
) -> None:
    report = evals(data)
    assert (report.lines, report.first_is_object, report.not_object) == (lines, first_is_object, not_object)
    assert (report.details is None) == (lines > 0 and not_object is None)


@pytest.mark.parametrize(
    ("data", "details"),
    [
        (b"", "The file has no lines."),
        (b"\n\n", "The file has no lines."),
        (EVAL, None),
        (b"\xef\xbb\xbf" + EVAL, "Line 1: it starts with a byte order mark."),
        (b"\nprose\n", "Line 2: it is not a JSON object."),
        (EVAL + b"\n{}\n", "Line 2: 'item' is missing."),
        (b"{}\n" + EVAL + b"\nprose\n", "Line 1: 'item' is missing. 1 more line has faults."),
        (b"{}\n" * 5, "Line 1: 'item' is missing. 4 more lines have faults."),
        (b"{}\n" * (MAX_FAULTS - 1), f"Line 1: 'item' is missing. {MAX_FAULTS - 2} more lines have faults."),
        (b"{}\n" * 9999, f"Line 1: 'item' is missing. At least {MAX_FAULTS - 1} more lines have faults."),
        (b'{"item": ' + b"[" * 100_000, "Line 1: it is nested too deeply."),
    ],
)
def test_details_name_the_first_bad_line_and_count_the_others(data: bytes, details: str | None) -> None:
    assert evals(data).details == details


@pytest.mark.parametrize("line", [b'{"item": {}', b'{"item": {}} x', b'{"item": \xff}', b"{'item': {}}"])
def test_broken_json_is_explained(line: bytes) -> None:
    details = evals(line).details
    assert details is not None
    assert details.startswith("Line 1: it is not valid JSON (")
    assert len(details) < 120


def test_an_empty_file_is_faulty_for_every_content() -> None:
    checks = checked([])
    assert {checks.report(content) for content in ALL} == {LineReport(0, False, None, "The file has no lines.")}


def test_a_content_not_asked_for_is_not_reported() -> None:
    checks = checked([EVAL], [ContentCheck.EVALS])
    with pytest.raises(KeyError):
        checks.report(ContentCheck.BATCH)


def test_each_content_is_judged_by_its_own_rules() -> None:
    checks = checked([EVAL + b"\n" + b'{"prompt": "a", "completion": "b"}'])
    assert checks.report(ContentCheck.EVALS).details == "Line 2: 'item' is missing."
    assert checks.report(ContentCheck.BATCH).details == "Line 1: 'custom_id' is missing. 1 more line has faults."
    assert str(checks.report(ContentCheck.TRAINING).details).startswith("Line 1: there is no 'messages'")


# --- any blocks, any contents ---------------------------------------------------------------------------------------

JSON_TOKENS = st.sampled_from(
    ['{"item":', "{", "}", "{}", "[", "]", '"a"', ":", ",", "1", "null", "NaN", " ", "\r", "é"]
)
OBJECTS = st.sampled_from(
    [
        {"item": {"q": "?"}},
        {"item": {}, "sample": 1},
        {"prompt": "p", "completion": "c"},
        {"messages": [{"role": "user", "content": "x"}]},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {"model": "m"}},
        {"custom_id": "2", "method": "POST", "url": "/v1/responses", "body": {"model": "n"}},
    ]
).map(lambda value: json.dumps(value).encode())
LINES = st.one_of(
    OBJECTS,
    st.lists(JSON_TOKENS, max_size=8).map(lambda tokens: "".join(tokens).encode()),
    st.sampled_from([b"", b"  ", b"\t\r", b" " * 100, b"x" * 200, b"{" + b" " * 100 + b"}"]),
    st.binary(max_size=90),
)
ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n", b" \n"])
FILES = st.tuples(
    st.sampled_from([b"", b"", b"\xef\xbb\xbf"]), st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=12), LINES
).map(lambda parts: parts[0] + b"".join(parts[1]) + parts[2])


@settings(deadline=None, max_examples=400)
@given(data=FILES, sizes=st.lists(st.integers(1, 120), min_size=1, max_size=6))
@example(data=b"\n" + b"x" * 81 + b"\n{}", sizes=[1])
@example(data=b"{" + b" " * 99 + b"\n{}", sizes=[50])
@example(data=b"{" + b" " * 98 + b"}", sizes=[99, 1])
def test_reports_depend_neither_on_the_blocks_nor_on_the_other_contents(data: bytes, sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as small:
        small.setattr(limits, "MAX_LINE", 100)
        small.setattr(limits, "MAX_FAULTS", 4)
        whole, cut = checked([data]), checked(blocks_of(data, sizes))
        for content in ALL:
            alone = checked([data], [content])
            assert whole.report(content) == cut.report(content) == alone.report(content)


def is_object(line: bytes) -> bool:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return isinstance(json.loads(line.decode(), parse_constant=refuse), dict)
    except ValueError:
        return False


@settings(deadline=None, max_examples=400)
@given(data=FILES, sizes=st.lists(st.integers(1, 500), min_size=1, max_size=6))
def test_object_verdicts_agree_with_a_naive_reading(data: bytes, sizes: list[int]) -> None:
    lines = [(number, line.strip(b" \t\r")) for number, line in enumerate(data.split(b"\n"), 1)]
    lines = [(number, line) for number, line in lines if line]
    bad = [(number, line) for number, line in lines if not is_object(line)]
    checks = checked(blocks_of(data, sizes))
    for content in ALL:
        report = checks.report(content)
        assert report.lines == len(lines)
        assert report.first_is_object == (bool(lines) and is_object(lines[0][1]))
        assert (report.not_object and report.not_object[0]) == (bad[0][0] if bad else None)
        if report.not_object:
            excerpt = report.not_object[1]
            assert excerpt.isprintable()
            assert 0 < len(excerpt) <= 20
            start = bad[0][1].decode(errors="replace")[:20]
            assert excerpt == start.rstrip() or not start.isprintable()


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_a_line_of_exactly_the_limit_is_checked_and_of_a_longer_one_the_syntax() -> None:
    longest = b'{"x": "' + b"x" * (MAX_LINE - 9) + b'"}'
    assert len(longest) == MAX_LINE
    assert evals(longest + b"\n" + EVAL).details == "Line 1: 'item' is missing."
    longer = b" " + longest + b" "
    assert evals(longer) == evals(longer + b"\n") == LineReport(1, True, None, None)
    broken = evals(b"{" + longest)
    assert broken == evals(b"{" + longest + b"\n")
    assert (broken.first_is_object, broken.not_object) == (False, (1, '{{"x": "xxxxxxxxxxxx'))
    assert broken.details == "Line 1: it is not valid JSON."
    assert evals(longest + b" \n\nprose").not_object == (3, "prose")


def peak_while_checking(blocks: Iterable[bytes]) -> int:
    tracemalloc.start()
    try:
        checked(blocks)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize(
    ("start", "filling", "bound"),
    [(b'{"messages": "', b"x", 3 * MAX_LINE), (b'["messages": "', b"x", 1_000_000), (b" ", b" ", 1_000_000)],
)
def test_memory_stays_bounded_over_a_huge_line(start: bytes, filling: bytes, bound: int, end: bytes) -> None:
    block = filling * 65536
    assert peak_while_checking([start, *islice(cycle([block]), 1024), end]) < bound
    assert peak_while_checking([start + block * 1024 + end]) < max(bound, 2 * MAX_LINE)


def test_memory_stays_bounded_over_many_batch_requests() -> None:
    lines = [line + b"\n" for line in batch_lines(50_000, "x" * 400)]
    assert peak_while_checking(lines) < 10_000_000


def test_a_batch_holds_at_most_50000_requests() -> None:
    lines = batch_lines(50_002)

    def details(count: int) -> str | None:
        return checked([b"\n".join(lines[:count])], [ContentCheck.BATCH]).report(ContentCheck.BATCH).details

    assert details(50_000) is None
    assert details(50_001) == details(50_002) == "Line 50001: the file has more than 50,000 requests."


def test_requests_that_cannot_be_checked_count_too_and_checking_stops_at_the_limit() -> None:
    data = b"{}\n" + b"\n".join(batch_lines(50_010))
    report = checked([data], [ContentCheck.BATCH]).report(ContentCheck.BATCH)
    assert report.details == "Line 1: 'custom_id' is missing. At least 1 more line has faults."
    assert report.lines == 50_001


def counting(calls: list[bytes]) -> Decoders:
    def counted(decode: Decode) -> Decode:
        def decode_and_count(line: bytes) -> object:
            calls.append(line)
            return decode(line)

        return decode_and_count

    return Decoders(
        *(tuple(map(counted, each)) for each in (DECODERS.batch, DECODERS.training, DECODERS.evals)),
        members=DECODERS.members,
    )


def test_after_enough_faults_no_more_lines_are_looked_at() -> None:
    calls: list[bytes] = []
    checks = LineChecks(counting(calls), [ContentCheck.TRAINING, ContentCheck.EVALS])
    checks.feed(b"{}\n" * (MAX_FAULTS - 1) + EVAL + b"\n")
    calls.clear()
    checks.feed(EVAL + b"\n" + b"{}\n" + EVAL + b"\n")
    assert set(calls) == {EVAL, b"{}"}
    assert checks.report(ContentCheck.TRAINING).lines == MAX_FAULTS
    assert checks.report(ContentCheck.EVALS).lines == MAX_FAULTS + 2
    calls.clear()
    checks.feed(EVAL)
    checks.feed(b"\n" + EVAL)
    checks.finish()
    assert not calls


def test_a_content_that_fits_is_checked_to_the_end_after_the_others_are_settled() -> None:
    lines = batch_lines(MAX_FAULTS + 500)
    checks = checked([b"\n".join([*lines, b"prose"])])
    assert checks.report(ContentCheck.BATCH).details == f"Line {len(lines) + 1}: it is not a JSON object."
    assert checks.report(ContentCheck.BATCH).not_object == (len(lines) + 1, "prose")
    assert checks.report(ContentCheck.EVALS) == LineReport(
        MAX_FAULTS, True, None, f"Line 1: 'item' is missing. At least {MAX_FAULTS - 1} more lines have faults."
    )


def test_without_contents_nothing_is_decoded() -> None:
    calls: list[bytes] = []
    checks = LineChecks(counting(calls), ())
    checks.feed(EVAL + b"\n" + EVAL)
    checks.finish()
    assert not calls


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b'{"item": "' + b"x" * 500_000, 1),
        (b"x" * 500_000, 1),
        (b"\n" * 500_000, 1),
        (b'{"item": "' + b"x" * (MAX_LINE + 100_000), 64),
        (b"\n" * 50_000_000, 65536),
        (b" " * 50_000_000, 65536),
        (os.urandom(50_000_000), 65536),
        (b"x" * 100 + b"{}\n" * 10_000_000, 65536),
    ],
    ids=["object by byte", "prose by byte", "newlines by byte", "long object", "newlines", "blanks", "noise", "faults"],
)
@pytest.mark.timing
def test_hostile_input_takes_linear_time(data: bytes, size: int) -> None:
    started = time.thread_time()
    checked(blocks_of(data, [size]))
    # A slow machine takes 5.
    assert time.thread_time() - started < 12
