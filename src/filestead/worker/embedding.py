"""Jobs that make the vectors which a vector store lacks: of new files, and of all files after a change of the model.

Searches use the old vectors until the new ones are complete. What is stored is not made again when a job is repeated.
"""

import asyncio
from collections.abc import Sequence
from itertools import groupby

from filestead.domain.errors import EmbeddingsUnavailable
from filestead.domain.jobs import Job, JobRepository
from filestead.domain.vector_stores.embeddings import (
    BYTES_PER_DIMENSION,
    Embedders,
    EmbeddingModel,
    PendingChunk,
    VectorBlock,
    VectorRepository,
)

CHUNKS_PER_STEP = 128
"""Chunks whose vectors are made and stored at once."""


class EmbedHandler:
    """Runs jobs of the kind `embed`."""

    def __init__(self, vectors: VectorRepository, jobs: JobRepository, embedders: Embedders) -> None:
        self._vectors = vectors
        self._jobs = jobs
        self._embedder = embedders.target

    async def run(self, job: Job) -> None:
        """Make all vectors that the store lacks. `EmbeddingsUnavailable`, after which the job is tried again."""
        model: EmbeddingModel | None = None
        while True:
            pending = await self._vectors.pending(job.subject, self._embedder.name, limit=CHUNKS_PER_STEP)
            if not pending.chunks and not pending.complete:
                break
            model = await self._step(job, pending.chunks, pending.complete)
        if model is None:
            model = await self._vectors.newest(self._embedder.name)
        if model is not None:
            await self._vectors.activate(job, job.subject, model)
        await self._vectors.finish(job, job.subject, self._embedder.name)

    async def give_up(self, job: Job, error: str) -> None:
        """Keep the job as a dead letter: searches go on with the vectors that there are, and by keywords."""
        await self._jobs.bury(job, error)

    async def _step(self, job: Job, chunks: Sequence[PendingChunk], complete: Sequence[int]) -> EmbeddingModel:
        # A sample tells the dimensions, also if there is nothing left but to record what is complete.
        made = await self._embedder.embed([chunk.text for chunk in chunks] or ["sample"], patient=True)
        model = await self._vectors.register(self._embedder.name, len(made[0]) // BYTES_PER_DIMENSION)
        blocks = await asyncio.to_thread(_blocks, chunks, made[: len(chunks)])
        await self._vectors.add(job, job.subject, model, blocks, complete=complete)
        return model


def _blocks(chunks: Sequence[PendingChunk], vectors: Sequence[bytes]) -> list[VectorBlock]:
    from filestead.search.dense import encode  # noqa: PLC0415 - loads numpy, which only workers need

    if len(chunks) != len(vectors):
        raise EmbeddingsUnavailable("there is not one vector for each text")
    found: list[VectorBlock] = []
    rows = zip(chunks, vectors, strict=True)
    for attachment, group in groupby(rows, key=lambda row: row[0].attachment):
        of_file = list(group)
        blocks = encode([vector for _, vector in of_file], of_file[0][0].ordinal)
        found += [VectorBlock(attachment, *block) for block in blocks]
    return found
