"""Traces: the span of each request as a collector receives it, and the parent that model servers are told."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.event_server import EventServer
from tests.support.keys import make_keys_over_http
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.servers import KEY, Server

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
CLIENT = f"00-{TRACE}-{PARENT}-01"
STATE = "vendor=opaque,other=1"
SERVER_KIND = 2
UNSET, ERROR = 0, 2
CANARY = "canary-5d1e0b"


def exporting(receiver: OtlpReceiver, **variables: str) -> dict[str, str]:
    """The environment of a server that exports to this receiver, every 50 ms."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"} | variables


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as made:
        yield made


@pytest.fixture(scope="module")
def upstream() -> Iterator[EventServer]:
    with EventServer(models=("m",)) as made:
        yield made


@pytest.fixture(scope="module")
def traced(receiver: OtlpReceiver, upstream: EventServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(
        tmp_path_factory.mktemp("traced") / "data",
        env=exporting(receiver, OTEL_EXPORTER_OTLP_HEADERS="x-tenant=7", OTEL_RESOURCE_ATTRIBUTES="zone=b"),
        upstream_url=upstream.url,
    ) as made:
        yield made


def line_of(server: Server, response: httpx2.Response) -> dict[str, Any]:
    """The line of the log of a request."""
    until = time.monotonic() + 30
    while True:
        for line in server.output.splitlines():
            if line.startswith("{") and response.headers["x-request-id"] in line:
                return dict(json.loads(line))
        assert time.monotonic() < until
        time.sleep(0.02)


def test_what_the_span_of_a_request_says(traced: Server, receiver: OtlpReceiver) -> None:
    file = traced.upload(b"x" * 50_000)
    response = traced.client.get(f"/files/{file['id']}/content", headers={"traceparent": CLIENT, "tracestate": STATE})
    [span] = receiver.wait_for("GET /v1/files/{file_id}/content")
    assert (span.kind, span.trace_id, span.parent_id, span.trace_state) == (SERVER_KIND, TRACE, PARENT, STATE)
    assert span.status == UNSET
    ((key_id, project),) = traced.place.sql("SELECT id, project_id FROM keys")
    sizes = {"http.request.body.size": 0, "http.response.body.size": 50_000}
    http = {"http.request.method": "GET", "http.route": "/v1/files/{file_id}/content", "http.response.status_code": 200}
    ids = {
        "filestead.request_id": response.headers["x-request-id"],
        "filestead.project_id": project,
        "filestead.key_id": key_id,
    }
    expected = http | sizes | ids
    assert {name: span.attributes.get(name) for name in expected} == expected
    parts = [span.attributes[f"filestead.{part}_seconds"] for part in ("database", "blob_store")]
    assert all(part > 0 for part in parts)
    assert max(parts) <= span.attributes["filestead.head_seconds"] <= span.seconds + 0.01 < 60
    assert span.resource["service.name"] == "filestead"
    assert span.resource["zone"] == "b"
    assert receiver.paths == {"/v1/traces"}
    assert receiver.headers["x-tenant"] == "7"
    assert receiver.headers["content-type"] == "application/x-protobuf"


def test_a_request_without_a_trace_begins_one_and_the_log_names_it(traced: Server, receiver: OtlpReceiver) -> None:
    response = traced.client.get("/vector_stores", headers={"traceparent": "00-x-y-01", "tracestate": STATE})
    [span] = receiver.wait_for("GET /v1/vector_stores")
    assert span.parent_id == span.trace_state == ""
    assert line_of(traced, response)["traceparent"] == f"00-{span.trace_id}-{span.span_id}-01"


def test_errors(traced: Server, receiver: OtlpReceiver, upstream: EventServer) -> None:
    traced.client.get("/files/none")
    [missing] = receiver.wait_for("GET /v1/files/{file_id}")
    assert missing.status == UNSET, "an error of the client is none of the server"
    assert missing.attributes["http.response.status_code"] == 404
    assert missing.attributes["filestead.reason"] == "file_not_found"
    assert "error.type" not in missing.attributes

    traced.client.get(f"/{CANARY}")
    [unrouted] = receiver.wait_for("GET")
    assert "http.route" not in unrouted.attributes
    traced.client.request("PURGE", "/files")
    [unknown] = receiver.wait_for("HTTP")
    assert unknown.attributes["http.request.method"] == "_OTHER"

    upstream.behave = None
    response = traced.client.post("/chat/completions", json={"model": "m", "messages": []})
    assert response.status_code == 200
    receiver.wait_for("POST /v1/chat/completions")


def test_a_client_that_goes_away_and_a_failure_of_the_server(tmp_path: Path, receiver: OtlpReceiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with Server(tmp_path / "data", env=exporting(receiver), upstream_url=nobody) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            head = f"POST /v1/files HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 1000\r\n"
            connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n".encode())
            time.sleep(0.2)
        until = time.monotonic() + 30
        while not (gone := [span for span in receiver.spans if span.attributes.get("error.type") == "client_closed"]):
            assert time.monotonic() < until
            time.sleep(0.02)
        assert (gone[0].name, gone[0].status) == ("POST /v1/files", ERROR)
        assert "http.response.status_code" not in gone[0].attributes, "no status was sent"
        assert server.client.post("/embeddings", json={"model": "m", "input": "x"}).status_code >= 500
        [failed] = receiver.wait_for("POST /v1/embeddings")
        assert failed.status == ERROR
        assert failed.attributes["error.type"] == failed.attributes["filestead.reason"]


@pytest.mark.parametrize("client", [CLIENT, None])
def test_a_model_server_is_told_the_span_of_this_server(
    traced: Server, receiver: OtlpReceiver, upstream: EventServer, client: str | None
) -> None:
    upstream.requests.clear()
    headers = {"tracestate": STATE} | ({} if client is None else {"traceparent": client})
    response = traced.client.post("/completions", json={"model": "m", "prompt": "x"}, headers=headers)
    [heard] = upstream.requests
    until = time.monotonic() + 30
    while not (
        own := [
            each
            for each in receiver.spans
            if each.attributes["filestead.request_id"] == response.headers["x-request-id"]
        ]
    ):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert heard.headers["traceparent"] == f"00-{own[0].trace_id}-{own[0].span_id}-01"
    assert heard.headers["traceparent"] == line_of(traced, response)["traceparent"]
    assert (own[0].trace_id == TRACE) == (client is not None)
    assert heard.headers.get("tracestate") == (None if client is None else STATE)


def test_without_a_collector_a_model_server_is_told_the_id_in_the_log(tmp_path: Path, upstream: EventServer) -> None:
    with Server(tmp_path / "data", upstream_url=upstream.url) as server:
        for headers in ({"traceparent": CLIENT, "tracestate": STATE}, {"traceparent": "x", "tracestate": STATE}, {}):
            upstream.requests.clear()
            response = server.client.post("/completions", json={"model": "m", "prompt": "x"}, headers=headers)
            [heard] = upstream.requests
            line = line_of(server, response)
            assert heard.headers.get("traceparent") == line.get("traceparent")
            if headers.get("traceparent") == CLIENT:
                assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", line["traceparent"])
                assert PARENT not in line["traceparent"]
                assert heard.headers["tracestate"] == STATE
            else:
                assert not {"traceparent", "tracestate"} & heard.headers.keys()


def test_what_is_not_sampled_is_not_exported(tmp_path: Path, receiver: OtlpReceiver) -> None:
    """The client's decision, and the operator's."""
    with Server(tmp_path / "data", env=exporting(receiver, OTEL_SERVICE_NAME="files-eu")) as server:
        response = server.client.get("/batches", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
        assert line_of(server, response)["traceparent"].endswith("-00")
        server.client.get("/batches", headers={"traceparent": CLIENT})
    [span] = receiver.wait_for("GET /v1/batches")
    assert span.resource["service.name"] == "files-eu"
    with Server(tmp_path / "data", env=exporting(receiver, OTEL_TRACES_SAMPLER="always_off")) as server:
        server.client.get("/batches")
    assert len(receiver.wait_for("GET /v1/batches")) == 1


def test_the_last_spans_are_exported_by_every_process(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        environment = exporting(receiver, OTEL_BSP_SCHEDULE_DELAY="60000")
        with Server(tmp_path / "data", env=environment, workers=2) as server:
            for _ in range(20):
                httpx2.get(f"{server.base_url}/files", headers={"Authorization": f"Bearer {KEY}"})
            assert not receiver.spans
        assert len(receiver.wait_for("GET /v1/files", 20)) == 20


@pytest.mark.parametrize("status", [None, 503], ids=["nobody", "refusing"])
def test_a_collector_that_fails_delays_neither_requests_nor_the_end(tmp_path: Path, status: int | None) -> None:
    with OtlpReceiver(status or 200) as receiver:
        environment = exporting(receiver, OTEL_EXPORTER_OTLP_TIMEOUT="60")
        if status is None:
            environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
        with Server(tmp_path / "data", env=environment) as server:
            for _ in range(20):
                started = time.monotonic()
                assert server.client.get("/files").status_code == 200
                assert time.monotonic() - started < 30
            time.sleep(0.5)
            started = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - started < 30


def test_neither_keys_nor_names_are_exported(tmp_path: Path) -> None:
    key = f"sk-{CANARY}-0123456789"
    with OtlpReceiver() as receiver:
        with Server(tmp_path / "data", key=key, env=exporting(receiver)) as server:
            form = {"files": {"file": (f"{CANARY}.txt", CANARY.encode())}}
            server.client.post("/files", data={"purpose": "user_data"}, **form)
            server.client.post("/files", data={"purpose": CANARY}, **form)
            server.client.get("/files", params={"after": CANARY, "api_key": key})
            server.client.get(f"/files/{CANARY}", headers={"User-Agent": CANARY, "Cookie": CANARY, "baggage": CANARY})
            server.client.get(f"/{CANARY}", headers={"traceparent": CANARY, "tracestate": CANARY})
            server.client.request(f"M{CANARY.replace('-', '')}".upper(), "/files")
            server.client.post("/vector_stores", json={"name": CANARY, "metadata": {CANARY: CANARY}})
            httpx2.get(f"{server.base_url}/files", headers={"Authorization": f"Bearer wrong-{CANARY}"})
            made = make_keys_over_http(server)
            for secret in made:
                httpx2.delete(f"{server.base_url}/files/file-x", headers={"Authorization": f"Bearer {secret}"})
        receiver.wait_for("POST /v1/files", 2)
        receiver.wait_for("DELETE /v1/files/{file_id}", len(made))
        receiver.wait_for("POST /v1/vector_stores")
        received = b"".join(receiver.bodies)
    assert CANARY.encode() not in received
    assert CANARY.replace("-", "").upper().encode() not in received
    assert [secret for secret in made if secret.encode() in received] == []


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"},
    ],
    ids=["unset", "empty", "disabled", "none", "grpc", "traces"],
)
def test_nothing_of_opentelemetry_is_loaded_unless_it_is_used(variables: dict[str, str]) -> None:
    code = """
import sys
from filestead.app import web
from filestead.app.signals import Signals
from filestead.metrics.board import Board
from filestead.settings import Settings
signals = Signals(Settings(), Board())
print(signals.requests.start_span is not None, any(name.startswith("opentelemetry") for name in sys.modules))
"""
    environment = {"PATH": os.environ["PATH"]} | variables
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    used = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" in variables
    assert done.stdout.split() == [str(used), str(used)]
    assert ("no spans are exported: only OTLP" in done.stderr) == ("OTEL_EXPORTER_OTLP_PROTOCOL" in variables)


def test_without_the_extra_the_server_says_how_to_install_it() -> None:
    code = """
import os, sys
sys.modules["opentelemetry"] = None
from filestead.app.tracing import open_tracer
assert open_tracer(os.environ) is None
"""
    environment = {"PATH": os.environ["PATH"], "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "pip install 'filestead[otel]'" in done.stderr
