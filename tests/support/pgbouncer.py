"""A real PgBouncer that pools transactions, before a real PostgreSQL."""

import atexit
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.postgres import ACCOUNT, PostgresServer, give
from tests.support.preflight import find

START_SECONDS = 20
POOL = 5
"""Server connections for each database: fewer than a node has, so that clients keep changing places."""


class PgBouncer:
    """One process, which ends with the test process."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="filestead-pgbouncer-", dir="/tmp"))
        (self.folder / "users").write_text('"postgres" ""\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"""
[databases]
* = host=127.0.0.1 port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {self.folder}/users
pool_mode = transaction
default_pool_size = {POOL}
max_client_conn = 200
logfile = {self.folder}/log
"""
        )
        account = ["-u", ACCOUNT] if os.geteuid() == 0 else []  # it does not run as root
        give(self.folder, *self.folder.iterdir())
        self._process = subprocess.Popen(
            [_program(), "-q", *account, self.folder / "pgbouncer.ini"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        atexit.register(self.stop)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=3).close()
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    log = self.folder / "log"
                    raise RuntimeError(
                        f"PgBouncer does not start:\n{log.read_text() if log.exists() else ''}"
                    ) from None
                time.sleep(0.02)

    def url_of(self, database: str) -> str:
        """The database, through the pool."""
        return self._server.url_of(database, self.port)

    def stop(self) -> None:
        """End it."""
        atexit.unregister(self.stop)
        self._process.kill()
        self._process.wait(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def shared_pgbouncer(server: PostgresServer) -> PgBouncer:
    """One pool for every test of this process."""
    return PgBouncer(server)


def _program() -> str:
    """A machine without it skips, CI fails."""
    found = find("pgbouncer")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("pgbouncer is not installed, and CI must have it")
        print("pgbouncer is not installed: NOTHING was tested behind it", file=sys.stderr)
        pytest.skip("pgbouncer is not installed: NOTHING was tested behind it")
    return found
