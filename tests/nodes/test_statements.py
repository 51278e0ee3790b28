"""The statements as the server sees them: with indexes, and without anything that outlasts a transaction."""

import asyncio
import re
from contextlib import closing
from typing import Any

import pytest

from filestead.database.engines.postgres.database import PostgresDatabase
from filestead.database.engines.statements import Statement, json_array
from filestead.database.repositories.clock import SqlClock
from filestead.database.repositories.files.blobs import BlobStatements
from filestead.database.repositories.files.listing import FileListing
from filestead.database.repositories.files.rows import FileStatements
from filestead.database.repositories.idempotency import IdempotencyRecords
from filestead.domain.clock import ClockWatch
from filestead.domain.errors import FileNotFound
from filestead.domain.quota import Quota
from tests.nodes.nodes import Cluster, Node, cluster
from tests.support.databases import TEMPLATE, shared_postgres
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.anyio

FILES = 100_000


@pytest.fixture(scope="module")
def full() -> Any:
    """100,000 files of ten projects, of which a few have expired, and as many blobs."""
    server = shared_postgres()
    server.create("full", TEMPLATE)
    with server.session("full") as session:
        session.execute(
            f"""
            INSERT INTO organizations VALUES ('org', 'org', 1);
            INSERT INTO projects SELECT 'proj_' || n, 'org', 'p' || n, 1 FROM generate_series(0, 9) n;
            INSERT INTO blobs SELECT 'blob' || n, 'proj_' || n % 10, 'live', NULL, 0 FROM generate_series(1, {FILES}) n;
            INSERT INTO blobs SELECT 'left' || n, 'proj_' || n % 10, 'doomed', CASE WHEN n < 100 THEN 1 ELSE
              filestead_now() + 60000000 END, 0 FROM generate_series(1, 5000) n;
            INSERT INTO files (id, project_id, filename, purpose, bytes, created_at, expires_at, status, sha256, blob_key)
              SELECT 'file-' || n, 'proj_' || n % 10, 'a', CASE WHEN n % 3 = 0 THEN 'batch' ELSE 'vision' END, 5,
              1700000000 + n / 100, CASE WHEN n % 2 = 0 THEN 4000000000 WHEN n % 1000 = 1 THEN 1700000000 END,
              'processed', '', 'blob' || n FROM generate_series(1, {FILES}) n;
            INSERT INTO idempotency_keys SELECT 'proj_1', 'k' || n, '', '', CASE WHEN n < 100 THEN 1 ELSE
              filestead_now() + 60000000 END FROM generate_series(1, 5000) n;
            INSERT INTO file_tombstones SELECT 'proj_1', 'gone-' || n, 1700000000, n, CASE WHEN n < 100 THEN 1 ELSE
              filestead_now() + 60000000 END FROM generate_series(1, 5000) n;
            ANALYZE
            """
        )
    yield server
    server.drop("full")


def plan(server: PostgresServer, statement: Statement, **values: object) -> str:
    with server.session("full") as session, session.transaction(force_rollback=True):
        rows = session.execute("EXPLAIN ANALYZE " + statement.sql, {**statement._constants, **values}).fetchall()
    return "\n".join(row[0] for row in rows)


def test_every_statement_uses_an_index(full: PostgresServer) -> None:
    with closing(PostgresDatabase(full.url, connections=0)) as database:
        clock = SqlClock(database, ClockWatch())
        files, blobs = FileStatements(database.dialect), BlobStatements(database.dialect)
        listing, idempotency = FileListing(database.dialect, clock), IdempotencyRecords(database.dialect, clock)
    one = {"project_id": "proj_1", "id": "file-50001"}
    proven = {"proven_us": 1_750_000_000_000_000}
    cases = {
        "files_by_time": [
            plan(full, listing.page_statement(False, after, newest), project_id="proj_1", limit=21, created_at=1700000500, seq=50_001)
            for after in (False, True)
            for newest in (False, True)
        ],
        "files_by_purpose": [
            plan(full, listing.page_statement(True, True, newest), purpose="batch", project_id="proj_1", limit=21, created_at=1700000500, seq=50_001)
            for newest in (False, True)
        ],
        "files_id_key": [
            *(plan(full, statement, **one) for statement in (files.get, files.delete)),
            plan(full, listing.position, **one, **proven),
        ],
        "files_by_expiry": [plan(full, files.expired, limit=500, **proven)],
        "blobs_by_lease": [
            plan(full, blobs.expired_leases, limit=500, **proven),
            plan(full, blobs.cap_leases, longest_us=86_400_000_000),
        ],
        "files_blob_key_key": [plan(full, files.delete_by_blobs, keys=json_array(["blob1", "blob2"]))],
        "blobs_pkey": [
            plan(full, blobs.claim, keys=json_array(f"left{n}" for n in range(1, 500)), lease_us=1),
            plan(full, blobs.mark_all_for_deletion, keys=json_array(["left1", "left2"])),
            plan(full, blobs.delete, keys=json_array(["left1", "left2"])),
            plan(full, blobs.renew, keys=json_array(["left1", "left2"]), lease_us=1),
            plan(full, blobs.states, keys=json_array(["left1", "left2"])),
            plan(full, blobs.activate, key="left1"),
            plan(full, blobs.state, key="left1"),
        ],
        "idempotency_keys_by_end": [plan(full, idempotency.delete_expired, limit=500, **proven)],
        "file_tombstones_by_end": [plan(full, listing.delete_expired_tombstones, limit=500, **proven)],
        "file_tombstones_pkey": [
            plan(full, listing.tombstone_position, project_id="proj_1", id="gone-1", **proven),
            plan(full, listing.add_tombstones, keys=json_array(["blob1", "blob2"]), **proven),
        ],
        "idempotency_keys_pkey": [plan(full, idempotency.select, project_id="proj_1", key="k1", **proven)],
    }  # fmt: skip
    for index, plans in cases.items():
        for found in plans:
            assert index in found and "Index Cond" in found, found
            assert "Seq Scan on files" not in found and "Seq Scan on blobs" not in found, found
            assert "Sort " not in found or "expir" in index or "blobs" in index or "end" in index, found


async def test_no_setting_or_prepared_statement_outlasts_a_transaction() -> None:
    """What would break behind PgBouncer, where the next transaction may run on another session."""
    with cluster(1, connections=1) as made:
        who = await made.principal()
        node = made.nodes[0]
        with made.server.session() as session:
            session.execute("ALTER SYSTEM SET log_statement = 'all'; ")
            session.execute("SELECT pg_reload_conf()")
        try:
            shown = "SHOW log_statement"  # each session takes up the new value in its own time
            async with asyncio.timeout(20):
                while await node.database.read(lambda connection: connection.execute(shown).fetchone()) != ("all",):
                    await asyncio.sleep(0.01)
            before = len(made.server.log)
            settings = "SELECT name, setting FROM pg_settings WHERE source = 'session' OR name LIKE '%timeout%'"
            fresh = await node.database.read(lambda connection: connection.execute(settings).fetchall())
            await all_operations(made, node, who.project_id)
            used = await node.database.read(lambda connection: connection.execute(settings).fetchall())
            prepared = await node.database.read(
                lambda connection: connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
            )
        finally:
            with made.server.session() as session:
                session.execute("ALTER SYSTEM RESET log_statement")
                session.execute("SELECT pg_reload_conf()")
        assert used == fresh
        assert prepared == (0,)
        log = made.server.log[before:]
        assert log.count("COMMIT") > 5
        assert not re.search(r"execute (?!<unnamed>)", log), "a statement was prepared"
        assert not re.search(r"LISTEN|advisory|DECLARE|CREATE TEMP|\bSET (?!LOCAL)[a-z_]+ (=|TO)(?! \$|.*WHERE)", log)


async def all_operations(made: Cluster, node: Node, project_id: str) -> None:
    who = await made.principal()
    quota = Quota(10**6, 10**6)
    for key in (None, "k"):
        blob = await node.begin(who, 3, rate=1000, quota=quota, key=key)
        await node.files.renew([blob], lease_seconds=60)
        await node.files.abandon(blob)
        file = await node.add(who, quota=quota, key=key, expires_after_seconds=3_600)
        await node.files.get(project_id, file.id)
        await node.files.page(project_id, purpose="batch", after=file.id, limit=9, newest_first=True)
        await node.files.delete(project_id, file.id)
        with pytest.raises(FileNotFound):
            await node.files.delete(project_id, file.id)
    await node.files.delete_blob_rows(await node.files.claim_garbage(lease_seconds=9, limit=9))
    await node.files.check()
    await node.files.scan_files("", 9)
    await node.files.blob_states(["x"])
    await node.keys.list()
    await node.keys.revoke("key_one-ada")
