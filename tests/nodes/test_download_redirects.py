"""Which downloads are redirected to the object store, and that the others have the same content."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.nodes.fleet import fleet
from tests.support.databases import shared_postgres
from tests.support.parts import upload_in_parts
from tests.support.seaweedfs import shared_server
from tests.support.servers import Server

FIRST, SECOND = bytes(range(256)) * 100, b"second" * 5_000


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("redirecting")
    with fleet(folder, 1, shared_postgres(), shared_server(), download_redirect="true") as nodes:
        yield nodes.alive[0]


def download(node: Server, file_id: str, **headers: str) -> httpx2.Response:
    return node.client.get(f"/files/{file_id}/content", headers=headers)


def test_files_of_one_object_are_redirected(node: Server) -> None:
    for file in (node.upload(FIRST), upload_in_parts(node.client, FIRST)["file"]):
        redirected = download(node, file["id"])
        assert redirected.status_code == 302
        assert httpx2.get(redirected.headers["location"]).content == FIRST


def test_a_file_of_several_parts_is_sent_by_the_node(node: Server) -> None:
    whole = FIRST + SECOND
    file = upload_in_parts(node.client, FIRST, SECOND)["file"]
    assert download(node, file["id"]).content == whole
    edge = len(FIRST)
    across = download(node, file["id"], Range=f"bytes={edge - 10}-{edge + 9}")
    assert (across.status_code, across.content) == (206, whole[edge - 10 : edge + 10])
