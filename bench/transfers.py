"""One large file on one connection: up and down, in turns with nginx."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from bench.load import curl, curl_together, download, receive, upload
from bench.nginx import Nginx
from bench.plan import MIB, Bench, WrongAnswer, discard
from bench.report import Goal, Row
from bench.usage import processor_seconds
from tests.support.servers import Server

GB = 1024 * MIB


@dataclass(slots=True)
class Rounds:
    """What each round of one kind of transfer took; the first is a warm-up."""

    pid: int
    """Of the server whose processor time counts."""
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def add(self, transfer: Callable[[], float]) -> None:
        """Run one that returns its seconds."""
        before = processor_seconds(self.pid)
        self.seconds.append(transfer())
        self.processor.append(processor_seconds(self.pid) - before)

    def per_gb(self, size: int) -> list[float]:
        """Processor time of 1,024 MB."""
        return [used * GB / size for used in self.processor[1:]]


def measure_upload(bench: Bench, reference: Nginx | None) -> list[Row]:
    """Ours is digested, synced and recorded when it is answered; nginx's is in the page cache."""
    synced_puts: list[float] = []
    with bench.filestead() as server:
        ours, puts = Rounds(server.process.pid), Rounds(0 if reference is None else reference.pid)
        for _ in range(bench.plan.rounds + 1):
            os.sync()  # what the round before has left to write would be counted in this one
            ours.add(lambda: _upload_and_discard(bench, server))
            if reference is not None:
                os.sync()
                puts.add(partial(_put, bench, reference))
                synced_puts.append(puts.seconds[-1] + _sync_and_remove(reference))
    title = f"upload {_megabytes(bench)}"
    return [
        Row(
            measure=title,
            unit="s",
            ours=ours.seconds[1:],
            against="nginx PUT",
            reference=puts.seconds[1:],
            goal=Goal(3.5, of="ratio"),
        ),
        Row(
            measure=title,
            unit="s",
            ours=ours.seconds[1:],
            against="nginx PUT, then fsync",
            reference=synced_puts[1:],
            goal=Goal(1.2, of="ratio"),
        ),
        _processor_row(bench, "uploads", ours, "nginx PUT", puts, goal=None),
    ]


def measure_download(bench: Bench, reference: Nginx | None) -> list[Row]:
    """The whole file, and a range from its middle. Both files are in the page cache."""
    size, ranged = bench.plan.file_bytes, bench.plan.file_bytes * 100 // 512
    middle = ["--header", f"Range: bytes={(size - ranged) // 2}-{(size + ranged) // 2 - 1}"]
    with bench.filestead() as server:
        _, file_id = _upload(bench, server)
        if reference is not None:
            curl("--upload-file", str(bench.random_file(size)), f"{reference.url}/download.bin")
        os.sync()
        other = 0 if reference is None else reference.pid
        ours, gets, our_ranges, ranges = (Rounds(pid) for pid in (server.process.pid, other) * 2)
        for _ in range(bench.plan.rounds + 1):
            ours.add(lambda: receive(size, download(server, file_id)))
            our_ranges.add(lambda: receive(ranged, [*middle, *download(server, file_id)]))
            if reference is not None:
                arguments = ["--output", "/dev/null", f"{reference.url}/download.bin"]
                gets.add(partial(receive, size, arguments))
                ranges.add(partial(receive, ranged, [*middle, *arguments]))
    if reference is not None:
        (reference.files / "download.bin").unlink()
    goal = Goal(1.1, of="ratio")
    return [
        Row(
            measure=f"download {_megabytes(bench)}",
            unit="s",
            ours=ours.seconds[1:],
            against="nginx GET",
            reference=gets.seconds[1:],
            goal=goal,
        ),
        Row(
            measure=f"download {ranged // MIB} MB from the middle",
            unit="s",
            ours=our_ranges.seconds[1:],
            against="nginx GET",
            reference=ranges.seconds[1:],
            goal=goal,
        ),
        _processor_row(bench, "downloads", ours, "nginx GET", gets, goal=Goal(1.5, of="ratio")),
    ]


def measure_parallel_uploads(bench: Bench, _: Nginx | None) -> list[Row]:
    """Eight large files at once and one alone, in turns: megabytes a second of all together."""
    plan = bench.plan
    alone: list[float] = []
    together: list[float] = []
    source = bench.random_file(plan.file_bytes)
    with bench.filestead() as server:
        for _round in range(plan.rounds + 1):
            for rates, count in ((alone, 1), (together, plan.large_uploads)):
                os.sync()
                began = time.perf_counter()
                answers = curl_together([upload(server, source)] * count)
                rates.append(count * plan.file_bytes / MIB / (time.perf_counter() - began))
                *others, last = (json.loads(answer.body)["id"] for answer in answers)
                for file_id in others:
                    server.client.delete(f"/files/{file_id}").raise_for_status()
                discard(server, last)
    row = Row(
        measure=f"{plan.large_uploads} uploads of {_megabytes(bench)} at once, in all",
        unit="MB/s",
        ours=together[1:],
        against="one alone",
        reference=alone[1:],
        goal=Goal(0.9, of="ratio", at_least=True),
    )
    return [row]


def _processor_row(bench: Bench, what: str, ours: Rounds, against: str, reference: Rounds, *, goal: Goal | None) -> Row:
    size = bench.plan.file_bytes
    return Row(
        measure=f"processor time of 1 GB of {what}",
        unit="s",
        ours=ours.per_gb(size),
        against=against,
        reference=reference.per_gb(size),
        goal=goal,
    )


def _megabytes(bench: Bench) -> str:
    return f"{bench.plan.file_bytes // 1024**2} MB"


def _upload(bench: Bench, server: Server) -> tuple[float, str]:
    answer = curl(*upload(server, bench.random_file(bench.plan.file_bytes)))
    file = json.loads(answer.body)
    if file["bytes"] != bench.plan.file_bytes:
        raise WrongAnswer(f"{bench.plan.file_bytes} bytes were uploaded, {file['bytes']} were stored")
    return answer.seconds, file["id"]


def _upload_and_discard(bench: Bench, server: Server) -> float:
    seconds, file_id = _upload(bench, server)
    discard(server, file_id)
    return seconds


def _put(bench: Bench, reference: Nginx) -> float:
    return curl("--upload-file", str(bench.random_file(bench.plan.file_bytes)), f"{reference.url}/upload.bin").seconds


def _sync_and_remove(reference: Nginx) -> float:
    """The seconds of syncing what was PUT."""
    target = reference.files / "upload.bin"
    started = time.perf_counter()
    fd = os.open(target, os.O_RDONLY)
    os.fsync(fd)
    sync = time.perf_counter() - started
    os.close(fd)
    target.unlink()
    return sync
