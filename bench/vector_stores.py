"""Vector stores over HTTP: how fast files are indexed, what a search takes, and what others notice of either."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx2

from bench.nginx import Nginx
from bench.plan import Bench
from bench.report import Goal, Row
from bench.texts import BYTES_PER_CHUNK, Texts
from tests.support.servers import Server

FILE_BYTES = 8 * 1024
QUERIES = 60
SMALL_STORE_FILES = 250
CHUNKS_OF_A_FILE = 250
"""Of the large files: chunks of 800 tokens that overlap by 400."""


def measure_vector_stores(bench: Bench, _: Nginx | None) -> list[Row]:
    """The figures of one node with the default settings, but for the rates."""
    texts = Texts()
    with Server(bench.directory / "vector-stores", uploads_per_minute=0, attached_files_per_minute=0) as server:
        client = server.client
        bench.progress("vector stores: index small files")
        warm_up = [upload(client, texts.text(FILE_BYTES)) for _ in range(5)]
        index_files(client, warm_up)
        ids = [upload(client, texts.text(FILE_BYTES)) for _ in range(bench.plan.indexed_files)]
        store, seconds = index_files(client, ids)
        queries = texts.queries(QUERIES)
        small, _ = index_files(client, ids[:SMALL_STORE_FILES])
        alone = search_latencies(client, small, queries)
        quiet = _uploads(client, texts)
        bench.progress("vector stores: index large files")
        number = bench.plan.few_chunks // CHUNKS_OF_A_FILE
        large = [upload(client, texts.text_of_chunks(CHUNKS_OF_A_FILE)) for _ in range(number)]
        with ThreadPoolExecutor(1) as background:
            indexing = background.submit(index_files, client, large)
            time.sleep(1)
            busy = _uploads(client, texts)
            much, large_seconds = indexing.result()
        bench.progress(f"vector stores: {chunks_of(client, much):,} chunks were indexed in {large_seconds:.0f} s")
        beside = search_latencies(client, small, queries)
        ranked = search_latencies(client, much, queries)
        _wait(client, store)
    many = f"{bench.plan.few_chunks:,}"
    return [
        Row(
            measure="index text files of 8 KiB",
            unit="files/s",
            ours=[len(ids) / seconds],
            goal=Goal(100, at_least=True),
        ),
        Row(measure=f"search {many} chunks", unit="ms", ours=ranked, goal=Goal(15)),
        Row(
            measure=f"search a small store beside {many} chunks",
            unit="ms",
            ours=beside,
            against="alone",
            reference=alone,
            goal=Goal(1.5, of="ratio"),
        ),
        Row(
            measure="small uploads while files are indexed",
            unit="ms",
            ours=busy,
            against="alone",
            reference=quiet,
            goal=Goal(1.15, of="ratio"),
        ),
    ]


def upload(client: httpx2.Client, content: bytes) -> str:
    response = client.post("/files", data={"purpose": "assistants"}, files={"file": ("a.txt", content)})
    return str(response.raise_for_status().json()["id"])


def index_files(client: httpx2.Client, ids: Sequence[str]) -> tuple[str, float]:
    """A store of these files, and the seconds until the last one was indexed."""
    store = client.post("/vector_stores", json={}).json()["id"]
    started = time.perf_counter()
    for first in range(0, len(ids), 2_000):
        client.post(
            f"/vector_stores/{store}/file_batches", json={"file_ids": ids[first : first + 2_000]}
        ).raise_for_status()
    _wait(client, store)
    return store, time.perf_counter() - started


def chunks_of(client: httpx2.Client, store: str) -> int:
    """About how many chunks a store has: each adds 1,024 bytes to the size of the text."""
    usage = int(client.get(f"/vector_stores/{store}").json()["usage_bytes"])
    return usage // (1_024 + BYTES_PER_CHUNK)


def _wait(client: httpx2.Client, store: str) -> None:
    while client.get(f"/vector_stores/{store}").json()["status"] == "in_progress":
        time.sleep(0.1)


def search_latencies(client: httpx2.Client, store: str, queries: Sequence[str]) -> list[float]:
    """Milliseconds of each search; the first one loads the ranking and does not count."""
    client.post(f"/vector_stores/{store}/search", json={"query": queries[0]}).raise_for_status()
    found = []
    for query in queries:
        started = time.perf_counter()
        client.post(f"/vector_stores/{store}/search", json={"query": query}).raise_for_status()
        found.append((time.perf_counter() - started) * 1_000)
    return found


def _uploads(client: httpx2.Client, texts: Texts) -> list[float]:
    """Milliseconds of small uploads, one after the other."""
    content = texts.text(FILE_BYTES)
    found = []
    for _ in range(100):
        started = time.perf_counter()
        upload(client, content)
        found.append((time.perf_counter() - started) * 1_000)
    return found
