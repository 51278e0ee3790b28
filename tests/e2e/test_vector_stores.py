"""Vector stores with the official Python package: its helpers, and a judged collection through the public API."""

import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tests.client.proxy import Fault, Proxy
from tests.e2e import judged
from tests.e2e.openai_clients import connect, new_project
from tests.support.servers import Server

FLOOR = 0.37
"""nDCG@10 over every third question: what the ranking of `search/` reaches on them, less 0.01."""


@pytest.fixture(scope="module")
def indexer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("vector-stores") / "data"
    with Server(folder, uploads_per_minute=0, attached_files_per_minute=0) as running:
        yield running


@pytest.fixture(scope="module")
def client(indexer: Server) -> OpenAI:
    return connect(indexer, [])


def test_the_helpers_wait_until_files_are_indexed(client: OpenAI) -> None:
    store = client.vector_stores.create(
        name="n", metadata={"team": "a"}, expires_after={"anchor": "last_active_at", "days": 2}
    )
    assert store.status == "completed"
    assert store.expires_at == store.last_active_at + 2 * 86_400
    file = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("cats.md", b"# Cats\nhunt mice"))
    assert (file.status, file.last_error) == ("completed", None)
    documents = [("dogs.txt", b"dogs bark"), ("birds.html", b"<p>birds <b>sing</b></p>"), ("bad.pdf", b"nothing")]
    batch = client.vector_stores.file_batches.upload_and_poll(store.id, files=documents)
    assert (batch.file_counts.completed, batch.file_counts.failed, batch.file_counts.total) == (2, 1, 3)
    listed = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id, filter="failed")
    assert [each.last_error.code for each in listed if each.last_error] == ["invalid_file"]
    assert sorted(
        each.filename for each in client.vector_stores.search(store.id, query=["mouse hunting", "singing"])
    ) == [
        "birds.html",
        "cats.md",
    ]
    client.vector_stores.files.update(file.id, vector_store_id=store.id, attributes={"kind": "cat", "legs": 4})
    found = client.vector_stores.search(store.id, query="mice", filters={"type": "gte", "key": "legs", "value": 4})
    assert [each.attributes for each in found] == [{"kind": "cat", "legs": 4}]
    text = client.vector_stores.files.content(file.id, vector_store_id=store.id)
    assert [each.text for each in text] == ["# Cats\nhunt mice"]
    client.files.delete(file.id)
    assert client.vector_stores.search(store.id, query="mice").data == []
    assert client.vector_stores.retrieve(store.id).file_counts.total == 3
    assert client.vector_stores.delete(store.id).deleted
    with pytest.raises(openai.NotFoundError, match="No vector store found with id"):
        client.vector_stores.retrieve(store.id)


def test_all_pages(client: OpenAI) -> None:
    stores = [client.vector_stores.create(name=f"{number}").id for number in range(5)]
    assert [store.id for store in client.vector_stores.list(limit=2, after=stores[4])][:4] == stores[3::-1]


def test_a_limit_of_attached_files_is_told_with_a_time(tmp_path: Path) -> None:
    with Server(tmp_path / "data", attached_files_per_minute=3) as server:
        client = connect(server, [])
        ids = [client.files.create(file=("a.txt", b"x"), purpose="assistants").id for _ in range(4)]
        store = client.vector_stores.create(file_ids=ids[:3])
        with pytest.raises(openai.RateLimitError) as caught:
            client.vector_stores.files.create(store.id, file_id=ids[3])
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 20


def test_the_judged_collection(client: OpenAI, conformance_data: Path) -> None:
    assert judged.ndcg(client, judged.store_of(client, conformance_data), conformance_data) >= FLOOR


def test_indexing_waits_for_nobody_else(indexer: Server, client: OpenAI) -> None:
    """A file of another project is indexed although one project has many in front of it."""
    other = connect(indexer, [], api_key=new_project(indexer, "other"))
    store = client.vector_stores.create(name="busy")
    ids = [client.files.create(file=(f"{n}.txt", b"word " * 40_000), purpose="assistants").id for n in range(60)]
    mine = other.vector_stores.create(name="mine")
    file = other.files.create(file=("a.txt", b"short"), purpose="assistants")
    client.vector_stores.file_batches.create(store.id, file_ids=ids)
    other.vector_stores.files.create(mine.id, file_id=file.id)
    left, deadline = len(ids), time.monotonic() + 60
    while True:
        # Read before the file is found to wait still: what is indexed after it does not count, however slow this is.
        in_progress = client.vector_stores.retrieve(store.id).file_counts.in_progress
        attached = other.vector_stores.files.retrieve(file.id, vector_store_id=mine.id)
        if attached.status != "in_progress":
            break
        left = in_progress
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert attached.status == "completed"
    assert left > 10


@pytest.mark.promise("R-16")
def test_a_store_whose_response_is_lost_is_created_once(indexer: Server) -> None:
    key = new_project(indexer, "lost")
    with Proxy(indexer.port) as proxy, OpenAI(base_url=proxy.base_url, api_key=key) as client:
        file = client.files.create(file=("a.txt", b"mice"), purpose="assistants")
        proxy.faults += [Fault(drop_response=True), Fault(drop_response=True)]
        store = client.vector_stores.create(name="mine", file_ids=[file.id])
        assert [seen.headers["x-stainless-retry-count"] for seen in proxy.seen[1:]] == ["0", "1", "2"]
        assert store.file_counts.total == 1
        assert [found.id for found in client.vector_stores.list()] == [store.id]
        assert client.vector_stores.create(name="mine", file_ids=[file.id]).id != store.id
