"""Listing with few and with many files: a page must cost the same. The rows are made in SQL, without any content."""

import contextlib
import json
import random
import sqlite3
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter

from bench.nginx import Nginx
from bench.plan import MIB, Bench, WrongAnswer
from bench.report import Goal, Row
from filestead.domain.purposes import INPUT_PURPOSES
from filestead.installation import DATABASE, new_id
from tests.serving import KEY, Server

FILE_BYTES = 1024
BEGAN = 1_700_000_000
FILES_PER_SECOND = 4
"""Files that share a `created_at`, so that the tie-break is at work."""
CACHE_KIB = 1024 * 1024
WARM_UPS = 5
WHOLE_PAGE = 10_000


def measure_listing(bench: Bench, _: Nginx | None) -> list[Row]:
    """Two servers, asked in turns: the only difference is how many files they hold."""
    plan = bench.plan
    with _filled(bench, plan.few_files) as few, _filled(bench, plan.many_files) as many:
        rows = []
        for form, query in FORMS.items():
            ours, reference = _in_turns(many, few, query, plan.pages)
            rows.append(
                Row(
                    measure=f"list, {form}, {plan.many_files:,} files",
                    unit="ms",
                    ours=ours,
                    against=f"{plan.few_files:,} files",
                    reference=reference,
                    goal=Goal(1.5, of="ratio"),
                )
            )
        return [*rows, _whole_page(many, plan.pages // 5)]


FORMS = {
    "newest first": "/v1/files?limit=100",
    "oldest first": "/v1/files?limit=100&order=asc",
    "by purpose": f"/v1/files?limit=100&purpose={INPUT_PURPOSES[0]}",
    "from the middle": "/v1/files?limit=100&after={middle}",
}


class Lister:
    """A connection to a server, and the id of the file in the middle of its listing."""

    def __init__(self, server: Server, middle: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        self._middle = middle

    def time(self, query: str, expected: int) -> tuple[float, int]:
        """The milliseconds and the bytes of one page, which must have the expected number of files."""
        path = query.format(middle=self._middle)
        started = perf_counter()
        self._connection.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
        body = self._connection.getresponse().read()
        took = (perf_counter() - started) * 1000
        found = len(json.loads(body).get("data", []))
        if found != expected:
            raise WrongAnswer(f"{path} lists {found} files instead of {expected}: {body[:200]!r}")
        return took, len(body)


def _in_turns(many: Lister, few: Lister, query: str, pages: int) -> tuple[list[float], list[float]]:
    pairs = [(many.time(query, 100)[0], few.time(query, 100)[0]) for _ in range(WARM_UPS + pages)]
    ours, reference = zip(*pairs[WARM_UPS:], strict=True)
    return list(ours), list(reference)


def _whole_page(many: Lister, pages: int) -> Row:
    answers = [many.time("/v1/files", WHOLE_PAGE) for _ in range(1 + pages)][1:]
    rate = sum(size for _, size in answers) / MIB / sum(took for took, _ in answers) * 1000
    note = f"{answers[0][1] / MIB:.1f} MiB a page, {rate:.0f} MiB/s"
    return Row(measure="list, page of 10,000 (the default)", unit="ms", ours=[took for took, _ in answers], note=note)


@contextlib.contextmanager
def _filled(bench: Bench, count: int) -> Iterator[Lister]:
    """A server on an installation that holds `count` files."""
    with bench.folder(f"listing-{count}") as folder:
        with Server(folder):  # makes the installation
            pass
        bench.progress(f"listing: making {count:,} rows")
        middle = fill(folder / DATABASE, count)
        with Server(folder, uploads_per_minute=0) as server:
            yield Lister(server, middle)


def fill(database: Path, count: int) -> str:
    """Add files without content to a stopped installation; the id of the one in the middle."""
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
    return str(ids[count // 2][0])


def _file(number: int, file_id: str, key: str, project: str) -> tuple[str | int, ...]:
    purpose = INPUT_PURPOSES[number % len(INPUT_PURPOSES)]
    created_at = BEGAN + number // FILES_PER_SECOND
    return file_id, project, f"file-{number}.jsonl", purpose, FILE_BYTES, created_at, "0" * 64, key
