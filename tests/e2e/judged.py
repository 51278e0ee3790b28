"""The judged collection through the public API: its documents in a store, and nDCG@10 over a third of its questions."""

import json
import math
from collections import defaultdict
from pathlib import Path

from openai import OpenAI


def store_of(client: OpenAI, folder: Path) -> str:
    """A store with all documents, indexed."""
    documents = [json.loads(line) for line in (folder / "retrieval" / "cranfield" / "corpus.jsonl").open()]
    ids = [
        client.files.create(
            file=(f"{each['_id']}.txt", f"{each['title']}\n{each['text']}".encode()), purpose="assistants"
        ).id
        for each in documents
        if each["text"].strip()
    ]
    store = client.vector_stores.create(name="cranfield")
    # 1,400 at once: on a busy machine the database may need longer than a server waits for it.
    patient = client.with_options(max_retries=5)
    patient.vector_stores.file_batches.create_and_poll(store.id, file_ids=ids, poll_interval_ms=200)
    assert client.vector_stores.retrieve(store.id).file_counts.completed == len(ids)
    return store.id


def ndcg(client: OpenAI, store: str, folder: Path) -> float:
    """The mean over every third question."""
    folder = folder / "retrieval" / "cranfield"
    questions = [json.loads(line) for line in (folder / "queries.jsonl").open()][::3]
    relevant = defaultdict(set)
    for line in (folder / "qrels.tsv").open():
        question, *_, document, grade = line.split()
        if grade.isdigit() and int(grade) >= 1:
            relevant[question].add(document)
    gains = []
    for question in questions:
        if judged := relevant[question["_id"]]:
            results = client.vector_stores.search(store, query=question["text"], max_num_results=20).data
            ranked = list(dict.fromkeys(result.filename.removesuffix(".txt") for result in results))[:10]
            gain = sum(1 / math.log2(rank + 2) for rank, document in enumerate(ranked) if document in judged)
            gains.append(gain / sum(1 / math.log2(rank + 2) for rank in range(min(10, len(judged)))))
    print(f"nDCG@10 {sum(gains) / len(gains):.4f} over {len(gains)} questions")
    return sum(gains) / len(gains)
