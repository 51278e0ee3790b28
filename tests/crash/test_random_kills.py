"""kill -9 at random moments under load, again and again: what the enumeration of steps did not think of."""

import contextlib
import os
import random
import shutil
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest

from tests.crash.harness import end_claims, findings, garbage, send_form, sha256, sql, wait_until_quiet
from tests.support.parts import add_part, create_upload, send_complete
from tests.support.promises import Trials
from tests.support.servers import Server

CYCLES = int(os.environ.get("CRASH_CYCLES", "8"))
SEED = int(os.environ.get("CRASH_SEED", "0")) or random.SystemRandom().getrandbits(32)
ROUND = 100
"""Cycles with one data directory: the list of its files is read in each."""
THREADS = 6
LARGEST = 4 * 2**20
LARGEST_TEXT = 2_000
"""Bytes, which are sent as twice as many digits."""
ATTACH = 0.05
"""The chance that a text is attached: a document that a kill leaves without an index costs the next start a second."""
DETACH = 0.5
SUFFIX = ".txt"
"""Of the names of files that may be attached to the vector store."""


@dataclass
class Told:
    """What the clients sent, and what they were told. Whatever has no answer may have happened or not."""

    sent: dict[str, str] = field(default_factory=dict)
    """Digest by file name; every upload has a name of its own."""
    stored: dict[str, str] = field(default_factory=dict)
    """Name by id, of the acknowledged uploads."""
    deleting: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)

    attached: set[str] = field(default_factory=set)
    """Files that are in the vector store, as the server has said."""
    detaching: set[str] = field(default_factory=set)
    detached: set[str] = field(default_factory=set)
    store: str = ""

    read: set[str] = field(default_factory=set)
    """Files whose bytes were read after a kill."""

    def chance_of_change(self, file_id: str) -> float:
        """How likely a text is to be attached next, or detached. The first is always attached, so that each run has one."""
        if file_id in self.attached:
            return DETACH
        return ATTACH if self.attached else 1

    def check(self, server: Server, *, deep: bool = False) -> None:
        """Everything acknowledged holds; what else is there is whole. Read what is new since the last kill, or all."""
        end_claims(server.data_dir)
        wait_until_quiet(server.data_dir)
        listed = {file["id"]: file["filename"] for file in server.client.get("/files").json()["data"]}
        assert not self.deleted & set(listed)
        assert set(self.stored) - self.deleting <= set(listed)
        for file_id, name in listed.items():
            assert self.stored.setdefault(file_id, name) == name
            if deep or file_id not in self.read:
                assert sha256(server.client.get(f"/files/{file_id}/content").content) == self.sent[name], name
        self.read |= set(listed)
        self._check_attached(server, set(listed))

    def _check_attached(self, server: Server, listed: set[str]) -> None:
        """What was attached is in the vector store unless it was detached or deleted."""
        if not self.store:
            self.store = str(server.client.post("/vector_stores", json={}).json()["id"])
        inside: set[str] = set()
        page = {"has_more": True, "last_id": None}
        while page["has_more"]:
            query = {"limit": 100} | ({"after": page["last_id"]} if inside else {})
            page = server.client.get(f"/vector_stores/{self.store}/files", params=query).json()
            inside |= {file["id"] for file in page["data"]}
        assert inside <= listed
        assert not self.detached & inside
        assert (self.attached & listed) - self.detaching <= inside


def work(server: Server, told: Told, dice: random.Random, name: str) -> None:
    """Upload, attach and delete until the server is gone."""
    client = httpx2.Client(base_url=server.base_url, headers=server.client.headers, timeout=20)
    mine: list[str] = []
    with client, contextlib.suppress(httpx2.TransportError):
        for n in range(10_000):
            if mine and dice.random() < 0.3:
                file_id = mine.pop(dice.randrange(len(mine)))
                told.deleting.add(file_id)
                assert client.delete(f"/files/{file_id}").status_code == 200
                told.deleted.add(file_id)
                continue
            texts = [file_id for file_id in mine if told.stored[file_id].endswith(SUFFIX)]
            text = dice.choice(texts) if texts else ""
            if text and dice.random() < told.chance_of_change(text):
                change_attachment(client, told, text)
                continue
            # As many small ones as large ones, on a scale of powers.
            content = dice.randbytes(int(LARGEST ** dice.random()))
            sent = f"{name}-{n}"
            if len(content) < LARGEST_TEXT:
                content, sent = content.hex(" ").encode(), sent + SUFFIX
            told.sent[sent] = sha256(content)
            if dice.random() < 0.3:
                file_id = send_in_parts(client, dice, sent, content)
                if file_id is None:
                    continue
            else:
                response = send_form(client, sent, content, file_first=dice.random() < 0.5)
                assert response.status_code == 200, response.text
                file_id = str(response.json()["id"])
            told.stored[file_id] = sent
            mine.append(file_id)


def change_attachment(client: httpx2.Client, told: Told, file_id: str) -> None:
    """Attach the file to the vector store; or detach it, for ever, if it is attached."""
    path = f"/vector_stores/{told.store}/files"
    if file_id in told.detaching:
        return
    if file_id in told.attached:
        told.detaching.add(file_id)
        assert client.delete(f"{path}/{file_id}").status_code == 200
        told.detached.add(file_id)
    else:
        response = client.post(path, json={"file_id": file_id})
        assert response.status_code == 200, response.text
        told.attached.add(file_id)


def send_in_parts(client: httpx2.Client, dice: random.Random, name: str, content: bytes) -> str | None:
    """Upload in a few parts; some uploads are cancelled, and some just left."""
    cuts = sorted({0, len(content), *(dice.randrange(len(content) + 1) for _ in range(dice.randrange(5)))})
    upload = create_upload(client, len(content), name=name)
    parts = [add_part(client, upload["id"], content[start:end]) for start, end in pairwise(cuts)]
    if dice.random() < 0.1:
        return None
    if dice.random() < 0.1:
        assert client.post(f"/uploads/{upload['id']}/cancel").status_code == 200
        return None
    response = send_complete(client, upload["id"], parts)
    assert response.status_code == 200, response.text
    return str(response.json()["file"]["id"])


@pytest.mark.promise("R-01")
def test_kills_at_random_moments(tmp_path: Path, trials: Trials) -> None:
    print(f"CRASH_SEED={SEED} CRASH_CYCLES={CYCLES}")
    dice = random.Random(SEED)
    failures: list[threading.ExceptHookArgs] = []
    threading.excepthook, before = failures.append, threading.excepthook
    try:
        for first in range(0, CYCLES, ROUND):
            told = Told()
            cycles = range(first, min(first + ROUND, CYCLES))
            for cycle in cycles:
                kill_under_load(tmp_path / f"data{first}", told, dice, cycle)
                assert not failures, failures[0].exc_value
                trials()
            check_all(tmp_path / f"data{first}", told)
            print(
                f"{len(told.sent)} uploads sent, {len(told.stored)} stored, {len(told.deleted)} deleted, "
                f"{len(told.attached)} attached, {len(told.detached)} detached in {len(cycles)} kills"
            )
            assert len(told.stored) > len(cycles)
            assert told.attached
            shutil.rmtree(tmp_path / f"data{first}")
    finally:
        threading.excepthook = before


def kill_under_load(data_dir: Path, told: Told, dice: random.Random, cycle: int) -> None:
    """Start the server, see what an earlier kill left, and kill it while clients are at work."""
    with Server(data_dir, uploads_per_minute=0, attached_files_per_minute=0, sweep_seconds=0.2) as server:
        told.check(server)
        threads = [
            threading.Thread(target=work, args=(server, told, random.Random(dice.random()), f"{cycle}-{n}"))
            for n in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        time.sleep(dice.uniform(0.05, 0.6))
        server.kill()
    for thread in threads:
        thread.join(30)


def check_all(data_dir: Path, told: Told) -> None:
    """Every byte that was acknowledged is there, and nothing else."""
    with Server(data_dir) as server:
        told.check(server, deep=True)
        sql(data_dir, "UPDATE uploads SET expires_at = created_at WHERE status = 'pending'")
        assert findings(data_dir) == []
        assert garbage(data_dir) == {}
