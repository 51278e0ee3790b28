"""Sweeps as processes of their own, one of which is killed in the middle of its batch."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filestead.domain.files.sweep import BATCH
from tests.crash.harness import wait_until
from tests.nodes.fleet import fleet
from tests.support.databases import shared_postgres
from tests.support.installations import clean_environment
from tests.support.seaweedfs import shared_server
from tests.support.servers import run_command

FILES = BATCH + 100
SWEEP = [sys.executable, "-m", "filestead.cli.main", "sweep"]


def test_later_sweeps_finish_the_work_of_a_killed_one(tmp_path: Path) -> None:
    """Every file is counted as removed by exactly one that lived to say so."""
    with fleet(tmp_path, 1, shared_postgres(), shared_server(), sweep_seconds=3_600) as made:
        place, (node,) = made.place, made.alive
        with ThreadPoolExecutor(8) as clients:
            list(clients.map(lambda number: node.upload(b"%d" % number), range(FILES)))
        assert len(place.stored()) == FILES
        place.sql("UPDATE files SET created_at = 1, expires_at = 2")
        environment = clean_environment() | place.variables()
        killed = subprocess.Popen(SWEEP, env=environment, stdout=subprocess.PIPE)
        try:
            wait_until(lambda: len(place.stored()) < FILES, "nothing is removed", 60)
        finally:
            killed.kill()
            killed.communicate()
        assert killed.returncode < 0
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
