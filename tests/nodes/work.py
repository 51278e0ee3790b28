"""Work that is under way when something goes wrong: uploads in parts, files that are being indexed, a batch that runs."""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import httpx2

from tests.batches.models import ThreadedModels
from tests.batches.runs import content, counts, create, create_of, encode, has_counts, lines, wait
from tests.support.model_server import Fault, Received
from tests.support.parts import add_part, create_upload, send_complete, send_part
from tests.support.servers import Server

LINES = 60
QUICK_LINES = 20
"""The model server keeps the others until the test releases them."""
PART = random.Random(4).randbytes(300_000)
PATIENCE_SECONDS = 60
Ask = Callable[[], httpx2.Response]
_numbers = itertools.count()


class Work:
    """Two uploads in parts, of which one lacks a part; a vector store with an indexed file; a batch with first results.

    What the class asks for it asks from `server`, which may be set to another node.
    """

    def __init__(self, server: Server, models: ThreadedModels) -> None:
        self.server = server
        self.release_lines = threading.Event()
        self._answered = itertools.count()
        models.server.script = self._answer
        self.upload, self.whole_upload = (create_upload(server.client, 2 * len(PART))["id"] for _ in range(2))
        self.parts = [add_part(server.client, self.upload, PART)]
        self.whole_parts = [add_part(server.client, self.whole_upload, PART) for _ in range(2)]
        self.store = server.client.post("/vector_stores", json={}).json()["id"]
        self.words: dict[str, str] = {}
        """What finds each attached file."""
        self.attach(self.add_texts(1))
        self.wait_until_indexed()
        self.batch = create(server, lines(LINES))
        self._next_input = server.upload(encode(lines(1)), purpose="batch")["id"]
        self._next_text = self.add_texts(1)
        wait(server, self.batch, has_counts(completed=QUICK_LINES))

    # --- before and during -------------------------------------------------------------------------------------------

    def add_texts(self, count: int) -> dict[str, str]:
        """New files that can be attached, and what finds them."""
        words = [f"word{next(_numbers)}" for _ in range(count)]
        return {self.server.upload(word.encode(), name=f"{word}.txt")["id"]: word for word in words}

    def attach(self, texts: dict[str, str]) -> None:
        """In one request."""
        found = self.server.client.post(f"/vector_stores/{self.store}/file_batches", json={"file_ids": list(texts)})
        assert found.status_code == 200, found.text
        self.words |= texts

    def add_part(self) -> httpx2.Response:
        """The part that is lacking; it may be sent again."""
        response = send_part(self.server.client, self.upload, PART, key="lacking")
        if response.status_code == 200:
            self.parts[1:] = [response.json()["id"]]
        return response

    def requests_of_rows(self) -> list[Ask]:
        """Requests that need the database, and nothing of the object store."""
        client, store = self.server.client, f"/vector_stores/{self.store}"
        return [
            lambda: send_complete(client, self.whole_upload, self.whole_parts),
            lambda: client.get(store),
            lambda: client.post(f"{store}/files", json={"file_id": next(iter(self._next_text))}),
            lambda: client.post(f"{store}/search", json={"query": next(iter(self.words.values()))}),
            lambda: client.get(f"/batches/{self.batch['id']}"),
            lambda: client.get(f"/batches/{self.batch['id']}/output"),
        ]

    # --- afterwards --------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """All of it can be completed, and was done once."""
        if len(self.parts) < len(self.whole_parts):
            assert self.add_part().status_code == 200
        for upload, parts in ((self.upload, self.parts), (self.whole_upload, self.whole_parts)):
            self._check_upload(upload, parts)
        self.attach(self._next_text)
        self.wait_until_indexed()
        for file_id, word in self.words.items():
            found = self.server.client.post(f"/vector_stores/{self.store}/search", json={"query": word}).json()
            assert [result["file_id"] for result in found["data"]] == [file_id]
        self.check_batch(self.batch, LINES)
        self.check_batch(create_of(self.server, self._next_input), 1)

    def wait_until_indexed(self) -> None:
        """All attached files are indexed, and none has failed."""
        wanted = {"in_progress": 0, "completed": len(self.words), "failed": 0, "cancelled": 0, "total": len(self.words)}

        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := self.server.client.get(f"/vector_stores/{self.store}").json()["file_counts"]) != wanted:
            assert time.monotonic() < deadline, found
            time.sleep(0.2)

    def check_batch(self, batch: object, count: int) -> None:
        """It is or becomes completed, with one result for each line."""
        done = wait(self.server, batch, seconds=PATIENCE_SECONDS)
        assert (done["status"], counts(done)) == ("completed", (count, count, 0))
        found = Counter(each["custom_id"] for each in content(self.server, done["output_file_id"]))
        assert found == Counter(f"line-{number}" for number in range(1, count + 1))

    def _answer(self, received: Received) -> Fault | None:
        return Fault.held(self.release_lines) if next(self._answered) >= QUICK_LINES else None

    def _check_upload(self, upload: str, parts: Sequence[str]) -> None:
        completed = send_complete(self.server.client, upload, parts)
        assert completed.status_code == 200, completed.text
        file_id = completed.json()["file"]["id"]
        assert self.server.client.get(f"/files/{file_id}/content").content == 2 * PART
