"""Small requests: reading one file object, and durable uploads, none of which may be lost."""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import AUTHORIZATION, CONNECTIONS, SLOW_SECONDS, wrk
from bench.nginx import Nginx
from bench.plan import Bench, WrongAnswer, helper
from bench.report import Goal, Row
from bench.seaweedfs import synced_store
from bench.usage import processor_seconds
from tests.support.servers import Server

KIB = 1024
WARM_UP_SECONDS = 1
FORM = (
    b'--bench\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    b'--bench\r\nContent-Disposition: form-data; name="file"; filename="small.txt"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n%b\r\n--bench--\r\n"
)


@dataclass(frozen=True, slots=True)
class Target:
    """What wrk asks for, and what it found in each round."""

    url: str
    """Empty for a server that is not there."""
    pid: int
    """Of a server whose processor time counts, or 0."""
    rates: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)
    """Of 1,000 requests."""

    def load(self, seconds: int, connections: int = CONNECTIONS) -> None:
        """Run one round."""
        if not self.url:
            return
        before = processor_seconds(self.pid) if self.pid else 0
        found = wrk(self.url, seconds, connections=connections)
        self.rates.append(found.rate)
        if self.pid:
            self.processor_seconds.append((processor_seconds(self.pid) - before) / found.requests * 1_000)


def measure_get(bench: Bench, reference: Nginx | None) -> list[Row]:
    """GET /v1/files/{id}; a bare ASGI response on the same library, and a static file of nginx, in turns."""
    with bench.filestead() as server, helper("bench.bare_asgi") as other:
        ours = Target(f"{server.base_url}/files/{server.upload(b'x' * KIB)['id']}", server.process.pid)
        bare = Target(other.origin, other.pid)
        static = Target("", 0)
        if reference is not None:
            (reference.files / "1k.txt").write_bytes(b"x" * KIB)
            static = Target(f"{reference.url}/1k.txt", 0)
        for seconds in turns(bench):
            for target in (ours, bare, static):
                target.load(seconds)
    title = "GET /v1/files/{id}, 16 at once"
    return [
        Row(
            measure=title,
            unit="/s",
            ours=ours.rates[1:],
            against="bare ASGI response",
            reference=bare.rates[1:],
            goal=Goal(0.45, of="ratio", at_least=True),
        ),
        Row(
            measure=title,
            unit="/s",
            ours=ours.rates[1:],
            against="nginx static 1 KB",
            reference=static.rates[1:],
            goal=Goal(16_000, at_least=True),
        ),
        Row(
            measure="processor time of 1,000 of them",
            unit="s",
            ours=ours.processor_seconds[1:],
            against="bare ASGI response",
            reference=bare.processor_seconds[1:],
        ),
    ]


def measure_workers(bench: Bench, _: Nginx | None) -> list[Row]:
    """GET /v1/files/{id} with two workers beside one."""
    with bench.filestead(workers=2) as two, bench.filestead() as one:
        targets = [
            Target(f"{server.base_url}/files/{server.upload(b'x' * KIB)['id']}", server.process.pid)
            for server in (two, one)
        ]
        for seconds in turns(bench):
            for target in targets:
                target.load(seconds, connections=2 * CONNECTIONS)
    row = Row(
        measure="GET /v1/files/{id}, two workers, 32 at once",
        unit="/s",
        ours=targets[0].rates[1:],
        against="one worker",
        reference=targets[1].rates[1:],
        goal=Goal(1.6, of="ratio", at_least=True),
        note="wrk runs on the same cores",
    )
    return [row]


def measure_small_uploads(bench: Bench, _: Nginx | None) -> list[Row]:
    """Each answer is 200, and each id that was answered is listed afterwards."""
    rates: list[float] = []
    puts: list[float] = []
    used: list[float] = []
    body = form(bench)
    answered: list[str] = []
    with bench.filestead() as server, synced_store(bench) as store:
        for number, seconds in enumerate(turns(bench)):
            answers = bench.directory / f"answers-{number}"
            before = processor_seconds(server.process.pid)
            rates.append(upload_for(server.base_url, seconds, body, answers))
            ids = answers.read_text().split()
            used.append((processor_seconds(server.process.pid) - before) / len(ids) * 1_000)
            answered += ids
            if store is not None:
                puts.append(store.put_for(seconds, KIB))
        found = list(listed(server))
    require_all(answered, found, in_flight=CONNECTIONS * len(rates))
    title = "durable 1 KB uploads, 16 at once"
    return [
        Row(
            measure=title,
            unit="/s",
            ours=rates[1:],
            goal=Goal(4_000, at_least=True),
            note=f"{len(answered):,} uploads were answered with 200, each of them is listed",
        ),
        Row(
            measure=title,
            unit="/s",
            ours=rates[1:],
            against="SeaweedFS S3 PUT, synced",
            reference=puts[1:],
            goal=Goal(2, of="ratio", at_least=True),
        ),
        Row(measure="processor time of 1,000 of them", unit="s", ours=used[1:]),
        Row(measure="durable 1 KB upload, one at a time", unit="ms", ours=_one_at_a_time(bench), goal=Goal(1.0)),
    ]


def _one_at_a_time(bench: Bench) -> list[float]:
    """Milliseconds of each upload on one connection, of a client that does nothing but send and receive."""
    body = form(bench).read_bytes()
    with bench.filestead() as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = (
            f"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\n{AUTHORIZATION}\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: multipart/form-data; boundary=bench\r\n\r\n"
        ).encode()
        took: list[float] = []
        for _ in range(bench.plan.single_uploads):
            started = time.perf_counter()
            connection.sendall(head + body)
            answer = connection.recv(64 * KIB)
            took.append((time.perf_counter() - started) * 1_000)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise WrongAnswer(f"an upload was answered with {answer[:100]!r}")
        count = sum(1 for _ in listed(server))
    if count != len(took):
        raise WrongAnswer(f"{len(took)} uploads were answered with 200, {count} are listed")
    return took[len(took) // 10 :]


def form(bench: Bench) -> Path:
    """The body of an upload of 1 KB."""
    path = bench.directory / "form"
    path.write_bytes(FORM % (b"x" * KIB))
    return path


def turns(bench: Bench) -> Iterator[int]:
    """The seconds of the warm-up and then of each round."""
    yield WARM_UP_SECONDS
    yield from [bench.plan.load_seconds] * bench.plan.load_rounds


def upload_for(
    base_url: str, seconds: int, body: Path, answers: Path, connections: int = CONNECTIONS, *, slow: int = SLOW_SECONDS
) -> float:
    """Uploads a second; the id of each goes to `answers`. One of more than `slow` seconds counts as broken."""
    load = wrk(f"{base_url}/files", seconds, connections=connections, arguments=(body, answers), slow=slow)
    written = len(answers.read_text().split())
    if written != load.requests:
        raise WrongAnswer(f"{load.requests} answers, but only {written} with status 200 and an id")
    return load.rate


def listed(server: Server) -> Iterator[str]:
    """The id of every file."""
    query = {"order": "asc"}
    while True:
        page = server.client.get("/files", params=query).raise_for_status().json()
        yield from (file["id"] for file in page["data"])
        if not page["has_more"]:
            return
        query["after"] = page["last_id"]


def require_all(answered: list[str], listed: list[str], in_flight: int) -> None:
    """What wrk had sent when its time was up may be stored without having been answered, and nothing else may."""
    if lost := set(answered) - set(listed):
        raise WrongAnswer(f"{len(lost)} files were answered with 200 and are not listed, such as {min(lost)}")
    if len(set(answered)) != len(answered) or len(set(listed)) != len(listed):
        raise WrongAnswer("an id was given or listed twice")
    if len(listed) - len(answered) > in_flight:
        raise WrongAnswer(f"{len(listed)} files are listed, but only {len(answered)} were answered with 200")
