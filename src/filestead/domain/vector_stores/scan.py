"""Nearest chunks by a scan of all vectors of a store, where the database cannot search by vectors."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from filestead.domain.vector_stores.embeddings import CodeBlock, DenseCandidate, SearchedVectors, VectorBlocks

BLOCKS_PER_READ = 512
FIRST_BATCH = 128
GROWTH = 4


class Scan(Protocol):
    """Scores of the vectors that were read so far."""

    last: int

    def extend(self, blocks: Sequence[CodeBlock]) -> None:
        """Score the next blocks."""

    def take(self, size: int) -> Sequence[Any]:
        """Take the best chunks that were not taken yet; each has the attribute `value_id`."""

    def rescore(self, hits: Sequence[Any], values: Mapping[int, bytes]) -> Sequence[DenseCandidate]:
        """Return the chunks with exact scores, best first."""


class Cache(Protocol):
    """Remembers vectors; `search.dense.VectorCache` is one."""

    def begin(self, store: int, model: int, query: bytes) -> Scan:
        """Score what is remembered."""


class ScannedVectors:
    """See `NearestChunks` for the contract."""

    def __init__(
        self, blocks: VectorBlocks, cache: Callable[[], Cache], *, run_in_thread: Callable[..., Awaitable[Any]]
    ) -> None:
        """`cache` loads the scan; `run_in_thread` runs a function on a thread."""
        self._blocks = blocks
        self._cache = cache
        self._run_in_thread = run_in_thread

    async def nearest(self, searched: SearchedVectors, query: bytes) -> AsyncIterator[Sequence[DenseCandidate]]:
        """Yield chunks, nearest first: by exact scores within a batch, by quantised ones from batch to batch."""
        scan: Scan = await self._run_in_thread(self._cache().begin, searched.store, searched.model.id, query)
        while blocks := await self._blocks.codes(searched, scan.last, limit=BLOCKS_PER_READ):
            await self._run_in_thread(scan.extend, blocks)
            if len(blocks) < BLOCKS_PER_READ:
                break
        size = FIRST_BATCH
        while hits := await self._run_in_thread(scan.take, size):
            values = await self._blocks.values([hit.value_id for hit in hits])
            yield await self._run_in_thread(scan.rescore, hits, values)
            size *= GROWTH
