"""Search by vectors without a database that can: a scan of quantised vectors, and exact scores for the best.

A block of n vectors with d dimensions is stored as its exact values (n * d float32) and as codes: n scales (float32),
then n * d int8, all little endian. `scale * code` is a component up to 1/254 of the vector's largest.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from filestead.domain.vector_stores.embeddings import ROWS_PER_BLOCK, CodeBlock, DenseCandidate

PAGE_ROWS = 16_384
"""Small pages are joined up to this size."""

BUFFER_FLOATS = 65_536
"""Codes that are converted and multiplied at once: as float32 they fit into the cache of the processor."""

SCORED_SHARE = 0.1
LEAST_SCORED = 8_192
MOST_SCORED = 32_768
"""How many vectors the signs let pass: among 10 % are 98 of the nearest 100, of those that come first nearly all."""

INDEX_BYTES = 1_200
"""Of a store that is remembered, beside its vectors: the objects that hold them."""

MAX_AGE_SECONDS = 3_600.0
"""Then codes are read anew, without those of files that were detached."""


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

    @property
    def value_id(self) -> int:
        """The number of its exact vector."""
        return self.block * ROWS_PER_BLOCK + self.row


def encode(vectors: Sequence[bytes], first: int = 0) -> list[EncodedBlock]:
    """Blocks of the vectors of consecutive chunks, the first of which has the ordinal `first`."""
    found = []
    for start in range(0, len(vectors), ROWS_PER_BLOCK):
        part = vectors[start : start + ROWS_PER_BLOCK]
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
    signs: NDArray[np.uint64]
    """The signs of the components, 64 in a word; a column for each vector."""
    rows: NDArray[np.int64]
    """Block, row in it, attachment and ordinal of each."""

    @property
    def size(self) -> int:
        return self.codes.nbytes + self.scales.nbytes + self.signs.nbytes + self.rows.nbytes

    def distances(self, query: NDArray[np.uint64]) -> NDArray[np.uint16]:
        """How many signs of each vector differ from those of the query."""
        found = np.zeros(len(self.rows), np.uint16)
        for word, asked in zip(self.signs, query, strict=True):
            found += np.bitwise_count(word ^ asked)
        return found

    def scores(self, query: NDArray[np.float32], chosen: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """The approximate cosines of all vectors, or of those that are chosen."""
        # Not by the BLAS library, whose threads wait for one another when the processor is busy.
        codes = self.codes if chosen is None else self.codes[chosen]
        count, dimensions = codes.shape
        step = max(1, BUFFER_FLOATS // dimensions)
        buffer = np.empty((min(step, count), dimensions), np.float32)
        found = np.empty(count, np.float32)
        for start in range(0, count, step):
            part = codes[start : start + step]
            converted = buffer[: len(part)]
            np.copyto(converted, part)
            np.vecdot(converted, query, out=found[start : start + step])
        found *= self.scales if chosen is None else self.scales[chosen]
        return found


def _signs(values: NDArray[Any]) -> NDArray[np.uint64]:
    """The signs of vectors as words, padded with zeros; a column for each vector."""
    bits = np.packbits(values > 0, axis=1)
    padded = np.zeros((len(bits), -(-bits.shape[1] // 8) * 8), np.uint8)
    padded[:, : bits.shape[1]] = bits
    return np.ascontiguousarray(padded.view(np.uint64).T)


def _page_of(blocks: Sequence[CodeBlock], dimensions: int) -> _Page:
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
    return _Page(codes, scales, _signs(codes), rows)


class _Index:
    """What is remembered of one store and model: the pages of its first blocks, up to the block `last`."""

    def __init__(self) -> None:
        self.pages: list[_Page] = []
        self.last = 0
        self.size = INDEX_BYTES
        self.created = time.monotonic()


class VectorCache:
    """Codes of the stores that were searched last, with a bound on memory; safe for use by several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._indexes: OrderedDict[tuple[int, int], _Index] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes that are in use."""
        return self._size

    def begin(self, store: int, model: int, query: bytes) -> "Scan":
        """Score what is remembered; the caller extends the scan by the blocks after `scan.last`."""
        key = (store, model)
        with self._lock:
            index = self._indexes.get(key)
            if index is not None and time.monotonic() - index.created > MAX_AGE_SECONDS:
                self._drop(key)
                index = None
            if index is None:
                index = _Index()
                if self._make_room(index.size, key):
                    self._indexes[key] = index
                    self._size += index.size
            else:
                self._indexes.move_to_end(key)
            pages, last = list(index.pages), index.last
        return Scan(self, key, np.frombuffer(query, "<f4"), pages, last)

    def remember(self, key: tuple[int, int], page: _Page, after: int, last: int) -> bool:
        """Remember a page of blocks after the block `after`; False if another scan did, or if there is no room."""
        with self._lock:
            index = self._indexes.get(key)
            if index is None or index.last != after or not self._make_room(page.size, key):
                return False
            index.size += page.size
            self._size += page.size
            if index.pages and len(index.pages[-1].rows) + len(page.rows) <= PAGE_ROWS:
                page = _joined(index.pages.pop(), page)
            index.pages.append(page)
            index.last = last
            return True

    def _make_room(self, size: int, key: tuple[int, int]) -> bool:
        """Drop what was searched longest ago, other than `key`, until `size` more bytes fit; False if they cannot."""
        while self._size + size > self._max_bytes:
            oldest = next((other for other in self._indexes if other != key), None)
            if oldest is None:
                return False
            self._drop(oldest)
        return True

    def _drop(self, key: tuple[int, int]) -> None:
        self._size -= self._indexes.pop(key).size


def _joined(one: _Page, other: _Page) -> _Page:
    return _Page(
        np.concatenate((one.codes, other.codes)),
        np.concatenate((one.scales, other.scales)),
        np.concatenate((one.signs, other.signs), axis=1),
        np.concatenate((one.rows, other.rows)),
    )


class Scan:
    """The vectors of a store, from which the nearest are taken in three steps, each of which sees fewer.

    By the number of equal signs, a share of all is chosen; by the cosines of the codes, the best of these are taken,
    and at last sorted by exact cosines.
    """

    def __init__(
        self, cache: VectorCache, key: tuple[int, int], query: NDArray[np.float32], pages: Iterable[_Page], last: int
    ) -> None:
        self._cache = cache
        self._key = key
        self._query = query
        self.last = last
        """The last block that was read."""
        self._pages: list[_Page | NDArray[np.float32]] = list(pages)
        """Pages, or only the scores of those that are not remembered."""
        self._rows = [page.rows for page in pages]
        self._numbers: NDArray[np.int64] | None = None
        """Of the vectors that are scored and not taken, counted over all pages; None before the first are scored."""
        self._scores = np.empty(0, np.float32)
        self._taken = np.empty(0, np.int64)
        self._all_scored = False

    def extend(self, blocks: Sequence[CodeBlock]) -> None:
        """Add the next blocks, and remember them for later searches."""
        page = _page_of(blocks, len(self._query))
        remembered = self._cache.remember(self._key, page, self.last, blocks[-1].seq)
        self._pages.append(page if remembered else page.scores(self._query))
        self._rows.append(page.rows)
        self.last = blocks[-1].seq

    def take(self, size: int) -> list[Hit]:
        """Take the best `size` chunks that were not taken yet, in any order."""
        if not self._rows:
            return []
        if self._numbers is None:
            self._score(self._most_differences())
        if len(self._scores) < size and not self._all_scored:  # a filter lets few pass
            self._score(None)
        assert self._numbers is not None, "some are scored"
        last = len(self._scores) - size
        best = np.argpartition(self._scores, last)[last:] if last > 0 else np.arange(len(self._scores))
        taken = self._numbers[best]
        self._taken = np.concatenate((self._taken, taken))
        self._numbers = np.delete(self._numbers, best)
        self._scores = np.delete(self._scores, best)
        bases = self._bases()
        pages = np.searchsorted(bases, taken, side="right") - 1
        return [
            Hit(*self._rows[page][number - bases[page]].tolist())
            for page, number in zip(pages.tolist(), taken.tolist(), strict=True)
        ]

    def _bases(self) -> NDArray[np.int64]:
        """The number of the first row of each page, and that of all rows."""
        return np.cumsum([0, *(len(rows) for rows in self._rows)])

    def _most_differences(self) -> int | None:
        """In how many signs a vector may differ from the query to be scored; None if all are scored."""
        total = sum(map(len, self._rows))
        wanted = min(max(LEAST_SCORED, int(total * SCORED_SHARE)), MOST_SCORED)
        pages = [page for page in self._pages if isinstance(page, _Page)]
        if total <= wanted or not pages:
            return None
        signs = _signs(self._query[None, :])[:, 0]
        self._distances = [page.distances(signs) for page in pages]
        histogram = np.zeros(len(self._query) + 1, np.int64)
        for distances in self._distances:
            histogram += np.bincount(distances, minlength=len(histogram))
        return int(np.searchsorted(np.cumsum(histogram), wanted))

    def _score(self, most: int | None) -> None:
        """Score the vectors that differ from the query in at most so many signs, or all that were not taken."""
        self._all_scored = most is None
        numbers: list[NDArray[np.int64]] = []
        scores: list[NDArray[np.float32]] = []
        remembered = 0
        for page, base in zip(self._pages, self._bases().tolist(), strict=False):
            if not isinstance(page, _Page):
                numbers.append(np.arange(base, base + len(page)))
                scores.append(page)
            elif most is None:
                numbers.append(np.arange(base, base + len(page.rows)))
                scores.append(page.scores(self._query))
            else:
                chosen = np.flatnonzero(self._distances[remembered] <= most)
                remembered += 1
                numbers.append(base + chosen)
                scores.append(page.scores(self._query, chosen))
        self._numbers, self._scores = np.concatenate(numbers), np.concatenate(scores)
        if len(self._taken):
            left = ~np.isin(self._numbers, self._taken)
            self._numbers, self._scores = self._numbers[left], self._scores[left]

    def rescore(self, hits: Sequence[Hit], values: Mapping[int, bytes]) -> list[DenseCandidate]:
        """The hits with their exact scores, best first; without those whose vector is gone.

        `values` has vectors by `value_id`.
        """
        there = [hit for hit in hits if hit.value_id in values]
        if not there:
            return []
        vectors = np.frombuffer(b"".join(values[hit.value_id] for hit in there), "<f4").reshape(len(there), -1)
        scores = (vectors @ self._query).tolist()
        found = [DenseCandidate(hit.attachment, hit.ordinal, score) for hit, score in zip(there, scores, strict=True)]
        return sorted(found, key=lambda each: (-each.score, each.attachment, each.ordinal))
