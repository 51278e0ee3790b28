"""The ranking is that of plain BM25, in any grouping of chunks into segments, before and after merges."""

import random
from collections.abc import Sequence
from itertools import chain, pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filestead.search import ranking
from filestead.search.encoding import DamagedSegment, bucket_of, term_hash
from filestead.search.merging import Merge, merge
from filestead.search.ranking import Candidate, Part, Query, needed_buckets, normalised, query_terms, rank
from filestead.search.segments import Segment, SegmentBuilder
from tests.search import naive
from tests.search.naive import Chunk
from tests.support.search_index import Index

WORDS = "abcdefgh"


def segment_of(chunks: Sequence[Chunk]) -> Segment:
    builder = SegmentBuilder()
    for chunk in sorted(chunks, key=lambda chunk: chunk.key):
        builder.add(chunk.attachment, chunk.ordinal, chunk.terms)
    return builder.build()


def query_of(words: Sequence[str]) -> Query:
    return {term_hash(word): words.count(word) for word in words}


def grouped(chunks: Sequence[Chunk], groups: Sequence[int]) -> list[Segment]:
    """Segments of the chunks whose group is 0, 1, 2, ..., and one more that is empty."""
    return [segment_of([c for c, g in zip(chunks, groups, strict=False) if g == group]) for group in range(5)]


def require_equal(found: Sequence[Candidate], expected: dict[tuple[int, int], float]) -> None:
    assert {(hit.attachment, hit.ordinal): hit.score for hit in found} == pytest.approx(expected, rel=1e-6)
    assert len(found) == len(expected)
    for better, worse in pairwise(found):
        assert (-better.score, better.attachment, better.ordinal) < (-worse.score, worse.attachment, worse.ordinal)


CHUNKS = st.lists(
    st.builds(Chunk, st.integers(-3, 6), st.integers(0, 9), st.lists(st.sampled_from(WORDS), max_size=9).map(tuple)),
    max_size=40,
    unique_by=lambda chunk: chunk.key,
)
GROUPS = st.lists(st.integers(0, 3), min_size=40, max_size=40)
QUERIES = st.lists(st.sampled_from(WORDS + "z"), min_size=1, max_size=4)


@given(CHUNKS, GROUPS, QUERIES, st.integers(1, 8))
@settings(deadline=None)
def test_the_ranking_is_that_of_plain_bm25(
    chunks: list[Chunk], groups: list[int], query: list[str], first_batch: int
) -> None:
    found = Index(grouped(chunks, groups)).search(query_of(query), first_batch)
    require_equal(found, naive.scores(chunks, query))
    assert found == Index([segment_of(chunks)]).search(query_of(query))


@given(CHUNKS, GROUPS, QUERIES, st.sets(st.integers(-3, 6)))
@settings(deadline=None)
def test_after_a_merge_it_is_that_of_what_is_kept(
    chunks: list[Chunk], groups: list[int], query: list[str], dropped: set[int]
) -> None:
    merged = merge(grouped(chunks, groups), lambda attachments: ~np.isin(attachments, list(dropped)))
    kept = [chunk for chunk in chunks if chunk.attachment not in dropped]
    require_equal(Index([merged]).search(query_of(query)), naive.scores(kept, query))
    assert (merged.counts, merged.documents) == ((alone := segment_of(kept)).counts, alone.documents)
    assert merged.buckets == alone.buckets


def corpus(chunks: int, words: int, vocabulary: int, seed: int) -> list[Chunk]:
    """Some words are in most chunks, most are in few, and every fifth chunk has the text of the one before."""
    rng = random.Random(seed)
    made: list[Chunk] = []
    for number in range(chunks):
        terms = tuple(f"w{int(vocabulary * rng.random() ** 4)}" for _ in range(words))
        made.append(Chunk(number // 7, number % 7, made[-1].terms if number % 5 == 4 else terms))
    return made


def test_larger_segments_of_several_buckets_and_merges_of_different_sizes() -> None:
    chunks = corpus(3_000, 40, 6_000, seed=1)
    parts = [chunks[:2_200], chunks[2_200:2_210], chunks[2_210:2_950], chunks[2_950:]]
    segments = [segment_of(part) for part in parts]
    assert segments[0].counts.buckets > segments[2].counts.buckets > segments[1].counts.buckets == 1
    merged = merge(segments, lambda attachments: np.full(len(attachments), True))
    smaller = merge([merged, segment_of([])], lambda attachments: attachments % 50 == 0)
    assert merged.counts.buckets > smaller.counts.buckets
    kept = [chunk for chunk in chunks if chunk.attachment % 50 == 0]
    for words in ("w0 w1 w2 w3", "w5", "w5999 w4000 w300", "w17 w17 w800", "missing", "missing w40"):
        query = query_of(words.split())
        found = Index(segments).search(query)
        require_equal(found, naive.scores(chunks, words.split()))
        assert found == Index([merged]).search(query) == Index([segment_of(chunks)]).search(query)
        require_equal(Index([smaller]).search(query), naive.scores(kept, words.split()))


def test_a_merge_reads_what_its_steps_say_and_each_step_makes_some_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filestead.search.merging.STEP_BUCKETS", 2)
    chunks = corpus(3_000, 40, 6_000, seed=2)
    segments = [segment_of(chunks[:2_990]), segment_of(chunks[2_990:])]
    merging = Merge([s.counts for s in segments], [s.documents for s in segments], lambda a: a >= 0)
    buckets = []
    steps = list(merging.steps())
    assert len(steps) == merging.counts.buckets // 2 > 4
    assert [number for step in steps for number in step.sources[0]] == list(range(segments[0].counts.buckets))
    for step in steps:
        read = [{n: s.buckets[n] for n in numbers} for s, numbers in zip(segments, step.sources, strict=True)]
        made = merging.run(step, read)
        assert len(made) == len(step.buckets) == 2
        buckets += made
    streamed = Segment(merging.counts, buckets, merging.documents)
    assert streamed.counts.postings == sum(segment.counts.postings for segment in segments)
    query = query_of(["w0", "w9", "w5000"])
    assert Index([streamed]).search(query) == Index(segments).search(query)


def test_a_merge_of_nothing_is_an_empty_segment() -> None:
    for segments in ([segment_of([])], [segment_of([Chunk(1, 0, ("a",))])]):
        merged = merge(segments, lambda attachments: attachments < 0)
        assert (merged.counts.chunks, merged.counts.postings, merged.documents) == (0, 0, [])
        assert Index([merged]).search(query_of(["a"])) == []
    assert Index([]).search(query_of(["a"])) == []


def test_batches_grow_and_read_few_blocks_even_if_all_scores_are_equal() -> None:
    segments = [segment_of([Chunk(a, o, ("same",)) for a in range(g, 500, 3) for o in range(20)]) for g in range(3)]
    index = Index(segments)
    query = query_of(["same"])
    reads: list[set[Part]] = []

    def fetch(parts: set[Part]) -> dict[Part, bytes]:
        reads.append(set(parts))
        return dict(index.fetch_blocks(parts))

    batches = rank(query, index.statistics, index.fetch_buckets([query]), fetch, first_batch=10)  # type: ignore[arg-type]
    first, second = next(batches), next(batches)
    assert [(hit.attachment, hit.ordinal) for hit in first] == [(0, ordinal) for ordinal in range(10)]
    assert len(second) == 10 * ranking.GROWTH
    assert reads == [{Part(0, 0), Part(1, 0), Part(2, 0)}] * 2
    rest = [(hit.attachment, hit.ordinal) for hit in chain.from_iterable(batches)]
    assert rest == [divmod(number, 20) for number in range(50, 10_000)]


def test_only_the_buckets_of_the_terms_are_needed() -> None:
    index = Index([segment_of(corpus(2_000, 40, 6_000, seed=3)), segment_of([Chunk(1, 0, ("a",))])])
    many = index.statistics[0].buckets
    queries = [query_of(["w1", "w2"]), query_of(["w1"])]
    expected = {Part(0, bucket_of(term_hash(word), many)) for word in ("w1", "w2")} | {Part(1, 0)}
    assert needed_buckets(queries, index.statistics) == expected
    assert needed_buckets([], index.statistics) == needed_buckets([{}], index.statistics) == set()


def test_the_terms_of_a_query() -> None:
    assert query_terms("What is the flow of the flows?") == {term_hash("flow"): 2}
    assert query_terms("to be or not") == {}
    assert len(query_terms(" ".join(f"w{number}" for number in range(1_000)))) == ranking.MAX_QUERY_TERMS


def test_a_query_without_terms_finds_nothing() -> None:
    assert Index([segment_of([Chunk(1, 0, ("a",))])]).search("to be or not") == []


def test_scores_say_how_much_of_the_query_is_covered() -> None:
    assert normalised(8.0, 8.0) == pytest.approx(2 / 3)
    assert normalised(4.0, 8.0) == pytest.approx(4 / 9)
    assert normalised(8.0 * 3, 8.0) == 1.0
    scores = [normalised(score / 10, 8.0) for score in range(1, 240)]
    assert scores == sorted(set(scores))
    assert 0 < scores[0] < scores[-1] < 1


def test_words_that_no_chunk_contains_lower_the_score() -> None:
    index = Index([segment_of([Chunk(n, 0, ("a", "b")) for n in range(10)])])
    assert index.search(query_of(["a"]))[0].score == pytest.approx(2 / 3)
    assert index.search(query_of(["a", "z"]))[0].score < 0.05


@pytest.mark.parametrize("damage", ["bucket", "block", "missing bucket", "missing block", "chunks", "rows"])
def test_damage_is_an_error_and_no_result(damage: str) -> None:
    index = Index([segment_of([Chunk(n, 0, ("a",)) for n in range(3)])])
    (segment,) = index.segments
    query = query_of(["a"])
    fetched = dict(index.fetch_buckets([query]))
    blocks = {Part(0, 0): segment.documents[0]}
    if damage == "bucket":
        fetched[Part(0, 0)] = fetched[Part(0, 0)][:-1] + b"\x7f"
    elif damage == "block":
        blocks[Part(0, 0)] = blocks[Part(0, 0)][:-1] + b"\x7f"
    elif damage == "missing bucket":
        fetched = {}
    elif damage == "missing block":
        blocks = {}
    elif damage == "chunks":
        index.statistics[0] = index.statistics[0]._replace(chunks=2)
    else:
        blocks[Part(0, 0)] = segment_of([Chunk(1, 0, ("a",))]).documents[0]
    with pytest.raises(DamagedSegment):
        list(rank(query, index.statistics, fetched, lambda _: blocks))


def test_a_merge_refuses_documents_and_postings_that_do_not_match() -> None:
    two = segment_of([Chunk(1, 0, ("a",)), Chunk(1, 1, ("a",))])
    one = segment_of([Chunk(1, 0, ("a",))])
    with pytest.raises(DamagedSegment, match="1 documents in a segment of 2 chunks"):
        Merge([two.counts], [one.documents], lambda attachments: attachments > 0)
    with pytest.raises(DamagedSegment, match="not one of the 1"):
        merge([Segment(one.counts, two.buckets, one.documents)], lambda attachments: attachments > 0)


def test_sums_of_equal_terms_in_another_order_are_equal() -> None:
    words = "abcde"
    chunks = [
        Chunk(-number, 0, tuple(chain.from_iterable([word] * n for word, n in zip(words, counts, strict=True))))
        for number, counts in enumerate(permutations([1, 2, 3, 5, 8]))
    ]
    found = Index([segment_of(chunks)]).search(query_of(words))
    assert [hit.attachment for hit in found] == list(range(-119, 1))
    assert len({hit.score for hit in found}) == 1


def test_equal_chunks_of_one_attachment_are_ordered_by_ordinal_across_segments() -> None:
    segments = [segment_of([Chunk(1, ordinal, ("a",))]) for ordinal in (2, 0, 1)]
    found = Index(segments).search(query_of(["a"]))
    assert [hit.ordinal for hit in found] == [0, 1, 2]
