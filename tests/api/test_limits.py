"""Sizes, quotas and rates over HTTP, with limits small enough to reach."""

import json
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.support.servers import Server, wait_for_uploads

LINE = b'{"custom_id": "%d", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m"}}\n'


def post(server: Server, size: int, *, purpose: str = "user_data", file_first: bool = False, chunked: bool = False) -> httpx2.Response:  # fmt: skip
    content = b"x" * size
    if purpose == "batch":
        start, end = (LINE % 1).rstrip(b"}\n") + b'}, "pad": "', b'"}\n'
        content = start + b"x" * (size - len(start) - len(end)) + end
    fields = [("purpose", (None, purpose.encode())), ("file", ("a.jsonl", content))]
    request = httpx2.Request("POST", server.base_url + "/files", files=fields[::-1] if file_first else fields)
    body = request.read()
    headers = {"authorization": f"Bearer {server.key}", "content-type": request.headers["content-type"]}
    return httpx2.post(
        server.base_url + "/files", headers=headers, content=iter([body[:1000], body[1000:]]) if chunked else body
    )


@pytest.mark.parametrize("file_first", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_size_limits_are_exact(tmp_path: Path, file_first: bool, chunked: bool) -> None:
    with Server(tmp_path / "data", max_file_bytes=900_000, max_batch_file_bytes=300_000) as server:
        for purpose, limit in (("user_data", 900_000), ("batch", 300_000)):
            for size, status in ((limit - 1, 200), (limit, 200), (limit + 1, 400)):
                response = post(server, size, purpose=purpose, file_first=file_first, chunked=chunked)
                assert response.status_code == status, (purpose, size, response.text)
                if status == 400:
                    assert response.json()["error"]["message"] == "File is too large."
        far_over = post(server, 20_000_000, file_first=file_first, chunked=chunked)
        assert (far_over.status_code, far_over.json()["error"]["message"]) == (400, "File is too large.")
        assert len(server.client.get("/files").json()["data"]) == 4


def test_the_project_quota(tmp_path: Path) -> None:
    with Server(tmp_path / "data", project_quota_bytes=1_000_000) as server:
        first = server.upload(b"x" * 600_000)
        refused = post(server, 400_001)
        assert refused.status_code == 400
        error = refused.json()["error"]
        assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)
        assert error["message"].startswith("You have exceeded your file storage quota. Projects are limited to ")
        assert post(server, 400_000).status_code == 200
        server.client.delete(f"/files/{first['id']}")
        assert post(server, 600_000).status_code == 200


@pytest.mark.promise("I-12")
def test_many_uploads_at_the_edge_of_the_quota(tmp_path: Path) -> None:
    with Server(tmp_path / "data", project_quota_bytes=100_000, uploads_per_minute=0) as server:
        with ThreadPoolExecutor(16) as pool:
            statuses = list(
                pool.map(lambda number: post(server, 9_000, chunked=number % 2 == 0).status_code, range(64))
            )
        assert set(statuses) == {200, 400}
        assert statuses.count(200) == 11
        assert sum(file["bytes"] for file in server.client.get("/files").json()["data"]) == 99_000


def test_the_rate_of_uploads(tmp_path: Path) -> None:
    # One more is allowed every 15 seconds, which the 16 requests must not take.
    with Server(tmp_path / "data", uploads_per_minute=4) as server:
        with ThreadPoolExecutor(8) as pool:
            responses = list(pool.map(lambda _: post(server, 5), range(16)))
        good = [response for response in responses if response.status_code == 200]
        assert len(good) == 4
        assert sorted(int(response.headers["x-ratelimit-remaining-requests"]) for response in good) == list(range(4))
        for response in responses:
            assert response.headers["x-ratelimit-limit-requests"] == "4"
            if response not in good:
                assert response.status_code == 429
                assert 1 <= int(response.headers["retry-after"]) <= 60
                error = response.json()["error"]
                assert (error["code"], error["param"]) == ("rate_limit_exceeded", None)
        assert server.client.get("/files").status_code == 200


MODES = ("openai", "advise", "strict", "hosted")
OTHER_MODEL = LINE.replace(b'"model": "', b'"model": "other-')
FAULTY = LINE % 1 + b"not json\n" + LINE % 1


@pytest.mark.parametrize("file_first", [False, True])
@pytest.mark.parametrize(
    ("mode", "purpose", "content", "status", "says"),
    [
        ("openai", "batch", FAULTY, 200, None),
        ("advise", "batch", FAULTY, 200, "Line 2"),
        ("strict", "batch", FAULTY, 400, "Line 2"),
        ("openai", "batch", b"prose\n" + FAULTY, 400, "Invalid file format for Batch API. Must be .jsonl"),
        ("advise", "batch", b"\xef\xbb\xbf" + LINE % 1, 400, "Invalid file format for Batch API. Must be .jsonl"),
        (
            "advise",
            "batch",
            b'{"custom_id": "\xe9"}\n',
            400,
            "Invalid file for Batch API. Must be utf-8 encoded. Line 1:",
        ),
        (
            "advise",
            "batch",
            b'{"x": "' + b"x" * 9_000_000,
            400,
            "Must be .jsonl. Line 1: it is not valid JSON (it ends",
        ),
        ("strict", "batch", LINE % 1 + LINE % 2, 200, None),
        ("strict", "batch", OTHER_MODEL % 1 + LINE % 2, 200, None),
        ("hosted", "batch", OTHER_MODEL % 1 + LINE % 2, 400, "Line 2: 'body.model' is "),
        ("hosted", "batch", LINE % 1 + LINE % 2, 200, None),
        ("openai", "fine-tune", b'{"x": 1}\n[]\n', 400, "Line 2 is not a dictionary"),
        ("openai", "fine-tune", b'{"x": 1}\n', 200, None),
        ("advise", "fine-tune", b'{"x": 1}\n', 200, "Line 1"),
        ("strict", "fine-tune", b'{"x": 1}\n', 400, "Line 1"),
        ("advise", "evals", b'{"items": {}}\n', 200, "Line 1"),
        ("openai", "assistants", b"x", 400, "Invalid extension jsonl. Supported formats:"),
        ("advise", "user_data", b"\x00\xff", 200, None),
    ],
)
def test_validation_modes(
    modes: dict[str, Server], mode: str, purpose: str, content: bytes, status: int, says: str | None, file_first: bool
) -> None:
    server = modes[mode]
    fields = [("purpose", (None, purpose.encode())), ("file", ("a.jsonl", content))]
    response = server.client.post("/files", files=fields[::-1] if file_first else fields)
    assert response.status_code == status, response.text
    if status == 400:
        assert says is not None and says in response.json()["error"]["message"]
    elif says:
        assert response.json()["status"] == "processed"
        assert says in response.json()["status_details"]
        assert server.client.get(f"/files/{response.json()['id']}/content").content == content
    else:
        assert (response.json()["status"], response.json()["status_details"]) == ("processed", None)


@pytest.fixture(scope="module")
def modes(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("modes")
    servers = {mode: Server(folder / mode, validation=mode, uploads_per_minute=0) for mode in MODES}
    yield servers
    for server in servers.values():
        server.stop()


def test_downloads_as_the_hosted_service(tmp_path: Path) -> None:
    with Server(tmp_path / "data", downloads="openai", batch_expiry_seconds=7200) as server:
        for purpose, content in (("assistants", b"x"), ("user_data", b"x"), ("evals", b'{"item": {}}')):
            made = server.upload(content, purpose=purpose)
            response = server.client.get(f"/files/{made['id']}/content")
            message = f"Not allowed to download files of purpose: {purpose}"
            assert (response.status_code, response.json()["error"]["message"]) == (400, message)
        assert server.client.get("/files/file-x/content").status_code == 404
        batch = server.upload(LINE % 1, purpose="batch")
        assert server.client.get(f"/files/{batch['id']}/content").content == LINE % 1
        assert batch["expires_at"] == batch["created_at"] + 7200


def test_too_many_uploads_at_once(tmp_path: Path) -> None:
    with Server(tmp_path / "data", max_uploads=1) as server:
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'

        def slow():  # type: ignore[no-untyped-def]
            yield head
            wait_for_uploads(server, 1)
            response = post(server, 5)
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            yield b'data\r\n--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n--x--\r\n'

        headers = {"content-type": "multipart/form-data; boundary=x"}
        response = server.client.post("/files", content=slow(), headers=headers)
        assert response.status_code == 200, response.text
        assert json.loads(response.text)["bytes"] == 4


def test_the_limit_of_open_files_fits_the_connections(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        with Server(tmp_path / "data", own_interpreter=True, max_connections=1500) as server:
            raised, _ = psutil.Process(server.process.pid).rlimit(psutil.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    # For each connection its own and a file, or three for an object.
    assert raised == 512 + 1500 * (2 if pytestconfig.getoption("profile") == "embedded" else 4)
