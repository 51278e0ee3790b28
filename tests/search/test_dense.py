"""The scan of quantised vectors: against all exact cosines, and the bound of its memory."""

import numpy as np
import pytest

from filestead.domain.vector_stores.embeddings import ROWS_PER_BLOCK, CodeBlock, DenseCandidate
from filestead.search import dense
from filestead.search.dense import Scan, VectorCache, encode

DIMENSIONS = 100


class Stored:
    """Vectors in blocks, an attachment for each block."""

    def __init__(self, number: int, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        vectors = rng.standard_normal((number, DIMENSIONS)).astype("<f4")
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = [row.tobytes() for row in self.vectors]
        self.blocks = [CodeBlock(n, 100 + n, 0, each.chunks, each.codes) for n, each in enumerate(encode(rows), 1)]
        self.values = {
            (n // ROWS_PER_BLOCK + 1) * ROWS_PER_BLOCK + n % ROWS_PER_BLOCK: row for n, row in enumerate(rows)
        }

    def scan(self, cache: VectorCache, query: bytes, step: int = 7) -> Scan:
        scan = cache.begin(1, 1, query)
        while blocks := [block for block in self.blocks if block.seq > scan.last][:step]:
            scan.extend(blocks)
        return scan

    def ranked(self, query: bytes) -> list[int]:
        return np.argsort(-(self.vectors @ np.frombuffer(query, "<f4")), kind="stable").tolist()


def number_of(found: DenseCandidate) -> int:
    return (found.attachment - 101) * ROWS_PER_BLOCK + found.ordinal


def everything(stored: Stored, scan: Scan, size: int = 50) -> list[int]:
    found: list[int] = []
    while hits := scan.take(size):
        found += map(number_of, scan.rescore(hits, stored.values))
    return found


def test_blocks_hold_consecutive_chunks() -> None:
    rows = [row.tobytes() for row in Stored(20).vectors]
    first, second = encode(rows, 5)
    assert (first.first, first.chunks, second.first, second.chunks) == (5, 16, 21, 4)
    assert first.values + second.values == b"".join(rows)
    assert len(second.codes) == 4 * 4 + 4 * DIMENSIONS
    assert encode([]) == []


def test_zeros_have_the_score_zero() -> None:
    (block,) = encode([bytes(4 * DIMENSIONS)])
    scan = VectorCache(2**20).begin(1, 1, Stored(1).vectors[0].tobytes())
    scan.extend([CodeBlock(1, 1, 0, 1, block.codes)])
    assert scan.rescore(scan.take(5), {ROWS_PER_BLOCK: block.values}) == [DenseCandidate(1, 0, 0.0)]


@pytest.mark.parametrize("max_bytes", [0, 30_000, 2**24])
def test_the_nearest_come_first_and_all_come_once(max_bytes: int) -> None:
    stored, cache = Stored(1_000), VectorCache(max_bytes)
    for seed in range(3):
        query = Stored(1, seed + 10).vectors[0].tobytes()
        found = everything(stored, stored.scan(cache, query))
        assert sorted(found) == list(range(1_000))
        assert found[:20] == stored.ranked(query)[:20]
        assert cache.size <= max_bytes
    assert (cache.size > 0) == (max_bytes > 0)


@pytest.mark.parametrize("max_bytes", [20_000, 2**24])
def test_the_signs_choose_a_share(monkeypatch: pytest.MonkeyPatch, max_bytes: int) -> None:
    monkeypatch.setattr(dense, "LEAST_SCORED", 300)
    stored, cache = Stored(1_000), VectorCache(max_bytes)
    for seed in range(5):
        near = stored.vectors[seed] + 0.05 * Stored(1, seed + 10).vectors[0]
        query = (near / np.linalg.norm(near)).astype("<f4").tobytes()
        found = everything(stored, stored.scan(cache, query))
        assert found[0] == seed
        assert len(set(found[:20]) & set(stored.ranked(query)[:20])) >= 16
        assert sorted(found) == list(range(1_000)), "also those that the signs have not chosen"


def test_other_stores_make_room() -> None:
    stored = Stored(200)
    query = stored.vectors[0].tobytes()
    cache = VectorCache(2**24)
    stored.scan(cache, query)
    of_one = cache.size
    small = VectorCache(of_one + of_one // 2)
    stored.scan(small, query)
    scan = small.begin(2, 1, query)
    scan.extend(stored.blocks)
    assert small.size == of_one
    assert small.begin(2, 1, query).last == len(stored.blocks)
    assert small.begin(1, 1, query).last == 0


def test_stores_that_have_no_vectors_take_room_too() -> None:
    cache = VectorCache(50 * dense.INDEX_BYTES)
    query = Stored(1).vectors[0].tobytes()
    scans = [cache.begin(store, 1, query) for store in range(1_000)]
    assert cache.size == 50 * dense.INDEX_BYTES
    scans[0].extend(Stored(1).blocks)
    assert cache.size == 50 * dense.INDEX_BYTES, "it was forgotten meanwhile"
    cache.begin(999, 1, query).extend(Stored(1).blocks)
    assert cache.begin(999, 1, query).last == 1


def test_what_was_deleted_is_left_out_and_old_codes_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, cache = Stored(40), VectorCache(2**24)
    query = stored.vectors[0].tobytes()
    scan = stored.scan(cache, query)
    del stored.values[ROWS_PER_BLOCK]
    assert 0 not in everything(stored, scan)
    monkeypatch.setattr(dense, "MAX_AGE_SECONDS", -1.0)
    assert cache.begin(1, 1, query).last == 0


def test_nothing() -> None:
    assert VectorCache(1).begin(1, 1, Stored(1).vectors[0].tobytes()).take(5) == []
