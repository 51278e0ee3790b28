"""Hybrid search with the official Python package: static vectors, embeddings of a server, and a change of the model."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from tests.e2e import judged
from tests.e2e.openai_clients import connect
from tests.support.embedding_server import KEY, EmbeddingServer
from tests.support.servers import Server

FLOOR = 0.37
"""nDCG@10 over every third question, on which keywords alone reach 0.375; over all of them hybrid search has 0.40."""

TEXTS = {
    "doctor.txt": b"The doctor treats the sick in a hospital.",
    "bank.txt": b"Interest rates of banks rise.",
    "bird.txt": b"Wings lift a bird into the air.",
}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    folder = tmp_path_factory.mktemp("hybrid") / "data"
    with Server(folder, uploads_per_minute=0, attached_files_per_minute=0, embeddings="local") as running:
        yield connect(running, [])


def filled(client: OpenAI, texts: dict[str, bytes] = TEXTS) -> str:
    store = client.vector_stores.create(name="s").id
    files = list(texts.items())
    batch = client.vector_stores.file_batches.upload_and_poll(store, files=files, poll_interval_ms=50)
    assert batch.file_counts.completed == len(texts)
    return store


def names(client: OpenAI, store: str, query: str, **options: object) -> list[str]:
    return [each.filename for each in client.vector_stores.search(store, query=query, **options)]  # type: ignore[arg-type]


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_meaning_is_found_without_a_common_word(local: OpenAI) -> None:
    store = filled(local)
    assert names(local, store, "medicine for a patient")[0] == "doctor.txt"
    assert names(local, store, "loan and money")[0] == "bank.txt"


def test_scores_filters_and_thresholds(local: OpenAI) -> None:
    store = filled(local)
    found = local.vector_stores.search(store, query="The doctor and a bird").data
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    for threshold in (0.0, scores[-1], scores[0], 1.0):
        kept = names(local, store, "The doctor and a bird", ranking_options={"score_threshold": threshold})
        assert kept == [each.filename for each in found if each.score >= threshold]
    bird = next(each.file_id for each in found if each.filename == "bird.txt")
    local.vector_stores.files.update(bird, vector_store_id=store, attributes={"kind": "animal"})
    only = {"type": "eq", "key": "kind", "value": "animal"}
    assert names(local, store, "medicine for a patient", filters=only) in (["bird.txt"], [])
    assert names(local, store, "flying animal", filters=only) == ["bird.txt"]
    assert names(local, store, ["medicine for a patient", "loan and money"])[0] in ("doctor.txt", "bank.txt")


def test_deleted_and_detached_files_are_not_found(local: OpenAI) -> None:
    store = filled(local)
    found = {
        each.filename: each.file_id for each in local.vector_stores.search(store, query="The doctor, a bird, banks")
    }
    assert len(found) == 3
    local.files.delete(found["doctor.txt"])
    assert "doctor.txt" not in names(local, store, "medicine for a patient")
    local.vector_stores.files.delete(found["bank.txt"], vector_store_id=store)
    assert set(names(local, store, "medicine, money, flying animal")) <= {"bird.txt"}
    file = local.vector_stores.files.upload_and_poll(vector_store_id=store, file=("new.txt", TEXTS["doctor.txt"]))
    assert file.status == "completed"
    assert names(local, store, "medicine for a patient")[0] == "new.txt"


@pytest.mark.data
def test_the_judged_collection(local: OpenAI, conformance_data: Path) -> None:
    assert judged.ndcg(local, judged.store_of(local, conformance_data), conformance_data) >= FLOOR


def settings_of(embeddings: EmbeddingServer, model: str = "m") -> dict[str, str]:
    return {
        "embeddings": "upstream",
        "upstream_url": embeddings.url,
        "embeddings_model": model,
        "upstream_api_key": KEY,
    }


def test_embeddings_of_a_server(tmp_path: Path) -> None:
    with EmbeddingServer(dimensions=64) as embeddings, Server(tmp_path / "data", **settings_of(embeddings)) as server:
        embeddings.faults.extend([(503, {}, b""), (429, {"Retry-After": "0"}, b"")])
        client = connect(server, [])
        store = filled(client)
        # Its vectors are made of whole words, of which the keyword search drops "the".
        eventually(lambda: names(client, store, "the") != [])
        assert embeddings.keys == {f"Bearer {KEY}"}
        embeddings.failing = 500
        assert names(client, store, "the") == []
        assert names(client, store, "doctor") == ["doctor.txt"]
        assert "is searched by keywords only: the server of embeddings refused the request (500)" in server.output
        assert KEY not in server.output


def test_a_change_of_the_model_while_the_old_vectors_answer(tmp_path: Path) -> None:
    with EmbeddingServer(dimensions=64) as embeddings:
        with Server(tmp_path / "data", **settings_of(embeddings)) as server:
            client = connect(server, [])
            store = filled(client)
            eventually(lambda: names(client, store, "the") != [])
        embeddings.batches.clear()
        embeddings.refused_models.add("other")
        place = server.place
        with Server(tmp_path / "data", place=place, **settings_of(embeddings, "other")) as server:
            client = connect(server, [])
            eventually(lambda: embeddings.refused > 0)
            assert names(client, store, "the") != []
            assert {model for model, _ in embeddings.batches} == {"m"}, "the query, with the old model"
            embeddings.batches.clear()
            embeddings.refused_models.clear()
            eventually(lambda: names(client, store, "the") != [] and embeddings.batches[-1] == ("other", 1))
            assert ("other", 3) in embeddings.batches
        with Server(tmp_path / "data", place=place, embeddings="local") as server:
            client = connect(server, [])
            eventually(lambda: names(client, store, "medicine for a patient")[:1] == ["doctor.txt"])
