"""Clients at work through the official client and its own retries: what failed, and what was acknowledged."""

import io
import itertools
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import openai
from openai import OpenAI

from tests.batches.runs import CHAT, ENDED, encode, lines

LARGEST = 2_000_000
KEPT = 20
"""Files that a client has at most; it then deletes the oldest."""
LINES = 12
PATIENCE_SECONDS = 60
PAUSE_SECONDS = 0.02
BLOCK_SECONDS = 0.003
"""Before each block of 64 KiB of an upload: large ones take a tenth of a second and more."""
UPLOADS = ("upload", "part", "complete")
"""Of a thousand of these, one may fail; nothing else may."""


class SlowFile(io.BytesIO):
    """Content that takes its time to be sent."""

    def __init__(self, content: bytes, is_sent: Callable[[bool], None]) -> None:
        super().__init__(content)
        self._is_sent = is_sent

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(BLOCK_SECONDS)
        block = super().read(size)
        self._is_sent(bool(block))
        return block


@dataclass
class Worker:
    """One client. Its methods are steps, which may be repeated in any order."""

    base_url: str
    key: str
    number: int
    done: Counter[str] = field(default_factory=Counter)
    failed: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    """Content of each file that was acknowledged and not deleted."""
    attached: dict[str, str] = field(default_factory=dict)
    """The word that finds it, of each file that was attached to the vector store and not detached or deleted."""
    batches: list[str] = field(default_factory=list)
    steps: int = 0
    is_sending: bool = False

    def __post_init__(self) -> None:
        self.client = OpenAI(base_url=self.base_url, api_key=self.key)
        self._dice = random.Random(self.number)
        self._names = map("worker{}-{}".format, itertools.repeat(self.number), itertools.count())
        self.store = self.client.vector_stores.create(name=f"worker{self.number}").id

    # --- steps ------------------------------------------------------------------------------------------------------

    def upload(self) -> None:
        """Upload a file, read it in each way, and delete an old one."""
        content = self._content()
        file = SlowFile(content, self._set_sending)
        with self._counting("upload"):
            file_id = self.client.files.create(file=(next(self._names), file), purpose="user_data").id
            self._read(file_id, content)
        if len(self.files) > KEPT:
            self._delete(next(iter(self.files)))

    def upload_in_parts(self) -> None:
        parts = [self._content() for _ in range(3)]
        with self._counting("upload"):
            upload = self.client.uploads.create(
                bytes=sum(map(len, parts)), filename=next(self._names), mime_type="text/plain", purpose="user_data"
            )
            ids = []
            for part in parts:
                with self._counting("part"):
                    file = SlowFile(part, self._set_sending)
                    ids.append(self.client.uploads.parts.create(upload.id, data=("part", file)).id)
            with self._counting("complete"):
                made = self.client.uploads.complete(upload.id, part_ids=ids).file
            assert made is not None
            self._read(made.id, b"".join(parts))

    def attach_and_search(self) -> None:
        """Attach a new text, search for it when it is indexed, and detach an old one."""
        name = next(self._names)
        word = re.sub(r"\W", "", name)
        content = f"{word} is a word that only this text has".encode()
        with self._counting("upload"):
            file_id = self.client.files.create(file=(f"{name}.txt", content), purpose="user_data").id
            self.files[file_id] = content
        with self._counting("attach"):
            self.client.vector_stores.files.create(self.store, file_id=file_id)
            self.attached[file_id] = word
        self._wait(lambda: self.client.vector_stores.files.retrieve(file_id, vector_store_id=self.store).status)
        self.search(file_id)
        if len(self.attached) > KEPT:
            oldest = next(iter(self.attached))
            with self._counting("detach"):
                self.client.vector_stores.files.delete(oldest, vector_store_id=self.store)
                del self.attached[oldest]
            self._delete(oldest)

    def run_batch(self) -> None:
        """A small batch, to its end."""
        content = encode(lines(LINES))
        with self._counting("upload"):
            file_id = self.client.files.create(file=("input.jsonl", content), purpose="batch").id
            self.files[file_id] = content
        with self._counting("batch"):
            batch = self.client.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h").id
            self.batches.append(batch)
        self._wait(lambda: self.client.batches.retrieve(batch).status)
        self.results(batch)

    def search(self, file_id: str) -> None:
        """The word of an attached file finds it alone."""
        with self._counting("search"):
            found = self.client.vector_stores.search(self.store, query=self.attached[file_id]).data
            assert [result.file_id for result in found] == [file_id]

    def results(self, batch_id: str) -> None:
        """A batch has ended with one result for each line."""
        with self._counting("results"):
            batch = self.client.batches.retrieve(batch_id)
            assert batch.status == "completed", batch
            assert batch.output_file_id is not None and batch.error_file_id is None
            output = self.client.files.content(batch.output_file_id).text
            found = Counter(re.findall('"custom_id": ?"([^"]*)"', output))
            assert found == Counter(f"line-{number}" for number in range(1, LINES + 1)), output

    def check(self) -> None:
        """All that was acknowledged is there."""
        listed = {file.id for file in self.client.files.list(limit=1_000)}
        assert self.files.keys() <= listed
        for file_id, content in self.files.items():
            assert self.client.files.content(file_id).read() == content
        kept = [file.id for file in self.client.vector_stores.files.list(self.store, limit=100)]
        assert sorted(kept) == sorted(self.attached)
        for file_id in self.attached:
            self.search(file_id)
        for batch_id in self.batches:
            self.results(batch_id)

    # --- their parts ------------------------------------------------------------------------------------------------

    def _content(self) -> bytes:
        return self._dice.randbytes(self._dice.randrange(1, LARGEST))

    def _set_sending(self, is_sending: bool) -> None:
        self.is_sending = is_sending

    def _read(self, file_id: str, content: bytes) -> None:
        self.files[file_id] = content
        with self._counting("retrieve"):
            assert self.client.files.retrieve(file_id).bytes == len(content)
        with self._counting("content"):
            assert self.client.files.content(file_id).read() == content
        with self._counting("list"):
            assert file_id in {file.id for file in self.client.files.list(limit=1_000)}

    def _delete(self, file_id: str) -> None:
        with self._counting("delete"):
            with suppress(openai.NotFoundError):  # a try whose response got lost has deleted it
                self.client.files.delete(file_id)
            self.files.pop(file_id, None)

    def _wait(self, status: Callable[[], str]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with self._counting("poll"):
                found = status()
                if found in ENDED:
                    assert found == "completed"
                    return
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    @contextmanager
    def _counting(self, name: str) -> Iterator[None]:
        """Count a request by its outcome. What fails ends the step."""
        try:
            yield
        except openai.APIError as error:
            self.failed.setdefault(name, []).append(repr(error))
            raise StepFailed from error
        self.done[name] += 1


class StepFailed(Exception):
    """A request has failed, in spite of the retries of the client; it is counted already."""


class Load:
    """Workers on threads, each with one step that it repeats."""

    STEPS = (Worker.upload, Worker.upload, Worker.upload_in_parts, Worker.attach_and_search, Worker.run_batch)

    def __init__(self, base_url: str, key: str) -> None:
        self.workers = [Worker(base_url, key, number) for number in range(len(self.STEPS))]
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(len(self.STEPS))
        self._running: list[Future[None]] = []

    @property
    def done(self) -> Counter[str]:
        """How many requests of each kind have succeeded."""
        return sum((worker.done for worker in self.workers), Counter())

    @property
    def failed(self) -> dict[str, list[str]]:
        """The errors of the others, by kind."""
        kinds = {kind for worker in self.workers for kind in worker.failed}
        return {kind: [error for worker in self.workers for error in worker.failed.get(kind, [])] for kind in kinds}

    @property
    def uploads_under_way(self) -> int:
        """Uploads of which a block has just been sent."""
        return sum(worker.is_sending for worker in self.workers)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let all work, and end with what a worker has found wrong, if anything."""
        self._running = [
            self._pool.submit(self._repeat, worker, step) for worker, step in zip(self.workers, self.STEPS, strict=True)
        ]
        try:
            yield
        finally:
            self._stop.set()
            self._pool.shutdown()
        self.raise_errors()

    def raise_errors(self) -> None:
        """Fail if a worker has ended."""
        for each in self._running:
            if each.done():
                each.result()

    def wait_for_steps(self, count: int = 2) -> None:
        """Wait until each worker has ended the step that it is in, and by default another one."""
        before = [worker.steps for worker in self.workers]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(worker.steps < steps + count for worker, steps in zip(self.workers, before, strict=True)):
            self.raise_errors()
            assert time.monotonic() < deadline, [worker.done for worker in self.workers]
            time.sleep(0.01)

    def check(self) -> None:
        """All that was acknowledged is there; no read has failed, and hardly any upload."""
        for worker in self.workers:
            worker.check()
            worker.client.close()
        failed, done = self.failed, self.done
        assert not [kind for kind in failed if kind not in UPLOADS], failed
        uploads = sum(done[kind] for kind in UPLOADS)
        assert sum(map(len, failed.values())) * 1_000 <= uploads, (failed, uploads)

    def _repeat(self, worker: Worker, step: Callable[[Worker], None]) -> None:
        while not self._stop.is_set():
            with suppress(StepFailed):
                step(worker)
            worker.steps += 1
            time.sleep(PAUSE_SECONDS)
