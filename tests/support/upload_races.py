"""Requests on one upload in parts at the same time, over HTTP: what may come of them, whichever process serves each."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2

from tests.support.installations import Place
from tests.support.parts import add_part, create_upload, send_complete, send_part
from tests.support.waiting import wait_until

ROUNDS = 12
CONTENTS = (b"first " * 5_000, b"and last")
SIZE = sum(map(len, CONTENTS))
Request = Callable[[httpx2.Client], httpx2.Response]


class Racers:
    """Clients with a connection each, and the installation behind them."""

    def __init__(self, base_urls: Sequence[str], key: str, place: Place, clients: int = 6) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        urls = itertools.islice(itertools.cycle(base_urls), clients)
        self.clients = [httpx2.Client(base_url=url, headers=headers, timeout=60) for url in urls]
        self.place = place
        self._pool = ThreadPoolExecutor(clients)
        self._turn = 0

    def upload(self) -> tuple[str, list[str]]:
        """An upload with all its parts, of which some were sent to one process and some to another."""
        upload_id = create_upload(self.clients[0], SIZE)["id"]
        return upload_id, [add_part(self.clients[number], upload_id, each) for number, each in enumerate(CONTENTS)]

    def at_once(self, *requests: Request, start: float = 0) -> list[httpx2.Response]:
        """The responses to requests that begin together; each second one `start` seconds later, or earlier if negative."""
        self._turn += 1
        together = threading.Barrier(len(requests))

        def send(number: int) -> httpx2.Response:
            client = self.clients[(number + self._turn) % len(self.clients)]
            together.wait(60)
            time.sleep(max(0, start if number % 2 else -start))
            return requests[number](client)

        return list(self._pool.map(send, range(len(requests))))

    def content(self, file_id: str) -> bytes:
        return self.clients[-1].get(f"/files/{file_id}/content").content

    def files(self) -> list[Any]:
        return list(self.clients[0].get("/files", params={"limit": 1_000}).json()["data"])

    def delete_files(self) -> None:
        """Delete all files and wait until nothing is left of them, nor of anything else."""
        for file in self.files():
            assert self.clients[0].delete(f"/files/{file['id']}").status_code == 200
        self.assert_settled([])

    def assert_settled(self, files: Sequence[Any]) -> None:
        """Rows, quota and blobs become those of the files, and of nothing else."""
        assert sorted(file["id"] for file in self.files()) == sorted(file["id"] for file in files)
        used = sum(file["bytes"] for file in files)
        assert self.place.sql("SELECT sum(bytes_used), sum(bytes_reserved) FROM projects") == [(used, 0)]
        parts = len(files) * len(CONTENTS)
        wait_until(lambda: len(self.place.stored()) == parts, f"there are not {parts} blobs: {self.place.stored()}")
        wait_until(
            lambda: not self.place.sql("SELECT key FROM blobs WHERE state <> 'live'"), "blobs are still to be deleted"
        )
        assert self.place.sql("SELECT count(*) FROM upload_parts") == [(0,)]

    def close(self) -> None:
        self._pool.shutdown()
        for client in self.clients:
            client.close()


class CloseRace:
    """Finds the start at which two requests arrive at the same time: who has won starts later in the next round.

    So each wins now and then, on a slow machine, too.
    """

    def __init__(self) -> None:
        self.start = 0.0
        self.wins = {True: 0, False: 0}
        self._step = 0.001
        self._last: bool | None = None

    def won(self, first: bool) -> None:
        """Whether the first request has won."""
        self.wins[first] += 1
        self._step *= 2 if first == self._last else 0.5 if self._last is not None else 1
        self._last = first
        self.start += -self._step if first else self._step

    def assert_close(self) -> None:
        assert all(self.wins.values()), "each wins now and then"


def completing(upload_id: str, parts: Sequence[str]) -> Request:
    return lambda client: send_complete(client, upload_id, parts)


def sending(upload_id: str, content: bytes, retries: int = 0) -> Request:
    return lambda client: send_part(client, upload_id, content, retries=retries)


def cancelling(upload_id: str) -> Request:
    return lambda client: client.post(f"/uploads/{upload_id}/cancel")


def expiring(racers: Racers, upload_id: str) -> Request:
    """The hour is over; the servers, which must sweep often, take the upload."""

    def expire(client: httpx2.Client) -> httpx2.Response:
        racers.place.sql("UPDATE uploads SET expires_at = created_at WHERE id = ?", upload_id)
        return client.get("/files", params={"limit": 1})

    return expire


def is_not_pending(response: httpx2.Response, status: str) -> bool:
    return response.status_code == 400 and f"is not pending (status: {status})" in response.text


def file_of(response: httpx2.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()["file"]


def complete_and_complete(racers: Racers) -> None:
    """The same list: one file, and the same response for all."""
    made = []
    for _ in range(ROUNDS):
        upload_id, parts = racers.upload()
        responses = racers.at_once(*[completing(upload_id, parts)] * 4)
        assert len({response.content for response in responses}) == 1
        made.append(file_of(responses[0]))
    racers.assert_settled(made)
    assert {racers.content(file["id"]) for file in made} == {b"".join(CONTENTS)}


def complete_and_complete_otherwise(racers: Racers) -> None:
    """Other lists: the first one makes the file, the others are refused."""
    made, race = [], CloseRace()
    for _ in range(ROUNDS):
        upload_id, parts = racers.upload()
        orders = [parts, parts[::-1]] * 2
        responses = racers.at_once(*(completing(upload_id, order) for order in orders), start=race.start)
        won = [number for number, response in enumerate(responses) if response.status_code == 200]
        assert won in ([0, 2], [1, 3]), [response.text for response in responses]
        assert all(is_not_pending(each, "completed") for each in responses if each.status_code != 200)
        made.append(file_of(responses[won[0]]))
        race.won(first=won[0] == 0)
        assert racers.content(made[-1]["id"]) == b"".join(CONTENTS[:: 1 if won[0] == 0 else -1])
    race.assert_close()
    racers.assert_settled(made)


def complete_and_cancel(racers: Racers) -> None:
    made, race = [], CloseRace()
    for _ in range(ROUNDS):
        upload_id, parts = racers.upload()
        done, cancelled = racers.at_once(completing(upload_id, parts), cancelling(upload_id), start=race.start)
        race.won(first=done.status_code == 200)
        if done.status_code == 200:
            made.append(file_of(done))
            assert is_not_pending(cancelled, "completed")
        else:
            assert is_not_pending(done, "cancelled")
            assert cancelled.json()["status"] == "cancelled"
    race.assert_close()
    racers.assert_settled(made)
    assert {racers.content(file["id"]) for file in made} == {b"".join(CONTENTS)}


def complete_and_expiry(racers: Racers) -> None:
    made, race = [], CloseRace()
    for _ in range(ROUNDS):
        upload_id, parts = racers.upload()
        done, _ = racers.at_once(completing(upload_id, parts), expiring(racers, upload_id), start=race.start)
        race.won(first=done.status_code == 200)
        if done.status_code == 200:
            made.append(file_of(done))
            assert file_of(send_complete(racers.clients[1], upload_id, parts)) == made[-1]
        else:
            assert is_not_pending(done, "expired")
    race.assert_close()
    wait_until(lambda: not racers.place.sql("SELECT id FROM uploads WHERE status = 'pending'"), "nothing is swept")
    racers.assert_settled(made)
    assert {racers.content(file["id"]) for file in made} == {b"".join(CONTENTS)}


def complete_and_repeated_part(racers: Racers) -> None:
    """A part that is sent again while the upload is completed changes nothing: its list is complete without it."""
    made, race = [], CloseRace()
    for _ in range(ROUNDS):
        upload_id, parts = racers.upload()
        done, part = racers.at_once(
            completing(upload_id, parts), sending(upload_id, CONTENTS[1], retries=1), start=race.start
        )
        race.won(first=part.status_code != 200)
        made.append(file_of(done))
        if part.status_code == 200:
            assert part.json()["id"] == parts[1]
        else:
            assert is_not_pending(part, "completed")
    race.assert_close()
    racers.assert_settled(made)
    assert {racers.content(file["id"]) for file in made} == {b"".join(CONTENTS)}


def cancel_and_part(racers: Racers) -> None:
    race = CloseRace()
    for _ in range(ROUNDS):
        upload_id = create_upload(racers.clients[0], SIZE)["id"]
        add_part(racers.clients[1], upload_id, CONTENTS[0])
        cancelled, part = racers.at_once(cancelling(upload_id), sending(upload_id, CONTENTS[1]), start=race.start)
        race.won(first=part.status_code != 200)
        assert cancelled.json()["status"] == "cancelled"
        if part.status_code == 200:
            assert is_not_pending(send_complete(racers.clients[0], upload_id, [part.json()["id"]]), "cancelled")
        else:
            assert is_not_pending(part, "cancelled")
    race.assert_close()
    racers.assert_settled([])


def last_parts(racers: Racers) -> None:
    """Parts of which only one fits: the others are refused, and the file is complete."""
    made = []
    for _ in range(ROUNDS):
        upload_id = create_upload(racers.clients[0], SIZE)["id"]
        first = add_part(racers.clients[1], upload_id, CONTENTS[0])
        responses = racers.at_once(*[sending(upload_id, CONTENTS[1])] * 4)
        fitting = [response for response in responses if response.status_code == 200]
        assert len(fitting) == 1
        assert all(f"more than the {SIZE} bytes" in each.text for each in responses if each not in fitting)
        made.append(file_of(send_complete(racers.clients[2], upload_id, [first, fitting[0].json()["id"]])))
    racers.assert_settled(made)
    assert {racers.content(file["id"]) for file in made} == {b"".join(CONTENTS)}


RACES: list[Callable[[Racers], None]] = [
    *(complete_and_complete, complete_and_complete_otherwise, complete_and_cancel, complete_and_expiry),
    *(complete_and_repeated_part, cancel_and_part, last_parts),
]
