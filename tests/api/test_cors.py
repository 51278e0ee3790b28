"""Pages of the origins that are named may use the API from a browser, and no others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.servers import Server

PAGE = "https://app.example.org"
OTHER = "http://localhost:3000"
ASKED = "authorization,content-type,openai-organization,idempotency-key,x-stainless-retry-count,range,x-custom"


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("named") / "data"
    with Server(folder, uploads_per_minute=1000, cors_origins=f" {PAGE.upper()}:443, {OTHER} ") as running:
        yield running


def preflight(server: Server, path: str, *, origin: str = PAGE, method: str = "POST", **more: str) -> httpx2.Response:
    headers = {"origin": origin, "access-control-request-method": method, **more}
    return httpx2.request("OPTIONS", server.origin + path, headers=headers)


def names(value: str) -> set[str]:
    return {name.strip().lower() for name in value.split(",")}


@pytest.mark.parametrize("origin", [PAGE, OTHER])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/files"),
        ("GET", "/v1/files?limit=2"),
        ("DELETE", "/v1/files/file-x"),
        ("GET", "/v1/files/file-x/content"),
        ("POST", "/v1/chat/completions"),
    ],
)
def test_a_preflight_needs_no_key(named: Server, origin: str, method: str, path: str) -> None:
    answer = preflight(named, path, origin=origin, method=method, **{"access-control-request-headers": ASKED})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert names(answer.headers["access-control-allow-methods"]) >= {"get", "head", "post", "delete"}
    assert names(answer.headers["access-control-allow-headers"]) >= names(ASKED)
    assert int(answer.headers["access-control-max-age"]) >= 600
    assert "origin" in names(answer.headers["vary"])
    assert "access-control-allow-credentials" not in answer.headers
    assert "access-control-allow-private-network" not in answer.headers


def test_a_page_on_the_web_may_reach_a_server_in_a_private_network_if_it_is_named(named: Server) -> None:
    wish = {"access-control-request-private-network": "true"}
    assert preflight(named, "/v1/files", **wish).headers["access-control-allow-private-network"] == "true"
    assert (
        "access-control-allow-origin" not in preflight(named, "/v1/files", origin="https://b.example", **wish).headers
    )


@pytest.mark.parametrize(
    "origin",
    ["https://b.example", "http://app.example.org", f"{PAGE}:8443", f"{PAGE}.evil.example", "null", "", f"{PAGE}/"],
)
def test_other_origins_are_not_allowed(named: Server, origin: str) -> None:
    assert "access-control-allow-origin" not in preflight(named, "/v1/files", origin=origin).headers
    response = named.client.get("/files", headers={"origin": origin})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers
    assert "origin" in names(response.headers["vary"])


def test_every_answer_can_be_read_by_the_page(named: Server) -> None:
    file = named.upload(b"0123456789" * 300_000)
    content = f"/files/{file['id']}/content"
    requests: list[tuple[int, str, str, dict[str, Any]]] = [
        (200, "GET", "/files", {}),
        (200, "POST", "/files", {"data": {"purpose": "user_data"}, "files": {"file": ("a.txt", b"a")}}),
        (200, "GET", content, {}),
        (206, "GET", content, {"headers": {"range": "bytes=2-2000000"}}),
        (304, "GET", content, {"headers": {"if-none-match": "*"}}),
        (416, "GET", content, {"headers": {"range": "bytes=3000000-"}}),
        (400, "POST", "/files", {"data": {"purpose": "none"}, "files": {"file": ("a.txt", b"a")}}),
        (400, "POST", "/files", {"content": b"x" * 3_000_000}),
        (401, "GET", "/files", {"headers": {"authorization": "Bearer wrong"}}),
        (401, "POST", "/files", {"headers": {"authorization": ""}, "content": b"x" * 1000}),
        (404, "GET", "/files/file-x", {}),
        (404, "GET", "/nothing", {}),
        (405, "PUT", "/files", {}),
        (405, "OPTIONS", "/files", {}),
        (200, "DELETE", f"/files/{file['id']}", {}),
    ]
    for status, method, path, options in requests:
        headers = {"origin": PAGE, **options.pop("headers", {})}
        response = named.client.request(method, path, headers=headers, **options)
        assert response.status_code == status, (method, path, response.text[:300])
        assert response.headers["access-control-allow-origin"] == PAGE
        assert "origin" in names(response.headers["vary"])
        exposed = names(response.headers["access-control-expose-headers"])
        sent = set(response.headers) - {"date", "vary", "connection", "content-type", "cache-control", "allow"}
        ours = {name for name in sent if not name.startswith("access-control-")}
        hidden = {
            "content-security-policy",
            "cross-origin-resource-policy",
            "referrer-policy",
            "x-content-type-options",
        }
        assert ours - hidden <= exposed, "a page may read what is said to its program"
        if path == content and status == 206:
            assert len(response.content) == 1_999_999


def test_a_star_is_every_origin(tmp_path: Path) -> None:
    with Server(tmp_path / "data", cors_origins="*") as server:
        for origin in (PAGE, "null"):
            assert preflight(server, "/v1/files", origin=origin).headers["access-control-allow-origin"] == "*"
            listed = server.client.get("/files", headers={"origin": origin})
            assert listed.headers["access-control-allow-origin"] == "*"


def test_nothing_is_allowed_unless_it_is_asked_for(server: Server) -> None:
    assert preflight(server, "/v1/files").status_code == 405
    for headers in ({"origin": PAGE}, {"origin": server.origin}):
        response = server.client.get("/files", headers=headers)
        assert not [name for name in response.headers if name.startswith("access-control-")]
