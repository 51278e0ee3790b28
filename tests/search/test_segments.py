"""Segments: what goes into the bytes comes out, and damage is found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filestead.search.documents import BLOCK_ROWS, decode_block, decode_blocks
from filestead.search.encoding import DOCUMENTS, POSTINGS, DamagedSegment, bucket_of, seal, term_hash
from filestead.search.postings import Bucket, Postings, encode
from filestead.search.segments import BUCKET_BYTES, Segment, SegmentBuilder


def segment_of(*chunks: list[str]) -> Segment:
    builder = SegmentBuilder()
    for ordinal, terms in enumerate(chunks):
        builder.add(7, ordinal, terms)
    return builder.build()


def lists_of(bucket: bytes) -> dict[int, list[tuple[int, int, int]]]:
    """Hash -> (chunk, frequency, length) of each posting."""
    postings = Bucket(bucket).all()
    rows = list(zip(*(c.tolist() for c in (postings.chunks, postings.frequencies, postings.lengths)), strict=True))
    ends = np.cumsum(postings.counts).tolist()
    return {
        hashed: rows[end - count : end]
        for hashed, count, end in zip(postings.hashes.tolist(), postings.counts.tolist(), ends, strict=True)
    }


def test_the_hash_of_a_term_never_changes() -> None:
    assert term_hash("filestead") == 0xF2C21D223667EC2E
    assert term_hash("東京") == 0xF02B68D1CA5511EE
    assert bucket_of(0xFFFFFFFFFFFFFFFF, 16) == 15
    assert bucket_of(0x8000000000000000, 2) == 1
    assert bucket_of(0x7FFFFFFFFFFFFFFF, 2) == bucket_of(0xFFFFFFFFFFFFFFFF, 1) == 0


def test_the_bytes_of_a_small_segment_never_change() -> None:
    segment = segment_of(["a", "b", "a"], ["b"])
    assert segment.buckets[0].hex() == (
        "01010000cc8b8e4802000000000000000000000003000000000000000000000040f89e395b66422f8472c2e34d854f75"
        "00000000000000000100000002000000030003000100000001020101"
    )
    assert segment.documents[0].hex() == ("0102000018bc39a207000000000000000700000000000000000000000100000003000100")


def test_a_small_segment() -> None:
    segment = segment_of(["a", "b", "a"], [], ["b"])
    assert (segment.counts.chunks, segment.counts.length, segment.counts.postings, segment.counts.buckets) == (
        3,
        4,
        3,
        1,
    )
    assert lists_of(segment.buckets[0]) == {term_hash("a"): [(0, 2, 3)], term_hash("b"): [(0, 1, 3), (2, 1, 1)]}
    documents = decode_blocks(segment.documents)
    assert documents.attachments.tolist() == [7, 7, 7]
    assert documents.ordinals.tolist() == [0, 1, 2]
    assert documents.lengths.tolist() == [3, 0, 1]


def test_the_hashes_of_many_terms_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = [[f"w{number}", f"w{number + 1}"] for number in range(50)]
    expected = segment_of(*chunks)
    monkeypatch.setattr("filestead.search.segments._CACHED_HASHES", 5)
    builder = SegmentBuilder()
    for ordinal, terms in enumerate(chunks):
        builder.add(7, ordinal, terms)
        assert len(builder._known) <= 5
    assert builder.build() == expected


def test_an_empty_segment() -> None:
    segment = segment_of()
    assert segment.counts.chunks == segment.counts.postings == 0
    assert [Bucket(bucket).find(1) for bucket in segment.buckets] == [None]
    assert segment.documents == []


def test_large_frequencies_and_lengths_are_capped() -> None:
    segment = segment_of(["a"] * 300, ["a"] * 70_000)
    assert lists_of(segment.buckets[0]) == {term_hash("a"): [(0, 255, 300), (1, 255, 65_535)]}


def test_chunks_come_in_order() -> None:
    builder = SegmentBuilder()
    builder.add(2, 5, ["a"])
    for attachment, ordinal in ((2, 5), (2, 4), (1, 6)):
        with pytest.raises(ValueError, match="ascending"):
            builder.add(attachment, ordinal, ["a"])
    builder.add(3, 0, ["a"])
    assert builder.build().counts.chunks == 2


def test_a_large_segment_has_buckets_of_the_promised_size_and_full_blocks() -> None:
    chunks = [[f"w{(chunk * 31 + word * word) % 5_000}" for word in range(60)] for chunk in range(2_500)]
    segment = segment_of(*chunks)
    assert segment.counts.buckets == len(segment.buckets) > 8
    assert BUCKET_BYTES / 2 < sum(map(len, segment.buckets)) / len(segment.buckets) < BUCKET_BYTES * 2
    assert [len(decode_block(block).attachments) for block in segment.documents] == [BLOCK_ROWS, BLOCK_ROWS, 452]
    for word in ("w0", "w31", "w4999"):
        found = Bucket(segment.buckets[bucket_of(term_hash(word), segment.counts.buckets)]).find(term_hash(word))
        expected = [number for number, terms in enumerate(chunks) if word in terms]
        assert (found.chunks.tolist() if found else []) == expected


TERMS = st.dictionaries(
    st.integers(0, 2**64 - 1),
    st.dictionaries(
        st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1)),
        st.tuples(st.integers(1, 255), st.integers(0, 65_535)),
        min_size=1,
        max_size=12,
    ),
    max_size=12,
)


@given(TERMS)
@settings(deadline=None)
def test_posting_lists_survive_the_encoding(lists: dict[int, dict[int, tuple[int, int]]]) -> None:
    rows = {hashed: sorted((chunk, *rest) for chunk, rest in postings.items()) for hashed, postings in lists.items()}
    flat = [row for postings in rows.values() for row in postings]
    data = encode(
        Postings(
            np.array(list(rows), np.uint64),
            np.array([len(postings) for postings in rows.values()], np.int64),
            np.array([row[0] for row in flat], np.uint32),
            np.array([row[1] for row in flat], np.uint8),
            np.array([row[2] for row in flat], np.uint16),
        )
    )
    assert lists_of(data) == rows
    for hashed, postings in rows.items():
        found = Bucket(data).find(hashed)
        assert found is not None
        columns = (found.chunks.tolist(), found.frequencies.tolist(), found.lengths.tolist())
        assert list(zip(*columns, strict=True)) == postings
    assert Bucket(data).find(max(lists, default=0) ^ 1 if len(lists) < 2 else 12345) is None or 12345 in lists


@pytest.mark.parametrize("part", ["bucket", "document block"])
def test_every_damaged_byte_is_found(part: str) -> None:
    segment = segment_of(["a", "b"], ["b", "c"])
    data = segment.buckets[0] if part == "bucket" else segment.documents[0]
    read = Bucket if part == "bucket" else decode_block
    read(data)
    for position in range(len(data)):
        with pytest.raises(DamagedSegment):
            read(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        with pytest.raises(DamagedSegment):
            read(data[:position])
    with pytest.raises(DamagedSegment):
        read(data + b"\0")


@pytest.mark.parametrize("payload", [b"", bytes(23), bytes(25), b"\1" + bytes(23)])
def test_a_bucket_of_the_wrong_size_is_found_though_its_checksum_is_right(payload: bytes) -> None:
    with pytest.raises(DamagedSegment, match="a bucket of"):
        Bucket(seal(POSTINGS, payload))
    assert Bucket(seal(POSTINGS, bytes(24))).find(0) is None


def test_a_block_of_the_wrong_size_is_found_though_its_checksum_is_right() -> None:
    with pytest.raises(DamagedSegment, match="a document block of"):
        decode_block(seal(DOCUMENTS, bytes(15)))


def test_a_bucket_is_no_document_block() -> None:
    segment = segment_of(["a"])
    with pytest.raises(DamagedSegment, match="expected kind"):
        Bucket(segment.documents[0])
    with pytest.raises(DamagedSegment, match="expected kind"):
        decode_block(segment.buckets[0])


def test_a_block_that_is_missing_in_the_middle_is_found() -> None:
    segment = segment_of(*[["a"]] * (2 * BLOCK_ROWS))
    short = segment_of(["a"])
    with pytest.raises(DamagedSegment, match="not full"):
        decode_blocks([short.documents[0], segment.documents[1]])
