"""Rows in PostgreSQL: the requests and pages of the embedded profile beside it, and pages of a very large table."""

import contextlib
import random
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import psycopg

from bench.listing import (
    ADD_KEY,
    BEGAN,
    FILE_BYTES,
    FILES_PER_SECOND,
    FLAT,
    SECRETS,
    WARM_UPS,
    Filling,
    Lister,
    filled,
    new_keys,
    pages_in_turns,
    whole_pages,
)
from bench.load import CONNECTIONS, wrk
from bench.nginx import Nginx
from bench.plan import Bench
from bench.production import Production, production
from bench.report import Goal, Row
from bench.requests import KIB, form, listed, require_all, turns, upload_for
from filestead.database.engines.postgres.database import PostgresDatabase, connect, connection_parameters
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.files.listing import FileListing
from filestead.domain.clock import ClockWatch
from filestead.domain.files.purposes import INPUT_PURPOSES
from tests.support.servers import Server

EMBEDDED = "embedded"

# Ids are as random as real ones, as the order in which an index is filled matters.
ADD_FILES = """
INSERT INTO files (id, project_id, filename, purpose, bytes, created_at, status, sha256, blob_key)
SELECT 'file-' || substr(md5(n::text), 1, 22), projects.id, 'file-' || n || '.jsonl',
       (%(purposes)s::text[])[1 + n %% cardinality(%(purposes)s::text[])], %(bytes)s::bigint,
       %(began)s::bigint + n / %(together)s::bigint, 'processed', repeat('0', 64), md5('blob ' || n)
FROM generate_series(0, %(count)s::bigint - 1) AS n, projects
"""


def measure_requests(bench: Bench, _: Nginx | None) -> list[Row]:
    """Both profiles in turns: reading one file object, and durable uploads of 1 KB by one client and by many."""
    with production(bench) as servers, bench.filestead() as embedded, servers.node(servers.installation()) as node:
        pair = (node, embedded)
        targets = [f"{server.base_url}/files/{server.upload(b'x' * KIB)['id']}" for server in pair]
        rates = [[wrk(target, seconds).rate for target in targets] for seconds in turns(bench)]
        return [
            _against_embedded("production: GET /v1/files/{id}, 16 at once", "/s", rates[1:], at_least=6_000),
            _uploads(bench, pair, 1),
            _uploads(bench, pair, CONNECTIONS, at_least=1_200),
        ]


def _uploads(bench: Bench, servers: tuple[Server, Server], clients: int, at_least: float | None = None) -> Row:
    body, answers = form(bench), bench.directory / "answers"
    before = [set(listed(server)) for server in servers]
    answered: list[list[str]] = [[], []]
    rates: list[list[float]] = []
    for seconds in turns(bench):
        rates.append([])
        for server, ids in zip(servers, answered, strict=True):
            rates[-1].append(upload_for(server.base_url, seconds, body, answers, clients))
            ids.extend(answers.read_text().split())
    for server, ids, others in zip(servers, answered, before, strict=True):
        require_all(ids, [found for found in listed(server) if found not in others], in_flight=clients * len(rates))
    return _against_embedded(f"production: durable 1 KB uploads, {clients} at once", "/s", rates[1:], at_least=at_least)


def _against_embedded(
    measure: str, unit: str, pairs: Sequence[Sequence[float]], *, at_least: float | None = None
) -> Row:
    ours, reference = zip(*pairs, strict=True)
    goal = None if at_least is None else Goal(at_least, at_least=True)
    return Row(measure=measure, unit=unit, ours=ours, against=EMBEDDED, reference=reference, goal=goal)


def measure_rows(bench: Bench, _: Nginx | None) -> list[Row]:
    """Both profiles with the same number of files."""
    plan = bench.plan
    count, name = plan.many_files, "production: list"
    with production(bench) as servers, _filled(servers, count) as ours, filled(bench, count) as embedded:
        rows = pages_in_turns(ours, embedded, plan.pages, files=count, against=EMBEDDED, goal=None, name=name)
        pages, note = whole_pages(ours, plan.pages // 5)
        reference, _note = whole_pages(embedded, plan.pages // 5)
        once = [(ours.retrieve(number), embedded.retrieve(number)) for number in range(len(SECRETS))]
    return [
        *rows,
        Row(measure=f"{name}, page of 10,000", unit="ms", ours=pages, against=EMBEDDED, reference=reference, note=note),
        _against_embedded("production: key lookup and GET /v1/files/{id}", "ms", once[WARM_UPS:]),
    ]


def measure_most_rows(bench: Bench, _: Nginx | None) -> list[Row]:
    """The pages of a very large table beside those of a small one, and how PostgreSQL finds them."""
    plan = bench.plan
    with production(bench) as servers, _filled(servers, plan.few_files) as few:
        with _filled(servers, plan.most_files) as most:
            against, name = f"{plan.few_files:,} files", "production: list"
            rows = pages_in_turns(most, few, plan.pages, files=plan.most_files, against=against, goal=FLAT, name=name)
            pages, note = whole_pages(most, plan.pages // 5)
        return [
            *rows,
            Row(measure=f"{name}, page of 10,000 of {plan.most_files:,}", unit="ms", ours=pages, note=note),
            *_explained(servers.postgres.url_of(_name(plan.most_files)), plan.most_files),
        ]


@contextlib.contextmanager
def _filled(servers: Production, count: int) -> Iterator[Lister]:
    installation = servers.installation(_name(count))
    with servers.node(installation):  # makes the first key, and so the project
        pass
    address = servers.postgres.url_of(_name(count))
    servers.bench.progress(f"production: making {count:,} rows")
    started = perf_counter()
    filling = fill(address, count)
    servers.bench.progress(f"production: that took {perf_counter() - started:.0f} s")
    with servers.node(installation) as node:
        yield Lister(node, filling)


def _name(count: int) -> str:
    return f"files-{count}"


def fill(address: str, count: int) -> Filling:
    """Add files and keys. Listing reads no ledger, so there is none: the constraint that asks for it goes."""
    values = {"count": count, "purposes": list(INPUT_PURPOSES), "bytes": FILE_BYTES}
    values |= {"began": BEGAN, "together": FILES_PER_SECOND}
    with psycopg.connect(address) as connection:
        remade = _without_indexes(connection)
        connection.execute(ADD_FILES, values)
        for statement in remade:
            connection.execute(statement)
        connection.cursor().executemany(ADD_KEY.format("%s"), new_keys())
        places = [count // 2, *random.sample(range(count), len(SECRETS))]
        ids = connection.execute(
            "SELECT 'file-' || substr(md5(n::text), 1, 22) FROM unnest(%s::bigint[]) AS n", (places,)
        ).fetchall()
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) files")  # autovacuum would come in the middle of a measure
        connection.execute("CHECKPOINT")
    middle, *sample = (str(row[0]) for row in ids)
    return Filling(middle, sample)


def _without_indexes(connection: psycopg.Connection[Any]) -> list[str]:
    """Drop what makes adding many rows slow; what makes it again."""
    constraints = connection.execute(
        "SELECT conname, contype::text, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'files'::regclass AND contype IN ('u', 'f')"
    ).fetchall()
    for name, _, _ in constraints:
        connection.execute(f"ALTER TABLE files DROP CONSTRAINT {name}")
    indexes = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'files' AND indexname <> 'files_pkey'"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    unique = [f"ALTER TABLE files ADD CONSTRAINT {name} {text}" for name, kind, text in constraints if kind == "u"]
    return [*unique, *(text for _, text in indexes)]


class _Explaining:
    """A connection that does not run statements but asks how they are run."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        return self._connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", parameters)


def _explained(address: str, count: int) -> Iterator[Row]:
    """Each page must come from an index in its order: without a sort, and without rows that are not listed."""
    with (
        contextlib.closing(PostgresDatabase(address)) as database,
        contextlib.closing(connect(connection_parameters(address))) as connection,
    ):
        listing = FileListing(database.dialect, SqlClock(database, ClockWatch()))
        (project,) = connection.execute("SELECT id FROM projects").fetchone() or ("",)
        middle = {"created_at": BEGAN + count // 2 // FILES_PER_SECOND, "seq": count // 2 + 1}
        for order, variant, values in (
            ("newest first", (False, False, True), {}),
            ("oldest first", (False, False, False), {}),
            ("by purpose", (True, False, True), {"purpose": INPUT_PURPOSES[0]}),
            ("from the middle", (False, True, True), middle),
        ):
            page = listing.page_statement(*variant)
            answer = page(_Explaining(connection), project_id=project, limit=101, **values).fetchone()
            yield plan_row(f"production: EXPLAIN, {order}, {count:,} files", answer[0][0])


def plan_row(measure: str, plan: dict[str, Any]) -> Row:
    """What PostgreSQL did for one page; a problem if that would take longer the more files there are."""
    nodes = list(_nodes(plan["Plan"]))
    names = [" ".join(filter(None, (node["Node Type"], node.get("Index Name")))) for node in nodes]
    blocks = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    removed = sum(node.get("Rows Removed by Filter", 0) for node in nodes)
    problem = "" if [node["Node Type"] for node in nodes] == ["Limit", "Index Scan"] and not removed else str(names)
    note = f"{' over '.join(names)}, {plan['Plan']['Actual Rows']:.0f} rows, {blocks} blocks"
    took = plan["Planning Time"] + plan["Execution Time"]
    return Row(measure=measure, unit="ms", ours=[took], note=note, problem=problem)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
