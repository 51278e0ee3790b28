"""Content answers: ranges against a model, names through a strict parser, conditions."""

import email.message
import email.policy
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filestead.api.http import ranges
from filestead.api.http.errors import ApiError
from filestead.api.http.messages import Headers
from filestead.domain.errors import BadFilename
from filestead.domain.files.filenames import clean
from filestead.domain.files.model import File

SHA = "ab" * 32


def file(size: int = 10, name: str = "a.txt") -> File:
    return File("file-1", name, "vision", size, 0, None, "processed", None, SHA, "0" * 32)


def select(size: int, **headers: str) -> tuple[int, int, int]:
    chosen = ranges.evaluate_preconditions_and_range(
        file(size), Headers.of({name.replace("_", "-"): value for name, value in headers.items()})
    )
    return chosen.status, chosen.start, chosen.end


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_what_slicing_gives(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    header = f"bytes={first}-{last}"
    if last < first:
        assert select(size, range=header) == (200, 0, size)
    elif first >= size:
        with pytest.raises(ApiError) as refused:
            select(size, range=header)
        assert refused.value.response.headers["content-range"] == f"bytes */{size}"
    else:
        status, start, end = select(size, range=header)
        assert status == 206
        assert data[start:end] == data[first : last + 1]


@given(st.integers(0, 50), st.integers(0, 60))
def test_open_and_suffix_ranges(size: int, number: int) -> None:
    data = bytes(range(size))
    for header, wanted in (
        (f"bytes={number}-", data[number:]),
        (f"bytes=-{number}", data[-number:] if number else b""),
    ):
        if wanted:
            status, start, end = select(size, range=header)
            assert (status, data[start:end]) == (206, wanted)
        else:
            with pytest.raises(ApiError):
                select(size, range=header)


@pytest.mark.parametrize(
    "header",
    [
        *("bytes=0-1,3-4", "bytes=-", "bytes=a-b", "lines=0-1", "bytes 0-1", "bytes=1", "bytes=+1-2", "bytes=0x1-2"),
        *("bytes=²-³", "", "bytes=" + ",".join(["0-1"] * 10_000), "bytes=" + "1" * 300 + "-"),
    ],
)
def test_other_ranges_are_ignored(header: str) -> None:
    assert select(10, range=header) == (200, 0, 10)


def test_huge_numbers_are_clamped_or_refused() -> None:
    assert select(10, range=f"bytes=5-{2**64}") == (206, 5, 10)
    assert select(10, range=f"bytes=-{2**64}") == (206, 0, 10)
    with pytest.raises(ApiError):
        select(10, range=f"bytes={2**64}-")


def test_conditions() -> None:
    tag = f'"{SHA}"'
    for value in (tag, f"W/{tag}", "*", f'"x", {tag}'):
        assert select(10, if_none_match=value)[0] == 304
    assert select(10, if_none_match='"x"') == (200, 0, 10)
    assert select(10, range="bytes=2-3", if_range=tag) == (206, 2, 4)
    for value in (f"W/{tag}", '"x"', "Sat, 21 Nov 2026 00:00:00 GMT", ""):
        assert select(10, range="bytes=2-3", if_range=value) == (200, 0, 10)


@given(st.text(min_size=1, max_size=60))
@pytest.mark.promise("S-11")
def test_a_name_survives_the_header(name: str) -> None:
    try:
        name = clean(name)
    except BadFilename:
        return
    header = ranges.content_disposition(name)
    assert header.isascii() and header.isprintable()
    message = email.message.EmailMessage(policy=email.policy.HTTP)
    message["Content-Disposition"] = header
    assert message.get_content_disposition() == "attachment"
    plain, _, extended = header.partition("; filename*=UTF-8''")
    found = unquote(extended, errors="strict") if extended else plain.removeprefix('attachment; filename="')[:-1]
    assert found == name


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.txt", 'attachment; filename="a.txt"'),
        ('a";b.txt', "attachment; filename=\"a_;b.txt\"; filename*=UTF-8''a%22%3Bb.txt"),
        ("ä.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%A4.txt"),
        ("50%.txt", "attachment; filename=\"50_.txt\"; filename*=UTF-8''50%25.txt"),
    ],
)
@pytest.mark.promise("S-11")
def test_dispositions(name: str, header: str) -> None:
    assert ranges.content_disposition(name) == header
