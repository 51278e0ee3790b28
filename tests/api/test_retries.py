"""Requests that official clients send again, over HTTP: they say so, and send no `Idempotency-Key`."""

import threading
from collections.abc import Iterator
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
    settings: dict[str, Any] = {"role": "api", "upstream_url": "http://127.0.0.1:9/v1"}
    with Server(tmp_path / "data", match_retries=False, **settings) as server:
        one, two = (made(post(server, count, b"x"), replayed=False) for count in (0, 1))
        assert one["id"] != two["id"]
        path = f"/files/{one['id']}"
        assert [delete(server, count, path).status_code for count in (0, 1)] == [200, 404]
        for creation, body in CREATIONS:
            assert created(send(server, 0, creation, body)) != created(send(server, 1, creation, body))
        assert server.place.sql("SELECT count(*) FROM idempotency_keys")[0][0] == 0
        path = f"/vector_stores/{server.client.post('/vector_stores', json={}).json()['id']}"
        assert [delete(server, count, path).status_code for count in (0, 1)] == [200, 404]


# --- batches and vector stores --------------------------------------------------------------------------------------

CREATIONS: list[tuple[str, dict[str, Any]]] = [
    (
        "/batches",
        {
            "input_file_id": "file-none",
            "endpoint": "/v1/embeddings",
            "completion_window": "24h",
            "metadata": {"a": "b"},
        },
    ),
    (
        "/vector_stores",
        {"name": "mine", "metadata": {"a": "b"}, "expires_after": {"anchor": "last_active_at", "days": 2}},
    ),
]
CREATES = pytest.mark.parametrize(("path", "body"), CREATIONS, ids=["batch", "store"])
MINUTE_US = 60_000_000


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes batches and leaves running them to others."""
    folder = tmp_path_factory.mktemp("retries") / "data"
    with Server(folder, role="api", upstream_url="http://127.0.0.1:9/v1", sweep_seconds=3_600) as running:
        yield running


def send(
    server: Server, count: object, path: str, body: dict[str, Any], secret: str | None = None, **more: str
) -> httpx2.Response:
    """A creation that was sent `count` times before."""
    return server.client.post(path, json=body, headers=headers(server, count, secret) | more)


def created(response: httpx2.Response, *, replayed: bool = False) -> str:
    return str(made(response, replayed=replayed)["id"])


def listed(server: Server, path: str, secret: str) -> list[str]:
    found = server.client.get(path, headers=headers(server, 0, secret)).json()["data"]
    return [each["id"] for each in found]


@CREATES
def test_a_creation_that_is_sent_again_creates_nothing(runner: Server, path: str, body: dict[str, Any]) -> None:
    secret = new_key(runner, "--project", f"again {path}")
    first = send(runner, 0, path, body, secret)
    found = created(first)
    for count in (1, 2):
        again = send(runner, count, path, dict(reversed(body.items())), secret)
        assert created(again, replayed=True) == found
        assert again.text == first.text
    assert listed(runner, path, secret) == [found]


@CREATES
def test_equal_first_attempts_create_two(runner: Server, path: str, body: dict[str, Any]) -> None:
    secret = new_key(runner, "--project", f"equal {path}")
    found = [created(send(runner, 0, path, body, secret)) for _ in range(2)]
    found += [created(send(runner, count, path, body, secret)) for count in ("", "-1", "1.0")]
    assert len(set(found)) == 5
    assert created(send(runner, 1, path, body, secret), replayed=True) == found[1]
    assert sorted(listed(runner, path, secret)) == sorted(found)


@CREATES
def test_another_body_or_key_creates_another(runner: Server, path: str, body: dict[str, Any]) -> None:
    keys = [new_key(runner, "--project", f"{project} {path}") for project in ("one", "one", "two")]
    found = [created(send(runner, 0, path, body, keys[0]))]
    found += [created(send(runner, 1, path, body, secret)) for secret in keys[1:]]
    for member, value in [("metadata", {"a": "c"}), ("metadata", {"b": "a"}), *OTHER_MEMBERS[path]]:
        found.append(created(send(runner, 1, path, body | {member: value}, keys[0])))
    assert len(set(found)) == len(found)
    for secret, first in zip(keys, found, strict=False):
        assert created(send(runner, 2, path, body, secret), replayed=True) == first


OTHER_MEMBERS: dict[str, list[tuple[str, Any]]] = {
    "/batches": [
        ("input_file_id", "file-other"),
        ("endpoint", "/v1/responses"),
        ("output_expires_after", {"anchor": "created_at", "seconds": 3_600}),
    ],
    "/vector_stores": [
        ("name", "yours"),
        ("name", None),
        ("description", "mine"),
        ("expires_after", {"anchor": "last_active_at", "days": 3}),
    ],
}


def test_other_files_or_chunks_make_another_store(runner: Server) -> None:
    one, two = (runner.upload()["id"] for _ in range(2))
    chunks = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 300}}
    bodies: list[dict[str, Any]] = [
        {"file_ids": [one]},
        {"file_ids": [two]},
        {"file_ids": [one, two]},
        {"file_ids": [one], "chunking_strategy": chunks},
        {},
    ]
    first = [created(send(runner, 0, "/vector_stores", body)) for body in bodies]
    again = [created(send(runner, 1, "/vector_stores", body), replayed=True) for body in bodies]
    assert again == first


@CREATES
def test_a_creation_that_is_sent_again_after_fifteen_minutes_creates_anew(
    runner: Server, path: str, body: dict[str, Any]
) -> None:
    secret = new_key(runner, "--project", f"late {path}")
    found = [created(send(runner, 0, path, body, secret))]
    for minutes, replayed in ((14, True), (1, False)):
        runner.place.sql(f"UPDATE idempotency_keys SET bound_until_us = bound_until_us - {minutes * MINUTE_US}")
        found.append(created(send(runner, 1, path, body, secret), replayed=replayed))
    assert found[0] == found[1] != found[2]
    assert created(send(runner, 2, path, body, secret), replayed=True) == found[2]


def test_a_deleted_store_is_created_anew(runner: Server) -> None:
    path, body = CREATIONS[1]
    secret = new_key(runner, "--project", "deleted")
    first = created(send(runner, 0, path, body, secret))
    assert delete(runner, 0, f"{path}/{first}", secret).status_code == 200
    again = created(send(runner, 1, path, body, secret))
    assert again != first
    assert created(send(runner, 2, path, body, secret), replayed=True) == again
    assert delete(runner, 1, f"{path}/{first}", secret).status_code == 200, "a deletion that is sent again"


def test_an_idempotency_key_of_a_batch_decides_alone(runner: Server) -> None:
    path, body = CREATIONS[0]
    secret = new_key(runner, "--project", "keyed")
    key = {"idempotency-key": "of-a-batch"}
    plain = created(send(runner, 0, path, body, secret))
    keyed = created(send(runner, 1, path, body, secret, **key))
    assert keyed != plain
    for count in (0, 1):
        assert created(send(runner, count, path, body, secret, **key), replayed=True) == keyed
    assert created(send(runner, 1, path, body, secret), replayed=True) == plain


@CREATES
def test_attempts_that_come_together_agree(runner: Server, path: str, body: dict[str, Any]) -> None:
    secret = new_key(runner, "--project", f"together {path}")
    found: list[httpx2.Response] = []
    threads = [
        threading.Thread(target=lambda count=count: found.append(send(runner, count, path, body, secret)))
        for count in (1, 2, 3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [response.status_code for response in found] == [200] * 3
    assert [response.json()["id"] for response in found] == listed(runner, path, secret) * 3
