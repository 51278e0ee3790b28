"""`filestead top`: rates and quantiles between two readings, and the page of a real server."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from filestead.cli.admin.top.formats import duration, size
from filestead.cli.admin.top.readings import Change, Reading
from filestead.cli.admin.top.screen import page
from tests.support.installations import clean_environment
from tests.support.servers import KEY, Server, run_command

BEFORE = """
filestead_requests_total{method="GET",route="/a",status="200"} 100
filestead_requests_total{method="GET",route="/b",status="200"} 50
filestead_request_seconds_bucket{method="GET",route="/a",le="0.1"} 10
filestead_request_seconds_bucket{method="GET",route="/a",le="1.0"} 10
filestead_request_seconds_bucket{method="GET",route="/a",le="+Inf"} 10
"""
NOW = """
filestead_requests_total{method="GET",route="/a",status="200"} 120
filestead_requests_total{method="GET",route="/a",status="503"} 4
filestead_requests_total{method="GET",route="/b",status="200"} 8
filestead_request_seconds_bucket{method="GET",route="/a",le="0.1"} 15
filestead_request_seconds_bucket{method="GET",route="/a",le="1.0"} 19
filestead_request_seconds_bucket{method="GET",route="/a",le="+Inf"} 20
filestead_build_info{version="1.2.3",python="3",installation="embedded",role="all"} 1
filestead_project_used_bytes{project="proj_\\u001b[2J"} 1024
filestead_database_up 0
"""


def change() -> Change:
    return Change(Reading.parse(BEFORE, 10.0), Reading.parse(NOW, 12.0))


def test_rates() -> None:
    assert change().rate("requests_total", route="/a") == 12
    assert change().rate("requests_total", route="/b") == 4, "the server was restarted: its counters began at zero"
    assert change().rates_by("status", "requests_total") == {"200": 14, "503": 2}
    assert change().rate("none_total") == 0


def test_quantiles_are_interpolated_as_prometheus_does() -> None:
    """Five of ten in the first bucket, four in the second, one above."""
    assert change().quantile(0.5, "request", route="/a") == pytest.approx(0.1)
    assert change().quantile(0.25, "request", route="/a") == pytest.approx(0.05)
    assert change().quantile(0.7, "request", route="/a") == pytest.approx(0.1 + 0.9 * 2 / 4)
    assert change().quantile(0.99, "request", route="/a") == 1.0
    assert change().quantile(0.5, "request", route="/b") is None


def test_the_page() -> None:
    lines = page(change(), "http://t/metrics")
    assert lines[0].startswith("Filestead 1.2.3 embedded all  http://t/metrics")
    text = "\n".join(lines)
    for words in ("requests 16.0/s  5xx 2.0/s", "GET     /a     12.0/s", "!! the database cannot be read"):
        assert words in text, text


BATCHES_BEFORE = """
filestead_batch_lines_total{outcome="completed"} 100
filestead_upstream_input_tokens_total{upstream="gpu",model="m"} 1000
filestead_upstream_cached_tokens_total{upstream="gpu",model="m"} 10
"""
BATCHES_NOW = """
filestead_batches{status="in_progress"} 3
filestead_batches_oldest_seconds{status="in_progress"} 600
filestead_batch_lines_left 12345
filestead_batch_remaining_seconds 7300
filestead_batch_slack_seconds -90
filestead_batch_lines_total{outcome="completed"} 300
filestead_batch_retries_total{cause="busy"} 4
filestead_batches_paused 2
filestead_upstream_limit{upstream="gpu",model="m"} 16
filestead_upstream_in_flight{upstream="gpu",model="m"} 12
filestead_upstream_request_seconds_bucket{upstream="gpu",model="m",outcome="ok",le="0.1"} 200
filestead_upstream_request_seconds_bucket{upstream="gpu",model="m",outcome="ok",le="+Inf"} 200
filestead_upstream_request_seconds_count{upstream="gpu",model="m",outcome="ok"} 200
filestead_upstream_request_seconds_count{upstream="gpu",model="m",outcome="busy"} 4
filestead_upstream_input_tokens_total{upstream="gpu",model="m"} 3000
filestead_upstream_cached_tokens_total{upstream="gpu",model="m"} 1510
filestead_upstream_output_tokens_total{upstream="gpu",model="m"} 500
filestead_upstream_breaker_open{upstream="gpu"} 0
filestead_upstream_breaker_open{upstream="spare"} 1
filestead_upstream_paused_models{upstream="gpu"} 1
"""


def test_batches_and_model_servers() -> None:
    lines = page(Change(Reading.parse(BATCHES_BEFORE, 10.0), Reading.parse(BATCHES_NOW, 12.0)), "t")
    found = [" ".join(line.split()) for line in lines]
    for wanted in (
        "in_progress 3 10 min",
        "lines left 12,345 completed 100.0/s",
        "time slowest 2.0 h deadline - to spare -90.0 s",
        "retries busy 2.0/s",
        "!! batches that pause, because their results cannot be stored: 2",
        "gpu m 12 16 102.0/s 50.0 ms 95.0 ms 250.0/s 75%",
        "!! the model server spare cannot be reached",
        "!! the model server gpu refuses the key or the model; models: 1",
    ):
        assert wanted in found, lines
    assert not [line for line in page(change(), "t") if "BATCHES" in line or "MODEL" in line], "there are none"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0012, "1.2 ms"), (2.25, "2.2 s"), (600, "10 min"), (36_000, "10.0 h")]
)
def test_durations(value: float | None, text: str) -> None:
    assert duration(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (3 * 2**40, "3.0 TiB")])
def test_sizes(value: float, text: str) -> None:
    assert size(value) == text


def test_top_of_a_server(server: Server) -> None:
    key = run_command(
        server.data_dir, "keys", "create", "--project", "w", "--scope", "metrics", place=server.place
    ).stdout.strip()
    server.upload()
    words = [sys.executable, "-m", "filestead.cli.main", "top", "--interval", "0.3"]
    url = f"{server.origin}/metrics"
    for secret, code, said in ((key, 0, ""), (KEY, 1, "keys create --project default --scope metrics")):
        done = subprocess.run(
            [*words, "--once", "--url", url], env=clean_environment() | {"OPENAI_API_KEY": secret},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, secret in done.stdout + done.stderr) == (code, False)
        assert said in done.stderr
        assert ("PROJECT" in done.stdout) == (code == 0)
    done = subprocess.run(
        [*words, "--once", "--url", "http://127.0.0.1:9/metrics"], env=clean_environment(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("filestead: no metrics from http://127.0.0.1:9/metrics: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_terminal_is_as_before_after_ctrl_c(tmp_path: Path) -> None:
    with Server(tmp_path / "data", metrics_port=0) as server:
        url = next(line for line in server.output.splitlines() if line.startswith("Metrics: ")).removeprefix(
            "Metrics: "
        )
        control, terminal = pty.openpty()
        words = [sys.executable, "-m", "filestead.cli.main", "top", "--interval", "0.2", "--url", url]
        process = subprocess.Popen(words, env=clean_environment(), stdin=terminal, stdout=terminal, stderr=terminal)
        os.close(terminal)
        shown: list[bytes] = []

        def read() -> None:
            while True:
                try:
                    shown.append(os.read(control, 65536))
                except OSError:
                    return

        reader = threading.Thread(target=read)
        reader.start()
        until = time.monotonic() + 30
        while b"".join(shown).count(b"Filestead ") < 2:
            assert time.monotonic() < until, shown
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (-signal.SIGINT, 130)
        reader.join(10)
        os.close(control)
    text = b"".join(shown)
    assert text.startswith(b"\x1b[?1049h")
    assert b"\x1b[?25h\x1b[?1049l" in text
