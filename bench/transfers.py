"""One large file on one connection: up and down, in turns with nginx."""

import json
import os
import time

from bench.load import curl, download, upload
from bench.nginx import Nginx
from bench.plan import Bench, WrongAnswer, discard
from bench.report import Goal, Row
from tests.support.servers import Server


def measure_upload(bench: Bench, reference: Nginx | None) -> list[Row]:
    """Ours is digested, synced and recorded when it is answered; nginx's is in the page cache."""
    ours: list[float] = []
    puts: list[float] = []
    synced_puts: list[float] = []
    with bench.filestead() as server:
        for _ in range(bench.plan.rounds + 1):
            os.sync()  # what the round before has left to write would be counted in this one
            seconds, file_id = _upload(bench, server)
            ours.append(seconds)
            discard(server, file_id)
            if reference is not None:
                os.sync()
                put, sync = _put(bench, reference)
                puts.append(put)
                synced_puts.append(put + sync)
    title = f"upload {_megabytes(bench)}"
    return [
        Row(
            measure=title,
            unit="s",
            ours=ours[1:],
            against="nginx PUT",
            reference=puts[1:],
            goal=Goal(3.5, of="ratio"),
        ),
        Row(measure=title, unit="s", ours=ours[1:], against="nginx PUT, then fsync", reference=synced_puts[1:]),
    ]


def measure_download(bench: Bench, reference: Nginx | None) -> list[Row]:
    """Both files are in the page cache."""
    source = bench.random_file(bench.plan.file_bytes)
    ours: list[float] = []
    gets: list[float] = []
    with bench.filestead() as server:
        _, file_id = _upload(bench, server)
        if reference is not None:
            curl("--upload-file", str(source), f"{reference.url}/download.bin")
        os.sync()
        for _ in range(bench.plan.rounds + 1):
            ours.append(_whole(bench, download(server, file_id)))
            if reference is not None:
                gets.append(_whole(bench, ["--output", "/dev/null", f"{reference.url}/download.bin"]))
    if reference is not None:
        (reference.files / "download.bin").unlink()
    row = Row(
        measure=f"download {_megabytes(bench)}",
        unit="s",
        ours=ours[1:],
        against="nginx GET",
        reference=gets[1:],
        goal=Goal(1.3, of="ratio"),
    )
    return [row]


def _megabytes(bench: Bench) -> str:
    return f"{bench.plan.file_bytes // 1024**2} MB"


def _upload(bench: Bench, server: Server) -> tuple[float, str]:
    answer = curl(*upload(server, bench.random_file(bench.plan.file_bytes)))
    file = json.loads(answer.body)
    if file["bytes"] != bench.plan.file_bytes:
        raise WrongAnswer(f"{bench.plan.file_bytes} bytes were uploaded, {file['bytes']} were stored")
    return answer.seconds, file["id"]


def _put(bench: Bench, reference: Nginx) -> tuple[float, float]:
    """The seconds of a PUT, and those of syncing the file after it."""
    source, target = bench.random_file(bench.plan.file_bytes), reference.files / "upload.bin"
    put = curl("--upload-file", str(source), f"{reference.url}/{target.name}").seconds
    started = time.perf_counter()
    fd = os.open(target, os.O_RDONLY)
    os.fsync(fd)
    sync = time.perf_counter() - started
    os.close(fd)
    target.unlink()
    return put, sync


def _whole(bench: Bench, arguments: list[str]) -> float:
    answer = curl(*arguments)
    if answer.received != bench.plan.file_bytes:
        raise WrongAnswer(f"{answer.received} of {bench.plan.file_bytes} bytes arrived")
    return answer.seconds
