"""The load of the soak: what clients do, and what goes wrong meanwhile."""

import contextlib
import itertools
import random
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.batches import runs
from tests.batches.models import ThreadedModels
from tests.crash.harness import sha256
from tests.support.servers import KEY, Server

LARGEST = 4 * 2**20
LARGEST_TEXT = 20_000
PART_BYTES = 2**20
KEPT = 20
"""Files of each client; the oldest is deleted for a new one."""
LINES = 3
"""Of a batch."""
NAP = 0.1
"""Seconds that a client waits at most before each act, so that the load leaves some of the machine to others."""
RETRIES = 2
"""As the official clients do by default, with their pauses."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0
AFTERWARDS = 5.0
"""Seconds after a fault in which requests may still feel it."""
CROWD = 150
"""Connections that send nothing more."""
WORDS = [f"word{number}" for number in range(200)]
KIB = 2**10


@dataclass
class Tally:
    """Requests with their retries, and how many of them failed."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)

    def success(self) -> float:
        return 1 - len(self.failures) / max(1, self.requests)


@dataclass
class Load:
    """What the clients were told."""

    server: Server
    models: ThreadedModels
    until: float = 0.0
    stored: dict[str, str] = field(default_factory=dict)
    """Digest by id."""
    deleted: set[str] = field(default_factory=set)
    attached: set[str] = field(default_factory=set)
    batches: list[str] = field(default_factory=list)
    unsure_names: set[str] = field(default_factory=set)
    """Of files that may have been stored although nobody was told so."""
    unsure: set[str] = field(default_factory=set)
    """Files that may have been deleted, attached or detached."""
    cut: int = 0
    """Transfers that a client gave up."""
    outside: Tally = field(default_factory=Tally)
    """Requests while nothing failed."""
    inside: Tally = field(default_factory=Tally)
    """Requests of which a part fell into a fault, or the seconds after it."""
    faults: list[tuple[float, float]] = field(default_factory=list)
    """Beginning and end."""
    _names: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, dice: random.Random, files: int) -> None:
        """Make the vector store; store small files, and read them."""
        client = self.server.client
        self.store = client.post("/vector_stores", json={}).json()["id"]
        self.input = self.server.upload(runs.encode(runs.lines(LINES)), purpose="batch", name="input.jsonl")["id"]
        self.stored[self.input] = sha256(runs.encode(runs.lines(LINES)))
        for _ in range(files):
            self._upload(client, dice, [], _bytes(dice, KIB))
        for file_id in self.stored:
            assert client.get(f"/files/{file_id}").status_code == 200

    # --- clients

    def work(self, dice: random.Random) -> None:
        """One client."""
        mine: list[str] = []
        client = httpx2.Client(base_url=self.server.base_url, headers=self.server.client.headers, timeout=30)
        acts: dict[Callable[[], None], int] = {
            lambda: self._upload(client, dice, mine, _bytes(dice, LARGEST)): 10,
            lambda: self._upload_in_parts(client, dice, mine): 10,
            lambda: self._read(client, dice, mine): 10,
            lambda: self._list(client): 10,
            lambda: self._give_up_an_upload(dice): 10,
            lambda: self._give_up_a_download(dice, mine): 10,
            lambda: self._attach(client, dice, mine): 5,
            lambda: self._detach(client, dice, mine): 2,
            lambda: self._search(client, dice): 5,
            lambda: self._create_batch(client): 1,
        }
        with client:
            while time.monotonic() < self.until:
                time.sleep(NAP * dice.random())
                dice.choices(list(acts), list(acts.values()))[0]()
                while len(mine) > KEPT:
                    self._delete(client, mine.pop(0))

    def _ask(self, client: httpx2.Client, method: str, path: str, **request: Any) -> httpx2.Response | None:
        """The response; None if there is none after the retries of an official client."""
        started, pause, what = time.monotonic(), FIRST_PAUSE, ""
        response = None
        for attempt in range(1 + RETRIES):
            if attempt:
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            try:
                response = client.request(method, path, **request)
            except httpx2.TransportError as error:
                response, what = None, repr(error)
                continue
            if response.status_code < 500:
                break
            what = response.text
            pause = float(response.headers.get("retry-after", pause))
        failed = response is None or response.status_code >= 500
        with self._lock:
            tally = self.inside if self._felt_a_fault(started) else self.outside
            tally.requests += 1
            if failed:
                tally.failures.append(f"{method} {path}: {what}")
        return None if failed else response

    def _felt_a_fault(self, started: float) -> bool:
        """Whether one has begun, and has not ended long before that moment."""
        return any(started < end + AFTERWARDS for _, end in self.faults[-2:])

    def _upload(
        self, client: httpx2.Client, dice: random.Random, mine: list[str], content: bytes, suffix: str = ""
    ) -> str:
        name = f"{next(self._names)}{suffix}"
        form = {"purpose": "user_data"}
        files = {"file": (name, content)}
        response = self._ask(client, "POST", "/files", data=form, files=files, headers={"Idempotency-Key": name})
        if response is None:
            self.unsure_names.add(name)
            return ""
        assert response.status_code == 200, response.text
        file_id = str(response.json()["id"])
        self._keep(file_id, content, mine)
        return file_id

    def _upload_in_parts(self, client: httpx2.Client, dice: random.Random, mine: list[str]) -> None:
        parts = [dice.randbytes(1 + int(PART_BYTES * dice.random())) for _ in range(dice.randrange(1, 4))]
        name = f"{next(self._names)}"
        size = sum(map(len, parts))
        body = {"filename": name, "purpose": "user_data", "bytes": size, "mime_type": "text/plain"}
        upload = self._ask(client, "POST", "/uploads", json=body)
        if upload is None:
            return
        path = f"/uploads/{upload.json()['id']}"
        ids = []
        for number, part in enumerate(parts):
            headers = {"Idempotency-Key": str(number)}
            added = self._ask(client, "POST", f"{path}/parts", files={"data": ("part", part)}, headers=headers)
            if added is None:
                return
            ids.append(added.json()["id"])
        completed = self._ask(client, "POST", f"{path}/complete", json={"part_ids": ids})
        if completed is None:
            self.unsure_names.add(name)
            return
        assert completed.status_code == 200, completed.text
        self._keep(completed.json()["file"]["id"], b"".join(parts), mine)

    def _keep(self, file_id: str, content: bytes, mine: list[str]) -> None:
        self.stored[file_id] = sha256(content)
        mine.append(file_id)

    def _read(self, client: httpx2.Client, dice: random.Random, mine: list[str]) -> None:
        if mine:
            file_id = dice.choice(mine)
            response = self._ask(client, "GET", f"/files/{file_id}/content")
            assert response is None or sha256(response.content) == self.stored[file_id]

    def _list(self, client: httpx2.Client) -> None:
        response = self._ask(client, "GET", "/files", params={"limit": 50})
        assert response is None or response.status_code == 200

    def _delete(self, client: httpx2.Client, file_id: str) -> None:
        self.attached.discard(file_id)
        response = self._ask(client, "DELETE", f"/files/{file_id}")
        if response is None:
            self.unsure.add(file_id)
        else:
            # A retry finds nothing, if the first request has deleted it.
            assert response.status_code in (200, 404), response.text
            self.deleted.add(file_id)

    def _attach(self, client: httpx2.Client, dice: random.Random, mine: list[str]) -> None:
        text = " ".join(dice.choices(WORDS, k=dice.randrange(1, LARGEST_TEXT // 8))).encode()
        file_id = self._upload(client, dice, mine, text, suffix=".txt")
        if file_id:
            response = self._ask(client, "POST", f"/vector_stores/{self.store}/files", json={"file_id": file_id})
            (self.unsure if response is None else self.attached).add(file_id)

    def _detach(self, client: httpx2.Client, dice: random.Random, mine: list[str]) -> None:
        if both := self.attached.intersection(mine):
            file_id = dice.choice(sorted(both))
            self.attached.discard(file_id)
            if self._ask(client, "DELETE", f"/vector_stores/{self.store}/files/{file_id}") is None:
                self.unsure.add(file_id)

    def _search(self, client: httpx2.Client, dice: random.Random) -> None:
        gone = set(self.deleted)
        body = {"query": " ".join(dice.choices(WORDS, k=3))}
        response = self._ask(client, "POST", f"/vector_stores/{self.store}/search", json=body)
        if response is not None:
            assert response.status_code == 200, response.text
            assert gone.isdisjoint(result["file_id"] for result in response.json()["data"])

    def _create_batch(self, client: httpx2.Client) -> None:
        body = {"input_file_id": self.input, "endpoint": runs.CHAT, "completion_window": "24h"}
        headers = {"Idempotency-Key": f"batch-{next(self._names)}"}
        response = self._ask(client, "POST", "/batches", json=body, headers=headers)
        if response is not None:
            assert response.status_code == 200, response.text
            self.batches.append(response.json()["id"])

    def _give_up_an_upload(self, dice: random.Random) -> None:
        head = "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000000\r\n"
        form = '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        form += '--b\r\nContent-Disposition: form-data; name="file"; filename="cut"\r\n\r\n'
        self._send_and_go("POST /v1/files", head, form.encode() + dice.randbytes(dice.randrange(PART_BYTES)))

    def _give_up_a_download(self, dice: random.Random, mine: list[str]) -> None:
        if mine:
            self._send_and_go(f"GET /v1/files/{dice.choice(mine)}/content", "", b"", read=dice.randrange(100_000))

    def _send_and_go(self, request: str, headers: str, body: bytes, read: int = 0) -> None:
        head = f"{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{headers}\r\n"
        address = ("127.0.0.1", self.server.port)
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=30) as connection:
            connection.sendall(head.encode() + body)
            if read:
                connection.recv(read)
        self.cut += 1

    # --- what goes wrong

    def disturb(self, period: float) -> None:
        """One fault in each period, in turn."""
        kinds = itertools.cycle((self._pause, self._stop_models, self._lock_database, self._crowd))
        while time.monotonic() + period < self.until:
            time.sleep(period / 2)
            with self._fault():
                next(kinds)()
            time.sleep(period / 2)

    @contextlib.contextmanager
    def _fault(self) -> Iterator[None]:
        started = time.monotonic()
        self.faults.append((started, float("inf")))
        try:
            yield
        finally:
            self.faults[-1] = (started, time.monotonic())

    def _pause(self) -> None:
        """The process stands still."""
        self.server.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(2)
        finally:
            self.server.process.send_signal(signal.SIGCONT)

    def _stop_models(self) -> None:
        self.models.stop()
        time.sleep(2)
        self.models.start()

    def _lock_database(self) -> None:
        """Another process writes for a long time."""
        connection = sqlite3.connect(self.server.data_dir / "filestead.db", timeout=30, isolation_level=None)
        with contextlib.closing(connection):
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(3)
            connection.execute("ROLLBACK")

    def _crowd(self) -> None:
        """Many clients connect, send half a request and wait."""
        with contextlib.ExitStack() as stack:
            for _ in range(CROWD):
                with contextlib.suppress(OSError):
                    address = ("127.0.0.1", self.server.port)
                    connection = stack.enter_context(socket.create_connection(address, timeout=5))
                    connection.sendall(b"POST /v1/files HTTP/1.1\r\nHost: x\r\n")
            time.sleep(2)


def _bytes(dice: random.Random, largest: int) -> bytes:
    """As many small ones as large ones, on a scale of powers."""
    return dice.randbytes(int(largest ** dice.random()))
