"""Metrics and the log of a real server: what each request leaves, with several processes, and what never appears."""

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.keys import make_keys_over_http
from tests.support.servers import KEY, Server, run_command

CANARY = "canary-7f3a9c"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def metrics_url(server: Server) -> str:
    found = re.search(r"Metrics: (http://\S+)", server.output)
    assert found
    return found[1]


def read(server: Server) -> Samples:
    response = httpx2.get(metrics_url(server))
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the series that have these labels."""
    return sum(
        found for (own, pairs), found in samples.items() if own == f"filestead_{name}" and labels.items() <= set(pairs)
    )


def read_when(server: Server, name: str, count: float, **labels: str) -> Samples:
    """The metrics once the series with these labels add up to this: a request is counted when its response has been sent."""
    until = time.monotonic() + 30
    while value(found := read(server), name, **labels) != count:
        assert time.monotonic() < until, value(found, name, **labels)
        time.sleep(0.02)
    return found


def requests_in(server: Server, *, wait_for: int = 0) -> list[dict[str, Any]]:
    """The lines of requests in the log."""
    until = time.monotonic() + 30
    while True:
        lines = [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]
        found = [line for line in lines if line["message"] == "request"]
        if len(found) >= wait_for or time.monotonic() > until:
            return found
        time.sleep(0.02)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "data", metrics_port=0) as server:
        yield server


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_what_requests_leave_in_the_metrics(one: Server) -> None:
    content = os.urandom(3_000_000)
    file = one.upload(content)
    assert one.client.get(f"/files/{file['id']}/content").content == content
    assert one.client.get("/files/none").status_code == 404
    assert one.client.get("/no/such/path").status_code == 404
    assert httpx2.get(f"{one.base_url}/files", headers={"Authorization": "Bearer wrong"}).status_code == 401
    found = read_when(one, "requests_total", 1, status="401")
    assert value(found, "requests_total", method="POST", route="/v1/files", status="200") == 1
    assert value(found, "requests_total", route="/v1/files/{file_id}/content", status="200") == 1
    assert value(found, "requests_total", route="/v1/files/{file_id}", status="404") == 1
    assert value(found, "requests_total", route="none", status="404") == 1
    assert value(found, "request_seconds_count", method="POST", route="/v1/files") == 1
    assert 3_000_000 < value(found, "received_bytes_total", route="/v1/files") < 3_001_000
    assert value(found, "sent_bytes_total", route="/v1/files/{file_id}/content") == 3_000_000
    assert value(found, "refusals_total", reason="file_not_found") == 1
    assert value(found, "refusals_total", reason="invalid_api_key") == 1
    assert value(found, "database_seconds_count", operation="write") >= 2
    assert value(found, "blob_store_seconds_count", operation="put") == 1
    assert value(found, "blob_store_seconds_count", operation="read") == 1
    assert value(found, "database_up") == value(found, "build_info") == 1
    assert value(found, "project_used_bytes") == 3_000_000
    assert value(found, "worker_memory_bytes", worker="0") > 10_000_000
    if "FILESTEAD_DATABASE_URL" not in one.place.variables():
        assert (
            value(found, "sync_seconds_count", kind="file") == value(found, "sync_seconds_count", kind="directory") == 1
        )
        assert value(found, "sync_seconds_count", kind="commit") >= 2


def test_the_event_loop_is_measured(one: Server) -> None:
    until = time.monotonic() + 30
    while not value(read(one), "event_loop_lag_seconds_count"):
        assert time.monotonic() < until


def test_transfers_in_progress(one: Server) -> None:
    with socket.create_connection(("127.0.0.1", one.port), timeout=10) as connection:
        head = f"POST /v1/files HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 1000\r\n"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n".encode())
        until = time.monotonic() + 30
        while value(read(one), "transfers_in_flight", direction="upload") != 1:
            assert time.monotonic() < until
    read_when(one, "requests_total", 1, route="/v1/files", status="499")  # the client has gone
    read_when(one, "transfers_in_flight", 0)


def test_a_download_that_the_client_breaks_off_ends(one: Server) -> None:
    file = one.upload(os.urandom(30_000_000))
    with one.client.stream("GET", f"/files/{file['id']}/content") as response:
        assert value(read(one), "transfers_in_flight", direction="download") == 1
        next(response.iter_bytes())
    read_when(one, "requests_total", 1, route="/v1/files/{file_id}/content")
    found = read_when(one, "transfers_in_flight", 0)
    assert 0 < value(found, "sent_bytes_total", route="/v1/files/{file_id}/content") <= 30_000_000


def test_a_request_that_is_rejected_before_routing_is_counted(one: Server) -> None:
    with socket.create_connection(("127.0.0.1", one.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/9.9\r\n\r\n")
        assert b" 400 " in connection.recv(65536)
    read_when(one, "rejected_requests_total", 1, status="400")


def test_two_processes_are_one_server(tmp_path: Path) -> None:
    """Also when one of them is killed: what it has counted stays."""
    with Server(tmp_path / "data", metrics_port=0, workers=2) as server:
        counted = 0
        read_when(server, "worker_starts_total", 2)
        workers = psutil.Process(server.process.pid).children()
        assert len(workers) == 2
        for round_ in range(2):
            for _ in range(60):
                with httpx2.Client() as client:  # a new connection each time, which either process may accept
                    client.get(f"{server.base_url}/files", headers={"Authorization": f"Bearer {KEY}"})
                counted += 1
            read_when(server, "requests_total", counted, route="/v1/files")
            for _ in range(6):
                found = read(server)
                assert value(found, "requests_total", route="/v1/files") == counted
                assert value(found, "worker_starts_total") == 2 + round_
            if not round_:
                workers[0].send_signal(signal.SIGKILL)
                until = time.monotonic() + 20
                while value(read(server), "worker_starts_total") != 3:
                    assert time.monotonic() < until
        share = {process.pid: process.cpu_times().user for process in psutil.Process(server.process.pid).children()}
        assert len(share) == 2


def test_a_hostile_client_adds_no_series(one: Server) -> None:
    one.client.get("/files/none")
    before = len(read(one))
    with contextlib.suppress(httpx2.HTTPError):
        for number in range(50):
            one.client.get(f"/files/none-{number}")
            one.client.get(f"/{CANARY}-{number}", params={"a": str(number)})
            one.client.request("PURGE", f"/files/{number}")
            one.client.request("REPORT", f"/files/{number}")
            key = {"Authorization": f"Bearer wrong-{number}", "User-Agent": f"agent-{number}"}
            one.client.get("/files", headers=key)
            one.client.get("/files", params={"order": f"order-{number}"})
            one.client.post("/files", data={"purpose": f"purpose-{number}"}, files={"file": ("a", b"a")})
    found = read(one)
    assert len(found) - before < 200, "a few routes, statuses and reasons, each with its buckets"
    assert not any("-49" in label for _, pairs in found for _, label in pairs)


def test_the_key_for_metrics(server: Server) -> None:
    made = run_command(
        server.data_dir, "keys", "create", "--project", "watch", "--scope", "metrics", place=server.place
    )
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    response = httpx2.get(f"{server.origin}/metrics", headers=headers)
    assert response.status_code == 200
    assert "filestead_requests_total" in response.text
    assert httpx2.get(f"{server.base_url}/files", headers=headers).status_code == 401, "it reads no files"
    refused = server.client.get(f"{server.origin}/metrics")
    assert refused.status_code == 401
    assert "Missing scopes: metrics" in refused.text
    assert httpx2.get(f"{server.origin}/metrics").status_code == 401


def test_the_port_for_metrics_serves_nothing_else(one: Server) -> None:
    url = metrics_url(one)
    origin = url.removesuffix("/metrics")
    headers = {"Authorization": f"Bearer {KEY}"}
    assert httpx2.get(f"{origin}/v1/files", headers=headers).status_code == 404
    assert httpx2.post(url, content=b"x").status_code == 405
    head = httpx2.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert one.client.get(f"{one.origin}/metrics").status_code == 401, "the port of the API needs the scope"


def test_a_worker_node_has_metrics(tmp_path: Path) -> None:
    with Server(tmp_path / "data", metrics_port=0, role="worker") as server:
        made = run_command(
            server.data_dir, "keys", "create", "--project", "w", "--scope", "metrics", place=server.place
        )
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        assert httpx2.get(f"{server.origin}/metrics", headers=headers).status_code == 200
        assert value(read(server), "build_info", role="worker") == 1


def test_jobs_are_in_the_metrics(one: Server) -> None:
    file = one.upload(b"some words to be indexed", name="a.txt")
    store = one.client.post("/vector_stores", json={"file_ids": [file["id"]]}).json()
    until = time.monotonic() + 60
    while value(found := read(one), "job_seconds_count", kind="index", outcome="done") < 1:
        assert time.monotonic() < until, one.client.get(f"/vector_stores/{store['id']}").text
        time.sleep(0.1)
    assert value(found, "job_seconds_sum", kind="index") > 0


def test_indexed_files_are_in_the_metrics(one: Server) -> None:
    contents = {"a.txt": b"some words to be indexed", "b.md": b"others", "empty.txt": b"", "broken.pdf": b"%PDF-1.4 no"}
    files = [one.upload(content, name=name)["id"] for name, content in contents.items()]
    store = one.client.post("/vector_stores", json={"file_ids": files}).json()
    until = time.monotonic() + 60
    while (counts := one.client.get(f"/vector_stores/{store['id']}").json()["file_counts"])["in_progress"]:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert (counts["completed"], counts["failed"]) == (2, 2)
    while value(found := read(one), "indexed_files_total") < 4:
        assert time.monotonic() < until
    assert value(found, "indexed_files_total", outcome="completed") == 2
    assert value(found, "indexed_files_total", outcome="failed") == 2
    assert value(found, "indexed_bytes_total", outcome="completed") == len(contents["a.txt"]) + len(contents["b.md"])
    assert value(found, "indexed_bytes_total", outcome="failed") == len(contents["broken.pdf"])


# --- the log ----------------------------------------------------------------------------------------------------------


def test_a_line_for_each_request(one: Server) -> None:
    content = os.urandom(2_000_000)
    response = one.client.post("/files", data={"purpose": "user_data"}, files={"file": ("a", content)})
    one.client.get(f"/files/{response.json()['id']}")
    one.client.get("/files/none")
    found = {(line["method"], line["route"], line["status"]): line for line in requests_in(one, wait_for=4)}
    created = found["POST", "/v1/files", 200]
    assert created["request_id"] == response.headers["x-request-id"]
    ((key_id, project),) = one.place.sql("SELECT id, project_id FROM keys")
    assert (created["key_id"], created["project"]) == (key_id, project)
    assert 2_000_000 < created["received"] < 2_001_000
    assert created["sent"] == len(response.content)
    parts = created["database_us"], created["blob_store_us"], created["client_us"]
    assert all(part > 0 for part in parts)
    assert max(parts) <= created["head_us"] <= created["total_us"] < 60_000_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", created["time"])
    assert found["GET", "/v1/files/{file_id}", 404]["reason"] == "file_not_found"
    assert "blob_store_us" not in found["GET", "/v1/files/{file_id}", 200]
    assert "reason" not in found["GET", "/v1/files/{file_id}", 200]


def test_a_trace_is_continued(one: Server) -> None:
    one.client.get("/files", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    for header in (
        "",
        "00-x-y-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-x",
    ):
        one.client.get("/files", headers={"traceparent": header})
    lines = [line for line in requests_in(one, wait_for=7) if line["route"] == "/v1/files"]
    traced = [line["traceparent"] for line in lines if "traceparent" in line]
    assert len(lines) == 6
    (own,) = traced
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", own)
    assert PARENT not in own, "this server's part has its own id"


def test_text_and_levels(tmp_path: Path) -> None:
    with Server(tmp_path / "text", log="text") as server:
        server.client.get("/files")
        until = time.monotonic() + 30
        while not (
            found := re.search(r"^\S+Z INFO req_\w{32} GET /v1/files 200 .* key_\w+$", server.output, re.MULTILINE)
        ):
            assert time.monotonic() < until, server.output
        assert "{" not in found[0]
    with Server(tmp_path / "quiet", log_level="warning") as server:
        server.client.get("/files")
        time.sleep(0.5)
        assert "/v1/files " not in server.output
        assert requests_in(server) == []


def test_the_last_lines_are_written_at_the_end(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    for _ in range(20):
        server.client.get("/files")
    server.stop()
    assert len([line for line in requests_in(server) if line["route"] == "/v1/files"]) == 20


def test_every_line_is_whole_json_with_several_processes(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    with contextlib.closing(os.fdopen(read_end, "rb")) as reader:
        pid = os.fork()
        if not pid:
            os.dup2(write_end, 2)
            code = "from filestead.cli.main import main; main()"
            environment = {
                "PATH": os.environ["PATH"], "FILESTEAD_DATA_DIR": str(tmp_path / "data"), "FILESTEAD_PORT": "0",
                "FILESTEAD_WORKERS": "2", "FILESTEAD_BOOTSTRAP_KEY": KEY,
            }  # fmt: skip
            os.dup2(os.open(tmp_path / "out", os.O_CREAT | os.O_WRONLY), 1)
            import sys

            os.execve(sys.executable, [sys.executable, "-c", code, "serve"], environment)
        os.close(write_end)
        until = time.monotonic() + 30
        while not (
            found := re.search(r"serves (\S+)", (tmp_path / "out").read_text() if (tmp_path / "out").exists() else "")
        ):
            assert time.monotonic() < until
            time.sleep(0.05)
        headers = {"Authorization": f"Bearer {KEY}"}
        clients = [httpx2.Client(base_url=found[1], headers=headers) for _ in range(8)]
        for _ in range(60):
            for client in clients:
                client.get("/files")
        os.kill(pid, signal.SIGTERM)
        lines = reader.read().decode().splitlines()
        os.waitpid(pid, 0)
    parsed = [json.loads(line) for line in lines]
    assert len([line for line in parsed if line.get("route") == "/v1/files"]) == 480


@pytest.mark.promise("S-29")
def test_secrets_and_names_are_nowhere(tmp_path: Path) -> None:
    key = f"sk-{CANARY}-0123456789"
    with Server(tmp_path / "data", key=key, metrics_port=0, log_level="debug") as server:
        with httpx2.Client(base_url=server.base_url) as client:
            right = {"Authorization": f"Bearer {key}"}
            form = {"purpose": "user_data"}
            client.post("/files", headers=right, data=form, files={"file": (f"{CANARY}.txt", CANARY.encode())})
            client.post(
                "/files", headers=right, data=form, files={"file": (f"{CANARY}.txt", b"\xff" + CANARY.encode())}
            )
            client.post("/files", headers=right, data={"purpose": CANARY}, files={"file": (CANARY, b"x")})
            client.get("/files", headers={"Authorization": f"Bearer wrong-{CANARY}-key-of-somebody"})
            client.get("/files", params={"after": CANARY, "api_key": key}, headers=right)
            client.get(f"/files/{CANARY}", headers={**right, "Idempotency-Key": CANARY, "User-Agent": CANARY})
            client.get(f"/{CANARY}", headers={**right, "traceparent": CANARY, "tracestate": CANARY, "Cookie": CANARY})
            client.post("/vector_stores", headers=right, json={"name": CANARY, "metadata": {CANARY: CANARY}})
            client.request("GET", "/files", headers={**right, "OpenAI-Organization": CANARY})
        made = make_keys_over_http(server)
        for secret in made:
            httpx2.get(f"{server.base_url}/files", headers={"Authorization": f"Bearer {secret}"})
        text = httpx2.get(metrics_url(server)).text
        assert len(requests_in(server, wait_for=10 + len(made))) >= 10 + len(made)
        assert CANARY not in text
        for told in (text, server.output):
            assert [secret for secret in made if secret in told] == []
        assert CANARY not in "\n".join(line for line in server.output.splitlines() if line.startswith("{"))
