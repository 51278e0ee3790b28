"""Sweeps as processes of their own, one of which is killed in the middle of its batch."""

import asyncio
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from filestead.blobs.keys import new_key
from filestead.database.engines.postgres.database import PostgresDatabase
from filestead.database.repositories.table_copier import TableCopier
from filestead.domain.files.sweep import BATCH
from filestead.installation import new_id
from tests.nodes.fleet import fleet
from tests.support.databases import shared_postgres
from tests.support.installations import OnServers, clean_environment
from tests.support.seaweedfs import shared_server
from tests.support.servers import run_command
from tests.support.waiting import wait_until

FILES = BATCH + 100
SLOW_DELETES = (
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'"
)
"""The objects of a batch are gone, and its rows are still there, until the server ends the statement."""
SWEEP = [sys.executable, "-m", "filestead.cli.main", "sweep"]


async def multiply(place: OnServers) -> None:
    """Make many of the only file, which takes a fraction of the time of as many uploads."""
    with closing(PostgresDatabase(place.postgres.url_of(place.name))) as database:
        tables = TableCopier(database)
        (row,) = await tables.rows("files", None, 2)
        more = [
            row | {"id": new_id("file-"), "blob_key": new_key(), "seq": row["seq"] + number}
            for number in range(1, FILES)
        ]
        with ThreadPoolExecutor(8) as stores:
            objects = [place.object_name(file["blob_key"]) for file in more]
            assert {
                status for status, _ in stores.map(lambda name: place.seaweed.send("PUT", name, body=b"x"), objects)
            } == {200}
        await tables.publish(more)
        await tables.finalize({"files": more[-1]["seq"]})


def test_later_sweeps_finish_the_work_of_a_killed_one(tmp_path: Path) -> None:
    """Every file is counted as removed by exactly one that lived to say so."""
    with fleet(tmp_path, 1, shared_postgres(), shared_server(), sweep_seconds=3_600) as made:
        place, (node,) = made.place, made.alive
        node.upload(b"x")
        asyncio.run(multiply(place))
        assert len(place.stored()) == FILES
        place.sql("UPDATE files SET created_at = 1, expires_at = 2")
        place.sql(SLOW_DELETES)
        place.sql("CREATE TRIGGER slow BEFORE DELETE ON blobs FOR EACH STATEMENT EXECUTE FUNCTION slow()")
        environment = clean_environment() | place.variables()
        killed = subprocess.Popen(SWEEP, env=environment, stdout=subprocess.PIPE)
        try:
            wait_until(lambda: len(place.stored()) < FILES, "nothing is removed", 60)
        finally:
            killed.kill()
            killed.communicate()
        assert killed.returncode < 0
        place.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        place.sql("DROP TRIGGER slow ON blobs")
        taken = place.sql("SELECT key FROM blobs WHERE state = 'doomed' AND lease_until_us > filestead_now()")
        assert len(taken) == BATCH, "it was in the middle"

        def sweep() -> int:
            swept = run_command(Path("nowhere"), "sweep", place=place)
            assert swept.returncode == 0, swept.stderr
            return int(re.fullmatch(r"(\d+) blobs removed\n", swept.stdout)[1])  # type: ignore[index]

        with ThreadPoolExecutor(2) as both:
            assert sum(both.map(lambda _: sweep(), range(2))) == FILES - BATCH
        assert sweep() == 0, "what the dead one had claimed is taken for a minute"
        place.sql("UPDATE blobs SET lease_until_us = 1")
        with ThreadPoolExecutor(2) as both:
            assert sum(both.map(lambda _: sweep(), range(2))) == BATCH
        assert place.stored() == set()
        assert place.sql("SELECT count(*) FROM blobs") == [(0,)]
        assert place.sql("SELECT bytes_used, bytes_reserved FROM projects") == [(0, 0)]
