"""The half of a hybrid search that compares vectors. Without it, because a server is down, keywords alone answer."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from filestead.domain.errors import EmbeddingsUnavailable
from filestead.domain.vector_stores.embeddings import (
    BYTES_PER_DIMENSION,
    DenseCandidate,
    Embedders,
    NearestChunks,
    SearchedVectors,
    VectorRepository,
)
from filestead.domain.vector_stores.model import ChunkRef

log = logging.getLogger("filestead")

DEPTH = 100
"""Chunks of each ranking that are fused: twice as many as a search returns at most."""

Fuse = Callable[[Sequence[ChunkRef], Sequence[ChunkRef]], Sequence[tuple[ChunkRef, float]]]
"""Fuses a ranking by keywords with one by vectors; scores are from 0 to 1."""


@dataclass(frozen=True, slots=True)
class DenseQueries:
    """The vectors of the texts of a query, and what they are compared with."""

    searched: SearchedVectors
    vectors: Sequence[bytes]


class DenseSearch:
    """Ranks chunks by their vectors."""

    def __init__(self, vectors: VectorRepository, embedders: Embedders, nearest: NearestChunks, fuse: Fuse) -> None:
        self._vectors = vectors
        self._embedders = embedders
        self._nearest = nearest
        self.fuse = fuse

    async def queries(self, store_id: str, texts: Sequence[str]) -> DenseQueries | None:
        """Embed the texts as the store is; None if it has no vectors, or if its model is unavailable."""
        searched = await self._vectors.searched(store_id)
        if searched is None:
            return None
        try:
            return DenseQueries(searched, await self._embed(searched, texts))
        except EmbeddingsUnavailable as error:
            log.warning("%s is searched by keywords only: %s", store_id, error)
            return None

    async def _embed(self, searched: SearchedVectors, texts: Sequence[str]) -> Sequence[bytes]:
        model = searched.model
        embedder = self._embedders.of(model.name)
        if embedder is None:
            raise EmbeddingsUnavailable(f"nothing here embeds with the model {model.name} of its vectors")
        vectors = await embedder.embed(texts, patient=False)
        if {len(vector) for vector in vectors} != {model.dimensions * BYTES_PER_DIMENSION}:
            raise EmbeddingsUnavailable(f"the model {model.name} has other dimensions than when its vectors were made")
        return vectors

    async def candidates(self, searched: SearchedVectors, query: bytes) -> AsyncIterator[Sequence[DenseCandidate]]:
        """Yield chunks in growing batches, nearest first, without those that point the other way."""
        async for batch in self._nearest.nearest(searched, query):
            near = [candidate for candidate in batch if candidate.score > 0]
            if near:
                yield near
            if len(near) < len(batch):
                return
