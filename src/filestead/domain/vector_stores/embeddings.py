"""Embeddings: which model a vector store is searched with, and the interface of what embeds texts.

A vector is passed as bytes: float32, little endian, of length 1, so that the inner product of two is their cosine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from filestead.domain.jobs import Job

LOCAL_MODEL = "local/wordllama-l2-supercat-256"
"""The static vectors of the extra `search`."""

LOCAL_DIMENSIONS = 256

UPSTREAM_PREFIX = "upstream/"
"""Before the name of a model at `FILESTEAD_UPSTREAM_URL`."""

BYTES_PER_DIMENSION = 4

ROWS_PER_BLOCK = 16
"""The most chunks of a block. Codes are read by blocks, exact vectors one by one."""


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A model with which there are vectors; `id` is its number in this installation."""

    id: int
    name: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class SearchedVectors:
    """The vectors that a search compares: those of one model in one store."""

    store: int
    """The number of the store in this installation."""
    chunks: int
    """About how many chunks the store has."""
    model: EmbeddingModel


@dataclass(frozen=True, slots=True)
class VectorBlock:
    """Vectors of consecutive chunks of one attachment, from the ordinal `first` on."""

    attachment: int
    first: int
    chunks: int
    values: bytes
    codes: bytes
    """The same, quantised; `search/dense.py` defines the format."""


@dataclass(frozen=True, slots=True)
class NewVectors:
    """Vectors that are stored with their chunks."""

    model: EmbeddingModel
    blocks: Sequence[VectorBlock]


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A stored `VectorBlock` as a search reads it first; `seq` rises with the order in which blocks were stored."""

    seq: int
    attachment: int
    first: int
    chunks: int
    codes: bytes


@dataclass(frozen=True, slots=True)
class PendingChunk:
    """A chunk that has no vector yet."""

    attachment: int
    ordinal: int
    text: str


@dataclass(frozen=True, slots=True)
class PendingVectors:
    """Vectors to make; with them the attachments in `complete` have all of theirs."""

    chunks: Sequence[PendingChunk]
    complete: Sequence[int]


class VectorRepository(Protocol):
    """Vectors of chunks, and which model a store is searched with. Errors as in `IndexRepository`."""

    async def register(self, name: str, dimensions: int) -> EmbeddingModel:
        """Return the model, recorded if it is new."""

    async def newest(self, name: str) -> EmbeddingModel | None:
        """Return the model with the name that was recorded last: a server may change the dimensions."""

    async def searched(self, store_id: str) -> SearchedVectors | None:
        """Return which vectors a search compares; None while there are none."""

    async def pending(self, store_id: str, name: str, *, limit: int) -> PendingVectors:
        """Return up to `limit` chunks of completed files that have no vectors of the named model, in their order."""

    async def add(
        self,
        job: Job,
        store_id: str,
        model: EmbeddingModel,
        blocks: Sequence[VectorBlock],
        *,
        complete: Sequence[int],
    ) -> None:
        """Store vectors of attached files, and record which have all of theirs. Raises `JobLost`.

        Blocks come in the order of attachments and ordinals; what is stored from the first one on is replaced.
        """

    async def activate(self, job: Job, store_id: str, model: EmbeddingModel) -> None:
        """Let searches use this model, and delete the vectors of others, in several transactions. Raises `JobLost`."""

    async def finish(self, job: Job, store_id: str, name: str) -> None:
        """Finish the job; another one follows if a file was completed meanwhile. Raises `JobLost`."""

    async def add_jobs(self, name: str, *, limit: int) -> int:
        """Add jobs for stores with completed files without vectors of the named model, or searched with another one."""


class NearestChunks(Protocol):
    """Finds the chunks whose vectors are nearest to that of a query."""

    def nearest(self, searched: SearchedVectors, query: bytes) -> AsyncIterator[Sequence[DenseCandidate]]:
        """Yield chunks, nearest first, in growing batches. They may be of files that are detached."""


class VectorBlocks(Protocol):
    """Blocks of vectors, for a scan."""

    async def codes(self, searched: SearchedVectors, after: int, *, limit: int) -> list[CodeBlock]:
        """Return blocks that were stored after the block `after` (0 for the first), in the order of `seq`."""

    async def values(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Return exact vectors that are still stored: n of the block `seq` is `seq * ROWS_PER_BLOCK + n`."""


class DenseCandidate(NamedTuple):
    """A chunk, and the cosine of its vector and the query's."""

    attachment: int
    ordinal: int
    score: float


class Embedder(Protocol):
    """Embeds texts with one model."""

    name: str
    """The name of the model as it is recorded."""

    async def embed(self, texts: Sequence[str], *, patient: bool) -> list[bytes]:
        """Return the vector of each text, all of the same dimension. Raises `EmbeddingsUnavailable`.

        `patient` is for jobs: failures that may pass are tried again. A search waits for one short attempt only.
        """


class Embedders(Protocol):
    """What can embed in this process."""

    target: Embedder
    """With the model that the settings name."""

    def of(self, name: str) -> Embedder | None:
        """Return what embeds with another model, which older vectors were made with; None if nothing here does."""
