"""Merge of segments into one, range by range of the hashes of terms, so that memory does not depend on their size.

The caller reads what a step needs, runs it, stores its buckets, and goes on to the next step. In memory are the rows
of the documents (about 40 bytes for a chunk) and one step: about 60 MiB, however large the segments are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from filestead.search.documents import Documents, decode_blocks
from filestead.search.encoding import DamagedSegment
from filestead.search.postings import Bucket, Frequencies, Hashes, Lengths, Numbers, Postings, encode
from filestead.search.segments import Segment, SegmentCounts, bucket_count, split

Keep: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""Attachments, one for each chunk -> whether the chunk is kept."""

STEP_BUCKETS = 256
"""Buckets that a step makes, at most."""

_TERMS_OF_A_POSTING = 0.1
"""Distinct terms for each posting, assumed for the number of buckets: 0.3 in small segments, 0.02 in large ones."""


@dataclass(frozen=True, slots=True)
class MergeStep:
    """One step: the buckets that it reads and those that it makes."""

    sources: tuple[range, ...]
    """For each source, the numbers of the buckets that `Merge.run` needs."""
    buckets: range
    """The numbers of the buckets that `Merge.run` returns."""


class Merge:
    """A merge of segments, at least one, into a new one, without the chunks that are not kept.

    Raises `DamagedSegment` if the documents do not match the counts, or, from `run`, if a bucket is damaged.
    """

    def __init__(self, sources: Sequence[SegmentCounts], documents: Sequence[Sequence[bytes]], keep: Keep) -> None:
        self._sources = tuple(sources)
        rows = [decode_blocks(blocks) for blocks in documents]
        for counts, table in zip(sources, rows, strict=True):
            if len(table.attachments) != counts.chunks:
                raise DamagedSegment(f"{len(table.attachments)} documents in a segment of {counts.chunks} chunks")
        self._merged, self._numbers = _renumber(rows, keep)
        chunks = sum(source.chunks for source in sources)
        kept = len(self._merged.attachments) / chunks if chunks else 0
        estimate = round(kept * sum(source.postings for source in sources))
        self._buckets = bucket_count(estimate, round(_TERMS_OF_A_POSTING * estimate))
        self._postings = 0

    @property
    def documents(self) -> list[bytes]:
        """The document blocks of the new segment."""
        return self._merged.blocks()

    @property
    def counts(self) -> SegmentCounts:
        """The counts of the new segment; complete after the last step."""
        lengths = self._merged.lengths
        return SegmentCounts(len(lengths), int(lengths.sum(dtype=np.int64)), self._postings, self._buckets)

    def steps(self) -> Iterator[MergeStep]:
        """The steps, in the order in which they must run, each once."""
        size = min(STEP_BUCKETS, self._buckets)
        for first in range(0, self._buckets, size):
            last = first + size
            sources = tuple(
                range(first * source.buckets // self._buckets, -(-last * source.buckets // self._buckets))
                for source in self._sources
            )
            yield MergeStep(sources, range(first, last))

    def run(self, step: MergeStep, read: Sequence[Mapping[int, bytes]]) -> list[bytes]:
        """Run a step.

        Args:
            step: the step.
            read: for each source, bucket number -> bytes; `step.sources` says which.

        Returns:
            The buckets `step.buckets`, in this order.
        """
        lists = [
            (Bucket(buckets[number]).all(), numbers)
            for numbers, wanted, buckets in zip(self._numbers, step.sources, read, strict=True)
            for number in wanted
        ]
        merged = _interleave(lists, *_range_of(step.buckets, self._buckets))
        self._postings += len(merged.chunks)
        return [encode(part) for part in split(merged, step.buckets, self._buckets)]


def merge(segments: Sequence[Segment], keep: Keep) -> Segment:
    """Merge segments that are in memory."""
    merging = Merge([segment.counts for segment in segments], [segment.documents for segment in segments], keep)
    read = [dict(enumerate(segment.buckets)) for segment in segments]
    buckets = [bucket for step in merging.steps() for bucket in merging.run(step, read)]
    return Segment(merging.counts, buckets, merging.documents)


_DROPPED = np.uint32(0xFFFFFFFF)


def _renumber(tables: Sequence[Documents], keep: Keep) -> tuple[Documents, list[Numbers]]:
    """The rows of the new segment, and for each source the new number of each chunk, or `_DROPPED`."""
    sizes = [len(table.attachments) for table in tables]
    attachments = np.concatenate([np.zeros(0, np.int64), *(table.attachments for table in tables)])
    ordinals = np.concatenate([np.zeros(0, np.int32), *(table.ordinals for table in tables)])
    lengths = np.concatenate([np.zeros(0, np.uint16), *(table.lengths for table in tables)])
    order = np.lexsort((ordinals, attachments))
    order = order[keep(attachments)[order]]
    numbers = np.full(len(attachments), _DROPPED, np.uint32)
    numbers[order] = np.arange(len(order), dtype=np.uint32)
    kept = Documents(attachments[order], ordinals[order], lengths[order])
    return kept, np.split(numbers, np.cumsum(sizes)[:-1])


def _range_of(numbers: range, buckets: int) -> tuple[np.uint64, np.uint64]:
    """The least and the greatest hash of these buckets."""
    return np.uint64((numbers.start << 64) // buckets), np.uint64((numbers.stop << 64) // buckets - 1)


def _interleave(lists: Sequence[tuple[Postings, Numbers]], least: np.uint64, greatest: np.uint64) -> Postings:
    """One list for each term of the range, of the chunks that are kept; `lists` has postings and new chunk numbers."""
    hashes = np.unique(np.concatenate([postings.hashes for postings, _ in lists]))
    parts = [_renumbered(postings, numbers, hashes, least, greatest) for postings, numbers in lists]
    terms, chunks, frequencies, lengths = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(terms.astype(np.uint64) << np.uint64(32) | chunks, kind="stable")
    counts = np.bincount(terms, minlength=len(hashes))
    present = counts > 0
    return Postings(hashes[present], counts[present], chunks[order], frequencies[order], lengths[order])


def _renumbered(
    postings: Postings, numbers: Numbers, hashes: Hashes, least: np.uint64, greatest: np.uint64
) -> tuple[NDArray[np.int64], Numbers, Frequencies, Lengths]:
    """For each posting that remains: position of its term in `hashes`, new chunk number, frequency, length."""
    if len(postings.chunks) and int(postings.chunks.max()) >= len(numbers):
        raise DamagedSegment(f"a posting of a chunk that is not one of the {len(numbers)} of its segment")
    chunks = numbers[postings.chunks]
    # Several steps read the bucket of a small source.
    inside = (postings.hashes >= least) & (postings.hashes <= greatest)
    chosen = (chunks != _DROPPED) & np.repeat(inside, postings.counts)
    terms = np.repeat(np.searchsorted(hashes, postings.hashes), postings.counts)
    return terms[chosen], chunks[chosen], postings.frequencies[chosen], postings.lengths[chosen]
