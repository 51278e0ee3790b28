"""OGX (formerly Llama Stack), another server of the Files API, with files in a folder and rows in SQLite.

It writes the bytes without syncing them to disk, commits to SQLite with `synchronous=NORMAL`, and checks no key. So all
that it answers costs it less than it would cost a server that promises what Filestead does.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2

from bench.load import CONNECTIONS, wrk
from bench.nginx import Nginx
from bench.peers import SLOW_SECONDS, rates_row, running
from bench.plan import Bench, CannotMeasure, WrongAnswer
from bench.report import Row
from bench.requests import KIB, form, turns, upload_for
from tests.support.ports import free_port

PYTHON = "OGX_PYTHON"
PAGE = 100
VERSION = "from importlib.metadata import version; print(version('ogx'))"


@dataclass(frozen=True, slots=True)
class Ogx:
    """A running server."""

    client: httpx2.Client
    """Its base URL is that of the API."""
    base_url: str
    files: Path
    """The folder that has one file for each upload, named by its id."""


def measure_ogx_files(bench: Bench, _: Nginx | None) -> list[Row]:
    """One file object, a page of 100, and then durable uploads of 1 KB: each of both servers in turns."""
    version = _version()
    count = bench.plan.few_files
    with bench.filestead() as server, bench.folder("ogx") as folder, _ogx(folder) as other:
        bench.progress(f"ogx-files: uploading {count:,} files to each")
        both = [(server.client, server.base_url), (other.client, other.base_url)]
        objects = [f"{url}/files/{_fill(client, count)}" for client, url in both]
        pages = [_page(client, url) for client, url in both]
        reads = _rates(bench, *objects)
        lists = _rates(bench, *pages)
        uploads, refused = _uploads(bench, server.base_url, other)
    note = f"OGX {version} does not sync files to disk, checks no key, and answered {refused:,} uploads with an error"
    return [
        rates_row(f"durable 1 KB uploads, {CONNECTIONS} at once", uploads, "OGX, not synced", note),
        rates_row(f"GET /v1/files/{{id}}, {CONNECTIONS} at once", reads, "OGX"),
        rates_row(f"limit={PAGE} of {count:,} files, {CONNECTIONS} at once", lists, "OGX"),
    ]


def _version() -> str:
    """What is installed beside the Python that the variable names."""
    python = os.environ.get(PYTHON)
    if python:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            ran = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, timeout=60, check=True)
            return ran.stdout.strip()
    raise CannotMeasure(f"set {PYTHON} to a Python of version 3.12 or newer that has OGX (pip install ogx)")


@contextlib.contextmanager
def _ogx(folder: Path) -> Iterator[Ogx]:
    """One process with nothing but the Files API, below `folder`, on a loopback port; it exports no telemetry."""
    folder.mkdir()
    file, files, port = folder / "ogx.yaml", folder / "files", free_port()
    file.write_text(json.dumps(_configuration(folder, files)))  # JSON is YAML, too
    command = [os.environ[PYTHON], "-m", "ogx.cli.ogx", "run", str(file), "--insecure", "--port", str(port)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OGX_", "OTEL_"))}
    # The default format colours tracebacks, each of which blocks the event loop for seconds.
    environment = kept | {"OGX_CONFIG_DIR": str(folder), "TMPDIR": str(folder), "OGX_LOG_FORMAT": "json"}
    base_url = f"http://127.0.0.1:{port}/v1"
    with httpx2.Client(base_url=base_url, timeout=SLOW_SECONDS) as client:

        def ask() -> None:
            client.get("/files").raise_for_status()

        with running("OGX", command, environment, folder / "ogx.log", ask):
            yield Ogx(client, base_url, files)


def _configuration(folder: Path, files: Path) -> dict[str, object]:
    table = {"backend": "sql_default", "table_name": "files_metadata"}
    provider = {
        "provider_id": "localfs",
        "provider_type": "inline::localfs",
        "config": {"storage_dir": str(files), "metadata_store": table},
    }
    backends = {
        "kv_default": {"type": "kv_sqlite", "db_path": str(folder / "kv.db")},
        "sql_default": {"type": "sql_sqlite", "db_path": str(folder / "sql.db")},
    }
    return {
        "version": 2,
        "distro_name": "files",
        "apis": ["files"],
        "providers": {"files": [provider]},
        "storage": {"backends": backends},
        "server": {"host": "127.0.0.1"},
    }


def _fill(client: httpx2.Client, count: int) -> str:
    """Upload so many files of 1 KB; return the id of the last one."""
    file_id = ""
    for _ in range(count):
        upload = {"data": {"purpose": "user_data"}, "files": {"file": ("small.txt", b"x" * KIB)}}
        file_id = client.post("/files", **upload).raise_for_status().json()["id"]
    return file_id


def _page(client: httpx2.Client, base_url: str) -> str:
    """The URL of the first page, which must be a full one."""
    url = f"{base_url}/files?limit={PAGE}"
    found = len(client.get(url).raise_for_status().json()["data"])
    if found != PAGE:
        raise WrongAnswer(f"{url} lists {found} files instead of {PAGE}")
    return url


def _rates(bench: Bench, ours: str, theirs: str) -> list[tuple[float, float]]:
    """GET of both, in turns."""
    return [
        (wrk(ours, seconds, slow=SLOW_SECONDS).rate, wrk(theirs, seconds, slow=SLOW_SECONDS).rate)
        for seconds in turns(bench)
    ]


def _uploads(bench: Bench, ours: str, other: Ogx) -> tuple[list[tuple[float, float]], int]:
    """Uploads to both, in turns, and how many got an error from OGX: its rate is that of the others."""
    body, answers = form(bench), bench.directory / "answers"
    pairs, refused = [], 0
    for seconds in turns(bench):
        rate = upload_for(ours, seconds, body, answers)
        load = wrk(f"{other.base_url}/files", seconds, arguments=(body, answers), slow=SLOW_SECONDS)
        ids = answers.read_text().split()
        if lost := set(ids) - set(os.listdir(other.files)):
            raise WrongAnswer(f"OGX answered {len(lost)} uploads with 200, and has no file of them")
        refused += load.requests - len(ids)
        pairs.append((rate, len(ids) / load.seconds))
    return pairs, refused
