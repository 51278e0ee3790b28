"""A request for each operation of the route table, and what a project has that such requests name."""

import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.batches.runs import ENDED
from tests.support.batch_worker import input_of
from tests.support.parts import add_part, create_upload

Ids = Mapping[str, str]
"""What a request names: `file`, `store`, `attached`, `file_batch`, `batch`, `upload`, `part`, `project`, `key`, ..."""

PARAMETERS = {
    "/v1/files/": {"file_id": "file"},
    "/v1/uploads/{upload_id}/parts": {"upload_id": "open_upload"},
    "/v1/uploads/": {"upload_id": "upload"},
    "/v1/vector_stores/": {"vector_store_id": "store", "file_id": "attached", "batch_id": "file_batch"},
    "/v1/batches/": {"batch_id": "batch"},
    "/v1/organization/": {"project_id": "project", "key_id": "key", "service_account_id": "account"},
    "/v1/responses/": {"response_id": "response"},
    "/v1/models/": {"model": "model"},
    "/v1/audio/": {"rest": "rest"},
    "/v1/images/": {"rest": "rest"},
}
"""What the parameters of paths name, by the beginning of the path; the first one that fits counts."""

UNKNOWN = {
    "file": "file-" + "0" * 22,
    "attached": "file-" + "0" * 22,
    "store": "vs_" + "0" * 32,
    "file_batch": "vsfb_" + "0" * 32,
    "batch": "batch_" + "0" * 32,
    "upload": "upload_" + "0" * 32,
    "open_upload": "upload_" + "0" * 32,
    "part": "part_" + "0" * 32,
    "project": "proj_" + "0" * 24,
    "key": "key_" + "0" * 24,
    "account": "user-" + "0" * 24,
    "response": "resp_" + "0" * 32,
    "input": "file-" + "0" * 22,
    "image": "file-" + "0" * 22,
}
"""Well-formed ids of nothing."""

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TEXT = {"model": "m", "input": "hi"}
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 40
FORM = {"data": {"model": "m"}, "files": {"file": ("a.wav", b"RIFF")}}


def _chat_about(ids: Ids) -> dict[str, Any]:
    image = {"type": "file", "file": {"file_id": ids["image"]}}
    return {"json": CHAT | {"messages": [{"role": "user", "content": [image]}]}}


def _upload(_: Ids) -> dict[str, Any]:
    return {"data": {"purpose": "user_data"}, "files": {"file": ("a.txt", b"content")}}


BODIES: dict[str, Callable[[Ids], dict[str, Any]]] = {
    "createFile": _upload,
    "createUpload": lambda _: {
        "json": {"filename": "a", "purpose": "user_data", "bytes": 4, "mime_type": "text/plain"}
    },
    "addUploadPart": lambda _: {"files": {"data": ("a", b"more")}},
    "completeUpload": lambda ids: {"json": {"part_ids": [ids["part"]]}},
    "createVectorStore": lambda ids: {"json": {"file_ids": [ids["input"]]}},
    "modifyVectorStore": lambda _: {"json": {"name": "changed"}},
    "searchVectorStore": lambda _: {"json": {"query": "words"}},
    "createVectorStoreFile": lambda ids: {"json": {"file_id": ids["input"]}},
    "updateVectorStoreFileAttributes": lambda _: {"json": {"attributes": {"changed": "yes"}}},
    "createVectorStoreFileBatch": lambda ids: {"json": {"file_ids": [ids["input"]]}},
    "createProject": lambda _: {"json": {"name": str(uuid.uuid4())}},
    "createProjectApiKey": lambda _: {"json": {"name": "a"}},
    "createProjectServiceAccount": lambda _: {"json": {"name": "a"}},
    "createProjectServiceAccountApiKey": lambda _: {"json": {}},
    "createBatch": lambda ids: {
        "json": {"input_file_id": ids["lines"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    },
    "createChatCompletion": _chat_about,
    "createCompletion": lambda _: {"json": {"model": "m", "prompt": "hi"}},
    "createResponse": lambda ids: {"json": TEXT | {"previous_response_id": ids["response"]}},
    "createTranscription": lambda _: FORM,
    "createTranslation": lambda _: FORM,
    "createImageEdit": lambda _: FORM,
    "createImageVariation": lambda _: FORM,
    "passThrough": lambda _: {"json": TEXT},
    **dict.fromkeys(
        (
            *("compactResponse", "countInputTokens", "createEmbedding", "createModeration", "createSpeech"),
            *("createImage", "rerank", "score"),
        ),
        lambda _: {"json": TEXT},
    ),
}
"""The body of a request by the id of its operation."""

QUERIES: dict[str, dict[str, str]] = {"usageVectorStores": {"start_time": "1"}}
"""Parameters without which a request is refused."""


def names_in(path: str) -> dict[str, str]:
    """What each parameter of a path names. Raises `LookupError` for a path that is not known here."""
    found = re.findall(r"\{(\w+)(?::path)?\}", path)
    if not found:
        return {}
    kinds = next((kinds for start, kinds in PARAMETERS.items() if path.startswith(start)), {})
    return {name: kinds[name] for name in found}


def request_of(operation: Any, ids: Ids) -> tuple[str, str, dict[str, Any]]:
    """Method, path and the rest of a valid request. Raises `LookupError` for an operation without an example."""
    path = re.sub(r"\{(\w+)(?::path)?\}", lambda found: ids[names_in(operation.path)[found[1]]], operation.path)
    needs_body = operation.request_body is not None or operation.operation_id == "passThrough"
    body = BODIES[operation.operation_id](ids) if needs_body else {}
    if query := QUERIES.get(operation.operation_id):
        body = body | {"params": query}
    return operation.method, path, body


class _Noting(dict[str, str]):
    """Ids that remember which of them were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __missing__(self, kind: str) -> str:
        self.asked.append(kind)
        return "x"


def kinds_of(operation: Any) -> list[str]:
    """The kinds of ids that a request for the operation names, in the path and in the body."""
    noting = _Noting()
    request_of(operation, noting)
    return list(dict.fromkeys(noting.asked))


@dataclass
class Tenant:
    """A project with one thing of each kind, and keys; `client` has a key with all scopes."""

    client: httpx2.Client
    ids: dict[str, str] = field(default_factory=dict)

    def fill(self) -> "Tenant":
        """Make one thing of each kind, anew."""
        send = self.client.post
        for kind in ("file", "attached", "input"):
            self.ids[kind] = self._file(f"words of {kind}".encode(), "a.txt")
        self.ids["image"] = self._file(PNG, "a.png", "vision")
        self.ids["lines"] = self._file(input_of("a"), "a.jsonl", "batch")
        self.ids["store"] = self._id(send("/vector_stores", json={"name": "mine"}))
        files = f"/vector_stores/{self.ids['store']}/files"
        self._id(send(files, json={"file_id": self.ids["attached"]}))
        batches = f"/vector_stores/{self.ids['store']}/file_batches"
        self.ids["file_batch"] = self._id(send(batches, json={"file_ids": [self.ids["file"]]}))
        body = BODIES["createBatch"](self.ids)["json"]
        self.ids["batch"] = self._id(send("/batches", json=body))
        self.ids["open_upload"] = create_upload(self.client, 1000)["id"]
        self.ids["upload"] = create_upload(self.client, 4)["id"]
        self.ids["part"] = add_part(self.client, self.ids["upload"], b"four")
        self.ids["response"] = self._id(send("/responses", json=TEXT))
        self.ids["project"] = self.client.get("/files").headers["openai-project"]
        made = send(f"/organization/projects/{self.ids['project']}/api_keys", json={"name": "spare"})
        self.ids["key"] = self._id(made)
        accounts = f"/organization/projects/{self.ids['project']}/service_accounts"
        self.ids["account"] = self._id(send(accounts, json={"name": str(uuid.uuid4())}))
        self.ids |= {"model": "m", "rest": "speech"}
        return self

    def _file(self, content: bytes, name: str, purpose: str = "user_data") -> str:
        return self._id(self.client.post("/files", data={"purpose": purpose}, files={"file": (name, content)}))

    def _id(self, response: httpx2.Response) -> str:
        assert response.status_code == 200, response.text
        return str(response.json()["id"])

    def settle(self) -> None:
        """Wait until nothing changes by itself any more."""
        deadline = time.monotonic() + 30
        store = self.ids["store"]
        while (
            any(batch["status"] not in ENDED for batch in self.client.get("/batches?limit=100").json()["data"])
            or self.client.get(f"/vector_stores/{store}").json()["file_counts"]["in_progress"]
        ):
            assert time.monotonic() < deadline, "the batch or the index is not complete"
            time.sleep(0.05)

    def snapshot(self) -> dict[str, str]:
        """What the tenant has, as it is served; without when it was last used, and without keys."""
        store = f"/vector_stores/{self.ids['store']}"
        paths = [
            *(f"/files/{self.ids['file']}", f"/files/{self.ids['file']}/content", f"/batches/{self.ids['batch']}"),
            *(store, f"{store}/files?limit=100", f"{store}/files/{self.ids['attached']}"),
            *(f"{store}/file_batches/{self.ids['file_batch']}", "/files?limit=10000", "/batches", "/usage"),
            *(f"/organization/projects/{self.ids['project']}", self._key_path()),
        ]
        found = {path: self.client.get(path) for path in paths}
        assert {path: response.status_code for path, response in found.items() if response.status_code != 200} == {}
        return {path: re.sub(r'"last_\w+": ?\d+', "", response.text) for path, response in found.items()}

    def _key_path(self) -> str:
        return f"/organization/projects/{self.ids['project']}/api_keys/{self.ids['key']}"
