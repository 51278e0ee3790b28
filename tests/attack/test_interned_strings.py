"""No string of a client, no id and no key of a blob is interned: early releases of Python 3.12 never free one."""

import secrets
import time
from ast import literal_eval
from pathlib import Path

import pytest

from tests.batches import runs
from tests.batches.models import ThreadedModels
from tests.support.model_server import ModelServer
from tests.support.parts import add_part, create_upload, send_complete
from tests.support.servers import Server
from tests.support.waiting import wait_until

LARGE = 300_000
"""Bytes of a file that has a blob of its own in each profile."""


@pytest.mark.promise("R-26")
def test_nothing_of_a_client_is_interned(tmp_path: Path) -> None:
    interned = tmp_path / "interned"
    with (
        ThreadedModels(ModelServer(instant=True)) as models,
        Server(
            tmp_path / "data",
            module="tests.attack.recorded_interning",
            env={"INTERNED": str(interned)},
            upstream_url=models.url,
            sweep_seconds=0.5,
        ) as server,
    ):
        mark = secrets.token_hex(8)
        ids = use_everything(server, mark)
        keys = [key for (key,) in server.place.sql("SELECT key FROM blobs")]
    strings = [literal_eval(line) for line in interned.read_text().splitlines()]
    assert strings, "the server has interned something, at least when it started"
    assert keys
    assert [string for string in strings if mark in string] == []
    assert set(strings).isdisjoint({*ids, *keys})


def use_everything(server: Server, mark: str) -> list[str]:
    """Use files, uploads, vector stores, batches and references; every string has the mark. Returns ids."""
    client = server.client

    def upload(name: str, content: bytes, purpose: str = "user_data") -> str:
        return str(server.upload(content, name=f"{mark}-{name}", purpose=purpose)["id"])

    large = upload("large.bin", bytes(LARGE))
    text = upload("text.txt", b"harbour lights at night")
    folder = upload("a/b.md", b"# harbour")
    given_up = upload("deleted.pdf", b"not a document")
    made = create_upload(client, LARGE, name=f"{mark}-parts.txt")["id"]
    part = add_part(client, made, bytes(LARGE))
    whole = send_complete(client, made, [part]).json()["file"]["id"]

    metadata = {f"{mark}-key": mark}
    store = client.post("/vector_stores", json={"name": f"{mark} store", "metadata": metadata}).json()["id"]
    attributes = {f"{mark}-attribute": mark}
    for file_id in (text, folder, given_up):
        body = {"file_id": file_id, "attributes": attributes}
        assert client.post(f"/vector_stores/{store}/files", json=body).status_code == 200
    wait_until(lambda: client.get(f"/vector_stores/{store}").json()["file_counts"]["in_progress"] == 0, "no index")
    filters = {"type": "eq", "key": f"{mark}-attribute", "value": mark}
    found = client.post(f"/vector_stores/{store}/search", json={"query": f"harbour {mark}", "filters": filters})
    assert {result["file_id"] for result in found.json()["data"]} == {text, folder}

    lines = [runs.line(f"{mark}-{number}", f"text {mark}") for number in range(3)]
    batch = runs.wait(server, runs.create(server, lines, metadata=metadata))
    assert batch["status"] == "completed"
    reference = {"type": "file", "file": {"file_id": text}}
    message = {"role": "user", "content": [{"type": "text", "text": mark}, reference]}
    forwarded = client.post("/chat/completions", json={"model": "m", "messages": [message]})
    assert forwarded.status_code == 200, forwarded.text

    for path in ("/files", f"/files/{large}", f"/files/{large}/content", f"/files/{whole}/content", f"/files/{mark}"):
        client.get(path, params={mark: mark}, headers={f"x-{mark}": mark})
    client.get("/files", headers={"Authorization": f"Bearer {mark}"})
    ids = [large, text, folder, given_up, made, part, whole, store, batch["id"], batch["output_file_id"]]
    assert client.delete(f"/files/{given_up}").status_code == 200
    time.sleep(1.5)  # a sweep comes and lists the folders
    return ids
