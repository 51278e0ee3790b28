"""Static vectors of the package `wordllama`: no network, no model to run.

A text has the weighted mean of the vectors of its tokens, less the mean over the vocabulary, with length 1. Tokens with
fewer than two letters (punctuation, digits, bytes) weigh half. Only two files of the package are read; its code, which
loads much and may download, is never run.
"""

import functools
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filestead.domain.errors import CannotStart
from filestead.domain.vector_stores.embeddings import BYTES_PER_DIMENSION, LOCAL_DIMENSIONS
from filestead.embeddings.package import TOKENIZER, WEIGHTS, require
from filestead.embeddings.tokenizer import Tokenizer

TENSOR = "embedding.weight"
SHORT_TOKEN_WEIGHT = 0.5

MAX_TOKENS = 8_192
"""Tokens of a text that count; chunks have fewer."""


class StaticVectors:
    """Embeds texts with a table of one vector for each token; safe for use by several threads."""

    def __init__(self, weights: NDArray[np.float16], tokenizer: Tokenizer) -> None:
        """`weights` has a row for each token of the tokenizer."""
        self.tokenizer = tokenizer
        self._mean = weights.mean(axis=0, dtype=np.float32)
        self._shares = np.full(len(weights), SHORT_TOKEN_WEIGHT, np.float32)
        self._shares[tokenizer.numbers_of(_has_two_letters)] = 1
        self._vectors = weights * self._shares[:, None]  # float32: converting each row that is used takes longer

    def embed(self, texts: Sequence[str]) -> list[bytes]:
        """The vector of each text: float32, little endian, of length 1, or of zeros for a text without tokens."""
        return [self._embed(text) for text in texts]

    def _embed(self, text: str) -> bytes:
        numbers = self.tokenizer.encode(text)[:MAX_TOKENS]
        if not numbers:
            return bytes(BYTES_PER_DIMENSION * len(self._mean))
        rows = np.array(numbers)
        vector = self._vectors[rows].sum(axis=0) / self._shares[rows].sum() - self._mean
        length = float(np.linalg.norm(vector))
        found: NDArray[np.float32] = (vector / (length or 1.0)).astype("<f4")
        return found.tobytes()


def _has_two_letters(token: str) -> bool:
    return sum(map(str.isalpha, token)) > 1


@functools.cache
def load() -> StaticVectors:
    """Load the vectors, once in a process. Raises `CannotStart` as `require`."""
    folder = require()
    return StaticVectors(_read_weights(folder / WEIGHTS), Tokenizer(folder / TOKENIZER))


def _read_weights(path: Path) -> NDArray[np.float16]:
    """The table in a file of the format safetensors: the length of the header, the header as JSON, the data."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))[TENSOR]
        rows, columns = header["shape"]
        if header["dtype"] != "F16" or columns != LOCAL_DIMENSIONS:
            raise CannotStart(f"{path.name} holds other vectors than FILESTEAD_EMBEDDINGS=local knows")
        file.seek(8 + size + header["data_offsets"][0])
        data = file.read(2 * rows * columns)
    return np.frombuffer(data, "<f2").reshape(rows, columns)
