"""The log: lines of requests are written by a thread, and a reader that stalls never stops a server."""

import json
import logging
import os
import select
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from filestead.api.http.requests import ServedRequest, UnobservedRequests
from filestead.domain.access import Principal
from filestead.logs import writer
from filestead.logs.formats import JsonFormatter, LogFormat, RequestFormatter, Timestamps
from filestead.logs.writer import MAX_LINES, LineWriter, piece_bytes
from tests.support.waiting import wait_until


async def receive() -> dict[str, object]:
    return {"type": "http.request", "body": b"abc"}


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_lines_come_in_order_and_the_last_ones_at_the_end(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        lines = LineWriter(file.fileno(), bytes, lambda: None)
        for number in range(5_000):
            lines.write(b"%d\n" % number)
        lines.close()
    assert (tmp_path / "log").read_text().split() == [str(number) for number in range(5_000)]


def test_lines_that_come_while_others_are_written_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "DELAY_SECONDS", 0.0)
    with (tmp_path / "log").open("wb") as file:
        lines = LineWriter(file.fileno(), bytes, lambda: None)
        for number in range(200_000):
            lines.write(b"%d\n" % number)
            if number % 5_000 == 0:
                wait_until(lambda: not lines._lines)  # on a busy machine the thread may not run for long
        lines.close()
    written = (tmp_path / "log").read_text().split()
    assert [int(line) for line in written] == sorted(int(line) for line in written)
    assert len(written) == 200_000


@pytest.mark.timing
def test_a_reader_that_stalls_costs_lines_and_no_time(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "CLOSE_SECONDS", 0.2)
    dropped = []
    lines = LineWriter(pipe[1], bytes, lambda: dropped.append(1))
    started = time.monotonic()
    for _ in range(3 * MAX_LINES):
        lines.write(b"x" * 99 + b"\n")
    lines.close()
    assert time.monotonic() - started < 5
    assert len(dropped) >= MAX_LINES - 2_000
    read = 0
    while select.select([pipe[0]], [], [], 0.5)[0]:
        read += len(os.read(pipe[0], 1 << 20))
    assert read // 100 + len(dropped) == 3 * MAX_LINES, "each line is written or counted"


def test_a_closed_log_stops_nothing(pipe: tuple[int, int]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    lines = LineWriter(writing, bytes, lambda: None)
    lines.write(b"a\n")
    time.sleep(0.3)
    lines.write(b"b\n")
    lines.close()
    os.close(writing)


def test_pieces_of_a_pipe_that_processes_share_stay_whole(pipe: tuple[int, int], tmp_path: Path) -> None:
    assert piece_bytes(pipe[1], 2) == select.PIPE_BUF
    assert piece_bytes(pipe[1], 1) > select.PIPE_BUF
    with (tmp_path / "log").open("wb") as file:
        assert piece_bytes(file.fileno(), 2) > select.PIPE_BUF


def served(method: str = "POST") -> ServedRequest:
    return ServedRequest({"method": method, "headers": [], "state": {}}, receive, UnobservedRequests())


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["text", "json"])
async def test_a_line_has_what_is_known(name: LogFormat) -> None:
    request = served()
    await request.receive()
    request.end()
    request.route, request.status, request.reason = "/v1/files", 404, "file_not_found"
    request.traceparent, request.database_seconds = "00-a-b-01", 0.5
    request.principal = Principal("key_a", "u", "proj_a", "p", "org", "o", frozenset())
    before = datetime.now(UTC)
    line = RequestFormatter(name)(request)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    for word in ("POST", "/v1/files", "404", "file_not_found", "00-a-b-01", "key_a", "proj_a", request.id, "5000"):
        assert word.encode() in line.replace(b"500.0", b"5000")
    if name == "json":
        found = json.loads(line)
        assert (found["received"], found["database_us"], found["level"]) == (3, 500_000, "info")
        assert abs((datetime.fromisoformat(found["time"]) - before).total_seconds()) < 30
        bare = json.loads(RequestFormatter("json")(served("GET")))
        assert not {"key_id", "reason", "traceparent", "client_us", "database_us"} & bare.keys()


def test_other_lines_are_objects_too() -> None:
    try:
        raise ValueError("bad \udcff\x1b")
    except ValueError:
        record = logging.LogRecord("filestead", logging.ERROR, "", 1, "failed: %s", ("\udcff\n\x1b",), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line and "\x1b" not in line
    found = json.loads(line)
    assert (found["level"], found["logger"]) == ("error", "filestead")
    assert found["message"].startswith("failed: ")
    assert "ValueError: bad" in found["exception"]


def test_timestamps() -> None:
    timestamps = Timestamps()
    assert timestamps.format(0.0) == "1970-01-01T00:00:00.000Z"
    assert timestamps.format(1.9996) == "1970-01-01T00:00:01.999Z"
    assert timestamps.format(1.5) == "1970-01-01T00:00:01.500Z"
    assert timestamps.format(0.25) == "1970-01-01T00:00:00.250Z"
