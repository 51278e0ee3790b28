"""Immutable index segments: posting lists in buckets by the hash of the term, and document blocks.

A segment numbers its chunks from 0 in the order of (attachment, ordinal). A search reads only the buckets of its
terms and the document blocks of its best chunks. The number of buckets is a power of two, chosen so that a bucket has
about `BUCKET_BYTES`.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from filestead.search.documents import Documents
from filestead.search.encoding import bucket_of, term_hash
from filestead.search.postings import (
    MAX_FREQUENCY,
    MAX_LENGTH,
    POSTING_BYTES,
    TERM_BYTES,
    Postings,
    encode,
)

BUCKET_BYTES = 16 * 1024
_CACHED_HASHES = 200_000


@dataclass(frozen=True, slots=True)
class SegmentCounts:
    """What the index keeps of a segment beside its parts."""

    chunks: int
    length: int
    """Sum of the lengths of the chunks, in terms."""
    postings: int
    """Pairs of a term and a chunk that contains it."""
    buckets: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A whole segment in memory. The position in each list is the number of the bucket or block."""

    counts: SegmentCounts
    buckets: list[bytes]
    documents: list[bytes]


class SegmentBuilder:
    """Collects the terms of chunks; `build` makes them a segment. Needs about 10 bytes of memory for a posting."""

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._frequencies = bytearray()
        self._terms_of_chunks = array("Q")
        self._attachments = array("q")
        self._ordinals = array("i")
        self._lengths = array("H")
        self._known = _HashedTerms()

    def add(self, attachment: int, ordinal: int, terms: Sequence[str]) -> None:
        """Add a chunk. Chunks must come in the order of (attachment, ordinal); raises ValueError otherwise."""
        if self._attachments and (attachment, ordinal) <= (self._attachments[-1], self._ordinals[-1]):
            raise ValueError(f"chunk {ordinal} of attachment {attachment} is not in ascending order")
        counted = Counter(terms)
        self._attachments.append(attachment)
        self._ordinals.append(ordinal)
        self._lengths.append(min(len(terms), MAX_LENGTH))
        self._terms_of_chunks.append(len(counted))
        self._hashes.extend(map(self._known.__getitem__, counted))
        self._frequencies += bytes(min(frequency, MAX_FREQUENCY) for frequency in counted.values())
        if len(self._known) > _CACHED_HASHES:
            self._known.clear()

    def build(self) -> Segment:
        """The segment of all chunks that were added."""
        lengths = np.array(self._lengths, np.uint16)
        documents = Documents(np.array(self._attachments, np.int64), np.array(self._ordinals, np.int32), lengths)
        chunks = np.repeat(np.arange(len(lengths), dtype=np.uint32), np.array(self._terms_of_chunks, np.int64))
        hashes = np.frombuffer(self._hashes, np.uint64) if self._hashes else np.zeros(0, np.uint64)
        order = np.argsort(hashes, kind="stable")
        chunks = chunks[order]
        distinct, counts = np.unique(hashes, return_counts=True)
        frequencies = np.frombuffer(self._frequencies, np.uint8)[order]
        postings = Postings(distinct, counts.astype(np.int64), chunks, frequencies, lengths[chunks])
        buckets = bucket_count(len(chunks), len(distinct))
        return Segment(
            SegmentCounts(len(lengths), int(lengths.sum(dtype=np.int64)), len(chunks), buckets),
            [encode(part) for part in split(postings, range(buckets), buckets)],
            documents.blocks(),
        )


class _HashedTerms(dict[str, int]):
    """Term -> hash, computed when it is missing."""

    def __missing__(self, term: str) -> int:
        hashed = self[term] = term_hash(term)
        return hashed


def bucket_count(postings: int, terms: int) -> int:
    """The power of two with which a bucket is nearest to `BUCKET_BYTES`, at least 1."""
    wanted = (POSTING_BYTES * postings + TERM_BYTES * terms) / BUCKET_BYTES
    return 1 << max(0, round(float(np.log2(max(wanted, 1)))))


def split(postings: Postings, numbers: range, buckets: int) -> Iterator[Postings]:
    """Split postings, whose hashes ascend and lie in the buckets `numbers`, into these buckets."""
    bounds = [_first_hash(number, buckets) for number in numbers[1:]]
    positions = np.searchsorted(postings.hashes, np.array(bounds, np.uint64)).tolist()
    ends = np.concatenate(([0], np.cumsum(postings.counts)))
    for first, last in zip([0, *positions], [*positions, len(postings.hashes)], strict=True):
        span = slice(int(ends[first]), int(ends[last]))
        yield Postings(
            postings.hashes[first:last],
            postings.counts[first:last],
            postings.chunks[span],
            postings.frequencies[span],
            postings.lengths[span],
        )


def _first_hash(number: int, buckets: int) -> int:
    """The least hash of a bucket."""
    first = (number << 64) // buckets
    assert bucket_of(first, buckets) == number
    return first
