"""Hybrid search over HTTP with the static vectors: how fast files are indexed, and what a search takes."""

import importlib.util
import os
from pathlib import Path

import numpy as np

from bench.nginx import Nginx
from bench.plan import Bench
from bench.report import Goal, Row
from bench.texts import Texts
from bench.vector_stores import CHUNKS_OF_A_FILE, FILE_BYTES, QUERIES, index_files, search_latencies, upload
from filestead.domain.vector_stores.hybrid import DEPTH
from filestead.search.fusion import hybrid
from tests.support import cranfield
from tests.support.servers import Server


def measure_hybrid(bench: Bench, _: Nginx | None) -> list[Row]:
    """The figures of one node with `FILESTEAD_EMBEDDINGS=local`."""
    if importlib.util.find_spec("wordllama") is None:
        return [Row(measure="hybrid search", note="pip install 'filestead[search]'")]
    texts = Texts()
    settings = {"uploads_per_minute": 0, "attached_files_per_minute": 0, "embeddings": "local"}
    with Server(bench.directory / "hybrid", **settings) as server:
        client = server.client
        bench.progress("hybrid: index small files")
        index_files(client, [upload(client, texts.text(FILE_BYTES)) for _ in range(5)])
        ids = [upload(client, texts.text(FILE_BYTES)) for _ in range(bench.plan.indexed_files)]
        _, seconds = index_files(client, ids)
        bench.progress("hybrid: index large files")
        number = bench.plan.few_chunks // CHUNKS_OF_A_FILE
        store, _ = index_files(client, [upload(client, texts.text_of_chunks(CHUNKS_OF_A_FILE)) for _ in range(number)])
        latencies = search_latencies(client, store, texts.queries(QUERIES))
    rate, many = len(ids) / seconds, f"{bench.plan.few_chunks:,}"
    return [
        *_quality(),
        Row(measure="index text files of 8 KiB, hybrid", unit="files/s", ours=[rate], goal=Goal(60, at_least=True)),
        Row(measure=f"hybrid search {many} chunks", unit="ms", ours=latencies, goal=Goal(30)),
    ]


def _quality() -> list[Row]:
    from filestead.embeddings import local  # noqa: PLC0415

    measure = "nDCG@10 hybrid, all questions"
    folder = Path(os.environ.get("FILESTEAD_CONFORMANCE_DATA", ""))
    if not (folder / "retrieval").is_dir():
        return [Row(measure=measure, note="set FILESTEAD_CONFORMANCE_DATA to the folder with the judged collection")]
    collected = cranfield.load(folder)
    ids, texts = list(collected.documents), list(collected.documents.values())
    searched = cranfield.index(texts)
    vectors = np.stack([np.frombuffer(vector, "<f4") for vector in local.load().embed(texts)])
    total = 0.0
    for question, text in collected.questions.items():
        keyword = list(dict.fromkeys(hit.attachment for hit in searched.search(text, DEPTH)))[:DEPTH]
        (query,) = local.load().embed([text])
        dense = np.argsort(-(vectors @ np.frombuffer(query, "<f4")), kind="stable")[:DEPTH].tolist()
        found = [ids[document] for document, _ in hybrid(keyword, dense)][:10]
        total += cranfield.ndcg(found, collected.relevant[question])
    return [Row(measure=measure, ours=[total / len(collected.questions)], goal=Goal(0.40, at_least=True))]
