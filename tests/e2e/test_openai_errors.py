"""How failures reach a user of the official Python package: the right exception, with all that the server said."""

import re
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.e2e.openai_clients import MIB, connect, new_project
from tests.support.servers import Server

# --- errors ---------------------------------------------------------------------------------------------------------


def check_error(error: openai.APIStatusError, status: int, message: str, param: str | None, code: str | None) -> None:
    assert (error.status_code, error.type, error.param, error.code) == (
        status,
        "invalid_request_error",
        param,
        code,
    )
    assert error.body == {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert error.request_id == error.response.headers["x-request-id"]
    assert re.fullmatch("req_[0-9a-f]{32}", error.request_id or "")


@pytest.mark.parametrize("file_id", ["file-0123456789012345678901", "fake_id", "ü", "file-x%2Fy"])
def test_unknown_file(client: OpenAI, file_id: str) -> None:
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as raised:
            call(file_id)
        check_error(raised.value, 404, f"No such File object: {file_id}", "id", None)


@pytest.mark.parametrize("file_id", ["a/b", "../files", "file-a/../file-b"])
def test_no_file_has_a_slash_in_its_id(client: OpenAI, file_id: str) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.files.retrieve(file_id)
    assert raised.value.request_id


def test_a_chat_is_told_that_there_are_no_models_here(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=r"This server is Filestead: it serves .* It runs no models"):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])


def test_a_base_url_without_v1_is_told_so(server: Server) -> None:
    with connect(server, []) as client:
        client.base_url = server.origin
        with pytest.raises(openai.NotFoundError, match=r"Invalid URL \(POST /files\). Did you forget /v1\?"):
            client.files.create(file=b"a", purpose="user_data")


def test_unknown_purpose(client: OpenAI) -> None:
    purpose: Any = "x"
    with pytest.raises(openai.BadRequestError) as raised:
        client.files.create(file=b"a", purpose=purpose)
    message = "'x' is not one of ['fine-tune', 'assistants', 'batch', 'user_data', 'vision', 'evals'] - 'purpose'"
    check_error(raised.value, 400, message, "purpose", None)


def test_unknown_form_field(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.files.create(file=b"a", purpose="user_data", extra_body={"color": "red"})
    check_error(raised.value, 400, "Additional properties are not allowed ('color' was unexpected)", None, None)


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [(3599, "less than the minimum of 3600"), (2_592_001, "greater than the maximum of 2592000")],
)
def test_expiry_out_of_range(client: OpenAI, seconds: int, bound: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.files.create(file=b"a", purpose="user_data", expires_after={"anchor": "created_at", "seconds": seconds})
    name = "expires_after.seconds"
    check_error(raised.value, 400, f"{seconds} is {bound} - '{name}'", name, None)


def test_prose_is_no_batch(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.files.create(file=("notes.txt", b"Dear all,\n"), purpose="batch")
    problem = "Line 1: it is not a JSON object. Each line must be one, in braces."
    check_error(raised.value, 400, f"Invalid file format for Batch API. Must be .jsonl. {problem}", None, None)


def test_limit_out_of_range(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.files.list(limit=10_001)
    check_error(raised.value, 400, "10001 is greater than the maximum of 10000 - 'limit'", None, None)


def test_wrong_key(server: Server) -> None:
    with OpenAI(base_url=server.base_url, api_key="sk-wrong-wrong-wrong-1234", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            client.files.list()
        assert raised.value.code == "invalid_api_key"
        assert "sk-wrong*************1234" in raised.value.message
        assert raised.value.request_id
        assert "openai-version" not in raised.value.response.headers


def test_key_without_the_scope(server: Server) -> None:
    key = new_project(server, "readers", "--scope", "files:read")
    with OpenAI(base_url=server.base_url, api_key=key, max_retries=0) as client:
        assert list(client.files.list()) == []
        with pytest.raises(openai.AuthenticationError) as raised:
            client.files.create(file=b"a", purpose="user_data")
        assert "Missing scopes: files:write" in raised.value.message


def test_upload_rate(tmp_path: Path) -> None:
    with (
        Server(tmp_path / "data", uploads_per_minute=1) as server,
        OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as client,
    ):
        first = client.files.with_raw_response.create(file=b"a", purpose="user_data")
        assert first.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as raised:
            client.files.create(file=b"b", purpose="user_data")
        error = raised.value
        assert (error.status_code, error.code, error.type) == (429, "rate_limit_exceeded", "requests")
        assert 1 <= int(error.response.headers["retry-after"]) <= 60
        assert 0 < int(error.response.headers["retry-after-ms"]) <= 60_000
        assert [file.id for file in client.files.list()] == [first.parse().id]


@pytest.mark.parametrize("megabytes", [2, 64])
def test_a_refusal_arrives_while_the_file_is_still_being_sent(tmp_path: Path, megabytes: int) -> None:
    with (
        Server(tmp_path / "data", max_file_bytes=1000) as server,
        OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as client,
    ):
        with pytest.raises(openai.BadRequestError) as raised:
            client.files.create(file=bytes(megabytes * MIB), purpose="user_data")
        check_error(raised.value, 400, "File is too large.", None, None)
        assert list(client.files.list()) == []


@pytest.mark.embedded("a disk is full, which no setting makes of an S3 store")
def test_a_full_disk_is_not_retried(tmp_path: Path, sent: list[httpx2.Request]) -> None:
    with (
        Server(tmp_path / "data", reserve_bytes=2**60) as server,
        connect(server, sent, max_retries=2) as client,
    ):
        with pytest.raises(openai.InternalServerError) as raised:
            client.files.create(file=b"a", purpose="user_data")
        assert (raised.value.status_code, raised.value.code) == (507, "storage_full")
        assert len(sent) == 1


# --- who asks -------------------------------------------------------------------------------------------------------


def test_everything_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", server.key or "")
    monkeypatch.setenv("OPENAI_ORG_ID", "default")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "default")
    with OpenAI() as client:
        file = client.files.create(file=b"a", purpose="user_data")
        project = client.files.with_raw_response.retrieve(file.id).headers["openai-project"]
    monkeypatch.setenv("OPENAI_PROJECT_ID", project)
    with OpenAI() as client:
        assert client.files.retrieve(file.id) == file


@pytest.mark.parametrize(
    ("variable", "code"),
    [("OPENAI_ORG_ID", "mismatched_organization"), ("OPENAI_PROJECT_ID", "mismatched_project")],
)
def test_another_organization_or_project(
    server: Server, monkeypatch: pytest.MonkeyPatch, variable: str, code: str
) -> None:
    monkeypatch.setenv(variable, "someone-elses")
    with (
        OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as raised,
    ):
        client.files.list()
    assert raised.value.code == code
