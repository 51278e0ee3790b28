"""Uploads that must be refused before their body has been read, as jobs that every sender understands."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.servers import KEY, Server, run_command

BOUNDARY = "job"
PURPOSE = '--job\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{}\r\n'
UNKNOWN = '--job\r\nContent-Disposition: form-data; name="surprise"\r\n\r\nyes\r\n'
FILE = '--job\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'


@dataclass(frozen=True)
class Refusal:
    """What is wrong with an upload, and the status that says so. A header of None is left out."""

    status: int
    method: str = "POST"
    path: str = "/v1/files"
    headers: tuple[tuple[str, str | None], ...] = ()
    fields: str = PURPOSE.format("user_data")


REFUSALS = {
    "wrong key": Refusal(401, headers=(("authorization", "Bearer sk-wrong-wrong-wrong-wrong"),)),
    "no key": Refusal(401, headers=(("authorization", None),)),
    "key without the scope": Refusal(401, headers=(("authorization", "Bearer {reader}"),)),
    "foreign project": Refusal(401, headers=(("openai-project", "proj_foreign"),)),
    "unknown path": Refusal(404, path="/v1/nothing"),
    "trailing slash": Refusal(404, path="/v1/files/"),
    "wrong method": Refusal(405, method="PUT"),
    "unknown first field": Refusal(400, fields=UNKNOWN + PURPOSE.format("user_data")),
    "unknown purpose": Refusal(400, fields=PURPOSE.format("nope")),
    "bad idempotency key": Refusal(400, headers=(("idempotency-key", "a" * 300),)),
}


@dataclass(frozen=True)
class Job:
    """One upload to send `tries` times: `fields` before `size` bytes of content."""

    name: str
    status: int
    method: str
    url: str
    headers: dict[str, str]
    fields: str
    size: int
    chunked: bool
    expect: bool
    tries: int

    @property
    def body(self) -> bytes:
        """The whole body."""
        return self.fields.encode() + b"x" * self.size + b"\r\n--job--\r\n"


def plan(server: Server, *, size: int, tries: int) -> list[Job]:
    """Every refusal, with a length and chunked, with and without `Expect: 100-continue`."""
    reader = run_command(server.data_dir, "keys", "create", "--project", "default", "--scope", "files:read")
    jobs = []
    for name, refusal in REFUSALS.items():
        headers = {"authorization": f"Bearer {KEY}", "content-type": f"multipart/form-data; boundary={BOUNDARY}"}
        for header, value in refusal.headers:
            if value is None:
                del headers[header]
            else:
                headers[header] = value.replace("{reader}", reader.stdout.strip())
        for chunked in (False, True):
            for expect in (False, True):
                jobs.append(
                    Job(
                        name,
                        refusal.status,
                        refusal.method,
                        server.origin + refusal.path,
                        headers,
                        refusal.fields + FILE,
                        size,
                        chunked,
                        expect,
                        tries,
                    )
                )
    return jobs


def write(jobs: list[Job], path: Path) -> None:
    """The jobs as a file of JSON, for senders in other languages."""
    path.write_text(json.dumps([dataclasses.asdict(job) for job in jobs]))


def write_lines(jobs: list[Job], path: Path) -> None:
    """The jobs as lines of fields between tabs, for a language without JSON at hand."""
    lines = []
    for job in jobs:
        headers = "\x1f".join(f"{name}\x1e{value}" for name, value in job.headers.items())
        fields = job.fields.replace("\r\n", "\x1d")
        flags = f"{int(job.chunked)}\t{int(job.expect)}\t{job.tries}"
        lines.append(f"{job.name}\t{job.method}\t{job.url}\t{headers}\t{fields}\t{job.size}\t{flags}\n")
    path.write_text("".join(lines))


def outcome(status: int, body: bytes) -> Any:
    """What a sender has got: the status of an answer in the envelope, or what was wrong with it."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return f"{status} without the envelope: {body[:100]!r}"
    return status if set(error) == {"message", "type", "param", "code"} else f"{status} with {sorted(error)}"
