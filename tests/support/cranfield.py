"""The judged search collection: its documents in chunks, its questions, and nDCG@10."""

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filestead.search.analysis import terms
from filestead.search.segments import SegmentBuilder
from tests.support.search_index import Index

CHUNK_WORDS = 600
"""About 800 tokens; the next chunk begins half a chunk later."""
DOCUMENTS_OF_A_SEGMENT = 100


@dataclass(frozen=True)
class Collected:
    """Documents by id, questions by id, and the ids of the relevant documents of each question."""

    documents: dict[str, str]
    questions: dict[str, str]
    relevant: dict[str, set[str]]


def load(folder: Path) -> Collected:
    """Read the collection from the folder of outside data."""
    folder = folder / "retrieval" / "cranfield"
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    documents = {row["_id"]: f"{row['title']}\n{row['text']}" for row in rows if (row["title"] + row["text"]).strip()}
    rows = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    relevant: dict[str, set[str]] = defaultdict(set)
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        question, document, grade = line.split()
        if int(grade) >= 1:
            relevant[question].add(document)
    return Collected(documents, {row["_id"]: row["text"] for row in rows if row["_id"] in relevant}, dict(relevant))


def index(documents: Sequence[str]) -> Index:
    """Segments of the documents; the attachment of a chunk is the position of its document."""
    segments = []
    for first in range(0, len(documents), DOCUMENTS_OF_A_SEGMENT):
        builder = SegmentBuilder()
        for attachment, text in enumerate(documents[first : first + DOCUMENTS_OF_A_SEGMENT], first):
            for ordinal, chunk in enumerate(chunked(text)):
                builder.add(attachment, ordinal, terms(chunk))
        segments.append(builder.build())
    return Index(segments)


def chunked(text: str) -> Iterator[str]:
    words = text.split(" ")
    yield " ".join(words[:CHUNK_WORDS])
    for start in range(CHUNK_WORDS // 2, len(words) - CHUNK_WORDS // 2, CHUNK_WORDS // 2):
        yield " ".join(words[start : start + CHUNK_WORDS])


def mean_ndcg(collected: Collected, questions: Collection[str]) -> float:
    """Mean nDCG@10 of these questions; a document counts by its best chunk."""
    ids = list(collected.documents)
    searched = index(list(collected.documents.values()))
    total = 0.0
    for question in questions:
        found = dict.fromkeys(ids[hit.attachment] for hit in searched.search(collected.questions[question]))
        total += ndcg(list(found)[:10], collected.relevant[question])
    return total / len(questions)


def ndcg(found: Sequence[str], relevant: Collection[str]) -> float:
    """With binary gains."""
    gain = sum(1 / math.log2(rank + 1) for rank, document in enumerate(found, 1) if document in relevant)
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(len(relevant), 10) + 1))
