"""Hostile documents that are attached to a vector store: each ends as `failed`, and costs the node nothing."""

import time
from pathlib import Path

import psutil
import pytest

from tests.extraction.test_hostile_documents import HOSTILE
from tests.support.servers import Server
from tests.support.waiting import wait_until

CHOSEN = [
    "zip bomb, 1000 to 1",
    "zip bomb within a zip bomb",
    "a claim of 2 GB",
    "billion laughs in DOCX",
    "billion laughs in PPTX",
    "external entity in DOCX",
    "half of a DOCX",
    "PDF with pages to the power of two",
    "PDF with cyclic pages",
    "PDF with a password",
]
MESSAGES = {
    "The file could not be parsed.",
    "The file could not be parsed because it is too large.",
    "The file could not be parsed because it is empty.",
}
GROWTH_MIB = 64


@pytest.mark.timing
def test_hostile_documents_fail_and_others_go_on(tmp_path: Path) -> None:
    with Server(tmp_path / "data", uploads_per_minute=0, indexing_seconds=5) as server:
        good = server.upload(b"a good document", name="good.txt")["id"]
        store = server.client.post("/vector_stores", json={"file_ids": [good]}).json()["id"]
        while server.client.get(f"/vector_stores/{store}").json()["status"] == "in_progress":
            time.sleep(0.1)
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        ids = []
        for name in CHOSEN:
            filename, build, _ = HOSTILE[name]
            content = build()
            assert isinstance(content, bytes)
            ids.append(server.upload(content, name=filename)["id"])
        late = server.upload(b"a late document", name="late.txt")["id"]
        body = {"file_ids": [*ids, late]}
        batch = server.client.post(f"/vector_stores/{store}/file_batches", json=body).json()["id"]
        deadline = time.monotonic() + 150
        slowest = 0.0
        while server.client.get(f"/vector_stores/{store}/file_batches/{batch}").json()["file_counts"]["in_progress"]:
            began = time.perf_counter()
            assert server.client.get("/files", params={"limit": 1}).status_code == 200
            slowest = max(slowest, time.perf_counter() - began)
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for file_id in ids:
            attached = server.client.get(f"/vector_stores/{store}/files/{file_id}").json()
            assert (attached["status"], attached["last_error"]["code"]) == ("failed", "invalid_file")
            assert attached["last_error"]["message"] in MESSAGES
        found = server.client.post(f"/vector_stores/{store}/search", json={"query": "document"}).json()["data"]
        assert {result["filename"] for result in found} == {"good.txt", "late.txt"}
        assert slowest < 2, "others were held up"
        assert (process.memory_info().rss - before) / 2**20 < GROWTH_MIB
        wait_until(lambda: len(running(process)) <= 1, lambda: running(process))


def running(process: psutil.Process) -> list[psutil.Process]:
    """The processes below this one that have not ended."""
    return [child for child in process.children(recursive=True) if is_running(child)]


def is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
