"""What several nodes promise together, over HTTP: once means once, limits are exact, and a node may leave at any time."""

import contextlib
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from filestead.blobs.keys import new_key
from filestead.database.engines.postgres.database import OPERATION_TIMEOUT_SECONDS
from tests.nodes.fleet import Fleet, fleet
from tests.support.databases import shared_postgres
from tests.support.installations import OnServers, clean_environment
from tests.support.promises import Trials
from tests.support.seaweedfs import shared_server
from tests.support.servers import KEY, Server, run_command
from tests.support.waiting import wait_until


@contextlib.contextmanager
def nodes(folder: Path, size: int, **settings: object) -> Iterator[Fleet]:
    """Nodes on the servers of this test process."""
    with fleet(folder, size, shared_postgres(), shared_server(), **settings) as made:
        yield made


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with nodes(tmp_path_factory.mktemp("two"), 2) as made:
        yield made


FILES = 200
HEAD_STARTS = (0, 0, 0.005, -0.005)
"""Seconds by which the one node, or the other, is asked earlier: so each wins now and then, on any machine."""


@pytest.mark.promise("R-19")
def test_a_file_that_two_nodes_delete_concurrently_is_deleted_once(two: Fleet, trials: Trials) -> None:
    one, other = two.alive
    ids = [one.upload(b"%d" % number)["id"] for number in range(FILES)]
    together = threading.Barrier(2)

    def delete_all(node: Server) -> list[int]:
        found = []
        for number, file_id in enumerate(ids):
            together.wait(60)
            head_start = HEAD_STARTS[number % len(HEAD_STARTS)]
            time.sleep(max(0, -head_start if node is one else head_start))
            found.append(node.client.delete(f"/files/{file_id}").status_code)
        return found

    with ThreadPoolExecutor(2) as pool:
        statuses = list(zip(*pool.map(delete_all, (one, other)), strict=True))
    assert [sorted(pair) for pair in statuses] == [[200, 404]] * FILES
    trials(FILES)
    assert len(set(statuses)) == 2, "both nodes win now and then"
    assert two.place.sql("SELECT bytes_used, bytes_reserved FROM projects") == [(0, 0)]


def test_a_sweep_aborts_multipart_uploads_without_an_upload(two: Fleet) -> None:
    """As a store that is killed between two tries leaves them, beside the blob that the other try made whole."""
    place, seaweed = two.place, two.place.seaweed
    file_id = two.alive[0].upload(b"content")["id"]
    ((whole,),) = place.sql("SELECT blob_key FROM files WHERE id = ?", file_id)
    pending, unknown = new_key(), new_key()
    place.sql(
        "INSERT INTO blobs (key, project_id, state, bytes_reserved, lease_until_us) "
        "SELECT ?, id, 'pending', 0, filestead_now() + 60000000 FROM projects",
        pending,
    )
    for key in (whole, pending, unknown):
        name = place.object_name(key)
        status, body = seaweed.send("POST", name, {"uploads": ""})
        assert status == 200, body
    assert place.staged() == {whole, pending, unknown}
    swept = run_command(Path("nowhere"), "sweep", place=place)
    assert swept.returncode == 0, swept.stderr
    assert place.staged() == {pending}
    assert two.alive[1].client.get(f"/files/{file_id}/content").content == b"content"
    place.sql("UPDATE blobs SET lease_until_us = 1 WHERE key = ?", pending)
    assert run_command(Path("nowhere"), "sweep", place=place).stdout == "1 blobs removed\n"
    assert place.staged() == set()
    two.alive[0].client.delete(f"/files/{file_id}")


@pytest.mark.promise("S-04")
def test_a_revoked_key_is_rejected_by_every_node_within_two_seconds(two: Fleet) -> None:
    created = run_command(Path("nowhere"), "keys", "create", "--project", "default", place=two.place)
    headers = {"Authorization": f"Bearer {created.stdout.strip()}"}
    for node in two.alive:
        assert httpx2.get(node.base_url + "/files", headers=headers).status_code == 200
    key_id = created.stderr.split()[0]
    assert run_command(Path("nowhere"), "keys", "revoke", key_id, place=two.place).returncode == 0
    revoked = time.monotonic()
    for node in two.alive:
        while True:
            asked = time.monotonic()
            if httpx2.get(node.base_url + "/files", headers=headers).status_code == 401:
                break
            assert asked < revoked + 2
    assert {httpx2.get(node.base_url + "/files", headers=headers).status_code for node in two.alive} == {401}


@pytest.mark.promise("I-12")
def test_the_quota_of_a_project_is_exact_on_many_nodes(tmp_path: Path) -> None:
    quota = 1_000_000
    dice = random.Random(1)
    sizes = [dice.randrange(1, 50_000) for _ in range(64)]
    assert sum(sizes) > 1.3 * quota
    with nodes(tmp_path, 3, project_quota_bytes=quota) as made:

        def upload(number: int) -> int:
            response = made.alive[number % 3].client.post(
                "/files", data={"purpose": "user_data"}, files={"file": ("a", bytes(sizes[number]))}
            )
            assert response.status_code in (200, 400), response.text
            return sizes[number] if response.status_code == 200 else 0

        with ThreadPoolExecutor(64) as pool:
            taken = sum(pool.map(upload, range(64)))
        assert taken <= quota
        assert made.place.sql("SELECT bytes_used, bytes_reserved FROM projects") == [(taken, 0)]
        listed = made.alive[0].client.get("/files").json()["data"]
        assert sum(file["bytes"] for file in listed) == taken
        assert taken > quota - 50_000, "only what does not fit is refused"
        made.alive[1].upload(bytes(quota - taken))
        for node in made.alive:
            one_more = node.client.post("/files", data={"purpose": "user_data"}, files={"file": ("a", b"x")})
            assert one_more.status_code == 400
            assert "quota" in one_more.text or "storage" in one_more.text


def test_of_nodes_that_start_concurrently_one_creates_the_first_key() -> None:
    place = OnServers(shared_postgres(), shared_server(), "first-key")
    variables = {**clean_environment(), **place.variables()}
    code = (
        "from filestead import installation, settings; print(installation.from_settings(settings.load()).bootstrap())"
    )
    nodes = [
        subprocess.Popen([sys.executable, "-c", code], env=variables, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    printed = [node.communicate(timeout=60)[0].strip() for node in nodes]
    assert sorted(line.startswith("sk-") for line in printed) == [False] * 5 + [True], printed
    assert printed.count("None") == 5
    assert len(place.sql("SELECT id FROM keys")) == 1


def test_verify_may_exceed_the_operation_timeout_of_the_server(two: Fleet) -> None:
    """Longer than any request waits for the database."""
    with two.place.postgres.session(two.place.name) as session, ThreadPoolExecutor(1) as pool:
        session.execute("BEGIN; LOCK TABLE blobs")
        verified = pool.submit(run_command, Path("nowhere"), "verify", place=two.place)
        time.sleep(OPERATION_TIMEOUT_SECONDS + 1)
        assert not verified.done()
        session.execute("ROLLBACK")
        assert verified.result().returncode == 0, verified.result().stderr


def test_sigterm_drains_in_flight_requests(tmp_path: Path) -> None:
    content = random.Random(2).randbytes(9 * 2**20)
    with nodes(tmp_path, 1) as made:
        (node,) = made.alive
        assert f"Node of a shared installation: PostgreSQL and s3://{made.place.seaweed.bucket}/" in node.output
        request = httpx2.Request(
            "POST",
            node.base_url + "/files",
            headers={"Authorization": f"Bearer {KEY}"},
            data={"purpose": "user_data"},
            files={"file": ("a.bin", content)},
        )
        head = "\r\n".join(
            ["POST /v1/files HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items())]
        )
        body = request.read()
        with socket.create_connection(("127.0.0.1", node.port), timeout=60) as connection:
            connection.sendall(f"{head}\r\n\r\n".encode() + body[: len(body) // 2])
            wait_until(lambda: made.place.sql("SELECT 1 FROM blobs"), "the upload does not begin")
            node.process.terminate()
            wait_until(lambda: not listens(node), "the listener stays open")
            assert node.process.poll() is None
            connection.sendall(body[len(body) // 2 :])
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
        assert node.process.wait(30) == 0
        after = made.start(0)
        (file,) = after.client.get("/files").json()["data"]
        assert after.client.get(f"/files/{file['id']}/content").content == content


def listens(node: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", node.port), timeout=5).close()
    except ConnectionError:
        return False
    return True
