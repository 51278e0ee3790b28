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

from dataclasses import dataclass
from itertools import pairwise
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
_COUNTS_BYTES = 4 * 2 * len(_GROUPS)


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

    __slots__ = ("_counts", "_firsts", "_frequencies", "_gaps", "_group_terms", "_lengths", "hashes")

    def __init__(self, data: bytes) -> None:
        check(POSTINGS, data)
        if len(data) < HEADER_BYTES + _COUNTS_BYTES:
            raise DamagedSegment(f"a bucket of {len(data)} bytes")
        counts = np.frombuffer(data, "<u4", 6, HEADER_BYTES)
        self._group_terms = [int(count) for count in counts[:3]]
        narrow, medium, wide = (int(count) for count in counts[3:])
        terms, postings = sum(self._group_terms), narrow + medium + wide
        layout = [("<u8", terms), ("<u4", terms), ("<u4", terms), ("<u4", wide), ("<u2", medium), ("<u2", postings)]
        layout += [("u1", narrow), ("u1", postings)]
        columns: list[NDArray[Any]] = []
        offset = HEADER_BYTES + _COUNTS_BYTES
        if len(data) != offset + 16 * terms + 4 * wide + 2 * medium + narrow + 3 * postings:
            raise DamagedSegment(f"a bucket of {len(data)} bytes whose header says otherwise")
        for kind, count in layout:
            columns.append(np.frombuffer(data, kind, count, offset))
            offset += columns[-1].nbytes
        self.hashes: Hashes = columns[0]
        self._firsts, self._counts, wide_gaps, medium_gaps, self._lengths, narrow_gaps, self._frequencies = columns[1:]
        self._gaps = (narrow_gaps, medium_gaps, wide_gaps)

    def find(self, hashed: int) -> PostingList | None:
        """The postings of a term, or None if no chunk contains it."""
        (found,) = np.nonzero(self.hashes == np.uint64(hashed))
        if not len(found):
            return None
        term = int(found[0])
        start = int(self._counts[:term].sum())
        count = int(self._counts[term])
        group, before = 0, term
        start_of_gaps = start
        while before >= self._group_terms[group]:
            before -= self._group_terms[group]
            start_of_gaps -= len(self._gaps[group])
            group += 1
        chunks = np.cumsum(self._gaps[group][start_of_gaps : start_of_gaps + count], dtype=np.uint32)
        chunks += self._firsts[term]
        postings = slice(start, start + count)
        return PostingList(chunks, self._frequencies[postings], self._lengths[postings])

    def all(self) -> Postings:
        """The postings of all terms."""
        counts = self._counts.astype(np.int64)
        sums = np.cumsum(np.concatenate(self._gaps), dtype=np.uint32)  # modulo 2**32, and so are the differences
        chunks = sums + np.repeat(self._firsts - sums[_starts(counts)], counts)
        return Postings(self.hashes, counts, chunks, self._frequencies, self._lengths)


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The position of the first posting of each term."""
    return np.cumsum(counts) - counts
