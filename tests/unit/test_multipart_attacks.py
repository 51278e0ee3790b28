"""Attacks on multipart readers: each weakness that another parser had, under its advisory's number."""

import logging
import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import pytest

from filestead.api.http.multipart import (
    MultipartError,
    MultipartLimitError,
    MultipartLimits,
    MultipartReader,
    NotMultipart,
    parse_boundary,
)

from .multipart_corpus import FILE, B, Part, chunked, disposition, field_headed, form, part, read, refusal

LIMITS = MultipartLimits()
TEN_MS = 0.01
ONE_SECOND = 1.0


def refuse_disposition(value: str) -> None:
    with pytest.raises(MultipartError):
        disposition(value)


def attempt(body: bytes) -> list[Part] | None:
    try:
        return read(body)
    except MultipartError:
        return None


def best_of(runs: int, work: Callable[[], object]) -> float:
    """Seconds of processor time, so that a busy machine does not count."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def assert_cut_early(head: bytes, chunk: bytes, allowance: int) -> MultipartError:
    """Endless chunks behind this head are refused at the latest when the allowance and one more chunk are read."""
    reader = MultipartReader(B)
    reader.feed(head)
    for _ in range(allowance // len(chunk) + 2):
        try:
            reader.feed(chunk)
        except MultipartError as error:
            return error
    pytest.fail("it still reads")


@pytest.mark.timing
def test_cve_2024_24762_content_type_is_read_in_linear_time() -> None:
    hostile = ['\\"' * 500_000, ";" * 1_000_000, "; a=" * 250_000, '="' * 500_000, " " * 1_000_000]

    def refuse(content_type: str) -> None:
        with pytest.raises(MultipartError):
            parse_boundary(content_type)

    for filler in hostile:
        for content_type in ("multipart/form-data; boundary=" + filler, 'multipart/form-data; x="' + filler):
            assert best_of(3, partial(refuse, content_type)) < TEN_MS
            assert best_of(3, partial(refuse, content_type[:1024])) < TEN_MS
        assert best_of(3, partial(refuse_disposition, 'form-data; x="' + filler[:8000])) < TEN_MS


@pytest.mark.parametrize(
    "chunk", [b"\r\n" * 5_000_000, b"\r" * 10_000_000, b"-" * 10_000_000, b"\r\n--7MA4" * 1_250_000]
)
def test_cve_2024_53981_data_around_the_form_is_cut_at_1_kib_without_a_log_line(
    chunk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for head in (b"", form(part())):
            assert isinstance(assert_cut_early(head, chunk, 0), MultipartLimitError)
    assert caplog.records == []


@pytest.mark.parametrize("head", [b"", form(part())], ids=["preamble", "epilogue"])
def test_cve_2026_40347_a_large_preamble_or_epilogue_is_cut_at_its_limit(head: bytes) -> None:
    assert_cut_early(head, b"x", 1024)
    assert_cut_early(head, b"\r\n", 1024)
    assert_cut_early(head, b"x" * 256 * 1024, 0)


@pytest.mark.parametrize(
    "endless",
    [
        b"X-Header: y\r\n" * 100_000,
        b"X: " + b"y" * 50_000_000,
        b"Xyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        b"\r",
        b" ",
        b"\n",
    ],
    ids=["100,000 headers", "50 MB header", "no end", "CR", "spaces", "LF"],
)
def test_cve_2026_42561_part_heads_are_limited_in_count_and_size(endless: bytes) -> None:
    assert_cut_early(b"--" + B + b"\r\n" + FILE, endless, LIMITS.part_headers_bytes)


def test_long_boundaries_are_refused() -> None:
    with pytest.raises(MultipartError):
        parse_boundary("multipart/form-data; boundary=" + "x" * 65536)
    with pytest.raises(MultipartError):
        parse_boundary("multipart/form-data; boundary=" + "x" * 71)


def test_ghsa_vffw_93wf_4j4q_plain_parameters_win_over_extended_ones() -> None:
    assert disposition('form-data; name="f"; filename*=utf-8\'\'evil.exe; filename="good.txt"') == ("f", "good.txt")
    refuse_disposition("form-data; name=\"f\"; name*=utf-8''evil")


def test_ghsa_5rvq_cxj2_64vf_other_form_types_are_refused_before_any_body() -> None:
    for content_type in ("application/x-www-form-urlencoded", "application/octet-stream", "text/plain; boundary=x"):
        with pytest.raises(NotMultipart):
            parse_boundary(content_type)


def test_cve_2023_30798_many_tiny_parts() -> None:
    assert isinstance(assert_cut_early(b"", part(), 16 * len(part())), MultipartLimitError)
    assert isinstance(assert_cut_early(b"", part() * 100_000, 0), MultipartLimitError)


@pytest.mark.parametrize("name", [b"purpose", b"file"])
def test_ghsa_f96h_pmfr_66vw_a_part_without_filename_is_cut_at_16_kib(name: bytes) -> None:
    head = b"--" + B + b'\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n'
    assert isinstance(assert_cut_early(head, b"x" * 512, LIMITS.field_bytes), MultipartLimitError)
    assert isinstance(assert_cut_early(head, b"x" * 1_000_000, 0), MultipartLimitError)
    assert isinstance(assert_cut_early(head, b"\r\n--7MA4", LIMITS.field_bytes), MultipartLimitError)


def test_cve_2025_69228_fields_are_counted_together_while_they_arrive() -> None:
    small = part(b"x" * 8192)
    assert isinstance(assert_cut_early(b"", small, 8 * len(small)), MultipartLimitError)


@pytest.mark.timing
def test_cve_2025_69229_one_byte_chunks() -> None:
    body = form(part(b"batch"), part((b"\r\n--7MA4YWx" * 100_000)[:1_000_000], FILE))
    chunks = list(chunked(body, 1))

    def run() -> None:
        reader = MultipartReader(B)
        for chunk in chunks:
            reader.feed(chunk)
        reader.close()

    assert best_of(2, run) < ONE_SECOND


@pytest.mark.timing
def test_cve_2025_69229_one_byte_chunks_in_part_heads() -> None:
    body = form(*[part(head=field_headed(8192))] * 16)
    assert best_of(1, partial(read, body, size=1)) < ONE_SECOND


@pytest.mark.timing
def test_cve_2024_30251_no_malformed_body_takes_long() -> None:
    body = form(part(b"batch"), part(b"x" * 100, FILE))
    tricks = (b"\r\n", b"\r", b"\n", b"--", b"\r\n--" + B, b'"', b"\\", b";", b"\0")
    for at in range(len(body)):
        for trick in tricks:
            assert best_of(1, partial(attempt, body[:at] + trick * 50 + body[at:])) < ONE_SECOND


def throughput(content: bytes) -> float:
    """Bytes per second for a file of about 8 MB, in chunks of 256 KiB."""
    boundary = b"484552e3a8502969ec46faf37a4d52ec"
    body = form(part((content * (8_000_000 // len(content)))[:8_000_000], FILE, boundary), boundary=boundary)
    chunks = list(chunked(body, 256 * 1024))

    def run() -> None:
        reader = MultipartReader(boundary)
        for chunk in chunks:
            reader.feed(chunk)
        reader.close()

    return len(body) / best_of(9, run)


@pytest.mark.timing
@pytest.mark.promise("S-18")
def test_cve_2023_46136_hostile_content_is_as_linear_as_any() -> None:
    benign = throughput(bytes(range(256)) * 64)
    delimiter = b"\r\n--484552e3a8502969ec46faf37a4d52ec"
    for hostile in (b"\r", b"\n", b"\r\n", b"\r\n-", b"\r\n--", b"\r\n--4845", delimiter[:20], delimiter[:-1], b"c"):
        assert throughput(hostile) > 0.3 * benign, hostile


@pytest.mark.promise("S-18")
def test_cve_2024_49767_memory_stays_below_128_kib_beside_the_chunks() -> None:
    chunk = (b"\r\n--7MA4YWx" * 30_000)[: 256 * 1024]
    heads = form(*[part(head=field_headed(8192))] * 16)
    tracemalloc.start()
    try:
        reader = MultipartReader(B)
        reader.feed(b"--" + B + b"\r\n" + FILE + b"\r\n")
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            reader.feed(chunk)
        assert tracemalloc.get_traced_memory()[0] - before < 16 * 1024
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        other = MultipartReader(B)
        for piece in chunked(heads, 1000):
            other.feed(piece)
        assert tracemalloc.get_traced_memory()[1] - before < 128 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ('form-data; name="x; filename=decoy"; filename="real"', ("x; filename=decoy", "real")),
        ('form-data; x="; name=decoy"; name="real"', ("real", None)),
        ('form-data; name="real"; filename*="; filename=decoy"; filename="a"', ("real", "a")),
        ('form-data; name="real"; filename="a\\"; filename=\\"decoy"', ("real", 'a"; filename="decoy')),
    ],
)
def test_multer_72_a_decoy_within_quotes_is_not_a_parameter(value: str, seen: tuple[str, str | None]) -> None:
    assert disposition(value) == seen


def test_form_data_610_a_line_end_in_a_name_makes_no_header() -> None:
    refusal(form(part(head=b'Content-Disposition: form-data; name="a\r\nContent-Type: text/html"\r\n')))
    assert disposition('form-data; name="a%0D%0AContent-Disposition: x"') == ("a\r\nContent-Disposition: x", None)


def test_cve_2026_24486_a_path_in_a_filename_is_handed_on_as_data() -> None:
    for name in ("/etc/passwd", "..", "\\\\server\\share", "nul", "a/../../b", ".ssh"):
        escaped = name.replace("\\", "\\\\")
        assert disposition(f'form-data; name="f"; filename="{escaped}"') == ("f", name)
