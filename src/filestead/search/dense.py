"""Search by vectors without a database that can: a scan of quantised vectors, and exact scores for the best.

A block of n vectors with d dimensions is stored as its exact values (n * d float32) and as codes: n scales (float32),
then n * d int8, all little endian. `scale * code` is a component up to 1/254 of the vector's largest.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_CHUNKS = 16
"""Vectors of a block: one is read to score one of them exactly."""

PAGE_ROWS = 16_384
"""Small pages are joined up to this size."""

BUFFER_FLOATS = 65_536
"""Codes that are converted and multiplied at once: as float32 they fit into the cache of the processor."""

MAX_AGE_SECONDS = 3_600.0
"""Then codes are read anew, without those of files that were detached."""


class StoredBlock(Protocol):
    """A block as it is stored; `seq` rises with the order in which blocks were stored."""

    @property
    def seq(self) -> int:
        """Its number."""

    @property
    def attachment(self) -> int:
        """Whose chunks they are."""

    @property
    def first(self) -> int:
        """The ordinal of the first chunk."""

    @property
    def chunks(self) -> int:
        """The number of vectors."""

    @property
    def codes(self) -> bytes:
        """The quantised vectors."""


class EncodedBlock(NamedTuple):
    """Vectors to store; the first is that of the `first` chunk."""

    first: int
    chunks: int
    values: bytes
    codes: bytes


class Hit(NamedTuple):
    """A chunk that may be near; `row` is its place in the block."""

    block: int
    row: int
    attachment: int
    ordinal: int


class Scored(NamedTuple):
    """A chunk with its cosine."""

    attachment: int
    ordinal: int
    score: float


def encode(vectors: Sequence[bytes], first: int = 0) -> list[EncodedBlock]:
    """Blocks of the vectors of consecutive chunks, the first of which has the ordinal `first`."""
    found = []
    for start in range(0, len(vectors), BLOCK_CHUNKS):
        part = vectors[start : start + BLOCK_CHUNKS]
        values = np.frombuffer(b"".join(part), "<f4").reshape(len(part), -1)
        scales = (np.abs(values).max(axis=1) / 127).astype("<f4")
        codes = np.rint(values / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
        found.append(EncodedBlock(first + start, len(part), values.tobytes(), scales.tobytes() + codes.tobytes()))
    return found


@dataclass(frozen=True, slots=True)
class _Page:
    """Vectors of several blocks, a row for each."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    rows: NDArray[np.int64]
    """Block, row in it, attachment and ordinal of each."""

    @property
    def size(self) -> int:
        return self.codes.nbytes + self.scales.nbytes + self.rows.nbytes

    def scores(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        # Not by the BLAS library, whose threads wait for one another when the processor is busy.
        count, dimensions = self.codes.shape
        step = max(1, BUFFER_FLOATS // dimensions)
        buffer = np.empty((min(step, count), dimensions), np.float32)
        found = np.empty(count, np.float32)
        for start in range(0, count, step):
            part = self.codes[start : start + step]
            converted = buffer[: len(part)]
            np.copyto(converted, part)
            np.vecdot(converted, query, out=found[start : start + step])
        found *= self.scales
        return found


def _page_of(blocks: Sequence[StoredBlock], dimensions: int) -> _Page:
    count = sum(block.chunks for block in blocks)
    codes = np.empty((count, dimensions), np.int8)
    scales = np.empty(count, np.float32)
    rows = np.empty((count, 4), np.int64)
    start = 0
    for block in blocks:
        end = start + block.chunks
        scales[start:end] = np.frombuffer(block.codes, "<f4", block.chunks)
        codes[start:end] = np.frombuffer(block.codes, np.int8, offset=4 * block.chunks).reshape(-1, dimensions)
        numbers = np.arange(block.chunks)
        rows[start:end, 0] = block.seq
        rows[start:end, 1] = numbers
        rows[start:end, 2] = block.attachment
        rows[start:end, 3] = block.first + numbers
        start = end
    return _Page(codes, scales, rows)


class _Index:
    """What is remembered of one store and model: the pages of its first blocks, up to the block `last`."""

    def __init__(self) -> None:
        self.pages: list[_Page] = []
        self.last = 0
        self.size = 0
        self.created = time.monotonic()


class VectorCache:
    """Codes of the stores that were searched last, with a bound on memory; safe for use by several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._indexes: OrderedDict[tuple[int, int], _Index] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes that are in use."""
        return sum(index.size for index in self._indexes.values())

    def begin(self, store: int, model: int, query: bytes) -> "Scan":
        """Score what is remembered; the caller extends the scan by the blocks after `scan.last`."""
        key = (store, model)
        with self._lock:
            index = self._indexes.get(key)
            if index is None or time.monotonic() - index.created > MAX_AGE_SECONDS:
                index = self._indexes[key] = _Index()
            self._indexes.move_to_end(key)
            pages, last = list(index.pages), index.last
        return Scan(self, key, np.frombuffer(query, "<f4"), pages, last)

    def remember(self, key: tuple[int, int], page: _Page, after: int, last: int) -> None:
        """Remember a page of blocks after the block `after`, unless another scan did, or there is no room."""
        with self._lock:
            index = self._indexes.get(key)
            if index is None or index.last != after:
                return
            used = self.size + page.size
            for other in list(self._indexes):
                if used <= self._max_bytes:
                    break
                if other != key:
                    used -= self._indexes.pop(other).size
            if used > self._max_bytes:
                return
            if index.pages and len(index.pages[-1].rows) + len(page.rows) <= PAGE_ROWS:
                page = _joined(index.pages.pop(), page)
            index.pages.append(page)
            index.last = last
            index.size = sum(each.size for each in index.pages)


def _joined(one: _Page, other: _Page) -> _Page:
    return _Page(
        np.concatenate((one.codes, other.codes)),
        np.concatenate((one.scales, other.scales)),
        np.concatenate((one.rows, other.rows)),
    )


class Scan:
    """The approximate scores of all vectors, from which the best are taken."""

    def __init__(
        self, cache: VectorCache, key: tuple[int, int], query: NDArray[np.float32], pages: Iterable[_Page], last: int
    ) -> None:
        self._cache = cache
        self._key = key
        self._query = query
        self.last = last
        """The last block that was scored."""
        self._scores: list[NDArray[np.float32]] = []
        self._rows: list[NDArray[np.int64]] = []
        for page in pages:
            self._add(page)

    def extend(self, blocks: Sequence[StoredBlock]) -> None:
        """Score the next blocks, and remember them for later searches."""
        page = _page_of(blocks, len(self._query))
        self._add(page)
        self._cache.remember(self._key, page, self.last, blocks[-1].seq)
        self.last = blocks[-1].seq

    def _add(self, page: _Page) -> None:
        self._scores.append(page.scores(self._query))
        self._rows.append(page.rows)

    def take(self, size: int) -> list[Hit]:
        """Take the best `size` chunks that were not taken yet, in any order."""
        if not self._scores:
            return []
        scores = np.concatenate(self._scores)
        self._scores = [scores]
        last = len(scores) - size
        best = np.argpartition(scores, last)[last:] if last > 0 else np.arange(len(scores))
        best = best[scores[best] > -np.inf]
        scores[best] = -np.inf
        bases = np.cumsum([0, *(len(rows) for rows in self._rows)])
        pages = np.searchsorted(bases, best, side="right") - 1
        return [
            Hit(*self._rows[page][number - bases[page]].tolist())
            for page, number in zip(pages.tolist(), best.tolist(), strict=True)
        ]

    def rescore(self, hits: Sequence[Hit], values: Mapping[int, bytes]) -> list[Scored]:
        """The hits with their exact scores, best first; without those whose block is gone."""
        dimensions = len(self._query)
        there = [hit for hit in hits if hit.block in values]
        if not there:
            return []
        vectors = np.stack(
            [np.frombuffer(values[hit.block], "<f4", dimensions, 4 * dimensions * hit.row) for hit in there]
        )
        scores = (vectors @ self._query).tolist()
        found = [Scored(hit.attachment, hit.ordinal, score) for hit, score in zip(there, scores, strict=True)]
        return sorted(found, key=lambda each: (-each.score, each.attachment, each.ordinal))
