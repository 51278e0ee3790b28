"""Steps at which a server is killed, and an installation that lives through many kills."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import httpx2

from tests.crash.harness import Victim, findings, garbage, sha256, wait_until_quiet
from tests.support.servers import Server

S = TypeVar("S", bound=Server)

KILLED = -9
ANSWERED = "after answer body|"
SMALL = b"all in one block"
LARGE = bytes(range(256)) * 12_288  # several blocks, so that most of them are written while the rest is on its way

Step = str | tuple[str, list[str]]
"""A step, or a call with the steps inside it."""

PUT = ("blobs.put", [
    *("open staging", "write staging", "fsync staging", "close staging", "rename staging"),
    *("open shard", "fsync shard", "close shard"),
])  # fmt: skip
REMOVE = ("blobs.delete", ["unlink staging", "unlink blob", "open shard", "fsync shard", "close shard"])


def durable(call: str) -> Step:
    return call, [f"commit of {call}"]


def points(steps: Sequence[Step]) -> list[str]:
    """Where a process can be killed: before and after each step, in order."""
    found = []
    for step in steps:
        name, inside = (step, []) if isinstance(step, str) else step
        found += [f"before {name}", *points(inside), f"after {name}"]
    return found


def numbered(found: list[str]) -> list[tuple[str, int]]:
    """The points, each with how often it has been reached by then."""
    return [(point, found[: at + 1].count(point)) for at, point in enumerate(found)]


def passed(trace: list[str]) -> list[str]:
    """The points of a trace; a step that is repeated right away (a block, a folder) counts once."""
    found = [line.partition("|")[0] for line in trace]
    return [point for at, point in enumerate(found) if at < 2 or point != found[at - 2]]


def is_behind(point: str, other: str, steps: Sequence[Step]) -> bool:
    """Whether a kill at `point` leaves `other` done."""
    order = points(steps)
    return order.index(point) >= order.index(other)


class KilledInstallation(Generic[S]):
    """An installation that lives through many kills, and what its clients know."""

    def __init__(self, data_dir: Path, start: Callable[..., S], **settings: object) -> None:
        self.data_dir = data_dir
        self._start_server = start
        self._settings = {"uploads_per_minute": 0} | settings
        self.contents: dict[str, str] = {}
        self.gone: set[str] = set()
        self.victim = self._start()

    def _start(self) -> S:
        return self._start_server(self.data_dir, **self._settings)

    def restart(self) -> None:
        """After a kill."""
        self.victim.stop()
        self.victim = self._start()

    def upload(self, name: str, content: bytes) -> str:
        """An upload that works."""
        file_id = str(self.victim.upload(content, name=name)["id"])
        self.contents[file_id] = sha256(content)
        return file_id

    def listed(self) -> dict[str, str]:
        """The visible files, as name by id."""
        return {file["id"]: file["filename"] for file in self.victim.client.get("/files").json()["data"]}

    def settle(self, name: str, content: bytes) -> None:
        """What became of an upload without an answer: nothing, or a file that is from now on expected to stay."""
        for file_id, found in self.listed().items():
            if found == name and file_id not in self.contents:
                self.contents[file_id] = sha256(content)

    def check(self, latest: int = 10) -> None:
        """Everything that was acknowledged holds, and nothing is left over.

        All files are listed and compared with their digests by `verify`; the latest are also asked for.
        """
        wait_until_quiet(self.data_dir)
        assert set(self.listed()) == set(self.contents) - self.gone
        for file_id, digest in list(self.contents.items())[-latest:]:
            response = self.victim.client.get(f"/files/{file_id}/content")
            if file_id in self.gone:
                assert response.status_code == 404
                behind = self.victim.client.get("/files", params={"after": file_id})
                assert behind.status_code == 200, "a file and its place in the listing go in one transaction"
            else:
                assert sha256(response.content) == digest
        assert findings(self.data_dir) == []
        assert garbage(self.data_dir) == {}


class Installation(KilledInstallation[Victim]):
    """It is killed at steps of `victim.py`."""

    def __init__(self, data_dir: Path, **settings: object) -> None:
        super().__init__(data_dir, Victim, **settings)

    def die_at(
        self, step: str, nth: int, request: Callable[[httpx2.Client], httpx2.Response]
    ) -> httpx2.Response | None:
        """Kill the server at a step of a request, start it again, and give the answer if one came."""
        response = None
        with self.victim.failing("kill", step, nth):
            with contextlib.suppress(httpx2.TransportError):
                response = request(self.victim.client)
            assert self.victim.process.wait(60) == KILLED
        self.restart()
        return response


class Installations:
    """Installations that tests use one after the other, since starting one takes longer than a kill.

    A test that fails does not give its one back, and the next test makes a new one.
    """

    def __init__(self, make: Callable[[], Installation]) -> None:
        self._make = make
        self._idle: list[Installation] = []

    @contextlib.contextmanager
    def one(self) -> Iterator[Installation]:
        """An installation for a test, which is checked afterwards."""
        found = self._idle.pop() if self._idle else self._make()
        try:
            yield found
            found.check()
        except BaseException:
            found.victim.disarm()
            found.victim.kill()
            raise
        self._idle.append(found)

    def close(self) -> Iterator[Path]:
        """Check and end each of them; yields their data directories."""
        for installation in self._idle:
            installation.check(latest=len(installation.contents))
            installation.victim.kill()
            yield installation.data_dir
