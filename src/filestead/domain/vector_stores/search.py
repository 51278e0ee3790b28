"""The search of a vector store: ranks the chunks of its index, and returns those of files that are visible now.

The index may lag behind: it has chunks of detached and deleted files until they are merged away. So each candidate is
checked against the rows, in the order of the ranking, until enough are found. Where a store has vectors, the ranking by
keywords is fused with that by vectors. Source of the limits and of the filters: `VectorStoreSearchRequest` of the
official description.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from filestead.domain.access import Principal
from filestead.domain.errors import SegmentsChanged
from filestead.domain.vector_stores.filters import Filter
from filestead.domain.vector_stores.hybrid import DEPTH, DenseQueries, DenseSearch
from filestead.domain.vector_stores.interfaces import IndexRepository, VectorStoreRepository
from filestead.domain.vector_stores.model import ChunkRef, SearchableFile, SegmentInfo

ATTEMPTS = 5
"""Attempts while merges replace the segments that a search reads."""

FIRST_BATCH = 64
HYBRID_FIRST_BATCH = 128
"""Chunks that are checked at once at first, of each ranking: more than are needed, as some may be hidden."""

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
    """A chunk in a ranking."""

    @property
    def attachment(self) -> int:
        """Whose chunk it is."""

    @property
    def ordinal(self) -> int:
        """Its number in the file."""

    @property
    def score(self) -> float:
        """Higher is better."""


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
        first_batch: int,
    ) -> Iterator[Sequence[Candidate]]:
        """Yield the chunks that match, best first, in batches that grow from this size."""


class Search:
    """Searches the stores of one installation."""

    def __init__(
        self,
        stores: VectorStoreRepository,
        index: IndexRepository,
        ranker: Callable[[], Ranker],
        *,
        run_in_thread: Callable[..., Awaitable[Any]],
        dense: DenseSearch | None = None,
    ) -> None:
        """`ranker` loads the ranking; `run_in_thread` runs a function on a thread; `dense` makes searches hybrid."""
        self._dense = dense
        self._stores = stores
        self._index = index
        self._ranker = ranker
        self._run_in_thread = run_in_thread

    async def search(self, principal: Principal, store_id: str, query: SearchQuery) -> list[SearchResult]:
        """Return the best chunks. Raises `VectorStoreNotFound`, `VectorStoreExpired`."""
        await self._stores.touch(principal.project_id, store_id)
        dense = None if self._dense is None else await self._dense.queries(store_id, query.texts)
        for attempt in range(ATTEMPTS):
            try:
                return await self._search(store_id, query, dense)
            except SegmentsChanged:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def _search(self, store_id: str, query: SearchQuery, dense: DenseQueries | None) -> list[SearchResult]:
        checked = _Checked(self._index, store_id, query.filter)
        if dense is None:
            best = await self._by_keywords(store_id, query, checked)
        else:
            best = await self._fused(store_id, query, checked, dense)
        chosen = sorted(best, key=lambda chunk: (-best[chunk], chunk))[: query.limit]
        texts = await self._index.chunk_texts(chosen)
        return [
            SearchResult(checked.files[chunk[0]], texts[chunk], best[chunk])
            for chunk in chosen
            if chunk in texts  # the file was detached a moment ago
        ]

    async def _by_keywords(self, store_id: str, query: SearchQuery, checked: "_Checked") -> dict[ChunkRef, float]:
        """The best chunks of each text, with their best scores."""
        best: dict[ChunkRef, float] = {}
        for ranking in await self._rankings(store_id, query.texts, FIRST_BATCH):
            for candidate in await checked.first(ranking, query.limit, query.score_threshold):
                chunk = (candidate.attachment, candidate.ordinal)
                best[chunk] = max(best.get(chunk, 0.0), candidate.score)
        return best

    async def _fused(
        self, store_id: str, query: SearchQuery, checked: "_Checked", dense: DenseQueries
    ) -> dict[ChunkRef, float]:
        """The best chunks of each text by both rankings, with their best scores."""
        assert self._dense is not None, "there are vectors of the query"
        best: dict[ChunkRef, float] = {}
        rankings = await self._rankings(store_id, query.texts, HYBRID_FIRST_BATCH)
        for ranking, vector in zip(rankings, dense.vectors, strict=True):
            near = self._dense.candidates(dense.searched, vector)
            found = await asyncio.gather(checked.first(ranking, DEPTH), checked.first(near, DEPTH))
            keyword, nearest = ([(each.attachment, each.ordinal) for each in candidates] for candidates in found)
            for chunk, score in self._dense.fuse(keyword, nearest):
                if score >= query.score_threshold:
                    best[chunk] = max(best.get(chunk, 0.0), score)
        return best

    async def _rankings(
        self, store_id: str, texts: Sequence[str], first_batch: int
    ) -> list[AsyncIterator[Sequence[Candidate]]]:
        """The rankings by keywords, one for each text."""
        ranker = self._ranker()
        loop = asyncio.get_running_loop()

        def fetch_blocks(parts: Collection[Any]) -> Parts:  # called on a thread, which waits for the event loop
            return asyncio.run_coroutine_threadsafe(self._index.read_documents(list(parts)), loop).result()

        segments = await self._index.segments(store_id)
        queries = [ranker.query_terms(text) for text in texts]
        fetched = await self._index.read_postings(list(ranker.needed_buckets(queries, segments)))
        return [self._batches(ranker.rank(terms, segments, fetched, fetch_blocks, first_batch)) for terms in queries]

    async def _batches(self, ranking: Iterator[Sequence[Candidate]]) -> AsyncIterator[Sequence[Candidate]]:
        while batch := await self._run_in_thread(next, ranking, None):
            yield batch


class _Checked:
    """The candidates whose files are visible and pass the filter; the files are collected."""

    def __init__(self, index: IndexRepository, store_id: str, passing: Filter | None) -> None:
        self._index = index
        self._store_id = store_id
        self._filter = passing
        self._known: set[int] = set()
        self.files: dict[int, SearchableFile] = {}
        """By attachment."""

    async def first(
        self, ranking: AsyncIterator[Sequence[Candidate]], limit: int, threshold: float = 0.0
    ) -> list[Candidate]:
        """The best `limit` candidates of a ranking, each chunk once, as far as their scores reach the threshold."""
        found: dict[ChunkRef, Candidate] = {}
        async for batch in ranking:
            await self._read({candidate.attachment for candidate in batch} - self._known)
            for candidate in batch:
                if candidate.score < threshold:
                    return list(found.values())
                if self._passes(candidate.attachment):
                    found.setdefault((candidate.attachment, candidate.ordinal), candidate)
                    if len(found) == limit:
                        return list(found.values())
        return list(found.values())

    async def _read(self, attachments: set[int]) -> None:
        if attachments:
            self.files |= await self._index.searchable(self._store_id, sorted(attachments))
            self._known |= attachments

    def _passes(self, attachment: int) -> bool:
        file = self.files.get(attachment)
        return file is not None and (self._filter is None or self._filter.matches(file.attributes))
