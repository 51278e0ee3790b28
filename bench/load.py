"""The clients: curl for whole files, wrk for many requests. Both are other processes, so that they share no thread."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.plan import WrongAnswer, find_program
from tests.support.servers import KEY, Server

CURL_SECONDS = 300
CONNECTIONS = 16
SLOW_SECONDS = 2
AUTHORIZATION = f"Authorization: Bearer {KEY}"
SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Transfer:
    """What curl says of one request."""

    status: int
    seconds: float
    received: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk says of one run."""

    requests: int
    seconds: float
    refused: int
    """Answers other than 200."""
    broken: int
    """Connections that failed, were cut off, or waited too long."""

    @property
    def rate(self) -> float:
        """Answers a second. A run with any other answer than 200 measures nothing."""
        if self.refused or self.broken:
            raise WrongAnswer(f"{self.refused} answers were not 200, {self.broken} connections broke")
        return self.requests / self.seconds


def upload(server: Server, source: Path, *, chunked: bool = False) -> list[str]:
    """The arguments with which curl uploads a file to Filestead."""
    framing = ["--header", "Transfer-Encoding: chunked"] if chunked else []
    form = ["--form", "purpose=user_data", "--form", f"file=@{source};filename=random.bin"]
    return ["--header", AUTHORIZATION, *framing, *form, f"{server.base_url}/files"]


def download(server: Server, file_id: str) -> list[str]:
    """The arguments with which curl downloads a file from Filestead."""
    return ["--header", AUTHORIZATION, "--output", "/dev/null", f"{server.base_url}/files/{file_id}/content"]


def curl(*arguments: str) -> Transfer:
    """One request; the seconds are curl's own, without the start of its process."""
    return curl_together([list(arguments)])[0]


def receive(size: int, arguments: Sequence[str]) -> float:
    """The seconds of a download, which must have so many bytes."""
    answer = curl(*arguments)
    if answer.received != size:
        raise WrongAnswer(f"{answer.received} of {size} bytes arrived")
    return answer.seconds


def curl_together(requests: Sequence[Sequence[str]]) -> list[Transfer]:
    """One process for each request, all at once."""
    report = ["--write-out", "%{stderr}\n%{http_code} %{time_total} %{size_download}"]
    # `-q` has to come first: a user's own configuration must not change what is measured.
    common = ["-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(CURL_SECONDS), *report]
    program = find_program("curl")
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for request in requests:
            processes.append(
                subprocess.Popen([program, *common, *request], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            )
        return [_outcome(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _outcome(process: "subprocess.Popen[bytes]") -> Transfer:
    body, said = process.communicate()
    *errors, last = said.decode().splitlines() or ["0 0 0"]
    status, seconds, received = last.split()
    if process.returncode or not status.startswith("2"):
        raise WrongAnswer(f"curl ended with {process.returncode}, status {status}: {' '.join(errors)} {body[:200]!r}")
    return Transfer(int(status), float(seconds), int(received), body)


def wrk(
    url: str,
    seconds: int,
    *,
    connections: int = CONNECTIONS,
    script: Path = SCRIPT,
    arguments: Sequence[Path] = (),
    authorization: str | None = AUTHORIZATION,
    slow: int = SLOW_SECONDS,
) -> Load:
    """Requests on some connections as fast as they are answered.

    Each script says what it does with which `arguments`. A request of more than `slow` seconds counts as broken.
    """
    header = ["-H", authorization] if authorization else []
    shape = ["-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={slow}s"]
    command = [find_program("wrk"), *shape, *header, "-s", str(script)]
    ran = subprocess.run(
        [*command, url, "--", *arguments],
        env=os.environ | {"LUA_PATH": str(SCRIPT.with_name("?.lua"))},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    if ran.returncode:
        raise WrongAnswer(f"wrk ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    return Load(**json.loads(ran.stdout.splitlines()[-1]))
