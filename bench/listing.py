"""Listing with few and with many files: a page must cost the same. The rows are made in SQL, without any content."""

import contextlib
import json
import random
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter

from bench.nginx import Nginx
from bench.plan import MIB, Bench, WrongAnswer
from bench.report import Goal, Row
from filestead.domain.access import digest_of
from filestead.domain.files.purposes import INPUT_PURPOSES
from filestead.installation import DATABASE, new_id
from tests.support.servers import KEY, Server

FILE_BYTES = 1024
BEGAN = 1_700_000_000
FILES_PER_SECOND = 4
"""Files that share a `created_at`, so that the tie-break is at work."""
CACHE_KIB = 1024 * 1024
WARM_UPS = 5
WHOLE_PAGE = 10_000
SECRETS = [f"sk-bench-{number}" for number in range(200)]
"""Keys to be used once each: the first use of a key looks it up, later ones within two seconds do not."""
ADD_KEY = (
    "INSERT INTO keys (id, digest, hint, project_id, user_id, scopes, created_at)"
    " SELECT {0}, {0}, '', project_id, user_id, scopes, created_at FROM keys LIMIT 1"
)
WHOLE_PAGE_NAME = "list, page of 10,000 (the default)"
FLAT = Goal(1.5, of="ratio")


def measure_listing(bench: Bench, _: Nginx | None) -> list[Row]:
    """Two servers, asked in turns: the only difference is how many files they hold."""
    plan = bench.plan
    with filled(bench, plan.few_files) as few, filled(bench, plan.many_files) as many:
        rows = pages_in_turns(
            many, few, plan.pages, files=plan.many_files, against=f"{plan.few_files:,} files", goal=FLAT
        )
        ours, note = whole_pages(many, plan.pages // 5)
        return [*rows, Row(measure=WHOLE_PAGE_NAME, unit="ms", ours=ours, note=note)]


def pages_in_turns(
    ours: "Lister", reference: "Lister", pages: int, *, files: int, against: str, goal: Goal | None, name: str = "list"
) -> list[Row]:
    """Each form of a page of 100, asked of both in turns."""
    rows = []
    for form, query in FORMS.items():
        pairs = [(ours.time(query, 100)[0], reference.time(query, 100)[0]) for _ in range(WARM_UPS + pages)]
        took, took_there = zip(*pairs[WARM_UPS:], strict=True)
        measure = f"{name}, {form}, {files:,} files"
        rows.append(Row(measure=measure, unit="ms", ours=took, against=against, reference=took_there, goal=goal))
    return rows


FORMS = {
    "newest first": "/v1/files?limit=100",
    "oldest first": "/v1/files?limit=100&order=asc",
    "by purpose": f"/v1/files?limit=100&purpose={INPUT_PURPOSES[0]}",
    "from the middle": "/v1/files?limit=100&after={middle}",
}


@dataclass(frozen=True, slots=True)
class Filling:
    """Ids of some files of an installation."""

    middle: str
    """In the middle of the listing."""
    sample: Sequence[str]
    """Anywhere, one for each of `SECRETS`."""


class Lister:
    """A connection to a server, and what is known of its files."""

    def __init__(self, server: Server, filling: Filling) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._filling = filling

    def time(self, query: str, expected: int) -> tuple[float, int]:
        """The milliseconds and the bytes of one page, which must have the expected number of files."""
        path = query.format(middle=self._filling.middle)
        took, body = self._get(path, KEY)
        found = len(json.loads(body).get("data", []))
        if found != expected:
            raise WrongAnswer(f"{path} lists {found} files instead of {expected}: {body[:200]!r}")
        return took, len(body)

    def retrieve(self, number: int) -> float:
        """The milliseconds of one file object, with a key that must not have been used before."""
        file_id = self._filling.sample[number]
        took, body = self._get(f"/v1/files/{file_id}", SECRETS[number])
        if json.loads(body).get("id") != file_id:
            raise WrongAnswer(f"{file_id} is not found: {body[:200]!r}")
        return took

    def _get(self, path: str, key: str) -> tuple[float, bytes]:
        started = perf_counter()
        self._connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        body = self._connection.getresponse().read()
        return (perf_counter() - started) * 1000, body


def whole_pages(many: Lister, pages: int) -> tuple[list[float], str]:
    """The milliseconds of each default page, and how large it is."""
    answers = [many.time("/v1/files", WHOLE_PAGE) for _ in range(1 + pages)][1:]
    rate = sum(size for _, size in answers) / MIB / sum(took for took, _ in answers) * 1000
    return [took for took, _ in answers], f"{answers[0][1] / MIB:.1f} MiB a page, {rate:.0f} MiB/s"


@contextlib.contextmanager
def filled(bench: Bench, count: int) -> Iterator[Lister]:
    """A server on an installation that holds `count` files."""
    with bench.folder(f"listing-{count}") as folder:
        with Server(folder):  # makes the installation
            pass
        bench.progress(f"listing: making {count:,} rows")
        filling = fill(folder / DATABASE, count)
        with Server(folder, uploads_per_minute=0) as server:
            yield Lister(server, filling)


def fill(database: Path, count: int) -> Filling:
    """Add files without content, and keys, to a stopped installation."""
    ids = [(new_id("file-"), random.randbytes(16).hex()) for _ in range(count)]
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        # If this is cut off the folder is thrown away, so nothing has to be durable.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        (project,) = connection.execute("SELECT id FROM projects").fetchone()
        connection.executemany(
            "INSERT INTO blobs (key, project_id, state) VALUES (?, ?, 'live')", ((key, project) for _, key in ids)
        )
        connection.executemany(
            "INSERT INTO files (id, project_id, filename, purpose, bytes, created_at, status, sha256, blob_key)"
            " VALUES (?, ?, ?, ?, ?, ?, 'processed', ?, ?)",
            (_file(number, file_id, key, project) for number, (file_id, key) in enumerate(ids)),
        )
        connection.execute("UPDATE projects SET bytes_used = bytes_used + ?", (count * FILE_BYTES,))
        connection.executemany(ADD_KEY.format("?"), new_keys())
    return Filling(ids[count // 2][0], [file_id for file_id, _ in random.sample(ids, len(SECRETS))])


def new_keys() -> list[tuple[str, str]]:
    """The parameters of `ADD_KEY` for each of `SECRETS`."""
    return [(f"key_{number}", digest_of(secret)) for number, secret in enumerate(SECRETS)]


def _file(number: int, file_id: str, key: str, project: str) -> tuple[str | int, ...]:
    purpose = INPUT_PURPOSES[number % len(INPUT_PURPOSES)]
    created_at = BEGAN + number // FILES_PER_SECOND
    return file_id, project, f"file-{number}.jsonl", purpose, FILE_BYTES, created_at, "0" * 64, key
