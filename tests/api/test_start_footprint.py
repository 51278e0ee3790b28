"""What a start on the embedded default loads and compiles: counted, so that other work on the machine does not matter."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.installations import clean_environment
from tests.support.ports import free_port
from tests.support.servers import KEY

pytestmark = pytest.mark.embedded("about a start on SQLite and a local disk")

NOT_LOADED = {
    "PIL": "images of requests that name files",
    "Stemmer": "search",
    "alembic": "a database of an older version",
    "cyclopts": "the other server commands, and mistakes in flags",
    "httpx2": "requests for models",
    "lxml": "documents",
    "numpy": "search",
    "obstore": "object stores",
    "prometheus_client": "a reading of metrics",
    "psycopg": "PostgreSQL",
    "pypdfium2": "documents",
    "rich": "commands on a terminal",
    "sqlalchemy.dialects.postgresql": "PostgreSQL",
    "yaml": "client commands",
}
"""Packages, and what they wait for."""

STATEMENTS = 250
"""Less than the half of all; a statement that two repositories need is compiled once."""

# The server's own process, as `filestead serve` is; a thread reports when it is ready, and ends it.
STARTED = """
import collections, http.client, json, os, sys, threading, time
from filestead.database.engines import statements

port, report = int(sys.argv[3]), sys.argv.pop()
compiled = collections.Counter()
compile_statement = statements.Statement.__init__

def counted(self, *args, **options):
    compile_statement(self, *args, **options)
    compiled[self.sql] += 1

statements.Statement.__init__ = counted

def status(path):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None

def watch():
    while status("/health/ready") != 200:
        time.sleep(0.01)
    time.sleep(1)  # the background tasks, too
    with open(report, "w") as file:
        json.dump({"modules": sorted(sys.modules), "compiled": compiled.total()}, file)
    os._exit(0)

threading.Thread(target=watch, daemon=True).start()
from filestead.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The second start in a data directory: the first one creates it."""
    folder = tmp_path_factory.mktemp("started")
    for number in range(2):
        report = folder / f"report-{number}"
        words = ["serve", "--port", str(free_port()), "--data-dir", str(folder / "data"), str(report)]
        done = subprocess.run(
            [sys.executable, "-c", STARTED, *words],
            env=clean_environment() | {"FILESTEAD_BOOTSTRAP_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return json.loads(Path(report).read_text())


@pytest.mark.parametrize("package", NOT_LOADED)
def test_a_start_does_not_load(started: Any, package: str) -> None:
    loaded = [name for name in started["modules"] if name == package or name.startswith(f"{package}.")]
    assert loaded == []


def test_so_many_modules_are_loaded(started: Any) -> None:
    assert len(started["modules"]) <= 900


def test_so_many_statements_are_compiled(started: Any) -> None:
    assert started["compiled"] <= STATEMENTS
