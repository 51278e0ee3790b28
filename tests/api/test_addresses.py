"""What is said at addresses that are nearly or not at all those of the API."""

import pytest

from filestead import __version__
from tests.api.test_files import message
from tests.support.servers import Server


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/v1", "/v1/"])
def test_the_root_says_what_this_is_without_a_key(server: Server, path: str, method: str) -> None:
    response = server.client.request(method, server.origin + path, headers={"authorization": ""})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    if method == "HEAD":
        return
    body = response.json()
    assert (body["name"], body["version"]) == ("Filestead", __version__)
    links = body["links"]
    assert server.client.get(server.origin + links["files"]).status_code == 200
    for name in ("openapi", "health"):
        assert server.client.get(server.origin + links[name], headers={"authorization": ""}).status_code == 200


SERVED = (
    "This server is Filestead: it serves /v1/batches, /v1/files, /v1/organization, /v1/uploads, /v1/usage and "
    "/v1/vector_stores, as /openapi.json describes. It runs no models: there are no chat completions, responses, "
    "embeddings or images here, unless its operator sets FILESTEAD_UPSTREAM_URL to an OpenAI-compatible server that does."
)


@pytest.mark.parametrize(
    ("method", "path", "hint"),
    [
        ("POST", "/v1/chat/completions", ""),
        ("POST", "/chat/completions", ""),
        ("GET", "/v1/models", ""),
        ("GET", "/v1/vector_stores/vs_1/nope", ""),
        ("GET", "/vector_stores", "Did you forget /v1? There is /v1/vector_stores here. "),
        ("GET", "/v1/files/a/b", ""),
        ("GET", "/docs", ""),
        ("POST", "/files", "Did you forget /v1? There is /v1/files here. "),
        ("DELETE", "/files/file-x", "Did you forget /v1? There is /v1/files/file-x here. "),
        ("GET", "/files/file-x/content", "Did you forget /v1? There is /v1/files/file-x/content here. "),
        ("POST", "/v1/files/", "Did you mean /v1/files? "),
        ("GET", "/v1/v1/files", "Did you mean /v1/files? "),
        ("GET", "//v1//files", "Did you mean /v1/files? "),
        ("GET", "/openai/files", "Did you mean /v1/files? "),
        ("GET", "/api/v1/files/file-x", "Did you mean /v1/files/file-x? "),
        ("GET", "/v1/health", "Did you mean /health? "),
    ],
)
def test_an_unknown_address_names_what_is_served(server: Server, method: str, path: str, hint: str) -> None:
    for headers in ({}, {"authorization": ""}):
        response = server.client.request(method, server.origin + path, headers=headers)
        error = response.json()["error"]
        assert response.status_code == 404
        assert (error["code"], error["type"], error["param"]) == ("unknown_url", "invalid_request_error", None)
        assert error["message"] == f"Invalid URL ({method} {path}). {hint}{SERVED}"
        if not path.startswith(("/v1/chat/", "/v1/models")):  # errors of requests for models have no `detail`
            assert response.json()["detail"]["code"] == "unknown_url"


def test_a_long_address_is_shown_in_part(server: Server) -> None:
    response = server.client.get(server.origin + "/files/" + "x" * 3000)
    assert response.status_code == 404
    assert len(message(response)) < 1000
