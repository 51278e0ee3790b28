"""Clients whose operations make a history: each is recorded with what the client was told, or not told."""

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2

from tests.batches import runs
from tests.nodes.histories import BATCH, FILE, UPLOAD, History, Model, Operation, end
from tests.support.servers import KEY, Server

FILES = 12
WINDOW = 3
"""Of the files, clients use so many at a time, and then later ones."""
UPLOADS = 4
PART_BYTES = (70, 20_000)
BATCHES = 3
LINES = 2
"""Of each batch; the model server never responds to them."""
OPERATIONS = 40
"""Of each client in one history."""
SIZES = (100, 30_000)
"""One is stored in the database, the other in the store."""
COMMON = "common"
"""A word of each file, by which a search finds it."""
NAPS = (0, 0.005, 0.02, 0.1)
ANSWER_SECONDS = 15
IMPATIENT_SECONDS = (0.000_3, 0.3)
"""One request in ten is given up after a time between these, and may have its effect later.

Times of each order of magnitude are equally frequent, so that on a fast machine too some come before the response.
"""
FINAL_SECONDS = 40
BATCH_STATES = {"validating": "running", "in_progress": "running", "cancelling": "cancelling", "cancelled": "cancelled"}


class Nodes(Protocol):
    """Where the clients send their requests."""

    @property
    def alive(self) -> list[Server]: ...


@dataclass
class Load:
    """What the clients of one history do."""

    nodes: Nodes
    number: int
    seed: str
    history: History = field(default_factory=History)
    ids: dict[str, str] = field(default_factory=dict)
    """Of the subjects that a client knows to have been created, and of the parts and files of uploads."""

    def __post_init__(self) -> None:
        dice = random.Random(self.seed)
        self.contents = {f"h{self.number}-f{n}.txt": _text(dice, SIZES[n % len(SIZES)]) for n in range(FILES)}
        self.files = list(self.contents)
        self.uploads = {
            f"h{self.number}-u{n}.bin": [dice.randbytes(size) for size in PART_BYTES] for n in range(UPLOADS)
        }
        self.batches = [f"h{self.number}-b{n}" for n in range(BATCHES)]
        self.store = self.input = ""

    def models(self) -> dict[str, Model]:
        """The model of each subject."""
        return {
            **dict.fromkeys(self.files, FILE),
            **dict.fromkeys(self.uploads, UPLOAD),
            **dict.fromkeys(self.batches, BATCH),
        }

    def prepare(self) -> None:
        """Create what is there when the history begins: the vector store, the uploads and the input of the batches."""
        with Http(self.nodes, random.Random(0), "first", self.nodes.alive[0]) as http:
            self.store = http.insist("POST", "/vector_stores", json={})["id"]
            for name, parts in self.uploads.items():
                size = sum(map(len, parts))
                body = {"filename": name, "purpose": "user_data", "bytes": size, "mime_type": "text/plain"}
                self.ids[name] = http.insist("POST", "/uploads", json=body)["id"]
            content = runs.encode(runs.lines(LINES))
            form = {"data": {"purpose": "batch"}, "files": {"file": ("input.jsonl", content)}}
            self.input = http.insist("POST", "/files", **form)["id"]

    # --- files

    def create(self, http: "Http", name: str) -> None:
        operation = self.history.begin(name, "create", http.name)
        response = http.send(
            "POST",
            "/files",
            headers={"Idempotency-Key": name},
            data={"purpose": "user_data"},
            files={"file": (name, self.contents[name])},
        )
        if response is None or response.status_code in (409, 429):
            return
        if response.status_code == 200:
            self._know(name, response.json()["id"])
            end(operation, "done")
        else:
            assert response.json()["error"]["code"] == "idempotency_key_spent", response.text
            end(operation, "spent")

    def read(self, http: "Http", name: str) -> None:
        self._ask(http, name, "read", "GET", "/files/{}")

    def read_content(self, http: "Http", name: str) -> None:
        response = self._ask(http, name, "read", "GET", "/files/{}/content")
        if response is not None and response.status_code == 200:
            assert response.content == self.contents[name], f"{name} has other bytes"

    def delete(self, http: "Http", name: str) -> None:
        self._ask(http, name, "delete", "DELETE", "/files/{}", success="done")

    def list(self, http: "Http") -> None:
        """A read of every file at once, and of the file of every upload."""
        names = [*self.files, *self.uploads]
        operations = {name: self.history.begin(name, "read", http.name) for name in names}
        response = http.send("GET", "/files?limit=1000")
        if response is None:
            return
        assert response.status_code == 200, response.text
        page = response.json()
        assert not page["has_more"]
        files = [file for file in page["data"] if file["filename"] in operations]
        found = {file["filename"]: file["id"] for file in files}
        assert len(found) == len(files), page
        for name, operation in operations.items():
            if name in found:
                self._know(name if name in self.contents else _file_of(name), found[name])
            end(operation, "found" if name in found else "missing")

    # --- the vector store

    def attach(self, http: "Http", name: str) -> None:
        path = f"/vector_stores/{self.store}/files"
        self._ask(http, name, "attach", "POST", path, success="done", json={"file_id": self.ids.get(name)})

    def detach(self, http: "Http", name: str) -> None:
        self._ask(http, name, "detach", "DELETE", f"/vector_stores/{self.store}/files/{{}}", success="done")

    def look(self, http: "Http", name: str) -> None:
        self._ask(http, name, "look", "GET", f"/vector_stores/{self.store}/files/{{}}")

    def list_attached(self, http: "Http") -> None:
        """A look at every file at once. No file is attached whose id no client knew before."""
        operations = {name: self.history.begin(name, "look", http.name) for name in self.files}
        response = http.send("GET", f"/vector_stores/{self.store}/files?limit=100")
        if response is not None:
            assert response.status_code == 200, response.text
            found = {attached["id"] for attached in response.json()["data"]}
            for name, operation in operations.items():
                end(operation, "found" if self.ids.get(name) in found else "missing")

    def search(self, http: "Http") -> None:
        """A look at the files that are found; of others it says nothing, as they may not be indexed yet."""
        operations = {name: self.history.begin(name, "look", http.name) for name in self.files}
        body = {"query": COMMON, "max_num_results": 50}
        response = http.send("POST", f"/vector_stores/{self.store}/search", json=body)
        if response is not None:
            assert response.status_code == 200, response.text
            for name in {result["filename"] for result in response.json()["data"]}:
                end(operations[name], "found")

    # --- uploads in parts

    def add_part(self, http: "Http", name: str, number: int) -> None:
        operation = self.history.begin(name, "add", http.name)
        response = http.send(
            "POST",
            f"/uploads/{self.ids[name]}/parts",
            headers={"Idempotency-Key": f"{name}-{number}"},
            files={"data": ("part", self.uploads[name][number])},
        )
        if response is not None and response.status_code == 200:
            self._know(_part_of(name, number), response.json()["id"])
        self._end_upload(operation, response)

    def complete(self, http: "Http", name: str) -> None:
        parts = [self.ids.get(_part_of(name, number)) for number in range(len(PART_BYTES))]
        if None in parts:
            return
        operation = self.history.begin(name, "complete", http.name)
        response = http.send("POST", f"/uploads/{self.ids[name]}/complete", json={"part_ids": parts})
        if response is not None and response.status_code == 200:
            self._know(_file_of(name), response.json()["file"]["id"])
        self._end_upload(operation, response)

    def cancel_upload(self, http: "Http", name: str) -> None:
        operation = self.history.begin(name, "cancel", http.name)
        self._end_upload(operation, http.send("POST", f"/uploads/{self.ids[name]}/cancel"))

    def _end_upload(self, operation: Operation, response: httpx2.Response | None) -> None:
        if response is None or response.status_code in (409, 429):
            return
        assert response.status_code == 200 or "is not pending" in response.text, response.text
        end(operation, "done" if response.status_code == 200 else "over")

    # --- batches

    def create_batch(self, http: "Http", name: str) -> None:
        operation = self.history.begin(name, "create", http.name)
        body = {
            "input_file_id": self.input,
            "endpoint": runs.CHAT,
            "completion_window": "24h",
            "metadata": {"name": name},
        }
        response = http.send("POST", "/batches", json=body, headers={"Idempotency-Key": name})
        if response is not None and response.status_code == 200:
            self._know(name, response.json()["id"])
        self._end_batch(operation, response)

    def read_batch(self, http: "Http", name: str) -> None:
        if name in self.ids:
            operation = self.history.begin(name, "read", http.name)
            self._end_batch(operation, http.send("GET", f"/batches/{self.ids[name]}"))

    def cancel_batch(self, http: "Http", name: str) -> None:
        if name in self.ids:
            operation = self.history.begin(name, "cancel", http.name)
            self._end_batch(operation, http.send("POST", f"/batches/{self.ids[name]}/cancel"))

    def list_batches(self, http: "Http") -> None:
        """A read of every batch at once: those of this history are the newest."""
        operations = {name: self.history.begin(name, "read", http.name) for name in self.batches}
        response = http.send("GET", "/batches?limit=100")
        if response is None:
            return
        assert response.status_code == 200, response.text
        batches = [batch for batch in response.json()["data"] if batch["metadata"]["name"] in operations]
        found = {batch["metadata"]["name"]: batch for batch in batches}
        assert len(found) == len(batches), batches
        for name, operation in operations.items():
            if name in found:
                self._know(name, found[name]["id"])
            end(operation, BATCH_STATES[found[name]["status"]] if name in found else "missing")

    def _end_batch(self, operation: Operation, response: httpx2.Response | None) -> None:
        if response is None or response.status_code in (409, 429):
            return
        assert response.status_code == 200, response.text
        end(operation, BATCH_STATES[response.json()["status"]])

    # --- what they have in common

    def _ask(
        self, http: "Http", name: str, kind: str, method: str, path: str, *, success: str = "found", **request: Any
    ) -> httpx2.Response | None:
        """Send a request about a file whose id is known; `{}` in the path is for the id."""
        if name not in self.ids:
            return None
        operation = self.history.begin(name, kind, http.name)
        response = http.send(method, path.format(self.ids[name]), **request)
        if response is not None:
            assert response.status_code in (200, 404), response.text
            end(operation, success if response.status_code == 200 else "missing")
        return response

    def _know(self, name: str, new_id: str) -> None:
        assert self.ids.setdefault(name, new_id) == new_id, f"{name} has two ids"

    # --- clients

    def work(self, number: int) -> None:
        """What one client does."""
        dice = random.Random(f"{self.seed} {number}")
        with Http(self.nodes, dice, f"client{number}") as http:
            for turn in range(OPERATIONS):
                time.sleep(dice.choice(NAPS))
                first = turn * (FILES - WINDOW + 1) // OPERATIONS
                file = self.files[first + dice.randrange(WINDOW)]
                upload = list(self.uploads)[(turn * UPLOADS) // OPERATIONS]
                self._do(http, dice, file, upload, dice.choice(self.batches))

    def _do(self, http: "Http", dice: random.Random, file: str, upload: str, batch: str) -> None:
        choices: Sequence[tuple[int, Callable[[], None]]] = (
            (15, lambda: self.create(http, file)),
            (8, lambda: self.read(http, file)),
            (8, lambda: self.read_content(http, file)),
            (10, lambda: self.list(http)),
            (5, lambda: self.delete(http, file)),
            (9, lambda: self.attach(http, file)),
            (4, lambda: self.detach(http, file)),
            (5, lambda: self.look(http, file)),
            (5, lambda: self.list_attached(http)),
            (5, lambda: self.search(http)),
            (9, lambda: self.add_part(http, upload, dice.randrange(len(PART_BYTES)))),
            (4, lambda: self.complete(http, upload)),
            (2, lambda: self.cancel_upload(http, upload)),
            (4, lambda: self.create_batch(http, batch)),
            (4, lambda: self.read_batch(http, batch)),
            (3, lambda: self.list_batches(http)),
            (2, lambda: self.cancel_batch(http, batch)),
        )
        weights, operations = zip(*choices, strict=True)
        dice.choices(operations, weights)[0]()

    def finish(self) -> None:
        """Each node is asked about everything, and what is left is ended; all of it belongs to the history."""
        *others, last = self.nodes.alive
        for number, node in enumerate((*others, last)):
            with Http(self.nodes, random.Random(0), f"last{number}", node) as http:
                self.list(http)
                self.list_attached(http)
                self.search(http)
                self.list_batches(http)
                for name in self.files:
                    self.read_content(http, name)
        with Http(self.nodes, random.Random(0), "end", last) as http:
            for name in self.files:
                self.delete(http, name)
                self.read(http, name)
            self.list_attached(http)
            self.search(http)
            for name in self.batches:
                self.cancel_batch(http, name)
                self.read_batch(http, name)
            for name in self.uploads:
                self.cancel_upload(http, name)
                if (file_id := self.ids.get(_file_of(name))) is not None:
                    http.send("DELETE", f"/files/{file_id}")
            http.send("DELETE", f"/vector_stores/{self.store}")


def _text(dice: random.Random, size: int) -> bytes:
    """Words, one of which is in every text."""
    return f"{COMMON} ".encode() + b" ".join(b"w%04d" % dice.randrange(10_000) for _ in range(size // 6))


def _part_of(upload: str, number: int) -> str:
    """The name in `ids` of a part."""
    return f"{upload} part {number}"


def _file_of(upload: str) -> str:
    """The name in `ids` of the file of an upload."""
    return f"{upload} file"


class Http:
    """Requests of one client, each at some node."""

    def __init__(self, nodes: Nodes, dice: random.Random, name: str, node: Server | None = None) -> None:
        self._nodes = nodes
        self._dice = dice
        self._node = node
        self.name = name
        self._clients: dict[str, httpx2.Client] = {}

    def __enter__(self) -> "Http":
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.close()

    def insist(self, method: str, path: str, **request: Any) -> Any:
        """Repeat a request until it succeeds; returns what it has made."""
        deadline = time.monotonic() + FINAL_SECONDS
        while (response := self._try(method, path, request)) is None or response.status_code != 200:
            assert time.monotonic() < deadline, f"{method} {path} does not succeed: {response and response.text}"
            time.sleep(0.2)
        return response.json()

    def send(self, method: str, path: str, **request: Any) -> httpx2.Response | None:
        """The response; None if there is none that says what has happened."""
        deadline = time.monotonic() + FINAL_SECONDS
        while True:
            response = self._try(method, path, request)
            if response is not None and (response.status_code < 500 or self._is_last(response)):
                return response
            # The last requests come when nothing fails any more, and a read may be repeated.
            if self._node is None or method != "GET":
                return None
            assert time.monotonic() < deadline, f"{method} {path} has no answer: {response and response.text}"
            time.sleep(0.2)

    def _is_last(self, response: httpx2.Response) -> bool:
        """Whether it is an answer, as a node may take a moment to find its servers again, but is not wrong then."""
        return self._node is not None and response.status_code != 503

    def _try(self, method: str, path: str, request: dict[str, Any]) -> httpx2.Response | None:
        node = self._node or self._dice.choice(self._nodes.alive)
        if node.base_url not in self._clients:
            headers = {"Authorization": f"Bearer {KEY}"}
            self._clients[node.base_url] = httpx2.Client(base_url=node.base_url, headers=headers)
        is_patient = self._node is not None or self._dice.random() < 0.9
        shortest, longest = IMPATIENT_SECONDS
        timeout = ANSWER_SECONDS if is_patient else shortest * (longest / shortest) ** self._dice.random()
        with contextlib.suppress(httpx2.TransportError):
            return self._clients[node.base_url].request(method, path, timeout=timeout, **request)
        return None
