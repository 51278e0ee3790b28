"""`Idempotency-Key` over HTTP: an upload that is repeated makes one file."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.test_refusals import connect, head, read_to_end
from tests.crash.harness import sql, wait_until_quiet
from tests.support.servers import KEY, Server, run_command

HOUR = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}


def post(
    server: Server, key: str | None, content: bytes = b"hello", *, name: str = "a.txt", secret: str | None = None, **fields: str
) -> httpx2.Response:  # fmt: skip
    headers = {"authorization": f"Bearer {secret or server.key}"} | ({"idempotency-key": key} if key else {})
    return server.client.post(
        "/files", headers=headers, data={"purpose": "user_data", **fields}, files={"file": (name, content)}
    )


def made(response: httpx2.Response, *, replayed: bool) -> Any:
    assert response.status_code == 200, response.text
    assert response.headers.get("idempotent-replayed") == ("true" if replayed else None)
    return response.json()


def refusal(response: httpx2.Response) -> tuple[int, str, str | None, str | None]:
    error = response.json()["error"]
    return response.status_code, error["type"], error["param"], error["code"]


def ids(server: Server) -> list[str]:
    return [file["id"] for file in server.client.get("/files").json()["data"]]


@pytest.mark.parametrize("content", [b"hello", b"x" * 700_000], ids=["small", "large"])
@pytest.mark.promise("R-16")
def test_a_repetition_gets_the_first_file(server: Server, content: bytes) -> None:
    key = f"repeated-{len(content)}"
    before = ids(server)
    first = post(server, key, content, **HOUR)
    file = made(first, replayed=False)
    for _ in range(3):
        again = post(server, key, content, **HOUR)
        assert made(again, replayed=True) == file
        assert again.text == first.text
        assert again.headers["content-type"] == "application/json"
    assert ids(server) == [file["id"], *before]
    wait_until_quiet(server.data_dir)
    assert server.client.get(f"/files/{file['id']}/content").content == content


def test_without_the_header_every_upload_makes_a_file(server: Server) -> None:
    assert made(post(server, None), replayed=False)["id"] != made(post(server, None), replayed=False)["id"]


def test_the_order_of_the_form_does_not_matter(server: Server) -> None:
    fields: list[tuple[str, Any]] = [("purpose", (None, b"vision")), ("file", ("a.txt", b"hello"))]
    headers = {"Idempotency-Key": "order"}
    one, two = (server.client.post("/files", headers=headers, files=form) for form in (fields, fields[::-1]))
    assert made(two, replayed=True) == made(one, replayed=False)


OTHER_FORMS: list[dict[str, Any]] = [
    {"content": b"hellO"},
    {"content": b"hello "},
    {"name": "b.txt"},
    {"purpose": "vision"},
    HOUR,
]


@pytest.mark.parametrize("change", OTHER_FORMS, ids=lambda change: next(iter(change)))
def test_another_form_is_refused(server: Server, change: dict[str, Any]) -> None:
    file = made(post(server, f"form-{change}".replace(" ", "")), replayed=False)
    before = ids(server)
    refused = post(server, f"form-{change}".replace(" ", ""), **change)
    assert refusal(refused) == (400, "invalid_request_error", "Idempotency-Key", "idempotency_key_reused")
    assert "new key" in refused.json()["error"]["message"]
    assert ids(server) == before
    wait_until_quiet(server.data_dir)
    assert server.client.get(f"/files/{file['id']}").json() == file


def test_the_expiry_that_was_asked_for_is_part_of_the_form_and_its_default_is_not(tmp_path: Path) -> None:
    line = b'{"custom_id": "1", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m"}}\n'
    with Server(tmp_path / "data", batch_expiry_seconds=7200) as server:
        file = made(post(server, "k", line, purpose="batch"), replayed=False)
        asked = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "7200"}
        assert refusal(post(server, "k", line, purpose="batch", **asked))[3] == "idempotency_key_reused"
    with Server(tmp_path / "data", batch_expiry_seconds=9000) as server:
        assert made(post(server, "k", line, purpose="batch"), replayed=True) == file


def test_a_file_that_is_gone_does_not_come_back(server: Server) -> None:
    file = made(post(server, "spent"), replayed=False)
    server.client.delete(f"/files/{file['id']}")
    before = ids(server)
    refused = post(server, "spent")
    assert refusal(refused) == (400, "invalid_request_error", "Idempotency-Key", "idempotency_key_spent")
    assert "new key" in refused.json()["error"]["message"]
    assert ids(server) == before
    wait_until_quiet(server.data_dir)
    assert made(post(server, "spent-2"), replayed=False)["id"] != file["id"]


def test_projects_do_not_share_keys(server: Server) -> None:
    other = run_command(server.data_dir, "keys", "create", "--project", "elsewhere").stdout.strip()
    mine = made(post(server, "shared"), replayed=False)
    theirs = made(post(server, "shared", b"another", secret=other), replayed=False)
    assert mine["id"] != theirs["id"]
    assert made(post(server, "shared"), replayed=True) == mine
    assert made(post(server, "shared", b"another", secret=other), replayed=True) == theirs


def test_a_failed_attempt_binds_nothing(server: Server) -> None:
    assert post(server, "failed", purpose="nonsense").status_code == 400
    assert post(server, "failed", b"prose", purpose="batch").status_code == 400
    with connect(server) as connection:  # and one that breaks off in the middle
        request = head(1000).replace(b"\r\n\r\n", b"\r\nIdempotency-Key: failed\r\n\r\n")
        connection.sendall(request + b"--x\r\nContent-Disposition: form-data; name=")
    made(post(server, "failed"), replayed=False)
    wait_until_quiet(server.data_dir)


@pytest.mark.promise("R-16")
def test_parallel_uploads_with_one_key_make_one_file(server: Server) -> None:
    before = ids(server)
    content = b"y" * 400_000
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(server, "parallel", content), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    (file_id,) = {answer.json()["id"] for answer in answers}
    assert [answer.headers.get("idempotent-replayed") for answer in answers].count(None) == 1
    assert ids(server) == [file_id, *before]
    wait_until_quiet(server.data_dir)


@pytest.mark.parametrize("size", [1_000_000, 1000], ids=["large", "small"])
def test_a_full_quota_refuses_no_repetition(tmp_path: Path, size: int) -> None:
    with Server(tmp_path / "data", project_quota_bytes=size) as server:
        file = made(post(server, "full", b"x" * size), replayed=False)
        assert post(server, "other", b"x" * size).status_code == 400
        assert made(post(server, "full", b"x" * size), replayed=True) == file
        assert refusal(post(server, "full", b"y" * size))[3] == "idempotency_key_reused"
        assert run_command(server.data_dir, "verify").returncode == 0


def test_repetitions_count_against_the_rate(tmp_path: Path) -> None:
    with Server(tmp_path / "data", uploads_per_minute=3) as server:
        answers = [post(server, "rate") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers[:3]] == ["2", "1", "0"]


def test_a_restart_keeps_the_key_and_a_day_frees_it(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        file = made(post(server, "day"), replayed=False)
    with Server(tmp_path / "data") as server:
        assert made(post(server, "day"), replayed=True) == file
        assert count(server.data_dir) == 1
        assert run_command(server.data_dir, "sweep").returncode == 0
        assert count(server.data_dir) == 1
        sql(server.data_dir, "UPDATE idempotency_keys SET bound_until_us = bound_until_us - 86400000000")
        assert run_command(server.data_dir, "sweep").returncode == 0
        assert count(server.data_dir) == 0, "a sweep forgets what a key stood for a day ago"
        assert made(post(server, "day"), replayed=False)["id"] != file["id"]


def count(data_dir: Path) -> int:
    ((rows,),) = sql(data_dir, "SELECT count(*) FROM idempotency_keys")
    return int(rows)


# --- the header -----------------------------------------------------------------------------------------------------


def with_keys(*values: bytes, length: int = 10_000_000) -> bytes:
    lines = b"".join(b"\r\nIdempotency-Key: " + value for value in values)
    return head(length, key=KEY).replace(b"\r\n\r\n", lines + b"\r\n\r\n")


@pytest.mark.parametrize(
    "values",
    [[b""], [b"x" * 256], ["ключ".encode()], [b"caf\xe9"], [b"two words"], [b"one", b"two"], [b"one", b"one", b"two"]],
    ids=["empty", "256", "UTF-8", "Latin", "a space", "two", "three"],
)
def test_bad_keys_are_refused_before_the_body(server: Server, values: list[bytes]) -> None:
    with connect(server) as connection:
        connection.sendall(with_keys(*values).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        received = read_to_end(connection)
    assert received.startswith(b"HTTP/1.1 400")
    assert received.count(b"HTTP/1.1") == 1, "no 100 Continue for a body that is not wanted"
    assert b'"param": "Idempotency-Key"' in received
    assert b"invalid_request_error" in received
    assert b"send " in received


@pytest.mark.parametrize("key", ["!", "~" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a,b;c=d"])
def test_good_keys(server: Server, key: str) -> None:
    file = made(post(server, key), replayed=False)
    assert made(post(server, key), replayed=True) == file


def test_a_key_that_is_sent_twice_is_one_key(server: Server) -> None:
    headers = [("authorization", f"Bearer {server.key}"), ("Idempotency-Key", "twice"), ("Idempotency-Key", "twice")]
    form: dict[str, Any] = {"data": {"purpose": "user_data"}, "files": {"file": ("a.txt", b"hello")}}
    file = made(httpx2.post(server.base_url + "/files", headers=headers, **form), replayed=False)
    assert made(post(server, "twice"), replayed=True) == file


def test_upper_and_lower_case_are_different_keys(server: Server) -> None:
    assert made(post(server, "Case"), replayed=False) != made(post(server, "cAsE"), replayed=False)


def test_the_header_means_nothing_elsewhere(server: Server) -> None:
    assert server.client.get("/files", headers={"Idempotency-Key": "two words"}).status_code == 200


def test_the_description_names_the_header(server: Server) -> None:
    operation = httpx2.get(server.origin + "/openapi.json").json()["paths"]["/v1/files"]["post"]
    (header,) = operation["parameters"]
    assert (header["name"], header["in"], header["required"]) == ("Idempotency-Key", "header", False)
    assert header["schema"] == {"type": "string", "pattern": "^[!-~]{1,255}$"}
    assert "idempotent-replayed" in operation["responses"]["200"]["headers"]
