"""Clients of the chaos test: each repeats an operation until it has an answer that is one, and keeps what it was told."""

import hashlib
import itertools
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.batches.runs import CHAT, encode, lines
from tests.nodes.fleet import Fleet
from tests.support.servers import KEY

LARGEST = 20 * 2**20
KEPT = 30
"""Files that a client has at most; it then deletes one before it uploads the next."""

LINES = 5
"""Of each batch."""

PATIENCE_SECONDS = 90
"""How long a client tries one operation: servers are down for some seconds, never for that long."""


@dataclass
class Known:
    """A file that was acknowledged."""

    id: str
    name: str
    digest: str
    bytes: int


@dataclass
class Client:
    """One of the clients: it repeats an operation at the next node until it has an answer that is one.

    Now and then it loses patience first, so that two tries of the same upload are under way.
    """

    fleet: Fleet
    dice: random.Random
    name: str
    files: list[Known] = field(default_factory=list)
    attached: dict[str, str] = field(default_factory=dict)
    """What finds each file that is attached to the vector store of this client."""
    batches: list[str] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    replayed: int = 0
    store: str = ""
    _turn: Any = field(default_factory=itertools.count)
    _names: Any = field(default_factory=itertools.count)

    def run(self, stop: threading.Event) -> None:
        self.store = self.ask_for("POST", "/vector_stores", json={})["id"]
        while not stop.is_set():
            choice = self.dice.random()
            if not self.files or (choice < 0.45 and len(self.files) < KEPT):
                self.dice.choice((self.upload, self.upload, self.upload, self.upload_in_parts))()
            elif choice < 0.55:
                self.download(self.dice.choice(self.files))
            elif choice < 0.65:
                self.list()
            elif choice < 0.75:
                self.dice.choice((self.attach, self.attach, self.detach))()
            elif choice < 0.8:
                self.create_batch()
            else:
                self.delete()

    def upload(self) -> None:
        self.store_file(self._name(), self._content())

    def store_file(self, name: str, content: bytes, purpose: str = "user_data") -> str:
        """Upload a file; returns its id."""
        response = self.ask(
            "POST",
            "/files",
            headers={"Idempotency-Key": name},
            data={"purpose": purpose},
            files={"file": (name, content)},
        )
        assert response.status_code == 200, (name, response.text)
        self.replayed += "idempotent-replayed" in response.headers
        self.done["upload"] += 1
        return self._keep(response.json(), name, content)

    def upload_in_parts(self) -> None:
        name, parts = self._name(), [self._content() for _ in range(self.dice.randrange(1, 4))]
        body = {"filename": name, "purpose": "user_data", "bytes": sum(map(len, parts)), "mime_type": "text/plain"}
        upload = self.ask_for("POST", "/uploads", json=body)["id"]
        ids = [
            self.ask_for(
                "POST", f"/uploads/{upload}/parts",
                headers={"Idempotency-Key": str(number)}, files={"data": ("part", part)},
            )["id"]
            for number, part in enumerate(parts)
        ]  # fmt: skip
        self._keep(
            self.ask_for("POST", f"/uploads/{upload}/complete", json={"part_ids": ids})["file"], name, b"".join(parts)
        )
        self.done["upload in parts"] += 1

    def attach(self) -> None:
        """A new text."""
        name = self._name()
        word = name.replace("-", "")
        file_id = self.store_file(f"{name}.txt", f"the word {word}".encode())
        self.ask_for("POST", f"/vector_stores/{self.store}/files", json={"file_id": file_id})
        self.attached[file_id] = word
        self.done["attach"] += 1

    def detach(self) -> None:
        if not self.attached:
            return
        file_id = self.dice.choice(list(self.attached))
        self._end("DELETE", f"/vector_stores/{self.store}/files/{file_id}")
        del self.attached[file_id]
        self.done["detach"] += 1

    def create_batch(self) -> None:
        name = self._name()
        file_id = self.store_file(name, encode(lines(LINES)), "batch")
        body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
        batch = self.ask_for("POST", "/batches", headers={"Idempotency-Key": name}, json=body)
        self.batches.append(batch["id"])
        self.done["batch"] += 1

    def download(self, file: Known) -> None:
        response = self.ask("GET", f"/files/{file.id}/content")
        assert response.status_code == 200, (file, response.text)
        assert hashlib.sha256(response.content).hexdigest() == file.digest, file
        self.done["download"] += 1

    def list(self) -> None:
        """Every file of this client is there, and none that it has deleted."""
        listed = list_all(self)
        assert {file.id for file in self.files} <= set(listed)
        assert not self.deleted & set(listed)
        self.done["list"] += 1

    def delete(self) -> None:
        file = self.files.pop(self.dice.randrange(len(self.files)))
        self._end("DELETE", f"/files/{file.id}")
        self.attached.pop(file.id, None)
        self.deleted.add(file.id)
        self.done["delete"] += 1

    def check(self) -> set[str]:
        """Attachments and batches are what this client was told. Returns the ids of the results."""
        path = f"/vector_stores/{self.store}"
        files = self.ask_for("GET", f"{path}/files?limit=100")
        assert not files["has_more"]
        assert {file["id"]: file["status"] for file in files["data"]} == dict.fromkeys(self.attached, "completed")
        for file_id, word in self.attached.items():
            found = self.ask_for("POST", f"{path}/search", json={"query": word})["data"]
            assert [result["file_id"] for result in found] == [file_id]
        return {self._check_batch(self.ask_for("GET", f"/batches/{batch}")) for batch in self.batches}

    def _check_batch(self, batch: Any) -> str:
        """Each line has one result."""
        assert (batch["status"], batch["error_file_id"]) == ("completed", None), batch
        output = self.ask("GET", f"/files/{batch['output_file_id']}/content").text
        found = Counter(json.loads(each)["custom_id"] for each in output.splitlines())
        assert found == Counter(f"line-{number}" for number in range(1, LINES + 1))
        return str(batch["output_file_id"])

    def _name(self) -> str:
        return f"{self.name}-{next(self._names)}"

    def _content(self) -> bytes:
        return self.dice.randbytes(int(LARGEST ** self.dice.random()))

    def _keep(self, made: Any, name: str, content: bytes) -> str:
        assert (made["filename"], made["bytes"]) == (name, len(content))
        self.files.append(Known(made["id"], name, hashlib.sha256(content).hexdigest(), len(content)))
        return str(made["id"])

    def _end(self, method: str, path: str) -> None:
        """Delete something. A try whose answer got lost may have done it."""
        before = self.retries
        response = self.ask(method, path)
        assert response.status_code == 200 or (response.status_code == 404 and self.retries > before), response.text

    def ask_for(self, method: str, path: str, **request: Any) -> Any:
        """What a request returns; fails unless the response is 200."""
        response = self.ask(method, path, **request)
        assert response.status_code == 200, (method, path, response.text)
        return response.json()

    def ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {KEY}", **request.pop("headers", {})}
        deadline = time.monotonic() + PATIENCE_SECONDS
        seen: object = "no node was there"
        while time.monotonic() < deadline:
            node = self.fleet.nodes[next(self._turn) % len(self.fleet.nodes)]
            if node is not None:
                try:
                    timeout = httpx2.Timeout(40, read=self.dice.uniform(0, 1) if self.dice.random() < 0.2 else 40)
                    response = httpx2.request(method, node.base_url + path, headers=headers, timeout=timeout, **request)
                except httpx2.TransportError as error:
                    seen = error
                else:
                    if response.status_code < 500:
                        return response
                    seen = response.text
                self.retries += 1
            time.sleep(self.dice.uniform(0.01, 0.2))
        raise AssertionError(f"{method} {path} got no answer in {PATIENCE_SECONDS} s, the last was {seen}")


def list_all(client: Client) -> dict[str, str]:
    """Name by id of every file."""
    found: dict[str, str] = {}
    after = ""
    while True:  # also if another client deletes the cursor meanwhile
        page = client.ask("GET", f"/files?limit=1000&order=asc{after}").json()
        found |= {file["id"]: file["filename"] for file in page["data"]}
        if not page["has_more"]:
            return found
        after = f"&after={page['last_id']}"
