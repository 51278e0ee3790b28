"""Posting lists of terms in memory, and as the bytes of a bucket.

Payload of a bucket, in this order, with T terms and P postings:

- terms and postings of each of three groups: 6 x uint32. A term belongs to the group whose gaps fit: of 1, 2 or 4
  bytes.
- for each term, group by group: hash uint64[T], first chunk number uint32[T], number of postings uint32[T];
- for each posting in the order of the terms: gap to the chunk number before it, 0 for the first (uint32 of the third
  group, then uint16 of the second), length of the chunk in terms uint16[P], gaps uint8 of the first group, term
  frequency uint8[P].

A posting takes 4 bytes for a frequent term and 5 to 7 for others, a term 16. A frequency above 255 is stored as 255,
which changes what the term contributes to a score by less than 1 %; a length above 65,535 as 65,535.
"""

import struct
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from filestead.search.encoding import HEADER_BYTES, POSTINGS, DamagedSegment, check, seal

Hashes: TypeAlias = NDArray[np.uint64]
Numbers: TypeAlias = NDArray[np.uint32]
Frequencies: TypeAlias = NDArray[np.uint8]
Lengths: TypeAlias = NDArray[np.uint16]

MAX_FREQUENCY = 255
MAX_LENGTH = 65_535
POSTING_BYTES = 5.5
TERM_BYTES = 16

_GROUPS = (np.uint8, np.uint16, np.uint32)
_COUNTS = struct.Struct("<6I")
_FIRST_COLUMN = HEADER_BYTES + _COUNTS.size
_HASH, _FIRST, _COUNT, _WIDE_GAP, _MEDIUM_GAP, _LENGTH, _NARROW_GAP, _FREQUENCY = range(8)
"""Columns in the order of the bytes."""
_TYPES = [np.dtype(kind) for kind in ("<u8", "<u4", "<u4", "<u4", "<u2", "<u2", "u1", "u1")]
_GAPS = (_NARROW_GAP, _MEDIUM_GAP, _WIDE_GAP)


@dataclass(frozen=True, slots=True)
class Postings:
    """Posting lists of distinct terms, one list after the other; chunk numbers ascend within a list."""

    hashes: Hashes
    """One for each term."""
    counts: NDArray[np.int64]
    """Number of postings of each term, at least 1."""
    chunks: Numbers
    """One for each posting, like the two that follow."""
    frequencies: Frequencies
    lengths: Lengths


@dataclass(frozen=True, slots=True)
class PostingList:
    """The postings of one term: chunk numbers in ascending order, the term frequency and length of each chunk."""

    chunks: Numbers
    frequencies: Frequencies
    lengths: Lengths


def encode(postings: Postings) -> bytes:
    """The bucket that holds these postings."""
    starts = _starts(postings.counts)
    gaps = np.zeros(len(postings.chunks), np.uint32)
    gaps[1:] = np.diff(postings.chunks)  # wraps around between two terms, where it is overwritten
    gaps[starts] = 0
    widest = np.maximum.reduceat(gaps, starts) if len(starts) else np.zeros(0, np.uint32)
    group = (widest > 0xFF).astype(np.uint8) + (widest > 0xFFFF)
    group_of_postings = np.repeat(group, postings.counts)
    terms = np.argsort(group, kind="stable")
    order = np.argsort(group_of_postings, kind="stable")
    posting_counts = np.bincount(group_of_postings, minlength=len(_GROUPS))
    bounds = np.concatenate(([0], np.cumsum(posting_counts)))
    gaps = gaps[order]
    narrow, medium, wide = (
        gaps[first:last].astype(width) for (first, last), width in zip(pairwise(bounds), _GROUPS, strict=True)
    )
    columns: tuple[NDArray[Any], ...] = (
        np.concatenate((np.bincount(group, minlength=len(_GROUPS)), posting_counts)).astype(np.uint32),
        postings.hashes[terms],
        postings.chunks[starts][terms],
        postings.counts[terms].astype(np.uint32),
        wide,
        medium,
        postings.lengths[order],
        narrow,
        postings.frequencies[order],
    )
    return seal(POSTINGS, b"".join(column.astype(column.dtype.newbyteorder("<")).tobytes() for column in columns))


class Bucket:
    """The bytes of a bucket, checked, read without copies. Raises `DamagedSegment` if they are not whole."""

    __slots__ = ("_counts", "_data", "_gap_counts", "_offsets", "_term_counts", "_terms")

    def __init__(self, data: bytes) -> None:
        check(POSTINGS, data)
        if len(data) < _FIRST_COLUMN:
            raise DamagedSegment(f"a bucket of {len(data)} bytes")
        counts = _COUNTS.unpack_from(data, HEADER_BYTES)
        narrow, medium, wide = self._gap_counts = counts[3:]
        self._term_counts = counts[:3]
        self._terms = terms = sum(self._term_counts)
        postings = narrow + medium + wide
        sizes = (8 * terms, 4 * terms, 4 * terms, 4 * wide, 2 * medium, 2 * postings, narrow, postings)
        self._offsets = list(accumulate(sizes, initial=_FIRST_COLUMN))
        if len(data) != self._offsets.pop():
            raise DamagedSegment(f"a bucket of {len(data)} bytes whose header says otherwise")
        self._data = data
        self._counts = self._column(_COUNT, 0, terms)

    def find(self, hashed: int) -> PostingList | None:
        """The postings of a term, or None if no chunk contains it."""
        term = self._position(hashed)
        if term is None:
            return None
        start = int(self._counts[:term].sum())
        count = int(self._counts[term])
        group, before, start_of_gaps = 0, term, start
        while before >= self._term_counts[group]:
            before -= self._term_counts[group]
            start_of_gaps -= self._gap_counts[group]
            group += 1
        chunks = np.cumsum(self._column(_GAPS[group], start_of_gaps, count), dtype=np.uint32)
        chunks += self._column(_FIRST, term, 1)
        return PostingList(
            chunks,
            self._column(_FREQUENCY, start, count),
            self._column(_LENGTH, start, count),
        )

    def all(self) -> Postings:
        """The postings of all terms."""
        counts = self._counts.astype(np.int64)
        gaps = [self._column(gap, 0, count) for gap, count in zip(_GAPS, self._gap_counts, strict=True)]
        sums = np.cumsum(np.concatenate(gaps), dtype=np.uint32)  # modulo 2**32, and so are the differences
        firsts = self._column(_FIRST, 0, self._terms)
        return Postings(
            self._column(_HASH, 0, self._terms),
            counts,
            sums + np.repeat(firsts - sums[_starts(counts)], counts),
            self._column(_FREQUENCY, 0, len(sums)),
            self._column(_LENGTH, 0, len(sums)),
        )

    def _position(self, hashed: int) -> int | None:
        wanted = hashed.to_bytes(8, "little")
        start, end = self._offsets[_HASH], self._offsets[_HASH + 1]
        at = self._data.find(wanted, start, end)
        while at >= 0 and (at - start) % 8:  # the bytes of two neighbours
            at = self._data.find(wanted, at + 1, end)
        return (at - start) // 8 if at >= 0 else None

    def _column(self, column: int, first: int, count: int) -> NDArray[Any]:
        """`count` values of a column from the one at `first` on."""
        kind = _TYPES[column]
        return np.frombuffer(self._data, kind, count, self._offsets[column] + first * kind.itemsize)


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The position of the first posting of each term."""
    return np.cumsum(counts) - counts
