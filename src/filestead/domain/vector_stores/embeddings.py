"""Embeddings: which model a vector store is searched with, and the interface of what embeds texts.

A vector is passed as bytes: float32, little endian, of length 1, so that the inner product of two is their cosine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

LOCAL_MODEL = "local/wordllama-l2-supercat-256"
"""The static vectors of the extra `search`."""

LOCAL_DIMENSIONS = 256

UPSTREAM_PREFIX = "upstream/"
"""Before the name of a model at `FILESTEAD_UPSTREAM_URL`."""

BYTES_PER_DIMENSION = 4


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A model with which there are vectors; `id` is its number in this installation."""

    id: int
    name: str
    dimensions: int


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
