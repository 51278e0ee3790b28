"""Weaknesses that other servers had, tried against a whole server, under the numbers of their advisories.

Those of multipart readers are in `tests/unit/test_multipart_attacks.py`, those of framing in `tests/api/http_corpus.py`;
`tests/security.toml` lists all of them.
"""

import contextlib
import gzip
import json
import re
import time
import zlib
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from filestead.api.http.messages import Headers
from filestead.api.http.ranges import evaluate_preconditions_and_range
from filestead.api.http.routing import PUBLIC
from filestead.api.routes import OPERATIONS
from filestead.domain.files.model import File
from tests.e2e.answers import FORM, ask, exchange, form, head
from tests.support.keys import Wanted, make_keys
from tests.support.servers import KEY, Server
from tests.support.waiting import wait_until

MIB = 2**20
BEARER = f"Authorization: Bearer {KEY}"
NUMBERS = (
    *("-1", "0", "10001", "2147483648", "9223372036854775808", "18446744073709551616", "1e3", "1_0", "\u0663", "+5"),
    *("0x10", "NaN", "Infinity", "1.5", "1,0", "[]", "true", "9" * 4000),
)
WHOLE_NUMBERS = ("0", "+5")
"""Some lists take these: they mean nothing and 5."""


@pytest.fixture(scope="module")
def administrator(server: Server) -> dict[str, str]:
    """Headers with a key that may do everything."""
    return {"authorization": "Bearer " + make_keys(server, {"all": Wanted("default")})["all"]}


def without_key(method: str, target: str, *headers: str) -> bytes:
    return head(method, target, *headers)


def open_files(server: Server) -> int:
    process = psutil.Process(server.process.pid)
    return sum(each.num_fds() for each in (process, *process.children(recursive=True)))


def lists() -> list[Any]:
    return [
        row for row in OPERATIONS if any(each["name"] == "limit" for each in row.parameters) and "{" not in row.path
    ]


# --- HTTP -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["-1", "-0", "18446744073709551616", "+1", "1 1"])
def test_ghsa_v9pg_7xvm_68hf_no_length_is_negative(server: Server, value: str) -> None:
    response = exchange(server, head("POST", "/v1/files", BEARER, FORM, f"Content-Length: {value}") + form())
    assert (response.status, response.headers["connection"]) == (400, "close")


@pytest.mark.parametrize(
    "host",
    ["x/v1#@y", "t/health?", "t/../health", "user@t", "t:80/health", "t\\health", "[::1", "t%2fhealth", "t health"],
)
def test_cve_2026_48710_and_49468_a_host_opens_no_path(server: Server, host: str) -> None:
    request = f"GET /v1/files HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert exchange(server, request.encode()).status in (400, 401)


@pytest.mark.parametrize(
    "target",
    [
        *("//v1/files", "/v1//files", "/v1/./files", "/v1/../v1/files", "/%76%31/files", "/health/../v1/files"),
        *(
            "/health;/v1/files",
            "/health%2f..%2fv1%2ffiles",
            "/V1/files",
            "/v1/files%00",
            "/v1/files%0d%0a",
            "/v1/files/",
        ),
        *("http://health/v1/files", "/v1/files?x=/health", "/v1/files%3f/health", "/v1/files#/health", "@t/v1/files"),
    ],
)
def test_cve_2026_54282_no_spelling_of_a_target_goes_round_the_key(server: Server, target: str) -> None:
    response = exchange(server, without_key("GET", target))
    assert response.status in (400, 401, 404)
    assert b'"data"' not in response.body


@pytest.mark.parametrize("method", ["__class__", "_handle", "get", "GET\x0b", "Post", "DELETE\t", "lambda", "dispatch"])
def test_cve_2026_48817_a_method_is_no_attribute(server: Server, method: str) -> None:
    response = exchange(server, head(method, "/v1/files", BEARER))
    assert response.status in (400, 405)


def test_cve_2026_48818_a_backslash_separates_nothing(server: Server) -> None:
    for target in ("\\\\server\\share", "..\\..\\x", "file-x\\content", "C:\\x"):
        response = ask(server, "GET", f"/v1/files/{target}")
        assert (response.status, response.json["error"]["message"]) == (404, f"No such File object: {target}")


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "application/json", "multipart/mixed; boundary=b"]
)
def test_cve_2026_54283_no_other_content_type_has_other_limits(server: Server, kind: str) -> None:
    for path in ("/v1/files", "/v1/uploads/upload_x/parts"):
        request = head("POST", path, BEARER, f"Content-Type: {kind}", "Content-Length: 1000")
        response = exchange(server, request + b"purpose=user_data&file=x")
        # It is refused by its type alone: the rest of the body is not waited for.
        assert response.status == 400
        assert b"The Content-Type is not multipart/form-data" in response.body


def test_cve_2026_22815_trailers_are_limited(server: Server) -> None:
    start = head("POST", "/v1/files", BEARER, FORM, "Transfer-Encoding: chunked")
    body = form(purpose="user_data")
    request = start + b"%x\r\n%b\r\n0\r\n" % (len(body), body) + b"X: y\r\n" * 50_000 + b"\r\n"
    with contextlib.suppress(ConnectionError):  # it was closed while the trailers were sent
        assert exchange(server, request).status in (400, 431)
    assert server.client.get("/files").status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x-gzip", "compress"])
def test_cve_2025_69223_a_compressed_body_is_refused_before_it_is_read(server: Server, coding: str) -> None:
    bomb = gzip.compress(bytes(8 * MIB)) if coding != "deflate" else zlib.compress(bytes(8 * MIB))
    for path, kind in (("/v1/files", FORM), ("/v1/vector_stores", "Content-Type: application/json")):
        response = ask(server, "POST", path, kind, f"Content-Encoding: {coding}", body=bomb)
        # JSON is not decompressed either: its first byte is refused.
        assert response.status == (415 if kind == FORM else 400), response.body


def test_cve_2023_24580_refused_forms_leave_no_file_open(server: Server) -> None:
    bodies = [
        form(b"x" * 100_000, purpose="no such purpose"),
        form(None, purpose="user_data"),
        b"--b\r\nbroken",
        form(),
    ]
    for body in bodies:
        ask(server, "POST", "/v1/files", FORM, body=body)
    before = open_files(server)
    for body in bodies * 10:
        assert ask(server, "POST", "/v1/files", FORM, body=body).status == 400
    wait_until(lambda: open_files(server) <= before + 2, lambda: (before, open_files(server)))
    wait_until(lambda: not server.place.staged(), server.place.staged)


def test_cve_2025_47287_and_cve_2020_7694_a_request_is_one_line_of_the_log(tmp_path: Path) -> None:
    broken = b"--b\r\n" + b"\r\n".join(b"X\x1b[31m: \x00y" for _ in range(500)) + b"--b--\r\n"
    with Server(tmp_path / "data", log_level="debug", log="json", uploads_per_minute=0) as server:
        started = len(server.output.splitlines())
        for _ in range(20):
            ask(server, "POST", "/v1/files", FORM, body=broken)
            ask(server, "GET", "/v1/files/%1b[2J%0a%0dInjected%e2%80%a8", "User-Agent: \x9b31m\u0085")
            ask(server, "GET", "/v1/files", "User-Agent: \x1b[31m")
        server.stop()
        output = Path(server._output.name).read_bytes()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]", output)
    lines = [json.loads(line) for line in output.decode().splitlines()[started:]]
    about = [line for line in lines if "request" in line["message"] and line.get("route") != "/health"]
    assert len(about) == 60
    assert len(lines) - len(about) <= 10, "the rest is about the end of the server"


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: f"{row.method} {row.path}")
def test_cve_2019_6802_and_cve_2023_6568_nothing_of_a_request_becomes_a_header_or_html(
    server: Server, row: Any
) -> None:
    hostile = "%0d%0aX-Injected:%20yes%0d%0a%0d%0a%3cscript%3e"
    path = re.sub(r"\{\w+\}", hostile, row.path)
    targets = [path + "?" + "&".join(f"{each['name']}={hostile}" for each in row.parameters if each["in"] == "query")]
    targets += [f"{path}/{hostile}", f"/{hostile}{path}"]
    for target in targets:
        response = ask(
            server,
            row.method,
            target,
            "Content-Type: text/html;<script>",
            "Accept: text/html",
            "Origin: http://<script>",
        )
        assert "x-injected" not in response.headers
        if response.status >= 400:
            assert response.headers["content-type"].startswith("application/json")
            assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("row", lists(), ids=lambda row: row.path)
@pytest.mark.promise("S-22")
def test_cve_2023_2253_no_limit_of_a_list_is_unbounded(server: Server, administrator: dict[str, str], row: Any) -> None:
    for number in NUMBERS:
        response = server.client.get(server.origin + row.path, params={"limit": number}, headers=administrator)
        if number not in WHOLE_NUMBERS:
            assert response.status_code == 400, number


@pytest.mark.timing
def test_cve_2025_62727_ten_thousand_ranges_cost_as_much_as_none() -> None:
    """Counted in time of the processor: no header of a request is longer than its head, which has 32 KiB."""
    file = File("file-x", "a", "user_data", 2**30, 0, None, "processed", None, "00" * 32, "k")
    hostile = [
        "bytes=" + ",".join(f"{number}-{number}" for number in range(10_000)),
        "bytes=" + "0-," * 10_000,
        "bytes=" + "9" * 30_000 + "-",
        "bytes=" + " " * 30_000 + "0-1",
        "bytes=0-" + "0" * 30_000,
    ]
    for value in hostile:
        headers = Headers.of({"range": value})
        start = time.process_time()
        for _ in range(100):
            assert evaluate_preconditions_and_range(file, headers).status == 200
        assert time.process_time() - start < 0.1, value[:50]  # a millisecond each


# --- keys -----------------------------------------------------------------------------------------------------------


def test_cve_2026_42208_a_key_is_no_sql_where_the_lookup_fails(server: Server) -> None:
    hostile = ["' OR 1=1 --", "'; DROP TABLE keys; --", "\\'", '"', "%s", "%(digest)s", ":digest", "?", "$1"]
    server.place.sql("ALTER TABLE keys RENAME TO keys_away")
    try:
        broken = [ask(server, "GET", "/v1/files", f"Authorization: Bearer {key}", key=None) for key in hostile]
    finally:
        server.place.sql("ALTER TABLE keys_away RENAME TO keys")
    for response, key in zip(broken, hostile, strict=True):
        assert response.status in (500, 503)
        for word in (b"keys", b"SELECT", b"sqlite", b"psycopg", b"relation", b"column"):
            assert word not in response.body
        assert ask(server, "GET", "/v1/files", f"Authorization: Bearer {key}", key=None).status == 401
    assert server.client.get("/files").status_code == 200


def test_cve_2026_35029_values_of_clients_are_not_expanded(server: Server) -> None:
    for value in (
        "os.environ/FILESTEAD_BOOTSTRAP_KEY",
        "${FILESTEAD_BOOTSTRAP_KEY}",
        "$HOME",
        "{{ 7 * 7 }}",
        "%(asctime)s",
    ):
        made = server.client.post("/vector_stores", json={"name": value, "metadata": {"k": value}}).json()
        assert (made["name"], made["metadata"]) == (value, {"k": value})
    form = server.upload(name="${HOME}.txt")
    assert form["filename"] == "${HOME}.txt"


def test_cve_2025_48956_a_large_head_is_refused_unread(server: Server) -> None:
    for headers in (["X: " + "y" * MIB], [f"X-{number}: y" for number in range(20_000)]):
        with contextlib.suppress(ConnectionError):  # it was closed while the head was sent
            assert exchange(server, head("GET", "/v1/files", *headers)).status == 431
    assert server.client.get("/files").status_code == 200


def test_cve_2025_62506_a_key_makes_no_key_that_operates_the_server(
    server: Server, administrator: dict[str, str]
) -> None:
    project = server.client.get("/organization/projects", headers=administrator).json()["data"][0]["id"]
    path = f"/organization/projects/{project}/api_keys"
    for scope in ("metrics", "*", "root", "", "ADMIN", "admin metrics"):
        assert server.client.post(path, headers=administrator, json={"scopes": [scope]}).status_code == 400, scope
    assert server.client.post(path, json={"scopes": ["files:read"]}).status_code == 401


def test_cve_2023_28432_nothing_public_tells_of_settings(server: Server) -> None:
    secrets = [
        KEY,
        str(server.data_dir),
        server.place.variables().get("FILESTEAD_DATABASE_URL", KEY),
        "sqlite",
        "SELECT",
    ]
    for row in OPERATIONS:
        if row.access == PUBLIC:
            text = httpx2.request(row.method, server.origin + row.path).text
            assert [secret for secret in secrets if secret in text] == [], row.path
