"""BM25 ranking of the chunks of a set of segments.

The contribution of a term with frequency f in a chunk of length l (Robertson and Zaragoza, 2009):

    idf * f * (K1 + 1) / (f + K1 * (1 - B + B * l / average length)),   idf = ln(1 + (N - df + 0.5) / (df + 0.5))

N, the average length and df are sums over the given segments, in which detached chunks count until a merge drops them.

The same chunks are ranked alike however they are grouped into segments: the terms of a query are added in its order, in
float64. Scores are compared as float32, so that sums of equal terms in different order are equal.

Steps of a search, of which the caller does the reading:

    queries = [query_terms(text) for text in texts]
    fetched = ...                                     # the buckets `needed_buckets(queries, segments)`
    for query in queries:
        for candidates in rank(query, segments, fetched, fetch_blocks): ...    # until enough are visible
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from filestead.search.analysis import terms
from filestead.search.documents import BLOCK_ROWS, decode_block
from filestead.search.encoding import DamagedSegment, bucket_of, term_hash
from filestead.search.postings import Bucket, Frequencies, Lengths, PostingList

K1 = 2.0
B = 0.75
MAX_QUERY_TERMS = 256
"""Distinct terms of a query; what follows is ignored."""

FIRST_BATCH = 64
GROWTH = 4


class SegmentStatistics(NamedTuple):
    """What the ranking must know of a segment; `id` is the caller's."""

    id: int
    chunks: int
    length: int
    """Sum of the lengths of the chunks, in terms."""
    buckets: int


class Part(NamedTuple):
    """A bucket or a document block of a segment."""

    segment: int
    number: int


class Candidate(NamedTuple):
    """A chunk that contains a term of the query."""

    attachment: int
    ordinal: int
    score: float
    """Within 0..1, see `normalised`."""


Query: TypeAlias = Mapping[int, int]
"""Hash of a term -> how often the query contains it."""

FetchBlocks: TypeAlias = Callable[[Collection[Part]], Mapping[Part, bytes]]
"""Reads document blocks."""


def query_terms(text: str) -> Query:
    """The terms of a query. Empty if it has nothing but stop words: it finds nothing."""
    counted = Counter(terms(text))
    return {term_hash(term): count for term, count in list(counted.items())[:MAX_QUERY_TERMS]}


def needed_buckets(queries: Iterable[Query], segments: Sequence[SegmentStatistics]) -> set[Part]:
    """The buckets that `rank` needs for these queries."""
    hashes = {hashed for query in queries for hashed in query}
    return {Part(segment.id, bucket_of(hashed, segment.buckets)) for segment in segments for hashed in hashes}


def normalised(score: float, weight: float) -> float:
    """A BM25 score as a number within 0..1 that says how much of the query a chunk covers.

    `weight` is the sum of the idf of the query's words, those that no chunk contains included. It is the score of a
    chunk of average length that has every word once; a chunk with every word countless times approaches `weight * (K1
    + 1)`. With x = score / weight and M = K1 + 1, the result is x / (x + 1) * (M + 1) / M: it rises strictly with the
    score, and is

    - 0.67 for a chunk of average length with every word once,
    - 0.44 for one with half of the words, by their weight, once,
    - 1 in the limit.

    So a threshold means the same for short and long queries and for small and large stores. A bare score, or its
    share of the best hit's, would not: the best hit would pass every threshold, even if it shares one common word
    with the query.
    """
    share = score / weight
    return min(1.0, share / (share + 1) * (K1 + 2) / (K1 + 1))


def rank(
    query: Query,
    segments: Sequence[SegmentStatistics],
    fetched: Mapping[Part, bytes],
    fetch_blocks: FetchBlocks,
    first_batch: int = FIRST_BATCH,
) -> Iterator[list[Candidate]]:
    """Yield all chunks that contain a term of the query, best first, in batches that grow by `GROWTH`.

    Args:
        query: what `query_terms` returned.
        segments: all segments of the store.
        fetched: the buckets that `needed_buckets` names, and perhaps others.
        fetch_blocks: reads document blocks; called once for each batch, when it is asked for.
        first_batch: size of the first batch.

    Yields:
        Candidates by score, descending; equal scores by attachment and ordinal, ascending.

    Raises:
        DamagedSegment: a bucket or a document block is damaged.
    """
    scores = _score(query, segments, fetched)
    size = first_batch
    while candidates := scores.take(size, fetch_blocks):
        yield candidates
        size *= GROWTH


@dataclass(frozen=True, slots=True)
class _Scores:
    """The score of every chunk; 0 for those that were taken or contain no term of the query.

    Chunks are numbered over all segments: the first of segment n is `bases[n]`.
    """

    scores: NDArray[np.float32]
    weight: float
    segments: Sequence[SegmentStatistics]
    bases: NDArray[np.int64]

    def take(self, size: int, fetch_blocks: FetchBlocks) -> list[Candidate]:
        """Take the best `size` chunks, in their order; fewer if no more have a score."""
        chunks = self._best(size)
        if not len(chunks):
            return []
        attachments, ordinals = self._resolve(chunks, fetch_blocks)
        scores = self.scores[chunks]
        order = np.lexsort((ordinals, attachments, -scores))[:size]
        self.scores[chunks[order]] = 0
        rows = zip(attachments[order].tolist(), ordinals[order].tolist(), scores[order].tolist(), strict=True)
        return [Candidate(attachment, ordinal, normalised(score, self.weight)) for attachment, ordinal, score in rows]

    def _best(self, size: int) -> NDArray[np.int64]:
        """The best `size` chunks and some more.

        Of equal scores at the end, it has the first `size` of each segment. No others of the segment can be among the
        best: within a segment, chunk numbers ascend with (attachment, ordinal).
        """
        last = len(self.scores) - size
        threshold = np.partition(self.scores, last)[last] if last > 0 else 0.0
        above = np.flatnonzero(self.scores > threshold)
        if threshold == 0:
            return above
        equal = np.flatnonzero(self.scores == threshold)
        of_segments = np.split(equal, np.searchsorted(equal, self.bases[1:]))
        return np.concatenate((above, *(chunks[: size - len(above)] for chunks in of_segments)))

    def _resolve(
        self, chunks: NDArray[np.int64], fetch_blocks: FetchBlocks
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Attachment and ordinal of each chunk, from the document blocks."""
        of_segments = np.searchsorted(self.bases, chunks, side="right") - 1
        numbers = (chunks - self.bases[of_segments]).tolist()
        rows = [
            (Part(self.segments[position].id, number // BLOCK_ROWS), number % BLOCK_ROWS)
            for position, number in zip(of_segments.tolist(), numbers, strict=True)
        ]
        wanted = {part for part, _ in rows}
        fetched = fetch_blocks(wanted)
        blocks = {part: decode_block(_found(fetched, part)) for part in wanted}
        attachments = np.empty(len(rows), np.int64)
        ordinals = np.empty(len(rows), np.int32)
        for position, (part, row) in enumerate(rows):
            block = blocks[part]
            if row >= len(block.attachments):
                raise DamagedSegment(f"document block {part.number} of segment {part.segment} has no row {row}")
            attachments[position] = block.attachments[row]
            ordinals[position] = block.ordinals[row]
        return attachments, ordinals


def _score(query: Query, segments: Sequence[SegmentStatistics], fetched: Mapping[Part, bytes]) -> _Scores:
    bases = np.cumsum([0, *(segment.chunks for segment in segments)])
    chunks, length = int(bases[-1]), sum(segment.length for segment in segments)
    average = max(length, 1) / max(chunks, 1)
    scores = np.zeros(chunks)
    weight = 0.0
    buckets = {part: Bucket(_found(fetched, part)) for part in needed_buckets([query], segments)}
    for hashed, repeated in query.items():
        found = list(_posting_lists(hashed, segments, buckets, bases.tolist()))
        frequency = sum(len(postings.chunks) for postings, _ in found)
        term_weight = repeated * math.log(1 + (chunks - frequency + 0.5) / (frequency + 0.5))
        weight += term_weight
        if found:
            numbers = np.concatenate([postings.chunks + np.int64(base) for postings, base in found])
            scores[numbers] += _contributions(
                np.concatenate([postings.frequencies for postings, _ in found]),
                np.concatenate([postings.lengths for postings, _ in found]),
                term_weight,
                average,
            )
    return _Scores(scores.astype(np.float32), weight, segments, bases[:-1])


def _posting_lists(
    hashed: int, segments: Sequence[SegmentStatistics], buckets: Mapping[Part, Bucket], bases: Sequence[int]
) -> Iterator[tuple[PostingList, int]]:
    """The postings of a term in each segment that has it, and the number of the segment's first chunk."""
    for segment, base in zip(segments, bases, strict=False):
        postings = buckets[Part(segment.id, bucket_of(hashed, segment.buckets))].find(hashed)
        if postings is not None:
            if int(postings.chunks[-1]) >= segment.chunks:
                raise DamagedSegment(f"a posting of segment {segment.id} is beyond its last chunk")
            yield postings, base


def _contributions(frequencies: Frequencies, lengths: Lengths, weight: float, average: float) -> NDArray[np.float64]:
    """What a term adds to the score of each chunk that contains it."""
    numerators = frequencies.astype(np.float64)
    denominators = lengths * (K1 * B / average)
    denominators += K1 * (1 - B)
    denominators += numerators
    numerators *= weight * (K1 + 1)
    numerators /= denominators
    return numerators


def _found(fetched: Mapping[Part, bytes], part: Part) -> bytes:
    try:
        return fetched[part]
    except KeyError:
        raise DamagedSegment(f"part {part.number} of segment {part.segment} is missing") from None
