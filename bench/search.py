"""What the keyword search costs without a database: scoring, building, merging; how well it ranks judged documents."""

import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from bench.nginx import Nginx
from bench.plan import MIB, Bench
from bench.report import Goal, Row
from filestead.search.analysis import terms
from filestead.search.documents import Documents, decode_blocks
from filestead.search.merging import Merge
from filestead.search.ranking import query_terms, rank
from filestead.search.segments import Segment, SegmentBuilder
from tests.support import cranfield
from tests.support.search_index import Index

WORDS_OF_A_CHUNK = 250
"""Terms of a chunk of 800 tokens after stop words and, as in English, a power law of words."""
VOCABULARY = 200_000
SEGMENT_CHUNKS = 25_000
MANY_SEGMENTS = 64
"""About as many as there are before merges catch up."""
QUERIES = 40


def measure_search(bench: Bench, _: Nginx | None) -> list[Row]:
    """The figures of the search; the judged collection is left out where its folder is not named."""
    bench.progress("search: build")
    started = time.perf_counter()
    part, seconds = _build(min(SEGMENT_CHUNKS, bench.plan.few_chunks))
    bench.progress(f"search: built after {time.perf_counter() - started:.0f} s; merge")
    merge_rate, growth, many = _merge(bench, part, bench.plan.many_chunks)
    small, _ = _build(bench.plan.few_chunks // MANY_SEGMENTS)
    few = Index([part] * (bench.plan.few_chunks // part.counts.chunks))
    split = Index([small] * MANY_SEGMENTS)
    return [
        *_quality(bench),
        Row(measure="terms of English text", unit="MB/s", ours=_analysis(), goal=Goal(5, at_least=True)),
        Row(measure="build a segment", unit="chunks/s", ours=[part.counts.chunks / seconds]),
        Row(measure=f"merge to {_count(bench.plan.many_chunks)} chunks", unit="chunks/s", ours=[merge_rate]),
        Row(measure="memory of the merge", unit="MiB", ours=[growth], goal=Goal(300)),
        Row(measure=f"rank {_count(bench.plan.few_chunks)} chunks, p50", unit="ms", ours=_latency(few), goal=Goal(8)),
        Row(measure=f"the same in {MANY_SEGMENTS} segments", unit="ms", ours=_latency(split)),
        Row(
            measure=f"rank {_count(bench.plan.many_chunks)} chunks, p50", unit="ms", ours=_latency(many), goal=Goal(32)
        ),
    ]


def _quality(bench: Bench) -> Iterator[Row]:
    folder = os.environ.get("FILESTEAD_CONFORMANCE_DATA", "")
    measure = "nDCG@10, all questions"
    if not (Path(folder) / "retrieval").is_dir():
        yield Row(measure=measure, note="set FILESTEAD_CONFORMANCE_DATA to the folder with the judged collection")
        return
    collected = cranfield.load(Path(folder))
    yield Row(
        measure=measure, ours=[cranfield.mean_ndcg(collected, collected.questions)], goal=Goal(0.38, at_least=True)
    )


def _analysis() -> list[float]:
    """Megabytes of text a second, with a character outside ASCII, in three rounds."""
    text = " ".join(_words(random.Random(1), 400_000, 30_000)) + " naïve"
    rounds = []
    for _ in range(3):
        started = time.perf_counter()
        terms(text)
        rounds.append(len(text) / 1e6 / (time.perf_counter() - started))
    return rounds


def _words(rng: random.Random, count: int, vocabulary: int = VOCABULARY) -> list[str]:
    """Words whose frequency falls with their rank as in English (Zipf)."""
    return [f"w{int(vocabulary ** rng.random())}" for _ in range(count)]


def _build(chunks: int) -> tuple[Segment, float]:
    """A segment, and the seconds it took to build without making its words."""
    rng = random.Random(2)
    builder = SegmentBuilder()
    seconds = 0.0
    for attachment in range(chunks):
        words = _words(rng, WORDS_OF_A_CHUNK)
        started = time.perf_counter()
        builder.add(attachment, 0, words)
        seconds += time.perf_counter() - started
    started = time.perf_counter()
    segment = builder.build()
    return segment, seconds + time.perf_counter() - started


def _merge(bench: Bench, part: Segment, chunks: int) -> tuple[float, float, Index]:
    """Merge as many copies of a segment as make `chunks`: chunks a second, growth of memory in MiB, and the result."""
    copies = chunks // part.counts.chunks
    rows = decode_blocks(part.documents)
    documents = [
        Documents(rows.attachments + copy * part.counts.chunks, rows.ordinals, rows.lengths).blocks()
        for copy in range(copies)
    ]
    read = [dict(enumerate(part.buckets))] * copies
    process = psutil.Process()
    path = bench.directory / "merged"
    before = peak = process.memory_info().rss
    started = time.perf_counter()
    merging = Merge([part.counts] * copies, documents, lambda attachments: attachments >= 0)
    sizes: list[int] = []
    with path.open("wb") as file:
        for step in merging.steps():
            for bucket in merging.run(step, read):
                file.write(bucket)
                sizes.append(len(bucket))
            peak = max(peak, process.memory_info().rss)
    seconds = time.perf_counter() - started
    with path.open("rb") as file:
        buckets = [file.read(size) for size in sizes]
    path.unlink()
    return chunks / seconds, (peak - before) / MIB, Index([Segment(merging.counts, buckets, merging.documents)])


def _latency(index: Index) -> list[float]:
    """Milliseconds from the bytes of the buckets to the best 64 chunks: the median of some queries, in three rounds."""
    rng = random.Random(3)
    queries = [query_terms(" ".join(_rare_words(rng))) for _ in range(QUERIES)]
    rounds = []
    for _ in range(3):
        times = []
        for query in queries:
            fetched = index.fetch_buckets([query])
            started = time.perf_counter()
            next(rank(query, index.statistics, fetched, index.fetch_blocks))
            times.append((time.perf_counter() - started) * 1000)
        rounds.append(statistics.median(times))
    return rounds


def _rare_words(rng: random.Random) -> Sequence[str]:
    """Four words of a question: not the most frequent 30, which are stop words in real texts."""
    return [f"w{int(30 * (5_000 / 30) ** rng.random())}" for _ in range(4)]


def _count(chunks: int) -> str:
    return f"{chunks:,}"
