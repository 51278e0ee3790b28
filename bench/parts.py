"""Uploads in parts on local disk: sent by several connections at once, completed, and read across a border of parts.

Each part is sent by a process of curl, from the page cache; all have the same random bytes.
"""

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.load import AUTHORIZATION, curl
from bench.nginx import Nginx
from bench.plan import FULL_PARTS, MIB, Bench, WrongAnswer, discard, find_program
from bench.report import Goal, Row
from bench.usage import Peak, resident
from tests.support.parts import create_upload, send_complete
from tests.support.servers import Server

AT_ONCE = 8
RANGE_BYTES = 100 * MIB
MEMORY = Goal(64)
WORKERS = (2, 1)
NEAR_THE_DISK = Goal(1.15, of="ratio")
"""For 8 GiB, which is more than the page cache takes before the disk has to write."""


def measure_parts(bench: Bench, _: Nginx | None) -> list[Row]:
    """In turns with `dd` of the same number of bytes into the same folder, with two workers and with one."""
    rows: list[Row] = []
    for workers in WORKERS:
        with bench.filestead(workers=workers) as server:
            rows += _whole_uploads(bench, server, workers)
            if workers == 1:
                rows.append(_ranges(bench, server, bench.random_file(bench.plan.part_bytes)))
    return rows


def _whole_uploads(bench: Bench, server: Server, workers: int) -> list[Row]:
    parts = bench.plan.parts
    sent, completed, synced, memory = [], [], [], []
    part = bench.random_file(bench.plan.part_bytes)
    discard(server, send_in_parts(server, bench.random_file(MIB), 2)[2])  # imports and connections
    base = resident(server.process.pid)
    for _round in range(bench.plan.parts_rounds):
        os.sync()
        with Peak(server.process.pid) as peak:
            seconds, complete_seconds, file_id = send_in_parts(server, part, parts)
        sent.append(seconds)
        completed.append(complete_seconds)
        memory.append(peak.mib - base)
        wait_for_digest(server, file_id)
        discard(server, file_id)
        os.sync()
        synced.append(_dd(bench, part, parts))
    name = f"{gib(parts * bench.plan.part_bytes)} in parts, {'1 worker' if workers == 1 else f'{workers} workers'}"
    whole = Row(
        measure=f"{name}, {AT_ONCE} at once",
        unit="s",
        ours=sent,
        against="dd conv=fsync",
        reference=synced,
        goal=NEAR_THE_DISK if parts == FULL_PARTS and workers == max(WORKERS) else None,
    )
    return [
        whole,
        Row(measure=f"{name}: complete", unit="s", ours=completed, goal=Goal(2)),
        Row(measure=f"{name}: memory growth", unit="MiB", ours=memory, goal=MEMORY),
    ]


def gib(size: int) -> str:
    """A size as it is named in a row."""
    return f"{size / 1024**3:.2g} GiB"


def send_in_parts(server: Server, part: Path, parts: int) -> tuple[float, float, str]:
    """Seconds of the whole upload, those of `complete` in them, and the id of the file."""
    size = parts * part.stat().st_size
    started = time.perf_counter()
    upload_id = create_upload(server.client, size)["id"]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ids = list(pool.map(lambda _: _add_part(server, upload_id, part), range(parts)))
    completing = time.perf_counter()
    response = send_complete(server.client, upload_id, ids)
    ended = time.perf_counter()
    file = response.raise_for_status().json()["file"]
    if file["bytes"] != size:
        raise WrongAnswer(f"{size} bytes were uploaded, {file['bytes']} were stored")
    return ended - started, ended - completing, str(file["id"])


def _add_part(server: Server, upload_id: str, part: Path) -> str:
    """Returns the id of the part."""
    form = ["--form", f"data=@{part};filename=upload"]
    answer = curl("--header", AUTHORIZATION, *form, f"{server.base_url}/uploads/{upload_id}/parts")
    return str(json.loads(answer.body)["id"])


def wait_for_digest(server: Server, file_id: str) -> None:
    """Wait for the digest of the whole: it is made after `complete`, and would be counted in what follows."""
    while "repr-digest" not in server.client.head(f"/files/{file_id}/content").headers:
        time.sleep(0.2)


def _dd(bench: Bench, source: Path, parts: int) -> float:
    """Seconds of the same bytes from the page cache to one file, synced at its end."""
    target = bench.directory / "dd.bin"
    script = (
        'for part in $(seq 2 "$2"); do dd if="$1" of="$3" bs=1M oflag=append conv=notrunc status=none; done; '
        'dd if="$1" of="$3" bs=1M oflag=append conv=notrunc,fsync status=none'
    )
    started = time.perf_counter()
    subprocess.run([find_program("sh"), "-c", script, "sh", source, str(parts), target], check=True)
    seconds = time.perf_counter() - started
    written = target.stat().st_size
    target.unlink()
    if written != parts * bench.plan.part_bytes:
        raise WrongAnswer(f"dd wrote {written} bytes")
    return seconds


def _ranges(bench: Bench, server: Server, part: Path) -> Row:
    """A range over the border of two parts of a file, and the same of a file that was uploaded as a whole."""
    block = part.read_bytes()
    parts = 2 * (-(-RANGE_BYTES // (2 * len(block)))) + 2
    size = min(RANGE_BYTES, len(block) * (parts - 1))
    start = parts * len(block) // 2 - size // 2
    _, _, in_parts = send_in_parts(server, part, parts)
    whole = server.upload(block * parts, name="whole.bin")["id"]
    wait_for_digest(server, in_parts)
    ours, reference = [], []
    for _ in range(bench.plan.rounds + 1):
        for file_id, found in ((in_parts, ours), (str(whole), reference)):
            header = ["--header", AUTHORIZATION, "--range", f"{start}-{start + size - 1}"]
            answer = curl(*header, "--output", "/dev/null", f"{server.base_url}/files/{file_id}/content")
            if (answer.status, answer.received) != (206, size):
                raise WrongAnswer(f"status {answer.status}, {answer.received} of {size} bytes arrived")
            found.append(answer.seconds * 1_000)
    return Row(
        measure=f"range of {size // MIB} MiB across parts",
        unit="ms",
        ours=ours[1:],
        against="of a whole file",
        reference=reference[1:],
        goal=Goal(1.1, of="ratio"),
    )
