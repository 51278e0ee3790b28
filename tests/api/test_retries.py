"""Requests that official clients send again, over HTTP: they say so, and send no `Idempotency-Key`."""

import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.test_idempotency import HOUR, ids, made
from tests.crash.harness import wait_until_quiet
from tests.support.servers import Server, new_key

pytestmark = pytest.mark.promise("R-16")


def headers(server: Server, count: object, secret: str | None = None) -> dict[str, str]:
    return {"authorization": f"Bearer {secret or server.key}", "x-stainless-retry-count": str(count)}


def post(
    server: Server, count: object, content: bytes, *, name: str = "a.txt", secret: str | None = None, **fields: str
) -> httpx2.Response:
    """An upload that was sent `count` times before."""
    form = {"data": {"purpose": "user_data", **fields}, "files": {"file": (name, content)}}
    return server.client.post("/files", headers=headers(server, count, secret), **form)  # type: ignore[arg-type]


def delete(server: Server, count: object, path: str, secret: str | None = None) -> httpx2.Response:
    return server.client.delete(path, headers=headers(server, count, secret))


@pytest.mark.parametrize("size", [20, 700_000], ids=["small", "large"])
def test_a_retry_gets_the_first_file_and_stores_nothing(server: Server, size: int) -> None:
    content = b"again" * (size // 5)
    before = ids(server)
    first = post(server, 0, content, **HOUR)
    file = made(first, replayed=False)
    for count in (1, 2):
        assert made(post(server, count, content, **HOUR), replayed=True) == file
    another = made(post(server, 0, content, **HOUR), replayed=False)
    assert ids(server) == [another["id"], file["id"], *before]
    wait_until_quiet(server.data_dir)
    assert server.client.get(f"/files/{file['id']}/content").content == content


OTHERS: list[dict[str, Any]] = [
    {"content": b"hellO"},
    {"name": "b.txt"},
    {"purpose": "vision"},
    HOUR,
    {"count": ""},
    {"count": "-1"},
    {"count": "1.0"},
    {"count": "١"},
]


@pytest.mark.parametrize("change", OTHERS, ids=lambda change: "-".join(map(ascii, next(iter(change.items())))))
def test_another_upload_is_no_retry(server: Server, change: dict[str, Any]) -> None:
    upload: dict[str, Any] = {"count": "1", "content": b"hello", "name": f"{sorted(change.items())!a}.txt"}
    file = made(post(server, **upload | {"count": "0"}), replayed=False)
    if (upload | change)["count"].isascii():
        assert made(post(server, **upload | change), replayed=False)["id"] != file["id"]
    assert made(post(server, **upload), replayed=True) == file


def test_a_key_matches_its_own_uploads_alone(server: Server) -> None:
    keys = [new_key(server, "--project", project) for project in ("one", "one", "two")]
    file = made(post(server, 0, b"mine", secret=keys[0]), replayed=False)
    others = [made(post(server, 1, b"mine", secret=secret), replayed=False) for secret in keys[1:]]
    assert file["id"] not in [other["id"] for other in others]
    assert made(post(server, 1, b"mine", secret=keys[0]), replayed=True) == file
    assert made(post(server, 1, b"mine", secret=keys[2]), replayed=True) == others[1]


def test_an_idempotency_key_decides_alone(server: Server) -> None:
    """The retry has a key of its own: another upload, by the word of the client."""
    form: dict[str, Any] = {"data": {"purpose": "user_data"}, "files": {"file": ("a.txt", b"with a key")}}
    file = made(post(server, 0, b"with a key"), replayed=False)
    keyed = server.client.post("/files", headers=headers(server, 1) | {"idempotency-key": "of-a-retry"}, **form)
    assert made(keyed, replayed=False)["id"] != file["id"]


def test_a_retry_beside_its_first_attempt_is_one_whole_file_or_two(server: Server) -> None:
    content = b"beside" * 200_000
    found: list[httpx2.Response] = []
    threads = [
        threading.Thread(target=lambda count=count: found.append(post(server, count, content))) for count in (0, 1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = {response.json()["id"] for response in found if response.status_code == 200}
    assert len(found) == 3 and 1 <= len(files) <= 2
    wait_until_quiet(server.data_dir)
    for file in files:
        assert server.client.get(f"/files/{file}/content").content == content


def test_a_deletion_that_is_sent_again_succeeds(server: Server) -> None:
    elsewhere = new_key(server, "--project", "elsewhere")
    path = f"/files/{server.upload()['id']}"
    assert delete(server, 1, path, elsewhere).status_code == 404
    first = delete(server, 0, path)
    assert first.status_code == 200
    for count in (1, 2):
        again = delete(server, count, path)
        assert (again.status_code, again.text) == (200, first.text)
    assert delete(server, 0, path).status_code == 404
    assert delete(server, 1, path, elsewhere).status_code == 404
    assert delete(server, 1, "/files/file-never").status_code == 404
    assert server.client.get(path).status_code == 404


def test_deletions_of_stores_and_attachments_that_are_sent_again_succeed(server: Server) -> None:
    elsewhere, file = new_key(server, "--project", "elsewhere"), server.upload()["id"]
    store = server.client.post("/vector_stores", json={"file_ids": [file]}).json()["id"]
    for path in (f"/vector_stores/{store}/files/{file}", f"/vector_stores/{store}"):
        assert delete(server, 1, path, elsewhere).status_code == 404
        first = delete(server, 0, path)
        again = delete(server, 1, path)
        assert (first.status_code, again.status_code, again.text) == (200, 200, first.text)
        assert delete(server, 0, path).status_code == 404
        assert delete(server, 1, path, elsewhere).status_code == 404
        assert server.client.get(path).status_code == 404
    assert delete(server, 1, "/vector_stores/vs_never").status_code == 404
    assert server.client.get(f"/files/{file}").status_code == 200


def test_a_server_that_is_told_so_matches_nothing(tmp_path: Path) -> None:
    with Server(tmp_path / "data", match_retries=False) as server:
        one, two = (made(post(server, count, b"x"), replayed=False) for count in (0, 1))
        assert one["id"] != two["id"]
        path = f"/files/{one['id']}"
        assert [delete(server, count, path).status_code for count in (0, 1)] == [200, 404]
        assert server.place.sql("SELECT count(*) FROM idempotency_keys")[0][0] == 0
        path = f"/vector_stores/{server.client.post('/vector_stores', json={}).json()['id']}"
        assert [delete(server, count, path).status_code for count in (0, 1)] == [200, 404]
