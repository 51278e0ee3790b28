"""A mixed load for a long time: afterwards nothing has been lost, and the process holds no more than at the beginning.

Clients upload (whole and in parts), read, list and delete. Some give up in the middle of an upload or a download.
`SOAK_SECONDS` is how long; `make torture` takes 15 minutes.
"""

import contextlib
import math
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, mean, median

import httpx2
import psutil
import pytest

from bench.requests import listed
from filestead.server.memory import MAX_ARENAS
from tests.crash.harness import end_claims, findings, garbage, send_form, sha256, sql, wait_until_quiet
from tests.support.parts import upload_in_parts
from tests.support.promises import Trials
from tests.support.servers import KEY, Server

SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
SEED = int(os.environ.get("SOAK_SEED", "0")) or random.SystemRandom().getrandbits(32)
CLIENTS = 6
LARGEST = 4 * 2**20
FILES = 5_000 if SECONDS >= 60 else 100
"""Stored and read before, so that the pages that each connection of SQLite caches (2 MB) are not taken for a leak."""
KEPT = 20
"""Files of each client; the oldest is deleted for a new one."""
WARM_UP = 1 / 3
"""Of the time: until then caches and pools of memory fill."""
LONG_SECONDS = 500
"""For so long memory must be observed before its slope means something."""
TEN_MINUTES = 600
KIB = 2**10
MIB = 2**20
GROWTH_MIB = 32
SLOPE_MIB = 1.0
"""In ten minutes. Memory varies by 10 MiB with the transfers of the moment, so more has to be shown with 95 % confidence."""
BLOCK = 60
"""Looks, of which the median counts: those of half a minute."""
STUDENT_T = 1.73
"""The quantile of 95 % for twenty medians."""


@dataclass
class Soak:
    """What the clients were told."""

    server: Server
    until: float = 0.0
    stored: dict[str, str] = field(default_factory=dict)
    """Digest by id."""
    deleted: set[str] = field(default_factory=set)
    requests: int = 0
    cut: int = 0
    """Transfers that a client gave up."""

    def fill(self, dice: random.Random) -> None:
        """Store small files, and read them."""
        client = self.server.client
        for _ in range(FILES):
            self._upload(client, dice, [], largest=KIB)
        for file_id in self.stored:
            assert client.get(f"/files/{file_id}").status_code == 200

    def work(self, dice: random.Random) -> None:
        """One client."""
        mine: list[str] = []
        client = httpx2.Client(base_url=self.server.base_url, headers=self.server.client.headers, timeout=30)
        acts: list[Callable[[], None]] = [
            lambda: self._upload(client, dice, mine),
            lambda: self._upload_in_parts(client, dice, mine),
            lambda: self._read(client, dice, mine),
            lambda: self._list(client),
            lambda: self._give_up_an_upload(dice),
            lambda: self._give_up_a_download(dice, mine),
        ]
        with client:
            while time.monotonic() < self.until:
                dice.choice(acts)()
                self.requests += 1
                if len(mine) > KEPT:
                    file_id = mine.pop(0)
                    self.deleted.add(file_id)
                    assert client.delete(f"/files/{file_id}").status_code == 200

    def _upload(self, client: httpx2.Client, dice: random.Random, mine: list[str], *, largest: int = LARGEST) -> None:
        content = dice.randbytes(int(largest ** dice.random()))
        response = send_form(client, "whole", content, file_first=dice.random() < 0.5)
        assert response.status_code == 200, response.text
        self._keep(response.json()["id"], content, mine)

    def _upload_in_parts(self, client: httpx2.Client, dice: random.Random, mine: list[str]) -> None:
        parts = [dice.randbytes(1 + int(MIB * dice.random())) for _ in range(dice.randrange(1, 4))]
        self._keep(upload_in_parts(client, *parts)["file"]["id"], b"".join(parts), mine)

    def _keep(self, file_id: str, content: bytes, mine: list[str]) -> None:
        self.stored[file_id] = sha256(content)
        mine.append(file_id)

    def _read(self, client: httpx2.Client, dice: random.Random, mine: list[str]) -> None:
        if mine:
            file_id = dice.choice(mine)
            assert sha256(client.get(f"/files/{file_id}/content").content) == self.stored[file_id]

    def _list(self, client: httpx2.Client) -> None:
        assert client.get("/files", params={"limit": 50}).status_code == 200

    def _give_up_an_upload(self, dice: random.Random) -> None:
        head = "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000000\r\n"
        form = '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        form += '--b\r\nContent-Disposition: form-data; name="file"; filename="cut"\r\n\r\n'
        self._send_and_go("POST /v1/files", head, form.encode() + dice.randbytes(dice.randrange(MIB)))

    def _give_up_a_download(self, dice: random.Random, mine: list[str]) -> None:
        if mine:
            self._send_and_go(f"GET /v1/files/{dice.choice(mine)}/content", "", b"", read=dice.randrange(100_000))

    def _send_and_go(self, request: str, headers: str, body: bytes, read: int = 0) -> None:
        head = f"{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{headers}\r\n"
        address = ("127.0.0.1", self.server.port)
        with contextlib.suppress(ConnectionError), socket.create_connection(address, timeout=30) as connection:
            connection.sendall(head.encode() + body)
            if read:
                connection.recv(read)
        self.cut += 1


@dataclass
class Held:
    """What the process holds, over time."""

    seconds: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    """In MiB."""
    threads: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def look(self, process: psutil.Process) -> None:
        self.seconds.append(time.monotonic())
        self.resident.append(process.memory_info().rss / MIB)
        self.threads.append(process.num_threads())
        self.descriptors.append(process.num_fds())


@pytest.mark.embedded("the process of a server is what is measured")
@pytest.mark.promise("R-26")
@pytest.mark.timeout(SECONDS + 300)
def test_a_mixed_load_leaks_nothing(tmp_path: Path, trials: Trials) -> None:
    print(f"SOAK_SEED={SEED} SOAK_SECONDS={SECONDS:g}")
    dice = random.Random(SEED)
    failures: list[threading.ExceptHookArgs] = []
    threading.excepthook, before = failures.append, threading.excepthook
    held = Held()
    with Server(tmp_path / "data", uploads_per_minute=0, sweep_seconds=0.5) as server:
        process = psutil.Process(server.process.pid)
        try:
            soak = Soak(server)
            soak.fill(dice)
            soak.until = time.monotonic() + SECONDS
            clients = [threading.Thread(target=soak.work, args=(random.Random(dice.random()),)) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            warm_up_ends = time.monotonic() + SECONDS * WARM_UP
            while any(client.is_alive() for client in clients):
                if time.monotonic() > warm_up_ends:
                    held.look(process)
                time.sleep(0.5)
        finally:
            threading.excepthook = before
        assert not failures, failures[0].exc_value
        end_claims(server.data_dir)
        wait_until_quiet(server.data_dir, 30)
        kept = soak.stored.keys() - soak.deleted
        assert set(listed(server)) == kept
        for file_id in kept:
            assert sha256(server.client.get(f"/files/{file_id}/content").content) == soak.stored[file_id]
        assert process.num_fds() <= median(held.descriptors), "without work it holds no more than under load"
        memory = growth(held)
        assert arenas(process.pid) < MAX_ARENAS, "beside the main one"
        trials(soak.requests)
    assert findings(tmp_path / "data") == []
    assert garbage(tmp_path / "data") == {}
    assert sql(tmp_path / "data", "SELECT bytes_reserved FROM projects") == [(0,)]
    print(f"{soak.requests} acts, {soak.cut} cut off, {len(soak.stored)} files stored; {memory}")
    assert soak.requests > SECONDS
    assert soak.cut


def arenas(pid: int) -> int:
    """The heaps that glibc has made for threads: each begins at a multiple of 64 MiB."""
    starts = [
        int(line.partition("-")[0], 16)
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if line.split()[1] == "rw-p" and len(line.split()) == 5
    ]
    return sum(start % (64 * MIB) == 0 for start in starts)


def growth(held: Held) -> str:
    """Memory and threads must not grow after the warm-up; returns the figures."""
    third = max(1, len(held.resident) // 3)
    first, last = median(held.resident[:third]), median(held.resident[-third:])
    figures = f"{first:.1f} MiB, then {last:.1f}; at most {max(held.threads)} threads"
    assert last - first <= GROWTH_MIB, figures
    assert max(held.threads[-third:]) <= max(held.threads[:third]) + CLIENTS, figures
    if held.seconds[-1] - held.seconds[0] >= LONG_SECONDS:
        slope, error = slope_of(held.seconds, held.resident)
        figures += f"; {slope:+.2f} MiB in ten minutes, with a standard error of {error:.2f}"
        assert slope - STUDENT_T * error <= SLOPE_MIB, figures
    return figures


def slope_of(seconds: list[float], values: list[float]) -> tuple[float, float]:
    """By how much the medians of blocks grow in ten minutes, and the standard error of it."""
    starts = range(0, len(values) - BLOCK + 1, BLOCK)
    times = [seconds[start] / TEN_MINUTES for start in starts]
    medians = [median(values[start : start + BLOCK]) for start in starts]
    line = linear_regression(times, medians)
    left = sum((value - line.slope * time - line.intercept) ** 2 for time, value in zip(times, medians, strict=True))
    middle = mean(times)
    spread = sum((time - middle) ** 2 for time in times)
    return line.slope, math.sqrt(left / (len(times) - 2) / spread)


def test_a_leak_is_told_from_the_variation_of_a_load() -> None:
    dice = random.Random(1)
    seconds = [number * 0.5 for number in range(20 * BLOCK)]
    load = [108 + dice.gauss(0, 2) for _ in range(20)]
    values = [load[number // BLOCK] + dice.gauss(0, 2) for number in range(len(seconds))]
    growth(Held(seconds, values, [27] * len(seconds), []))
    leaking = [value + 6 * second / TEN_MINUTES for second, value in zip(seconds, values, strict=True)]
    with pytest.raises(AssertionError, match="in ten minutes"):
        growth(Held(seconds, leaking, [27] * len(seconds), []))
