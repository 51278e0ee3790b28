"""An index in memory: segments, and what a storage layer does for a search."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from filestead.search.ranking import (
    Candidate,
    Part,
    Query,
    SegmentStatistics,
    needed_buckets,
    query_terms,
    rank,
)
from filestead.search.segments import Segment


class Index:
    """Segments whose ids are their positions."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = segments
        self.statistics = [
            SegmentStatistics(position, segment.counts.chunks, segment.counts.length, segment.counts.buckets)
            for position, segment in enumerate(segments)
        ]

    def fetch_buckets(self, queries: Sequence[Query]) -> Mapping[Part, bytes]:
        parts = needed_buckets(queries, self.statistics)
        return {part: self.segments[part.segment].buckets[part.number] for part in parts}

    def fetch_blocks(self, parts: Collection[Part]) -> Mapping[Part, bytes]:
        return {part: self.segments[part.segment].documents[part.number] for part in parts}

    def search(self, query: Query | str, first_batch: int = 64) -> list[Candidate]:
        """All candidates, best first."""
        query = query_terms(query) if isinstance(query, str) else query
        fetched = self.fetch_buckets([query])
        return list(chain.from_iterable(rank(query, self.statistics, fetched, self.fetch_blocks, first_batch)))
