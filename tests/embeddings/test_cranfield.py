"""Quality of hybrid search with the static vectors on a judged collection: all questions, without a database."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from filestead.domain.vector_stores.hybrid import DEPTH
from filestead.embeddings import local, package
from filestead.search.fusion import hybrid
from tests.support import cranfield

FLOOR = 0.40
MOST_BELOW_KEYWORDS = 0.005


@pytest.mark.data
@pytest.mark.skipif(importlib.util.find_spec(package.PACKAGE) is None, reason="wordllama is not installed")
def test_the_questions_are_ranked_as_well_as_promised(conformance_data: Path) -> None:
    collected = cranfield.load(conformance_data)
    ids = list(collected.documents)
    texts = list(collected.documents.values())
    searched = cranfield.index(texts)
    vectors = np.stack([np.frombuffer(vector, "<f4") for vector in local.load().embed(texts)])
    totals = [0.0, 0.0]
    for question, text in collected.questions.items():
        keyword = list(dict.fromkeys(hit.attachment for hit in searched.search(text, DEPTH)))[:DEPTH]
        (query,) = local.load().embed([text])
        dense = np.argsort(-(vectors @ np.frombuffer(query, "<f4")), kind="stable")[:DEPTH].tolist()
        for number, ranking in enumerate([keyword, [document for document, _ in hybrid(keyword, dense)]]):
            totals[number] += cranfield.ndcg([ids[each] for each in ranking[:10]], collected.relevant[question])
    by_keywords, by_both = (total / len(collected.questions) for total in totals)
    assert by_both >= FLOOR
    assert by_both >= by_keywords - MOST_BELOW_KEYWORDS
