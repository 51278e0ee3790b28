"""The search of a vector store: ranks the chunks of its index, and returns those of files that are visible now.

The index may lag behind: it has chunks of detached and deleted files until they are merged away. So each candidate is
checked against the rows, in the order of the ranking, until enough are found. Source of the limits and of the filters:
`VectorStoreSearchRequest` of the official description.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from filestead.domain.access import Principal
from filestead.domain.errors import SegmentsChanged
from filestead.domain.vector_stores.filters import Filter
from filestead.domain.vector_stores.interfaces import IndexRepository, VectorStoreRepository
from filestead.domain.vector_stores.model import ChunkRef, SearchableFile, SegmentInfo

ATTEMPTS = 5
"""Attempts while merges replace the segments that a search reads."""

Parts = Mapping[Any, bytes]


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What to search for; several texts are searched for one by one, and a chunk counts with its best score."""

    texts: tuple[str, ...]
    limit: int
    score_threshold: float = 0.0
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A chunk that was found; `score` is from 0 to 1."""

    file: SearchableFile
    text: str
    score: float


class Candidate(Protocol):
    """A chunk in the ranking."""

    attachment: int
    ordinal: int
    score: float


class Ranker(Protocol):
    """Ranks chunks by keywords; `search.ranking` is one. Parts are pairs of a segment and a number."""

    def query_terms(self, text: str) -> Any:
        """Return the terms of a query."""

    def needed_buckets(self, queries: Sequence[Any], segments: Sequence[SegmentInfo]) -> Collection[Any]:
        """Return the buckets that the queries need."""

    def rank(
        self,
        query: Any,
        segments: Sequence[SegmentInfo],
        fetched: Parts,
        fetch_blocks: Callable[[Collection[Any]], Parts],
    ) -> Iterator[Sequence[Candidate]]:
        """Yield the chunks that match, best first, in growing batches."""


class Search:
    """Searches the stores of one installation."""

    def __init__(
        self,
        stores: VectorStoreRepository,
        index: IndexRepository,
        ranker: Callable[[], Ranker],
        *,
        run_in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        """`ranker` loads the ranking; `run_in_thread` runs a function on a thread."""
        self._stores = stores
        self._index = index
        self._ranker = ranker
        self._run_in_thread = run_in_thread

    async def search(self, principal: Principal, store_id: str, query: SearchQuery) -> list[SearchResult]:
        """Return the best chunks. Raises `VectorStoreNotFound`, `VectorStoreExpired`."""
        await self._stores.touch(principal.project_id, store_id)
        for attempt in range(ATTEMPTS):
            try:
                return await self._search(store_id, query)
            except SegmentsChanged:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def _search(self, store_id: str, query: SearchQuery) -> list[SearchResult]:
        ranker = self._ranker()
        loop = asyncio.get_running_loop()

        def fetch_blocks(parts: Collection[Any]) -> Parts:  # called on a thread, which waits for the event loop
            return asyncio.run_coroutine_threadsafe(self._index.read_documents(list(parts)), loop).result()

        segments = await self._index.segments(store_id)
        queries = [ranker.query_terms(text) for text in query.texts]
        fetched = await self._index.read_postings(list(ranker.needed_buckets(queries, segments)))
        files: dict[int, SearchableFile] = {}
        best: dict[ChunkRef, float] = {}
        for terms in queries:
            ranking = ranker.rank(terms, segments, fetched, fetch_blocks)
            async for candidate in self._visible(store_id, query, ranking, files):
                chunk = (candidate.attachment, candidate.ordinal)
                best[chunk] = max(best.get(chunk, 0.0), candidate.score)
        chosen = sorted(best, key=lambda chunk: (-best[chunk], chunk))[: query.limit]
        texts = await self._index.chunk_texts(chosen)
        return [
            SearchResult(files[chunk[0]], texts[chunk], best[chunk])
            for chunk in chosen
            if chunk in texts  # the file was detached a moment ago
        ]

    async def _visible(
        self,
        store_id: str,
        query: SearchQuery,
        ranking: Iterator[Sequence[Candidate]],
        files: dict[int, SearchableFile],
    ) -> AsyncIterator[Candidate]:
        """Yield the best candidates of visible files that pass the filter, and collect their files."""
        found = 0
        while batch := await self._run_in_thread(next, ranking, None):
            unknown = {candidate.attachment for candidate in batch} - files.keys()
            files |= await self._index.searchable(store_id, sorted(unknown))
            for candidate in batch:
                if candidate.score < query.score_threshold:
                    return
                file = files.get(candidate.attachment)
                if file is None or (query.filter is not None and not query.filter.matches(file.attributes)):
                    continue
                yield candidate
                found += 1
                if found == query.limit:
                    return
