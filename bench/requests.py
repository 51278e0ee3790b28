"""Many small requests at once: reading one file object, and durable uploads, none of which may be lost."""

from collections.abc import Iterator
from pathlib import Path

from bench.load import CONNECTIONS, wrk
from bench.nginx import Nginx
from bench.plan import Bench, WrongAnswer
from bench.report import Goal, Row
from tests.support.servers import Server

KIB = 1024
WARM_UP_SECONDS = 1
FORM = (
    b'--bench\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    b'--bench\r\nContent-Disposition: form-data; name="file"; filename="small.txt"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n%b\r\n--bench--\r\n"
)


def measure_get(bench: Bench, reference: Nginx | None) -> list[Row]:
    """GET /v1/files/{id}; a static file of nginx shows what wrk and the loopback can do at all."""
    ours: list[float] = []
    static: list[float] = []
    with bench.filestead() as server:
        target = f"{server.base_url}/files/{server.upload(b'x' * KIB)['id']}"
        if reference is not None:
            (reference.files / "1k.txt").write_bytes(b"x" * KIB)
        for seconds in turns(bench):
            ours.append(wrk(target, seconds).rate)
            if reference is not None:
                static.append(wrk(f"{reference.url}/1k.txt", seconds).rate)
    row = Row(
        measure="GET /v1/files/{id}, 16 at once",
        unit="/s",
        ours=ours[1:],
        against="nginx static 1 KB",
        reference=static[1:],
        goal=Goal(4_000, at_least=True),
    )
    return [row]


def measure_small_uploads(bench: Bench, _: Nginx | None) -> list[Row]:
    """Each answer is 200, and each id that was answered is listed afterwards."""
    rates: list[float] = []
    body = form(bench)
    answered: list[str] = []
    with bench.filestead() as server:
        for number, seconds in enumerate(turns(bench)):
            answers = bench.directory / f"answers-{number}"
            rates.append(upload_for(server, seconds, body, answers))
            answered += answers.read_text().split()
        found = list(listed(server))
    require_all(answered, found, in_flight=CONNECTIONS * len(rates))
    row = Row(
        measure="durable 1 KB uploads, 16 at once",
        unit="/s",
        ours=rates[1:],
        goal=Goal(800, at_least=True),
        note=f"{len(answered):,} uploads were answered with 200, each of them is listed",
    )
    return [row]


def form(bench: Bench) -> Path:
    """The body of an upload of 1 KB."""
    path = bench.directory / "form"
    path.write_bytes(FORM % (b"x" * KIB))
    return path


def turns(bench: Bench) -> Iterator[int]:
    """The seconds of the warm-up and then of each round."""
    yield WARM_UP_SECONDS
    yield from [bench.plan.load_seconds] * bench.plan.load_rounds


def upload_for(server: Server, seconds: int, body: Path, answers: Path, connections: int = CONNECTIONS) -> float:
    """Uploads a second; the id of each goes to `answers`."""
    load = wrk(f"{server.base_url}/files", seconds, connections=connections, post=body, answers=answers)
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
