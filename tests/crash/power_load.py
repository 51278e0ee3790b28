"""The load of the test of power failures: what clients do, and what they were told."""

import itertools
import random
import time
from dataclasses import dataclass

import httpx2

from tests.batches import runs
from tests.crash.harness import send_form, sha256
from tests.support.parts import add_part, create_upload, send_complete
from tests.support.servers import Server

STEPS = 30
"""Of each client."""
SIZES = (1, 500, 3_000, 16_000, 16_000, 16_000, 20_000, 60_000, 200_000)
PARTS = (30_000, 70_000)
WORDS = "falling power disk sync journal page sector store batch line".split()
LINES = 20
"""Of a batch."""


@dataclass
class Told:
    """What a client was told. Times in ns, and 0 for what did not come to pass."""

    kind: str
    """`file`, `input` or `batch`, pending `upload` or its `part`, `store`, or `attachment` to the first store, with the id of its file."""
    name: str
    digest: str
    sent: int
    id: str = ""
    stored: int = 0
    deleting: int = 0
    deleted: int = 0

    def is_kept(self, moment: int) -> bool:
        """Whether it must be there."""
        return 0 < self.stored < moment and not 0 < self.deleting < moment

    def is_gone(self, moment: int) -> bool:
        """Whether it must not be there."""
        return 0 < self.deleted < moment


@dataclass
class Progress:
    """What a client was told of a batch."""

    batch: str
    seen: int
    """When, in ns."""
    done: int
    """Lines with a result."""
    output: str | None
    """The id of its file of results, when it has ended."""


class Client:
    """One of the clients: it uploads small and large files, in one request or in parts, and deletes some of them.

    Some uploads in parts are left as they are, or cancelled. It attaches texts to the vector store, detaches some,
    makes other stores and deletes some, and runs batches.
    """

    def __init__(self, server: Server, store: str, dice: random.Random, name: str) -> None:
        self._store = store
        self._http = httpx2.Client(base_url=server.base_url, headers=server.client.headers, timeout=60)
        self._dice = dice
        self._name = name
        self._numbers = itertools.count()
        self.told: list[Told] = []
        self.progress: list[Progress] = []

    def run(self) -> None:
        with self._http:
            for _ in range(STEPS):
                files, attachments, stores = self._kept("file"), self._kept("attachment"), self._kept("store")
                choice = self._dice.random()
                if files and choice < 0.25:
                    self._delete(self._dice.choice(files))
                elif choice < 0.4:
                    self._upload_in_parts()
                elif choice < 0.5:
                    self._attach()
                elif attachments and choice < 0.55:
                    self._detach(self._dice.choice(attachments))
                elif choice < 0.6:
                    self._create_batch()
                elif stores and choice < 0.64:
                    self._delete_store(self._dice.choice(stores))
                elif choice < 0.7:
                    self._create_store()
                else:
                    self._upload(self._dice.randbytes(self._dice.choice(SIZES)))
                self._look()
            deadline = time.monotonic() + 60
            while not self._look():
                assert time.monotonic() < deadline, "the batches do not end"
                time.sleep(0.02)

    def _kept(self, kind: str) -> list[Told]:
        return [one for one in self.told if one.kind == kind and one.is_kept(time.time_ns())]

    def _tell(self, kind: str, content: bytes) -> Told:
        told = Told(kind, f"{self._name}-{next(self._numbers)}", sha256(content), time.time_ns())
        self.told.append(told)
        return told

    def _upload(self, content: bytes, kind: str = "file", suffix: str = "", purpose: str = "user_data") -> Told:
        told = self._tell(kind, content)
        told.name += suffix
        response = send_form(self._http, told.name, content, purpose=purpose)
        assert response.status_code == 200, response.text
        told.id, told.stored = response.json()["id"], time.time_ns()
        return told

    def _upload_in_parts(self) -> None:
        contents = [self._dice.randbytes(size) for size in PARTS]
        whole = self._tell("file", b"".join(contents))
        upload = self._tell("upload", b"")
        upload.id = create_upload(self._http, sum(PARTS), name=whole.name)["id"]
        upload.stored = time.time_ns()
        parts = []
        for content in contents:
            part = self._tell("part", content)
            part.id = add_part(self._http, upload.id, content)
            part.stored = time.time_ns()
            parts.append(part)
        choice = self._dice.random()
        if choice < 0.3:
            return
        for one in (upload, *parts):  # from now on they may belong to the file, or be gone
            one.deleting = time.time_ns()
        if choice < 0.5:
            response = self._http.post(f"/uploads/{upload.id}/cancel")
        else:
            response = send_complete(self._http, upload.id, [part.id for part in parts])
        assert response.status_code == 200, response.text
        for one in (upload, *parts):
            one.deleted = time.time_ns()
        if choice >= 0.5:
            whole.id, whole.stored = response.json()["file"]["id"], time.time_ns()

    def _delete(self, told: Told) -> None:
        """A file goes, and so does its attachment."""
        both = [one for one in self.told if one.id == told.id]
        for one in both:
            one.deleting = one.deleting or time.time_ns()
        assert self._http.delete(f"/files/{told.id}").status_code == 200
        for one in both:
            one.deleted = one.deleted or time.time_ns()

    def _attach(self) -> None:
        text = " ".join(self._dice.choices(WORDS, k=self._dice.randrange(1, 3_000)))
        file = self._upload(text.encode(), suffix=".txt", purpose="assistants")
        told = self._tell("attachment", b"")
        told.id = file.id
        response = self._http.post(f"/vector_stores/{self._store}/files", json={"file_id": file.id})
        assert response.status_code == 200, response.text
        told.stored = time.time_ns()

    def _detach(self, told: Told) -> None:
        told.deleting = time.time_ns()
        assert self._http.delete(f"/vector_stores/{self._store}/files/{told.id}").status_code == 200
        told.deleted = time.time_ns()

    def _create_store(self) -> None:
        told = self._tell("store", b"")
        response = self._http.post("/vector_stores", json={"name": told.name})
        assert response.status_code == 200, response.text
        told.id, told.stored = response.json()["id"], time.time_ns()

    def _delete_store(self, told: Told) -> None:
        told.deleting = time.time_ns()
        assert self._http.delete(f"/vector_stores/{told.id}").status_code == 200
        told.deleted = time.time_ns()

    def _create_batch(self) -> None:
        # A client does not delete the input: a batch that runs keeps its content.
        input_id = self._upload(runs.encode(runs.lines(LINES)), "input", suffix=".jsonl", purpose="batch").id
        told = self._tell("batch", b"")
        body = {"input_file_id": input_id, "endpoint": runs.CHAT, "completion_window": "24h"}
        response = self._http.post("/batches", json=body)
        assert response.status_code == 200, response.text
        told.id, told.stored = response.json()["id"], time.time_ns()

    def _look(self) -> bool:
        """What the server says of the batches counts from then on. True if all have ended."""
        has_ended = True
        for told in self._kept("batch"):
            batch = self._http.get(f"/batches/{told.id}").json()
            counts = batch["request_counts"]
            done = counts["completed"] + counts["failed"]
            self.progress.append(Progress(told.id, time.time_ns(), done, batch["output_file_id"]))
            has_ended = has_ended and batch["status"] == "completed"
        return has_ended
